//! Telling people: from the outbox of the gates to receivers (gates.md 9).
//!
//! Duty: the section `notify`, one follower of the outbox a receiver, the body of each kind. Guarantee: at least once, in
//! order per alert id and receiver, with ids that never change; nothing is given up in silence. Left to others: what is
//! told, and writing it in the tick's transaction (`gate`).

pub mod config;
mod follower;
mod metrics;
mod retry;
mod webhook;

pub use config::Config;
pub use follower::{Notifier, OpenError};
