//! Exporters: where spans leave the graph.
//!
//! Duty: the exporters of `service::pipelines`, one file each, as [`crate::span::Next`]. Guarantee: an exporter says `Ok`
//! only when it has done what its section of collector_config.md 14 promises. Left to others: who feeds it (`graph`).

pub mod debug;
pub mod nop;
pub mod weavergen;

use crate::span::Next;
use crate::yaml::Section;

/// An exporter with its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Component id as written.
    pub id: String,
    /// Which one, and its settings.
    pub kind: Kind,
}

/// The exporters there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `weavergen`: the span store of this process.
    Weavergen,
    /// `debug`: a line a request.
    Debug(debug::Config),
    /// `nop`
    Nop,
}

impl Config {
    /// Reads the body of the `weavergen` exporter named `id`.
    pub fn weavergen(id: &str, section: &Section<'_>) -> Self {
        weavergen::check(section);
        Self { id: id.to_owned(), kind: Kind::Weavergen }
    }

    /// Reads the body of the `debug` exporter named `id`.
    pub fn debug(id: &str, section: &Section<'_>) -> Self {
        Self { id: id.to_owned(), kind: Kind::Debug(debug::Config::read(section)) }
    }

    /// The `nop` exporter named `id`.
    pub fn nop(id: &str) -> Self {
        Self { id: id.to_owned(), kind: Kind::Nop }
    }

    /// The running exporter; `store` is the way into the span store.
    pub fn start(&self, store: &Next) -> Next {
        match &self.kind {
            Kind::Weavergen => store.clone(),
            Kind::Debug(config) => debug::next(&self.id, config),
            Kind::Nop => nop::next(),
        }
    }

    /// What the pipeline `id` hands its spans to, where `started` is this exporter as it runs.
    pub fn of_pipeline(&self, id: &str, started: Next) -> Next {
        match &self.kind {
            Kind::Weavergen => weavergen::of_pipeline(id, &self.id, started),
            Kind::Debug(_) | Kind::Nop => started,
        }
    }
}
