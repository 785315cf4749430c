//! The pipelines of the daemon: engine, jobs, library, trigger, and the spans of their steps.
//!
//! Duty: give the engine its handlers and its files, start what gates ask for, hand step spans to the store. Guarantee:
//! nothing starts before every pipeline is in force or known to be unhealthy. Left to others: semantics (`bpmn`),
//! durability (`engine`), what a job does (`engine::job`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use bpmn::core::{Body, Event, OnUnknown};
use serde_json::{Map, Value};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::step_spans;
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::job::{self, Job, Outcome, command, schema, span_gate};
use crate::engine::library::Library;
use crate::engine::trigger::{Evidences, Trigger};
use crate::engine::{self, Engine, Jobs, export};
use crate::gate::Starts;
use crate::generate::{self, Templates};
use crate::query::Gateway;
use crate::semconv;
use crate::span::Next;

/// Statements that ship beside those of gates.
const QUERIES: [(&str, &str); 2] = [
    ("learn/choose_variant.sql", include_str!("../../queries/learn/choose_variant.sql")),
    ("repair/missing_attributes.sql", include_str!("../../queries/repair/missing_attributes.sql")),
];

/// Pipelines that run.
pub(super) struct Pipelines {
    engine: Engine,
    library: Library,
}

/// `engine.redb` in the data folder.
pub(super) async fn store(config: &Config) -> anyhow::Result<engine::Store> {
    let path = config.store.path.join("engine.redb");
    Ok(tokio::task::spawn_blocking(move || engine::Store::open(&path)).await??)
}

/// What jobs need of the rest of the house.
pub(super) struct Rim {
    /// Runs their statements.
    pub(super) gateway: Gateway,
    /// Judges their spans.
    pub(super) evaluator: span_gate::Evaluator,
    /// OTLP/gRPC as bound.
    pub(super) otlp_endpoint: Option<String>,
}

impl Pipelines {
    /// Opens the engine over `store` and deploys the pipelines.
    pub(super) async fn open(config: &Config, store: engine::Store, rim: Rim, clock: &Clock) -> anyhow::Result<Self> {
        let jobs = jobs(config, rim, clock)?;
        let registry = schema::lint_registry(config.engine.jobs.external.clone(), None);
        let settings = engine::Config { path: None, jobs, registry };
        let engine = Engine::on(store, settings, clock.clone())?;
        let mut library = Library::new(engine.clone(), config.pipelines_dir.clone());
        library.refresh().await;
        Ok(Self { engine, library })
    }

    /// The engine.
    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Follows files, gates and commits until `stop`.
    pub(super) fn run(
        self,
        config: &Config,
        (starts, gateway, into_store): (Starts, Gateway, Next),
        clock: &Clock,
        stop: &CancellationToken,
        running: &mut JoinSet<()>,
    ) {
        let depth = config.engine.depth;
        let trigger = Trigger::new(self.engine.clone(), starts, Evidences::of(gateway), depth, clock.clone());
        running.spawn(trigger.follow(stop.clone()));
        running.spawn(self.library.follow(stop.clone()));
        running.spawn(tell(self.engine.subscribe(), stop.clone()));
        let (engine, stop) = (self.engine, stop.clone());
        running.spawn(async move {
            let ended = export::run(&engine, step_spans::deliver(into_store), stop.clone()).await;
            if let Err(error) = ended {
                tracing::error!(%error, "spans of pipeline runs are no longer exported");
                stop.cancelled().await;
            }
            engine.stop();
        });
    }
}

