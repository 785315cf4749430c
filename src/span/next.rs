//! The hand-over: how a request's spans go from one part to the next.
//!
//! Duty: [`Delivery`] (what is handed over) and [`Next`] (to whom). Guarantee: the answer of [`Next::deliver`] is the
//! truth about durability: `Ok` means every taker holds the spans durably (otlp.md A1, A2). Left to others: who the
//! takers are (`graph`), and how a refusal becomes a status (`receive/status.rs`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::SpanBatch;
use crate::error::Class;

/// The spans of one request, with what the store needs to log and recognise them.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Accepted spans, in the order sent; cut into batches by the dictionary rule of storage.md 3.
    pub batches: Vec<SpanBatch>,
    /// The request as it arrived, while no part has changed, merged, split or dropped anything and no span was
    /// rejected: then the log keeps these bytes and not the columns (storage.md 4.1, kind 1).
    pub body: Option<RequestBody>,
    /// XXH3-128 of the body as it arrived; 0 = never recognised as a repeat (storage.md 4.2, 11.3).
    pub identity: u128,
    /// Who made the spans.
    pub origin: Origin,
}

impl Delivery {
    /// Number of spans handed over.
    pub fn spans(&self) -> usize {
        self.batches.iter().map(SpanBatch::rows).sum()
    }
}

/// A protobuf request message as it arrived.
#[derive(Clone, Debug)]
pub struct RequestBody {
    /// The bytes, still in `coding`.
    pub bytes: Bytes,
    /// How `bytes` are compressed.
    pub coding: Coding,
    /// Length of the message once decompressed.
    pub decoded_len: u32,
}

/// Compression that the log can hold as it arrived; the numbers are those of the log's record header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Not compressed.
    Identity = 0,
    /// gzip, possibly several members.
    Gzip = 1,
    /// zstd, possibly several frames.
    Zstd = 2,
    /// snappy framing format.
    SnappyFramed = 3,
    /// lz4 frame, written by `wal.compress`.
    Lz4 = 4,
}

/// Who made the spans of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// They arrived at a receiver.
    Received,
    /// Our own: of the daemon or of a pipeline run.
    Own,
}

/// Why a delivery was not taken. Nothing of it may be answered as stored.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// What the sender can do about it: `Busy` and `Unavailable` are retryable, all else is permanent.
    pub class: Class,
    /// Cause and next move, in English, without attribute values.
    pub reason: String,
    /// Counter label: `memory`, `queue`, `draining`, `disk`, `sync`, `internal`.
    pub label: &'static str,
    /// How long the sender should wait before the next try.
    pub retry_after: Option<Duration>,
}

type Deliver = dyn Fn(Delivery) -> BoxFuture<'static, Result<(), Refusal>> + Send + Sync;

/// The part that takes deliveries next; cheap to clone.
#[derive(Clone)]
pub struct Next(Arc<Deliver>);

impl Next {
    /// Wraps a function that takes one delivery.
    pub fn new(deliver: impl Fn(Delivery) -> BoxFuture<'static, Result<(), Refusal>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(deliver))
    }

    /// Hands over; returns when the takers are durably responsible or have refused.
    pub fn deliver(&self, delivery: Delivery) -> BoxFuture<'static, Result<(), Refusal>> {
        (self.0)(delivery)
    }
}

impl std::fmt::Debug for Next {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Next")
    }
}
