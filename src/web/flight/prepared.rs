//! Prepared statements of Flight clients.
//!
//! Duty: keep the text and what was bound to it between calls. Guarantee: at most 1000 are kept, the longest unused goes
//! first; a handle is worth nothing to another caller. Left to others: planning and running it (`service`).

use std::collections::HashMap;
use std::sync::Mutex;

use crate::clock::Clock;
use crate::query::{Code, Error, Params};

/// Statements that are kept.
const MOST: usize = 1000;

/// A statement as it was prepared, with what is bound to it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prepared {
    pub sql: String,
    /// Names of its placeholders, in the order of their values.
    pub names: Vec<String>,
    pub params: Params,
}

#[derive(Debug)]
struct Kept {
    prepared: Prepared,
    identity: String,
    used_us: i64,
}

/// Those that are kept.
#[derive(Debug)]
pub(super) struct Shelf {
    clock: Clock,
    kept: Mutex<HashMap<Vec<u8>, Kept>>,
}

impl Shelf {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, kept: Mutex::default() }
    }

    /// Keeps a statement of `identity`; gives its handle.
    pub(super) fn put(&self, identity: &str, prepared: Prepared) -> Vec<u8> {
        let handle = [self.clock.random().to_le_bytes(), self.clock.random().to_le_bytes()].concat();
        let mut kept = self.kept();
        if kept.len() >= MOST
            && let Some(oldest) = kept.iter().min_by_key(|(_, kept)| kept.used_us).map(|(handle, _)| handle.clone())
        {
            kept.remove(&oldest);
        }
        let used_us = self.clock.now_us();
        kept.insert(handle.clone(), Kept { prepared, identity: identity.to_owned(), used_us });
        handle
    }

    /// The statement of a handle.
    ///
    /// Errors: `sql.argument` where it is not kept for this caller.
    pub(super) fn get(&self, handle: &[u8], identity: &str) -> Result<Prepared, Error> {
        self.with(handle, identity, |prepared| prepared.clone())
    }

    /// Binds `params` to it, in place of those before.
    ///
    /// Errors: as [`Shelf::get`].
    pub(super) fn bind(&self, handle: &[u8], identity: &str, params: Params) -> Result<(), Error> {
        self.with(handle, identity, |prepared| prepared.params = params)
    }

    /// Forgets it; a handle that is not known is none either way.
    pub(super) fn close(&self, handle: &[u8], identity: &str) {
        let mut kept = self.kept();
        if kept.get(handle).is_some_and(|kept| kept.identity == identity) {
            kept.remove(handle);
        }
    }

    fn with<T>(&self, handle: &[u8], identity: &str, does: impl FnOnce(&mut Prepared) -> T) -> Result<T, Error> {
        let mut kept = self.kept();
        let kept = kept.get_mut(handle).filter(|kept| kept.identity == identity).ok_or_else(|| {
            Error::new(Code::Argument, "there is no prepared statement of this handle").hint("prepare it again")
        })?;
        kept.used_us = self.clock.now_us();
        Ok(does(&mut kept.prepared))
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<Vec<u8>, Kept>> {
        self.kept.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn prepared(sql: &str) -> Prepared {
        Prepared { sql: sql.to_owned(), names: vec![], params: Params::None }
    }

    #[test]
    fn a_handle_is_of_one_caller_and_ends_with_close() {
        let shelf = Shelf::new(Clock::manual(0, 1));
        let handle = shelf.put("me", prepared("SELECT 1"));
        assert_eq!(shelf.get(&handle, "you").unwrap_err().code, Code::Argument);
        shelf.close(&handle, "you");
        assert_eq!(shelf.get(&handle, "me").unwrap(), prepared("SELECT 1"));
        shelf.close(&handle, "me");
        assert!(shelf.get(&handle, "me").is_err());
    }

    #[test]
    fn the_longest_unused_goes_first() {
        let clock = Clock::manual(0, 1);
        let shelf = Shelf::new(clock.clone());
        let handles: Vec<_> = (0..MOST)
            .map(|n| {
                clock.advance(Duration::from_millis(1));
                shelf.put("me", prepared(&format!("SELECT {n}")))
            })
            .collect();
        clock.advance(Duration::from_millis(1));
        shelf.get(&handles[0], "me").unwrap();
        shelf.put("me", prepared("SELECT 'one more'"));
        assert!(shelf.get(&handles[0], "me").is_ok());
        assert!(shelf.get(&handles[1], "me").is_err());
        assert_eq!(shelf.kept().len(), MOST);
    }
}
