//! Why a span is set aside, and the list of those that were.
//!
//! Duty: the first matching reason of the table at P2, and what is told of a rejected span. Guarantee: every rejection
//! is counted; the details of the first [`MAX_DETAILED`] are kept, so that a request of millions of bad spans needs no
//! more memory than one of good ones. Left to others: the message to the sender (`receive`).

use std::collections::BTreeMap;

use super::super::{Reason, Rejected};

/// Rejections of one request that are described one by one.
const MAX_DETAILED: usize = 10_000;
/// Bytes that are kept of an id of the wrong length.
const MAX_ID_BYTES: usize = 64;

/// One thing wrong with a span, a resource or a scope.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) reason: Reason,
    pub(super) detail: String,
}

impl Fault {
    /// Keeps the fault whose reason stands first in the table; of equals the first found.
    #[cold]
    pub(super) fn note(kept: &mut Option<Self>, reason: Reason, detail: impl FnOnce() -> String) {
        if kept.as_ref().is_none_or(|fault| reason < fault.reason) {
            *kept = Some(Self { reason, detail: detail() });
        }
    }
}

/// The rejections of the request at hand.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    pub(super) detailed: Vec<Rejected>,
    pub(super) counts: BTreeMap<Reason, usize>,
}

impl Rejections {
    pub(super) fn add(&mut self, reason: Reason, describe: impl FnOnce() -> Rejected) {
        *self.counts.entry(reason).or_default() += 1;
        if self.detailed.len() < MAX_DETAILED {
            self.detailed.push(describe());
        }
    }
}

/// An id as received, of one far too long its beginning.
pub(super) fn id_as_received(id: &[u8]) -> Vec<u8> {
    id[..id.len().min(MAX_ID_BYTES)].to_vec()
}
