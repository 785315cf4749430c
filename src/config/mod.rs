//! What the user wrote: Collector YAML and our own sections.
//!
//! Duty: find the sources, merge them, let each module read its own section, and check what must refer to what
//! (collector_config.md 1, 3, 4, 17). Guarantee: every problem is reported with its place, in file order; nothing is
//! ignored in silence; a [`Config`] that is handed out can be started. Left to others: starting it (`app`), printing
//! (`report` makes the text, `cli` writes it).

mod components;
mod defaults;
mod environment;
mod expand;
mod ours;
mod registry;
mod report;
mod service;
mod settings;
mod source;

use std::path::PathBuf;
use std::time::Duration;

pub use environment::Environment;
pub use ours::{pipelines_dir, queries_dir_by_default};
pub use report::{Format, render};
pub use service::Unsupported;
pub use settings::Setting;
pub use source::{Assignment, InvalidAssignment};

use crate::error::Class;
use crate::yaml::{Problem, Problems, Section};
use crate::{access, engine, gate, graph, learn, notify, query, receive, semconv, store, telemetry, web};

/// Everything that a start needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// `otlp` receivers that a traces pipeline uses.
    pub receivers: Vec<receive::Config>,
    /// Processors, exporters and how they hang together.
    pub graph: graph::Config,
    /// `health_check` extensions in the order of `service::extensions`.
    pub health: Vec<telemetry::HealthCheck>,
    /// `service::telemetry`
    pub telemetry: telemetry::Config,
    /// `storage`
    pub store: store::Config,
    /// `memory::limit` in bytes.
    pub memory_limit_bytes: u64,
    /// `query`
    pub query: query::Config,
    /// `semconv`
    pub semconv: semconv::Config,
    /// Folder whose files replace shipped ones of `pipelines/`: `engine::dir`, or `./pipelines` where it exists.
    pub pipelines_dir: Option<PathBuf>,
    /// `engine`
    pub engine: engine::Settings,
    /// `gates`
    pub gates: gate::Config,
    /// `notify`
    pub notify: notify::Config,
    /// `learn`
    pub learn: learn::Config,
    /// `access`
    pub access: access::Config,
    /// `web`
    pub web: web::Config,
    /// `queries::dir`, or `./queries` where it exists.
    pub queries_dir: Option<PathBuf>,
    /// `service::weavergen::shutdown_timeout`
    pub shutdown_timeout: Duration,
    /// `service::weavergen::queue_dir`, or `queues` in the data folder.
    pub queue_dir: PathBuf,
    /// What is in force, for people; without secrets.
    pub settings: Vec<Setting>,
}

/// What a start is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `--config`, in order.
    pub sources: Vec<String>,
    /// `--set`, in order.
    pub sets: Vec<Assignment>,
    /// `--data`
    pub data: Option<PathBuf>,
    /// `--unsupported`
    pub unsupported: Unsupported,
}

/// A configuration that can be started, with what is worth telling.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Problems that do not stop the start, in file order.
    pub warnings: Vec<Problem>,
    /// One line for each thing taken by default, with the way to change it.
    pub defaults_taken: Vec<String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A source cannot be read.
    #[error("cannot read the configuration `{file}`: {why}; check the path given with --config")]
    Unreadable {
        /// As given.
        file: String,
        /// The operating system's words.
        why: String,
    },
    /// The configuration is wrong: errors and warnings, in file order.
    #[error("the configuration is invalid:\n{}", render(.0, Format::Text))]
    Invalid(Vec<Problem>),
}

impl Error {
    /// What the caller can do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::Unreadable { .. } => Class::NotFound,
            Self::Invalid(_) => Class::Invalid,
        }
    }
}

/// Reads, merges and checks; opens no port and writes nothing.
///
/// Errors: see [`Error`].
pub fn load(request: &Request, environment: &Environment) -> Result<Loaded, Error> {
    let problems = Problems::new();
    let Some(merged) = source::merged(request, &problems)? else {
        return Err(Error::Invalid(problems.into_sorted()));
    };
    let source::Merged { mut tree, built_in_graph } = merged;
    expand::refuse_references(&mut tree, &problems);

    let root = Section::root(&tree, &problems);
    let mut config = read(&root, request, environment, &problems);
    drop(root);
    let has_errors = problems.has_errors();
    let found = problems.into_sorted();
    if has_errors {
        return Err(Error::Invalid(found));
    }
    config.settings = settings::all(&config, &tree, request.data.as_deref());
    let defaults_taken = defaults::lines(&config, &tree, request, built_in_graph);
    Ok(Loaded { config, warnings: found, defaults_taken })
}

/// Means something only if no problem is an error.
fn read(root: &Section<'_>, request: &Request, environment: &Environment, problems: &Problems) -> Config {
    let data = environment.data_folder();
    let mut store = store::Config::read(&root.block("storage").with_days(), &data);
    if let Some(data) = &request.data {
        // The tree holds text; a folder's name need not be text.
        store.path.clone_from(data);
    }
    store.place.fill(&environment.aws.0);
    let service = root.block("service");
    let graph = service::read(root, &service, request.unsupported, problems);
    let telemetry = telemetry::Config::read(&service.block("telemetry"));
    let ours = ours::service(&service.block("weavergen").with_days(), &store.path);
    let gates = gate::Config::read(&root.block("gates").with_days());
    let web = web::Config::read(&root.block("web"));
    let query = query::Config::read(&root.block("query").with_days());
    let access = access::Config::read(&root.block("access"));
    if web.enabled {
        ours::check_listener(root, &["web", "endpoint"], &web.endpoint, &access, problems);
    }
    if let Some(endpoint) = &query.pg {
        ours::check_listener(root, &["query", "pg", "endpoint"], endpoint, &access, problems);
    }
    ours::not_built(root);
    let engine = engine::Settings::read(&root.block("engine"), ours::pipelines_dir());
    Config {
        memory_limit_bytes: ours::memory_limit(&root.block("memory")),
        queries_dir: ours::queries_dir(&root.block("queries")),
        query,
        semconv: semconv::Config::read(&root.block("semconv")),
        pipelines_dir: engine.dir.clone(),
        engine,
        learn: learn::Config::read(&root.block("learn").with_days(), &gates),
        gates,
        notify: notify::Config::read(&root.block("notify").with_days()),
        receivers: graph.receivers,
        graph: graph.graph,
        health: graph.health,
        shutdown_timeout: ours.shutdown_timeout,
        queue_dir: ours.queue_dir,
        settings: Vec::new(),
        telemetry,
        store,
        access,
        web,
    }
}
