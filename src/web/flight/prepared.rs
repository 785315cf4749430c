//! Prepared statements of Flight clients.
//!
//! Duty: keep the text and what was bound to it between calls. Guarantee: an identity has at most 1000 and 16 MiB, all
//! together 64 MiB; its own longest unused go first, or those of whom has most; a handle is worth nothing to another
//! caller. Left to others: planning and running it (`service`).

use std::collections::HashMap;
use std::sync::Mutex;

use crate::clock::Clock;
use crate::query::{Code, Error, Params};

/// Statements that are kept of an identity, and their bytes.
const MOST: usize = 1000;
const MOST_BYTES: usize = 16 << 20;
/// Bytes of all identities together.
const MOST_BYTES_OF_ALL: usize = 64 << 20;
/// Bytes that one is counted for beside its text, names and values.
const EACH: usize = 512;

/// A statement as it was prepared, with what is bound to it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prepared {
    pub sql: String,
    /// Names of its placeholders, in the order of their values.
    pub names: Vec<String>,
    pub params: Params,
}

impl Prepared {
    fn bytes(&self) -> usize {
        let names = self.names.iter().map(|name| name.len() + size_of::<String>()).sum::<usize>();
        EACH + self.sql.len() + names + self.params.bytes()
    }
}

#[derive(Debug)]
struct Kept {
    prepared: Prepared,
    bytes: usize,
    used_us: i64,
}

type Handle = Vec<u8>;

/// What is kept of an identity.
#[derive(Debug, Default)]
struct Own {
    kept: HashMap<Handle, Kept>,
    bytes: usize,
}

impl Own {
    fn remove(&mut self, handle: &[u8]) {
        if let Some(kept) = self.kept.remove(handle) {
            self.bytes -= kept.bytes;
        }
    }

    /// Forgets the longest unused, but not `but`; whether there was one.
    fn forget(&mut self, but: &[u8]) -> bool {
        let others = self.kept.iter().filter(|(handle, _)| handle.as_slice() != but);
        let oldest = others.min_by_key(|(_, kept)| kept.used_us).map(|(handle, _)| handle.clone());
        oldest.is_some_and(|oldest| {
            self.remove(&oldest);
            true
        })
    }
}

/// Those that are kept, by identity.
#[derive(Debug)]
pub(super) struct Shelf {
    clock: Clock,
    kept: Mutex<HashMap<String, Own>>,
}

impl Shelf {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, kept: Mutex::default() }
    }

    /// Keeps a statement of `identity`; gives its handle.
    pub(super) fn put(&self, identity: &str, prepared: Prepared) -> Handle {
        let handle = [self.clock.random().to_le_bytes(), self.clock.random().to_le_bytes()].concat();
        let mut all = self.kept();
        let own = all.entry(identity.to_owned()).or_default();
        let (bytes, used_us) = (prepared.bytes(), self.clock.now_us());
        own.bytes += bytes;
        own.kept.insert(handle.clone(), Kept { prepared, bytes, used_us });
        fit(&mut all, identity, &handle);
        handle
    }

    /// The statement of a handle.
    ///
    /// Errors: `sql.argument` where it is not kept for this caller.
    pub(super) fn get(&self, handle: &[u8], identity: &str) -> Result<Prepared, Error> {
        let mut all = self.kept();
        let kept = find(&mut all, handle, identity)?;
        kept.used_us = self.clock.now_us();
        Ok(kept.prepared.clone())
    }

    /// Binds `params` to it, in place of those before.
    ///
    /// Errors: as [`Shelf::get`].
    pub(super) fn bind(&self, handle: &[u8], identity: &str, params: Params) -> Result<(), Error> {
        let mut all = self.kept();
        let kept = find(&mut all, handle, identity)?;
        let before = kept.bytes;
        kept.used_us = self.clock.now_us();
        kept.prepared.params = params;
        kept.bytes = kept.prepared.bytes();
        let after = kept.bytes;
        if let Some(own) = all.get_mut(identity) {
            own.bytes = own.bytes - before + after;
        }
        fit(&mut all, identity, handle);
        Ok(())
    }

    /// Forgets it; a handle that is not known is none either way.
    pub(super) fn close(&self, handle: &[u8], identity: &str) {
        let mut all = self.kept();
        if let Some(own) = all.get_mut(identity) {
            own.remove(handle);
            if own.kept.is_empty() {
                all.remove(identity);
            }
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<String, Own>> {
        self.kept.lock().expect("no holder of this lock panics")
    }
}

fn find<'a>(all: &'a mut HashMap<String, Own>, handle: &[u8], identity: &str) -> Result<&'a mut Kept, Error> {
    let kept = all.get_mut(identity).and_then(|own| own.kept.get_mut(handle));
    kept.ok_or_else(|| {
        Error::new(Code::Argument, "there is no prepared statement of this handle").hint("prepare it again")
    })
}

