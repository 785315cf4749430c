//! Quality gates: questions asked of spans again and again, with an answer per key.
//!
//! Duty: load gate files, evaluate them on closed windows, keep one episode per breach and key. Guarantee: no data is never
//! a pass; a breach is neither missed nor invented; only new spans that pass close what a failing gate opened
//! (gates.md). Left to others: delivery (`notify`), pipelines (`engine`).

pub mod definition;
pub mod identity;
pub mod journal;
pub mod result;
pub mod state;
pub mod verdict;
