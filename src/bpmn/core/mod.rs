//! The machine: one total function from models, state and command to events and effects (bpmn.md 4, 5).
//!
//! Duty: semantics. Guarantee: no panic on any input; state changes only by [`apply`]ing events. Left to others: when
//! commands come, where state lies, what effects do (`engine`).
//!
//! [`step`] works one [`Command`] on an [`Overlay`] over any [`StateView`] and returns [`Event`]s; whoever keeps the
//! state applies them. [`Models`] holds what is deployed, compiled once.

pub mod hash;
pub mod invariants;
pub mod time;

mod apply;
mod command;
mod deploy;
mod element;
mod event;
mod incident;
mod job;
mod machine;
mod message;
mod program;
mod row;
mod start;
mod state;
mod timer;
mod value;
mod variables;

pub use apply::{apply, apply_to};
pub use command::{Action, Answer, Command, DeployOutcome, Deployed, Effect, JobStart, Rejection};
pub use event::{Body, Cause, DeployedVersion, Event, Requeue, Trigger};
pub use job::timeout_ms;
pub use machine::{Step, step};
pub use program::{Error, Flow, Kind, Mapping, Models, Node, Program, Source, Task};
pub use row::{
    Change, Definition, Element, HeaderValue, Held, Incident, IncidentKind, Input, Instance, Job, JobStatus, Meta,
    OnUnknown, Timer, Version,
};
pub use state::{Key, Overlay, Row, State, StateMut, StateView};
pub use value::{Value, Variables};

#[cfg(test)]
mod tests;
