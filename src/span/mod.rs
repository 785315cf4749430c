//! One span in columns: the schema that all other modules agree on, and the hand-over between them.
//!
//! Duty: names, types and order of the columns, ids, keys with a pinned type, [`SpanBatch`] and [`Next`]. Guarantee: a
//! `SpanBatch` always has the schema of [`schema::incoming`], so readers downcast without checks. Left to others: how
//! bytes become columns (`otlp`), where columns are kept (`store`), how they are asked for (`query`).

mod batch;
mod block;
mod check;
mod ids;
mod next;
pub mod pinned;
pub mod schema;

pub use batch::{SchemaMismatch, SpanBatch};
pub use block::{Block, Gather};
pub use check::{Check, Checker};
pub use ids::{InvalidId, SpanId, TimeRange, TraceId, from_hex, hex};
pub use next::{Coding, Delivery, Next, Origin, Refusal, RequestBody};
