//! The API on port 8080.
//!
//! Duty: `POST /api/v1/sql` and its kin, and the plain page at `/`. Guarantee: every error has the JSON shape of
//! sql.md 10 and its status is decided in one place. Left to others: running statements (`query`), who may call
//! (`access`).

pub mod config;

pub use config::Config;
