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
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::step_spans;
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::job::{self, Job, Outcome, command, schema, span_gate};
use crate::engine::library::Library;
use crate::engine::trigger::{Evidences, Trigger};
use crate::engine::{self, Engine, Jobs, Metrics, export};
use crate::gate::Starts;
use crate::generate::{self, Templates};
use crate::query::Gateway;
use crate::query::library::Library as Queries;
use crate::semconv;
use crate::span::Next;

/// Events read at a time.
const PAGE: usize = 4_096;

/// Pipelines that run.
pub(super) struct Pipelines {
    engine: Engine,
    metrics: Metrics,
    /// The last event before this life.
    before: u64,
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
    pub(super) async fn open(
        config: &Config,
        store: engine::Store,
        rim: Rim,
        registry: &prometheus::Registry,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let metrics = Metrics::register(registry)?;
        let before = super::learn::last(&store)?;
        let jobs = jobs(config, rim, clock)?;
        let registry = schema::lint_registry(config.engine.jobs.external.clone(), None);
        let settings = engine::Config { path: None, jobs, registry };
        let engine = Engine::on(store, settings, clock.clone())?;
        let mut library = Library::new(engine.clone(), config.pipelines_dir.clone());
        library.refresh().await;
        Ok(Self { engine, metrics, before, library })
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
        running.spawn(tell(self.engine.clone(), self.before, self.metrics, stop.clone()));
        let (engine, stop, external_url) = (self.engine, stop.clone(), config.notify.external_url.clone());
        running.spawn(async move {
            let ended = export::run(&engine, &external_url, step_spans::deliver(into_store), stop.clone()).await;
            if let Err(error) = ended {
                tracing::error!(%error, "spans of pipeline runs are no longer exported");
                stop.cancelled().await;
            }
            engine.stop();
        });
    }
}

/// Counts the events after `last`, each once, and logs what a person has to look at.
async fn tell(engine: Engine, mut last: u64, metrics: Metrics, stop: CancellationToken) {
    let mut commits = engine.subscribe();
    // What the opening brought about came before anybody could subscribe.
    let mut is_behind = true;
    loop {
        if is_behind {
            let (store, from) = (engine.store().clone(), last.saturating_add(1));
            match tokio::task::spawn_blocking(move || store.events(from, PAGE)).await {
                Ok(Ok(page)) => {
                    is_behind = page.len() == PAGE;
                    page.iter().for_each(|logged| tell_one(&logged.event, &mut last, &metrics));
                    continue;
                }
                Ok(Err(error)) => tracing::warn!(%error, "events of the engine cannot be read and are not counted yet"),
                // The process ends.
                Err(_) => return,
            }
        }
        let commit = tokio::select! {
            () = stop.cancelled() => return,
            commit = commits.recv() => commit,
        };
        match commit {
            Ok(commit) if !is_behind => commit.iter().for_each(|event| tell_one(event, &mut last, &metrics)),
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => is_behind = true,
            Err(RecvError::Closed) => return,
        }
    }
}

fn tell_one(event: &Event, last: &mut u64, metrics: &Metrics) {
    if event.seq <= *last {
        return;
    }
    *last = event.seq;
    metrics.count(event);
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

fn jobs(config: &Config, rim: Rim, clock: &Clock) -> anyhow::Result<Jobs> {
    let settings = command::Settings {
        commands: config.engine.jobs.commands.clone(),
        roots: config.engine.jobs.roots.clone(),
        binary: std::env::current_exe().context("cannot find this program, which starts the commands of pipelines")?,
        tmp: config.store.path.join("tmp/jobs"),
        otlp_endpoint: rim.otlp_endpoint,
    };
    let command = job::command::Command::new(settings).context("cannot start the thread of commands")?;
    let sql = job::sql::Sql::new(rim.gateway, Queries::shipped(config.queries_dir.clone()));
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

#[cfg(test)]
mod tests {
    use bpmn::core::{Action, Answer};

    use super::*;
    use crate::engine::SourceFile;

    /// A process that fails by itself.
    fn file() -> SourceFile {
        let text = r#"<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" targetNamespace="t">
<error id="e" errorCode="E1"/><process id="p" isExecutable="true"><startEvent id="s"/>
<endEvent id="x"><errorEventDefinition errorRef="e"/></endEvent><sequenceFlow id="f" sourceRef="s" targetRef="x"/>
</process></definitions>"#;
        SourceFile { name: "p.bpmn".to_owned(), bytes: text.as_bytes().to_vec() }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn each_event_of_this_life_is_counted_once_also_those_before_anybody_listened() {
        let jobs = Jobs {
            run: Arc::new(|_, _| Box::pin(async { Outcome::Completed(Map::new()) })),
            render: Arc::new(|text, _| Ok(text.to_owned())),
            on_unknown: Arc::new(|_, _| OnUnknown::Retry),
            limits: BTreeMap::new(),
        };
        let settings = engine::Config { path: None, jobs, registry: bpmn::lint::Registry::default() };
        let engine = Engine::open(settings, Clock::os()).unwrap();
        engine.deploy(vec![file()], None, None).await.unwrap();
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let run = || async {
            let (process, variables) = ("p".to_owned(), BTreeMap::new());
            let start = Action::Start { process, version: None, start: None, variables };
            assert!(matches!(engine.submit(start, None, None).await.unwrap(), Answer::Started { .. }));
        };
        // Of a life before.
        run().await;
        let before = super::super::learn::last(engine.store()).unwrap();
        run().await;
        run().await;
        let stop = CancellationToken::new();
        let telling = tokio::spawn(tell(engine.clone(), before, metrics.clone(), stop.clone()));
        run().await;
        let message = Action::PublishMessage {
            name: "nobody".to_owned(),
            key: String::new(),
            message_id: None,
            variables: BTreeMap::new(),
            only: None,
            trigger: None,
            depth: 0,
        };
        engine.submit(message, None, None).await.unwrap();
        let until = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        while metrics.dropped_messages.get() == 0 {
            assert!(tokio::time::Instant::now() < until, "nothing is counted");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        stop.cancel();
        telling.await.unwrap();
        let ended = |result: &str| metrics.runs.with_label_values(&[result]).get();
        assert_eq!((ended("failed"), ended("completed"), metrics.dropped_messages.get()), (3, 0, 1));
    }
}
