//! OTLP bytes to columns and back.
//!
//! Duty: read protobuf and JSON trace requests straight into a [`SpanBatch`] (otlp.md 9 to 11), undo content codings,
//! and write the few messages we answer with. Guarantee: no input panics or allocates beyond its own size; a request
//! either decodes whole or is [`Undecodable`]; a span that is not acceptable is set aside with its reason and the rest
//! is kept. Left to others: sockets and status codes (`receive`), durability (`store`).

pub mod builder;
pub mod compress;
pub mod counts;
mod decode;
mod encode;
mod json;
mod room;
mod wire;

use std::collections::BTreeMap;

use crate::span::SpanBatch;

pub use builder::{SharedBuilder, SpanBuilder};
pub use decode::{decode, decode_within};
pub use encode::encode;
pub use json::{decode_json, decode_json_within};

/// Kind of the [`Undecodable`] of a request that may be sent again: its columns found no [`Room`].
pub const NO_ROOM: &str = "room";

/// Makes room for the columns of a request (otlp.md B4): asked with the bytes they have in all, before they get more
/// rows or elements; `Some` with the bytes up to which it need not be asked again, `None` without room.
pub type Room<'r> = dyn FnMut(u64) -> Option<u64> + 'r;

/// The limits of otlp.md 4 that one span is judged by (L11, L13 to L16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Levels of array or kvlist in one value (1..=32).
    pub max_value_depth: usize,
    /// Bytes of one span on the wire (JSON: of its text).
    pub max_span_bytes: usize,
    /// Attributes in one list.
    pub max_attributes: usize,
    /// Events of one span.
    pub max_events: usize,
    /// Links of one span.
    pub max_links: usize,
    /// Bytes of one attribute key.
    pub max_key_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_value_depth: 32,
            max_span_bytes: 4 << 20,
            max_attributes: 1024,
            max_events: 8192,
            max_links: 8192,
            max_key_bytes: 1024,
        }
    }
}

impl Limits {
    /// Only the wire grammar and the fixed ceilings: what replay judges by, so that a changed configuration loses
    /// nothing that was acknowledged.
    pub const fn fixed() -> Self {
        Self {
            max_value_depth: 32,
            max_span_bytes: usize::MAX,
            max_attributes: usize::MAX,
            max_events: usize::MAX,
            max_links: usize::MAX,
            max_key_bytes: usize::MAX,
        }
    }
}

/// What a request decoded to.
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    /// Accepted spans in the order sent, cut by the dictionary rule of storage.md 3.
    pub batches: Vec<SpanBatch>,
    /// All spans of the request, rejected ones included.
    pub spans: usize,
    /// The spans set aside, in order; the first 10,000 of them.
    pub rejected: Vec<Rejected>,
    /// All spans set aside, counted by reason.
    pub rejected_by_reason: BTreeMap<Reason, usize>,
    /// What was odd but stored (otlp.md P2, L17, W5, W14, Y2, Y3, J2, J15), counted by kind.
    pub advisories: BTreeMap<&'static str, u64>,
    /// Unknown fields skipped, counted by message name (W5).
    pub unknown_fields: BTreeMap<&'static str, u64>,
}

impl Decoded {
    /// Number of all spans set aside.
    pub fn rejected_spans(&self) -> usize {
        self.rejected_by_reason.values().sum()
    }
}

/// One span that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// First matching row of the table at P2.
    pub reason: Reason,
    /// `resourceSpans[0].scopeSpans[1].spans[4]`
    pub path: String,
    /// English, without attribute values: `trace id has 2 bytes, want 16`.
    pub detail: String,
    /// As received.
    pub trace_id: Vec<u8>,
    /// As received.
    pub span_id: Vec<u8>,
    /// Size of the span on the wire.
    pub bytes: usize,
}

/// Why a span was set aside, in the order of the table at P2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the table's")]
pub enum Reason {
    SpanTooLarge,
    InvalidTraceId,
    InvalidSpanId,
    InvalidParentSpanId,
    InvalidLinkId,
    TimeOutOfRange,
    TooManyAttributes,
    TooManyEvents,
    TooManyLinks,
    KeyTooLong,
    ValueTooDeep,
}

impl Reason {
    /// The word in messages, metrics and the drop ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SpanTooLarge => "span_too_large",
            Self::InvalidTraceId => "invalid_trace_id",
            Self::InvalidSpanId => "invalid_span_id",
            Self::InvalidParentSpanId => "invalid_parent_span_id",
            Self::InvalidLinkId => "invalid_link_id",
            Self::TimeOutOfRange => "time_out_of_range",
            Self::TooManyAttributes => "too_many_attributes",
            Self::TooManyEvents => "too_many_events",
            Self::TooManyLinks => "too_many_links",
            Self::KeyTooLong => "key_too_long",
            Self::ValueTooDeep => "value_too_deep",
        }
    }
}

/// The whole request is bad data; nothing of it is stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} at byte {offset}: {detail}")]
pub struct Undecodable {
    /// Protobuf or JSON path to the place, e.g. `resourceSpans[0].scopeSpans[1].spans[4].name`.
    pub path: String,
    /// Byte offset in the (decompressed) message.
    pub offset: usize,
    /// What is wrong, in English.
    pub detail: String,
    /// Counter label: `truncated`, `wire_type`, `varint`, `tag`, `nesting`, `json`, `number`, `id`, `base64`, [`NO_ROOM`].
    pub kind: &'static str,
}
