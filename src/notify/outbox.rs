//! The outbox as operators see it (gates.md 12).
//!
//! Duty: list messages that wait or were given up, and try one of the latter again. Guarantee: looking changes nothing, and
//! what is shown holds no secret. Left to others: who may ask, and how it is shown (`web`, `cli`).

use serde_json::{Value, json};

use super::shown::{line, rfc3339, transition};
use crate::clock::Clock;
use crate::gate::Journal;
use crate::gate::journal::{Error, OutboxRow, Revived, Status};

/// Looks at the outbox of a running daemon; cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox {
    journal: Journal,
    clock: Clock,
}

/// A part of the list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Messages in order of receiver and number.
    pub messages: Vec<Value>,
    /// Where the next part begins; `None` = that was all.
    pub next: Option<String>,
}

impl Outbox {
    /// Over the journal that `Notifier` sends from.
    pub const fn new(journal: Journal, clock: Clock) -> Self {
        Self { journal, clock }
    }

    /// At most `limit` messages behind `after`, the `next` of the part before; `None` if `after` is no such place.
    ///
    /// Each: `id receiver alert transition status level line written attempts next_try dead`; `next_try` is null for what is
    /// dead, `dead` for what waits. Times are RFC 3339.
    ///
    /// Errors: the journal cannot be read.
    pub async fn list(&self, after: Option<&str>, limit: usize) -> Result<Option<Page>, Error> {
        let after = match after.map(|text| text.split_once('.')) {
            None => (String::new(), 0),
            Some(Some((number, receiver))) => match number.parse::<u64>() {
                Ok(number) => (receiver.to_owned(), number),
                Err(_) => return Ok(None),
            },
            Some(None) => return Ok(None),
        };
        let journal = self.journal.clone();
        let read = tokio::task::spawn_blocking(move || {
            journal.snapshot()?.messages((&after.0, after.1), limit.saturating_add(1))
        });
        let mut rows = read.await.map_err(|error| Error::Damaged(error.to_string()))??;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|(receiver, sequence, _)| format!("{sequence}.{receiver}"));
        let messages = rows.iter().map(|(receiver, sequence, row)| shown(receiver, *sequence, row)).collect();
        Ok(Some(Page { messages, next }))
    }

    /// Tries the dead letter `id` again.
    ///
    /// Errors: the journal cannot be written.
    pub async fn retry(&self, id: u64) -> Result<Revived, Error> {
        let (journal, now_ns) = (self.journal.clone(), self.clock.now_ns());
        let revived = tokio::task::spawn_blocking(move || journal.revive(id, now_ns));
        revived.await.map_err(|error| Error::Damaged(error.to_string()))?
    }
}

fn shown(receiver: &str, sequence: u64, row: &OutboxRow) -> Value {
    let status = match row.notice.status {
        Status::Firing => "firing",
        Status::Resolved => "resolved",
    };
    let is_dead = row.dead.is_some();
    json!({
        "id": sequence,
        "receiver": receiver,
        "alert": row.notice.alert.to_string(),
        "transition": transition(&row.notice),
        "status": status,
        "level": row.notice.level.as_str(),
        "line": line(&row.notice),
        "written": rfc3339(row.written_ns),
        "attempts": row.attempts,
        // What was never tried is due since it was written.
        "next_try": (!is_dead).then(|| rfc3339(row.next_try_ns.max(row.written_ns))),
        "dead": row.dead,
    })
}
