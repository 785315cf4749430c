//! Tickets.
//!
//! Duty: what a client fetches, sealed: the statement with its parameters, or a listing. Guarantee: a ticket is taken once,
//! within 60 s, from the caller that it was made for, and only if this process made it: nothing of other bytes is read.
//! Left to others: running what is in it (`service`).

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use ulid::Ulid;

use crate::clock::Clock;
use crate::query::{Code, Error, Params};

/// How long a ticket can be used.
const LIFE: Duration = Duration::from_secs(60);
/// Bytes of the seal before the body.
const SEAL: usize = 32;
/// Tickets that an identity may use within their life: more at once are refused.
const MOST_USED: usize = 50_000;

/// What is fetched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum What {
    /// The rows of a statement.
    Statement { sql: String, params: Params },
    /// What a command of Flight SQL lists, as its bytes.
    Listing(Vec<u8>),
}

#[derive(Debug, Serialize, Deserialize)]
struct Body {
    /// Of the statement that will run, too.
    id: u128,
    expires_us: i64,
    identity: String,
    what: What,
}

/// Makes and takes tickets.
pub(super) struct Tickets {
    key: [u8; 32],
    clock: Clock,
    /// Expiry and id of those that were taken and have not expired, by identity: nobody is refused for others.
    used: Mutex<HashMap<String, BTreeSet<(i64, u128)>>>,
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

impl Tickets {
    pub(super) fn new(clock: Clock) -> Self {
        let mut key = [0; 32];
        for eight in key.chunks_exact_mut(8) {
            eight.copy_from_slice(&clock.random().to_le_bytes());
        }
        Self { key, clock, used: Mutex::default() }
    }

    /// A ticket for `identity`, and the id of the statement that it will run.
    pub(super) fn make(&self, identity: &str, what: What) -> (String, Vec<u8>) {
        let id = self.clock.ulid();
        let life_us = i64::try_from(LIFE.as_micros()).expect("a minute is a small number");
        let expires_us = self.clock.now_us().saturating_add(life_us);
        let body = Body { id: id.0, expires_us, identity: identity.to_owned(), what };
        let body = postcard::to_stdvec(&body).expect("text and numbers are always written");
        let mut ticket = self.seal(&body).finalize().into_bytes().to_vec();
        ticket.extend_from_slice(&body);
        (id.to_string(), ticket)
    }

    /// What `ticket` stands for, and the id of the statement; it is used then.
    ///
    /// Errors: `sql.argument` for one that this process did not make, that was used or is too old; `sql.denied` for that
    /// of another caller; `sql.busy`.
    pub(super) fn take(&self, ticket: &[u8], identity: &str) -> Result<(String, What), Error> {
        let body = self.open(ticket, identity)?;
        if !self.mark(&body)? {
            return Err(again("the ticket was used before"));
        }
        Ok((Ulid(body.id).to_string(), body.what))
    }

    /// Makes `ticket` useless; gives the id of its statement, and whether it was used before.
    ///
    /// Errors: as [`Tickets::take`].
    pub(super) fn revoke(&self, ticket: &[u8], identity: &str) -> Result<(String, bool), Error> {
        // One that is too old cannot be used any more, but what it began may run.
        let body = self.sealed(ticket, identity)?;
        let is_new = self.mark(&body)?;
        Ok((Ulid(body.id).to_string(), !is_new))
    }

    fn seal(&self, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(body);
        mac
    }

    fn open(&self, ticket: &[u8], identity: &str) -> Result<Body, Error> {
        let body = self.sealed(ticket, identity)?;
        match body.expires_us > self.clock.now_us() {
            true => Ok(body),
            false => Err(again("the ticket is older than 60 s")),
        }
    }

    fn sealed(&self, ticket: &[u8], identity: &str) -> Result<Body, Error> {
        let foreign = || again("this process did not make the ticket");
        let (seal, body) = ticket.split_at_checked(SEAL).ok_or_else(foreign)?;
        self.seal(body).verify_slice(seal).map_err(|_| foreign())?;
        let body: Body = postcard::from_bytes(body).map_err(|_| foreign())?;
        match body.identity == identity {
            true => Ok(body),
            false => Err(Error::new(Code::Denied, "the ticket belongs to another caller").hint("fetch your own")),
        }
    }

