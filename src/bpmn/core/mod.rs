//! The machine: one total function from models, state and command to events and effects (bpmn.md 4, 5).
//!
//! Duty: semantics. Guarantee: no panic on any input; state changes only by [`apply`]ing events. Left to others: when
//! commands come, where state lies, what effects do (`engine`).
