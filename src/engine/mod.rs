//! The durable half of BPMN: what `bpmn::core` decides, kept and acted on.
//!
//! Duty: one writer over `engine.redb`, jobs, timers, wake-ups, spans of the steps. Guarantee: nothing is answered or
//! dispatched before its commit; kill -9 at any moment loses and repeats nothing (bpmn.md 11). Left to others: semantics
//! (`bpmn`).

pub mod job;
pub mod source;
