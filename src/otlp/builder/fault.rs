//! Why a span is set aside, and the list of those that were.
//!
//! Duty: the first matching reason of the table at P2, and what is told of a rejected span. Guarantee: every rejection
//! is counted; the details of the first [`MAX_DETAILED`] are kept, so that a request of millions of bad spans needs no
//! more memory than one of good ones. Left to others: the message to the sender (`receive`).

use std::collections::BTreeMap;
use std::fmt;

use super::super::{Reason, Rejected};

/// Rejections of one request that are described one by one.
const MAX_DETAILED: usize = 10_000;
/// Bytes that are kept of an id of the wrong length.
const MAX_ID_BYTES: usize = 64;

/// One thing wrong with a span, a resource or a scope.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) reason: Reason,
    pub(super) detail: Detail,
}

/// What is told of a fault, made text only where it is: a span of two bytes can have one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Detail {
    TooLarge {
        what: &'static str,
        bytes: usize,
        limit: usize,
    },
    /// `want` is the number of bytes, or the choice.
    Id {
        what: &'static str,
        bytes: usize,
        want: &'static str,
    },
    LinkIds {
        at: usize,
        trace_bytes: usize,
        span_bytes: usize,
    },
    Time {
        what: &'static str,
    },
    Attributes {
        of: &'static str,
        max: usize,
    },
    /// Events or links.
    More {
        what: &'static str,
        max: usize,
    },
    Key {
        of: &'static str,
        bytes: usize,
        max: usize,
    },
    Depth {
        of: &'static str,
        max: usize,
    },
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooLarge { what, bytes, limit } => write!(f, "{what} has {bytes} bytes, want at most {limit}"),
            Self::Id { what, bytes, want } if bytes.to_string() == want => write!(f, "{what} is all zero"),
            Self::Id { what, bytes, want } => write!(f, "{what} has {bytes} bytes, want {want}"),
            Self::LinkIds { at, trace_bytes, span_bytes } => write!(
                f,
                "link {at} has a trace id of {trace_bytes} and a span id of {span_bytes} bytes, want 16 (or 0) and 8 (or 0)"
            ),
            Self::Time { what } => write!(f, "{what} is above 2^63-1 ns"),
            Self::Attributes { of, max } => write!(f, "{of} has more than {max} attributes"),
            Self::More { what, max } => write!(f, "more than {max} {what}"),
            Self::Key { of, bytes, max } => write!(f, "{of} has an attribute key of {bytes} bytes, want at most {max}"),
            Self::Depth { of, max } => write!(f, "{of} has a value of more than {max} levels"),
        }
    }
}

impl Fault {
    /// Keeps the fault whose reason stands first in the table; of equals the first found.
    #[cold]
    pub(super) fn note(kept: &mut Option<Self>, reason: Reason, detail: Detail) {
        if kept.as_ref().is_none_or(|fault| reason < fault.reason) {
            *kept = Some(Self { reason, detail });
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