    /// Whether it was not used before.
    fn mark(&self, body: &Body) -> Result<bool, Error> {
        let now_us = self.clock.now_us();
        let mut all = self.used.lock().expect("no holder of this lock panics");
        // Identities are those of a file; what they used ends within a minute.
        all.retain(|_, used| used.last().is_some_and(|(expires_us, _)| *expires_us > now_us));
        let used = all.entry(body.identity.clone()).or_default();
        *used = used.split_off(&(now_us.saturating_add(1), 0));
        if used.len() >= MOST_USED && !used.contains(&(body.expires_us, body.id)) {
            return Err(
                Error::new(Code::Busy, "too many statements came within a minute").hint("try again in a second")
            );
        }
        Ok(used.insert((body.expires_us, body.id)))
    }
}

fn again(message: &str) -> Error {
    Error::new(Code::Argument, message).hint("ask for the statement again (GetFlightInfo) and fetch what it answers")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> What {
        What::Statement { sql: "SELECT $1".to_owned(), params: Params::from_json(&serde_json::json!([1.5])).unwrap() }
    }

    #[test]
    fn a_ticket_is_taken_once_by_the_caller_that_got_it() {
        let tickets = Tickets::new(Clock::manual(1_000, 1));
        let (id, ticket) = tickets.make("me", statement());
        assert_eq!(tickets.take(&ticket, "you").unwrap_err().code, Code::Denied);
        assert_eq!(tickets.take(&ticket, "me").unwrap(), (id, statement()));
        assert_eq!(tickets.take(&ticket, "me").unwrap_err().message, "the ticket was used before");
    }

    #[test]
    fn a_ticket_ends_after_a_minute_and_its_mark_with_it() {
        let clock = Clock::manual(1_000, 1);
        let tickets = Tickets::new(clock.clone());
        let (_, early) = tickets.make("me", statement());
        let (_, late) = tickets.make("me", statement());
        clock.advance(Duration::from_millis(59_999));
        tickets.take(&early, "me").unwrap();
        clock.advance(Duration::from_millis(1));
        assert_eq!(tickets.take(&late, "me").unwrap_err().message, "the ticket is older than 60 s");
        assert_eq!(tickets.take(&early, "me").unwrap_err().message, "the ticket is older than 60 s");
        let (_, next) = tickets.make("me", statement());
        tickets.take(&next, "me").unwrap();
        assert_eq!(tickets.used.lock().unwrap()["me"].len(), 1, "those that expired are forgotten");
    }

    #[test]
    fn who_uses_too_many_tickets_is_refused_alone() {
        let clock = Clock::manual(1_000, 1);
        let tickets = Tickets::new(clock.clone());
        let take = |identity: &str| {
            let (_, ticket) = tickets.make(identity, What::Listing(Vec::new()));
            tickets.take(&ticket, identity).map(|_| ())
        };
        // As many as the limit once was for all together.
        let outcomes: Vec<_> = (0..100_000).map(|_| take("many")).collect();
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), MOST_USED);
        assert_eq!(outcomes.last().unwrap().as_ref().unwrap_err().code, Code::Busy);
        assert_eq!(take("me"), Ok(()));
        clock.advance(LIFE);
        assert_eq!((take("many"), tickets.used.lock().unwrap().len()), (Ok(()), 1));
    }

    #[test]
    fn a_ticket_that_was_revoked_is_never_taken() {
        let clock = Clock::manual(1_000, 1);
        let tickets = Tickets::new(clock.clone());
        let (id, ticket) = tickets.make("me", statement());
        assert_eq!(tickets.revoke(&ticket, "me").unwrap(), (id, false));
        assert_eq!(tickets.take(&ticket, "me").unwrap_err().message, "the ticket was used before");
        let (id, ticket) = tickets.make("me", statement());
        tickets.take(&ticket, "me").unwrap();
        assert_eq!(tickets.revoke(&ticket, "me").unwrap(), (id, true));
    }

    #[test]
    fn no_change_of_a_ticket_makes_another_one() {
        let clock = Clock::manual(1_000, 7);
        let tickets = Tickets::new(clock.clone());
        let (_, ticket) = tickets.make("me", statement());
        let refused = |bytes: &[u8]| {
            let error = tickets.take(bytes, "me").unwrap_err();
            assert_eq!(error.message, "this process did not make the ticket");
        };
        for at in 0..ticket.len() {
            for bit in 0..8 {
                let mut changed = ticket.clone();
                changed[at] ^= 1 << bit;
                refused(&changed);
            }
            refused(&ticket[..at]);
        }
        for _ in 0..2_000 {
            let mut changed = ticket.clone();
            for _ in 0..=clock.random() % 4 {
                let at = usize::try_from(clock.random() % changed.len() as u64).unwrap();
                match clock.random() % 3 {
                    0 => changed[at] = changed[at].wrapping_add(1 + (clock.random() % 255) as u8),
                    1 => changed.insert(at, clock.random() as u8),
                    _ => drop(changed.remove(at)),
                }
            }
            if changed != ticket {
                refused(&changed);
            }
        }
        let (_, of_other) = Tickets::new(Clock::manual(1_000, 8)).make("me", statement());
        refused(&of_other);
        tickets.take(&ticket, "me").unwrap();
    }
}
