//! Who calls: tokens, the loopback rule, foreign hosts and origins.
//!
//! Duty: decide for a request of the API whether its caller may make it (design.md, ports and access;
//! collector_config.md 4, `web` and `access`). Guarantee: no answer without an identity, and a listener beyond loopback
//! never starts open by accident. Left to others: HTTP itself (`web`), OTLP authentication (a later issue).

pub mod config;

pub use config::Config;
