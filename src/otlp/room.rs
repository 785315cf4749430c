//! Room for columns while they grow.
//!
//! Duty: ask the [`Room`] of a request no more often than it has to be. Guarantee: after [`Granted::holds`] there is room
//! for what the builder has. Left to others: where room comes from (`receive`).

use super::wire::Broken;
use super::{NO_ROOM, Room, SpanBuilder};

/// Room, and how much of it was given.
pub(super) struct Granted<'r> {
    room: &'r mut Room<'r>,
    bytes: u64,
}

impl<'r> Granted<'r> {
    pub(super) fn new(room: &'r mut Room<'r>) -> Self {
        Self { room, bytes: 0 }
    }

    /// Asks for more if the columns of `builder` need it.
    #[inline]
    pub(super) fn holds(&mut self, builder: &SpanBuilder) -> Result<(), Broken> {
        let bytes = builder.column_bytes();
        if bytes <= self.bytes {
            return Ok(());
        }
        match (self.room)(bytes) {
            Some(given) => {
                self.bytes = given;
                Ok(())
            }
            None => Err(Broken::new(0, NO_ROOM, format!("no room for columns of {bytes} bytes"))),
        }
    }
}
