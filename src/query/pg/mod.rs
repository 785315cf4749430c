//! The wire of PostgreSQL (sql.md 9.3).
//!
//! Duty: psql, drivers and tools that speak PostgreSQL's protocol 3.0. Guarantee: a statement gets to the engine by the
//! [`Gateway`] alone, under its guard, limits and cancel; no bytes of a client panic or take memory before they come.
//! Left to others: who may call (`access`), where it listens (`app`).
//!
//! `serve` accepts, `waiting_room` bounds logins, `login` knows the caller, `connection` runs its messages (`extended`
//! those with parameters), `rows` sends answers, `copy` as files. Bytes: `wire`, `front`, `back`. Values: `kind`, `value`,
//! `parameter`. Statements that never get to the engine: `command`, `settings`. What the engine is told otherwise here:
//! `compat`, `forms`, `reads`, `subqueries`, `aggregates`, `casts`, `nothing`, `known`, `named`. What it finds here alone: `catalogue`, `tables`, `absent`,
//! `information`, `objects`; `functions`, `identify`, `set_config`, `texts`, `routines`.
//!
//! pgwire serves connections too, but its decoder panics on short messages, its loop cannot be cancelled between rows,
//! and a message may claim a gigabyte before anybody has logged in.

mod absent;
mod aggregates;
mod back;
mod cancel;
mod casts;
pub mod catalogue;
mod command;
pub mod compat;
mod connection;
mod copy;
mod extended;
mod forms;
mod front;
mod functions;
mod identify;
mod information;
mod kind;
mod known;
mod login;
mod nothing;
mod objects;
mod parameter;
mod problem;
mod reads;
mod routines;
mod rows;
mod serve;
mod set_config;
mod settings;
mod subqueries;
mod tables;
mod texts;
mod named;
mod value;
mod waiting_room;
mod wire;

use std::sync::Arc;

pub use serve::serve;

use self::cancel::Cancels;
use self::catalogue::Catalogue;
use super::error::{Code, Error};
use super::gateway::Gateway;
use crate::access::Access;
use crate::clock::Clock;

/// What connections share.
#[derive(Debug)]
pub struct State {
    gateway: Gateway,
    access: Arc<Access>,
    clock: Clock,
    cancels: Cancels,
    catalogue: Catalogue,
}

impl State {
    /// For statements of `gateway` by whom `access` lets in.
    ///
    /// Errors: `sql.internal` if the catalogue within the binary cannot be read.
    pub fn try_new(gateway: Gateway, access: Arc<Access>, clock: Clock) -> Result<Self, Error> {
        let catalogue =
            Catalogue::try_new().map_err(|e| Error::new(Code::Internal, format!("cannot read pg_catalog: {e}")))?;
        Ok(Self { gateway, access, clock, cancels: Cancels::default(), catalogue })
    }
}

#[cfg(test)]
mod tests;
