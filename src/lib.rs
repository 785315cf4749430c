//! weavergen: spans in, durable, SQL out.
//!
//! The modules stand in the order of the data. A request's bytes come in at [`receive`], become columns in [`otlp`], go
//! through [`process`] to the exporters of [`export`] as [`graph`] wires them, are checked by [`semconv`] and kept by
//! [`store`]: first in the write-ahead log, then in memory, then in Parquet parts. [`query`] answers SQL over one snapshot of memory and parts;
//! [`web`] and [`cli`] are its faces. [`config`] reads what the user wrote, [`app`] builds the parts and is the only
//! place that knows all of them.
//!
//! Three invariants hold everywhere. A request is answered with success only after its record is durable
//! ([`span::Next`]). A statement uses one snapshot and nothing else ([`store::View`]). Wall clock, chance and durable
//! writes have one door each ([`clock`], [`disk`]). `tests/it/architecture.rs` holds who may name whom.

pub mod error;
pub mod clock;
pub mod disk;
pub mod budget;
pub mod yaml;
pub mod span;
pub mod otlp;
pub mod access;
pub mod receive;
pub mod process;
pub mod export;
pub mod graph;
pub mod semconv;
pub mod store;
pub mod query;
pub mod generate;
pub mod gate;
pub mod notify;
pub mod engine;
pub mod learn;
pub mod telemetry;
pub mod web;
pub mod config;
pub mod app;
pub mod cli;