/// Logs what a person has to look at: a run that waits for one, and one that failed.
async fn tell(mut commits: broadcast::Receiver<Arc<[Event]>>, stop: CancellationToken) {
    loop {
        let commit = tokio::select! {
            () = stop.cancelled() => return,
            commit = commits.recv() => commit,
        };
        let commit = match commit {
            Ok(commit) => commit,
            // The tables hold what was missed here.
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        for event in commit.iter() {
            match &event.body {
                Body::IncidentRaised { instance, kind, message, .. } => {
                    tracing::warn!(run = instance, kind = kind.as_str(), message, "a pipeline run waits for a person");
                }
                Body::InstanceFailed { instance, code, message } => {
                    tracing::warn!(run = instance, code, message, "a pipeline run failed");
                }
                _ => {}
            }
        }
    }
}

fn jobs(config: &Config, rim: Rim, clock: &Clock) -> anyhow::Result<Jobs> {
    let settings = command::Settings {
        commands: config.engine.jobs.commands.clone(),
        roots: config.engine.jobs.roots.clone(),
        binary: std::env::current_exe().context("cannot find this program, which starts the commands of pipelines")?,
        tmp: config.store.path.join("tmp/jobs"),
        otlp_endpoint: rim.otlp_endpoint,
    };
    let command = job::command::Command::new(settings).context("cannot start the thread of commands")?;
    let builtin = QUERIES.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    let sql = job::sql::Sql::new(rim.gateway, job::sql::Queries::new(builtin, config.queries_dir.clone()));
    let roots = config.engine.jobs.roots.clone();
    let codegen = job::codegen::Codegen::new(roots, templates(config), registries(config));
    let span_gate = span_gate::SpanGate::new(rim.evaluator, clock.clone());
    let run = move |job: Job, cancel: CancellationToken| -> futures::future::BoxFuture<'static, Outcome> {
        let (command, sql, codegen, span_gate) = (command.clone(), sql.clone(), codegen.clone(), span_gate.clone());
        Box::pin(async move {
            match job.r#type.as_str() {
                "command" => command.run(job, cancel).await,
                "sql" => sql.run(job, cancel).await,
                "codegen" => codegen.run(job, cancel).await,
                "span-gate" => span_gate.run(job, cancel).await,
                other => Outcome::Failed {
                    message: format!("no handler works jobs of type \"{other}\""),
                    retryable: false,
                    backoff: None,
                },
            }
        })
    };
    let mut limits = engine::pool::default_limits();
    limits.retain(|job_type, _| schema::of(job_type).is_some());
    limits.extend(config.engine.jobs.concurrency.clone());
    Ok(Jobs {
        run: Arc::new(run),
        render: Arc::new(|text: &str, variables: &Map<String, Value>| job::resolve_template(text, variables)),
        on_unknown: Arc::new(on_unknown),
        limits,
    })
}

/// bpmn.md 10, column "onUnknown default".
fn on_unknown(job_type: &str, headers: &BTreeMap<String, Value>) -> OnUnknown {
    let idempotent = headers.get("idempotent").is_some_and(|value| *value == true || *value == "true");
    match job_type {
        "command" if !idempotent => OnUnknown::Incident,
        _ => OnUnknown::Retry,
    }
}

fn templates(config: &Config) -> job::codegen::TemplateSet {
    let folder: Option<PathBuf> = config.pipelines_dir.as_ref().map(|dir| dir.join("templates"));
    Arc::new(move || {
        let builtin = Templates::builtin();
        match folder.as_ref().filter(|folder| folder.is_dir()) {
            Some(folder) => builtin.overlaid(folder).map_err(|error| error.to_string()),
            None => Ok(builtin),
        }
    })
}

fn registries(config: &Config) -> job::codegen::Registries {
    let (usual, dir) = (config.semconv.registry.clone(), config.pipelines_dir.clone());
    Arc::new(move |form: Option<&str>| {
        let source = match form {
            Some(form) => semconv::Source::parse(form).map_err(|error| error.to_string())?,
            None => usual.clone().ok_or("no registry: set `semconv.registry`, or the header `registry`")?,
        };
        let loaded = semconv::Registry::load(&source, dir.as_deref()).map_err(|error| error.to_string())?;
        let view = loaded.registry.template_view();
        Ok(generate::Registry { view, hash: loaded.registry.hash().to_owned() })
    })
}
