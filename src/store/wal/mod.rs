//! The write-ahead log (storage.md 4).
//!
//! Duty: make each append durable before it is answered, in segment files `wal/{first_lsn:020}.wal`. Guarantee: a record
//! that was acknowledged is found again by [`scan`] after any crash; damage is detected, named, and never guessed over.
//! Left to others: what rows mean (`memtable.rs`), and starting from a log (`recover.rs`).
//!
//! The way of a record: [`payload`] makes its bytes, [`door`] gives it its place, [`thread`] groups it with others,
//! [`writer`] writes it into a segment that [`next`] prepared, and [`told`] answers who waits for it.

pub mod door;
pub mod identity;
pub mod next;
pub mod payload;
pub mod record;
pub mod scan;
pub mod segment;
pub mod segments;
pub mod thread;
pub mod told;
pub mod writer;
