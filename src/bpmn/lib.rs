//! BPMN 2.0, pure: XML to typed definitions, FEEL, the rule catalogue, and the machine that runs a process.
//!
//! Duty: everything about a process that is a function of its input. Guarantee: no I/O, no clock, no chance, no
//! environment, no thread; only ordered maps are iterated, so equal input gives equal output. Left to others: durable
//! state, jobs, time (`engine` of the daemon).
//!
//! [`model`] reads the file, [`feel`] its expressions, [`lint`] says what is wrong with it, [`core`] runs it: one total
//! function from state and command to events and effects. `core` never names `lint`; `model` and `feel` name nothing of
//! ours but [`diagnostic`].

pub mod diagnostic;
pub mod model;
pub mod feel;
pub mod lint;
pub mod core;

#[cfg(test)]
mod claims;
