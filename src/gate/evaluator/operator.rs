//! Closing episodes by hand.
//!
//! Duty: row 17 of gates.md 5 for people, and when it is durable. Guarantee: what is answered as closed is still closed after
//! a kill; a wait ends by its deadline. Left to others: who may (`web`), what follows of it (`book`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::super::journal::KeyRow;
use super::Shared;
use crate::error::Class;
use crate::yaml::nearest;

/// A write takes milliseconds; behind a disk that takes longer, nobody learns more by waiting.
const DEADLINE: Duration = Duration::from_secs(10);
/// Open keys that a refusal names.
const NAMED: usize = 5;

/// An episode that was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its number.
    pub episode: u64,
    /// Wall time, ns since 1970.
    pub at_ns: i64,
}

/// Why an episode was not closed, or nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// No such gate is loaded.
    #[error("there is no gate `{gate}`")]
    UnknownGate {
        /// As it was given.
        gate: String,
        /// A name like it.
        nearest: Option<String>,
    },
    /// The gate has no such key.
    #[error("the gate `{gate}` has no key `{key}`")]
    UnknownKey {
        /// Its name.
        gate: String,
        /// As it was given.
        key: String,
        /// Keys with an open episode, at most five.
        open: Vec<String>,
    },
    /// No episode of the key is open.
    #[error("the key `{key}` of the gate `{gate}` is {phase}: only what is firing or recovering can be closed")]
    NotOpen {
        /// Its name.
        gate: String,
        /// Alert key.
        key: String,
        /// Where it stands.
        phase: &'static str,
    },
    /// The daemon ends.
    #[error("the daemon is stopping and closes nothing any more")]
    Stopping,
    /// It could not be written, and is forgotten.
    #[error("the close could not be written to gates.redb")]
    Lost,
    /// It is not durable yet, and may still become so.
    #[error("the close is not durable after 10 s; it may still become so")]
    Late,
}

impl CloseError {
    pub(in super::super) fn unknown_gate<'a>(gate: &str, known: impl Iterator<Item = &'a str>) -> Self {
        Self::UnknownGate { gate: gate.to_owned(), nearest: nearest(gate, known).map(str::to_owned) }
    }

    pub(in super::super) fn unknown_key(gate: &str, key: &str, known: &BTreeMap<String, KeyRow>) -> Self {
        let open = known.iter().filter(|(_, row)| row.state.phase.is_open());
        let open = open.map(|(key, _)| key.clone()).take(NAMED).collect();
        Self::UnknownKey { gate: gate.to_owned(), key: key.to_owned(), open }
    }

    /// What the caller can do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::UnknownGate { .. } | Self::UnknownKey { .. } => Class::NotFound,
            Self::NotOpen { .. } => Class::Conflict,
            Self::Stopping | Self::Lost => Class::Unavailable,
            Self::Late => Class::Timeout,
        }
    }

    /// The next move.
    pub fn hint(&self) -> String {
        match self {
            Self::UnknownGate { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
            Self::UnknownGate { .. } => "`GET /api/v1/gates` and `weavergen gates list` list them".to_owned(),
            Self::UnknownKey { open, .. } if open.is_empty() => "none of its keys has an open episode".to_owned(),
            Self::UnknownKey { open, .. } => format!("open: `{}`", open.join("`, `")),
            Self::NotOpen { .. } => "nothing is to be done".to_owned(),
            Self::Stopping => "try again when it runs".to_owned(),
            Self::Lost => "look at the daemon's log and at the disk of its data folder, then try again".to_owned(),
            Self::Late => "`weavergen gates show GATE` says whether it is".to_owned(),
        }
    }
}

/// Closes episodes by hand; cheap to clone.
#[derive(Clone, Debug)]
pub struct Operator {
    pub(super) shared: Arc<Shared>,
}

impl Operator {
    /// Closes the open episode of `key` (an alert key) of `gate`: row 17 of gates.md 5. Written with the next write.
    ///
    /// `false`: there is no open episode. Who may do this is the caller's to know.
    pub fn close(&self, gate: &str, key: &str, actor: &str, reason: &str) -> bool {
        self.begin(gate, key, (actor, reason), None).is_ok()
    }

    /// As [`Operator::close`]; when this answers, it is durable.
    ///
    /// Errors: see [`CloseError`].
    pub(in super::super) async fn close_durably(
        &self,
        gate: &str,
        key: &str,
        actor: &str,
        reason: &str,
    ) -> Result<Closed, CloseError> {
        let [gate, key, actor, reason] = [gate, key, actor, reason].map(str::to_owned);
        let (tell, written) = oneshot::channel();
        let operator = self.clone();
        // The book is locked for as long as a tick is taken in.
        let begun = tokio::task::spawn_blocking(move || operator.begin(&gate, &key, (&actor, &reason), Some(tell)));
        let closed = begun.await.map_err(|_| CloseError::Lost)??;
        match tokio::time::timeout(DEADLINE, written).await {
            Ok(Ok(())) => Ok(closed),
            Ok(Err(_)) => Err(CloseError::Lost),
            Err(_) => Err(CloseError::Late),
        }
    }

    fn begin(
        &self,
        gate: &str,
        key: &str,
        by: (&str, &str),
        written: Option<oneshot::Sender<()>>,
    ) -> Result<Closed, CloseError> {
        let now_ns = self.shared.parts.clock.now_ns();
        let closed = self.shared.book().close_by_hand(gate, key, by, now_ns, written)?;
        self.shared.woken.notify_one();
        Ok(closed)
    }
}