/// Forgets what is too much of `identity`, then what is too much of all; what `handle` names stays: it is at most a text
/// of 64 KiB and 1 MiB of values.
fn fit(all: &mut HashMap<String, Own>, identity: &str, handle: &[u8]) {
    if let Some(own) = all.get_mut(identity) {
        while (own.kept.len() > MOST || own.bytes > MOST_BYTES) && own.forget(handle) {}
    }
    while all.values().map(|own| own.bytes).sum::<usize>() > MOST_BYTES_OF_ALL {
        let Some(most) = all.values_mut().max_by_key(|own| own.bytes) else { return };
        if !most.forget(handle) {
            return;
        }
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
        assert_eq!(shelf.kept()["me"].kept.len(), MOST);
    }

    #[test]
    fn what_one_keeps_costs_no_other_one_its_own() {
        let shelf = Shelf::new(Clock::manual(0, 1));
        let mine = shelf.put("me", prepared("SELECT 1"));
        for n in 0..2 * MOST {
            shelf.put("you", prepared(&format!("SELECT {n}")));
        }
        assert_eq!(shelf.get(&mine, "me").unwrap(), prepared("SELECT 1"));
    }

    #[test]
    fn bytes_are_counted_those_that_are_bound_too() {
        let clock = Clock::manual(0, 1);
        let shelf = Shelf::new(clock.clone());
        let megabyte = || Params::List(vec![crate::query::params::Param::Text("x".repeat(1 << 20))]);
        let handles: Vec<_> = (0..40)
            .map(|_| {
                clock.advance(Duration::from_millis(1));
                let handle = shelf.put("me", prepared("SELECT $1"));
                shelf.bind(&handle, "me", megabyte()).unwrap();
                handle
            })
            .collect();
        let left = handles.iter().filter(|handle| shelf.get(handle, "me").is_ok()).count();
        assert_eq!(left, 15, "sixteen and what they are beside would be more than 16 MiB");
        assert!(shelf.get(&handles[39], "me").is_ok() && shelf.get(&handles[24], "me").is_err());
        // Values that are bound anew are in place of those before.
        for _ in 0..20 {
            shelf.bind(&handles[39], "me", megabyte()).unwrap();
        }
        assert!(shelf.get(&handles[25], "me").is_ok());
        // Many identities: who has most loses its own.
        let small = shelf.put("small", prepared("SELECT 1"));
        for who in 0..8 {
            for _ in 0..15 {
                let handle = shelf.put(&format!("large-{who}"), prepared("SELECT $1"));
                shelf.bind(&handle, &format!("large-{who}"), megabyte()).unwrap();
            }
        }
        assert!(shelf.kept().values().map(|own| own.bytes).sum::<usize>() <= MOST_BYTES_OF_ALL);
        assert!(shelf.get(&small, "small").is_ok());
        let counted = |own: &Own| own.kept.values().map(|kept| kept.prepared.bytes()).sum::<usize>() == own.bytes;
        assert!(shelf.kept().values().all(counted));
    }
}
