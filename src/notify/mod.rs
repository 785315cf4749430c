//! Telling people: from the outbox of the gates to receivers (gates.md 9).
//!
//! Duty: the section `notify`, one follower of the outbox a receiver, the body of each kind, what operators see of it.
//! Guarantee: at least once, in order per alert id and receiver, with ids that never change; nothing is given up in silence.
//! Left to others: what is told, and writing it in the tick's transaction (`gate`).

mod alertmanager;
mod cloudevents;
pub mod config;
mod follower;
mod metrics;
mod outbox;
mod pagerduty;
mod retry;
mod shown;
mod slack;
mod webhook;
mod wire;

pub use config::Config;
pub use follower::{Notifier, OpenError, Rim};
pub use outbox::{Outbox, Page};
