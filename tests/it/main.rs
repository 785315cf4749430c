//! The integration tests: one binary, a module a subject.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod architecture;
mod clients;
mod config;
mod crash;
mod daemon;
mod decoder;
mod docker;
mod gates;
mod proto;
mod readme;
mod receive;
