//! weavergen: spans in, durable, SQL out; gates on them, pipelines that repair, and what was learned.
//!
//! The modules stand in the order of the data. A request's bytes come in at [`receive`], become columns in [`otlp`], go
//! through [`process`] to the exporters of [`export`] as [`graph`] wires them, and are kept by [`store`]: first in the
//! write-ahead log, then in memory, then in Parquet parts. [`query`] answers SQL over one snapshot of memory and parts.
//!
//! - [`semconv`] reads registries of semantic conventions and adds to each span's columns what it lacks of its type.
//! - [`generate`] renders a registry through templates into a staging folder, and installs it by atomic rename.
//! - [`gate`] asks SQL over windows of event time and keeps one episode per breach and key.
//! - [`notify`] follows the gates' transitions and tells each receiver once.
//! - [`engine`] runs BPMN pipelines durably, and does their jobs; an episode starts one through `engine::trigger`.
//! - [`learn`] mines patterns from the spans, and keeps which variant of a pipeline made its gate recover.
//!
//! `bpmn` is a crate of its own in `src/bpmn`: model, lint, expressions and the pure step function of the standard; it
//! knows no I/O and no clock, and nothing of this crate. [`web`] and [`cli`] are the faces, [`config`] reads what the user
//! wrote, [`app`] builds the parts and is the only place that knows all of them.
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
