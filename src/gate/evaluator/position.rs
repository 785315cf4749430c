//! Where the store is, for those who close ticks.
//!
//! Duty: the position up to which spans count in a tick that closes now. Guarantee: there is none while the store replays its
//! log. Left to others: what it means (`store`), who knows it (the caller).

use std::fmt;
use std::sync::Arc;

/// The store's visible position in µs; `None` while it replays its log.
#[derive(Clone)]
pub struct Position(Arc<dyn Fn() -> Option<i64> + Send + Sync>);

impl Position {
    /// A position that `read` knows.
    pub fn new(read: impl Fn() -> Option<i64> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    pub(in super::super) fn get(&self) -> Option<i64> {
        (self.0)()
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Position")
    }
}
