//! Flight SQL on the API's port (sql.md 9.4).
//!
//! Duty: statements, prepared statements and listings for Flight SQL clients. Guarantee: every row goes through the
//! gateway, and is fetched by a ticket of this process that is used once, within 60 s, by the caller that got it. Left to
//! others: hosts, origins and tokens (`door`), statuses (`status`), Arrow types (`query::render::arrow`).
//!
//! `door` checks a caller before the service sees it; `service` speaks the protocol; a descriptor becomes a `ticket`, a
//! ticket becomes rows in `rows`, or a listing of `listing`. `prepared` keeps statements between calls, `values` reads
//! what is bound to them.

mod handshake;
mod listing;
mod prepared;
mod rows;
mod server;
mod service;
mod ticket;
mod values;

pub(super) use handshake::bearer;
pub(super) use server::{PATH, Server, is_grpc};

#[cfg(test)]
mod tests;
