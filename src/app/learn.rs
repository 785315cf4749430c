//! Learning in the daemon: its files, its journals, its statements.
//!
//! Duty: load pattern files, open `learn.redb`, tell it what engine and gates committed, run its statements in a pool of
//! their own. Guarantee: a pattern file with an error stops the start with every problem. Left to others: what follows
//! from a fact (`learn`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use bpmn::core::{Body, Event, HeaderValue, Input, StateView, Value};
use prometheus::Registry;

use super::gates::Tables;
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::{self, Store as EngineStore};
use crate::gate::Journal;
use crate::gate::definition::Group;
use crate::learn::feedback::RunEnd;
use crate::learn::patterns::load::{LoadError, Request, load};
use crate::learn::patterns::{Pattern, plan::Planner};
use crate::learn::sources::{CodegenMode, EngineEvent, EngineFact, Page};
use crate::learn::{self, Asker, EngineEvents, Learn, Metrics, Parts, Progress};
use crate::query::gateway::{Resources, Shape};
use crate::query::params::{Param, names};
use crate::query::within::{Spans, Window, Within};
use crate::query::{Gateway, Limits, Params, Statement};
use crate::store::Reader;

/// Bytes of a pattern's statement (learn.md 19).
const MEMORY_BYTES: usize = 64 << 20;
/// Rows of one (learn.md 19).
const MAX_ROWS: u64 = 100_001;
/// How long one may take.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
/// Tables beside `spans` that the implicit window bounds (gates.md 2).
const WINDOWED: &[(&str, &str)] =
    &[("gate_results", "last_tick"), ("gate_transitions", "tick"), ("pipeline_definitions", "deployed_at")];

/// Opens learning over the journals of gates and engine.
pub(super) async fn open(
    config: &Config,
    (journal, groups): (&Journal, &[Group]),
    engine: &EngineStore,
    tables: Tables,
    reader: Reader,
    registry: &Registry,
    clock: &Clock,
) -> anyhow::Result<Learn> {
    let patterns = patterns(config, tables.clone()).await?;
    let position = reader.clone();
    let cut_us = move || {
        let view = position.view();
        view.complete.then_some(view.visible_us)
    };
    let parts = Parts {
        config: config.learn.clone(),
        path: config.store.path.join("learn.redb"),
        quarantine: config.store.path.join("quarantine"),
        patterns,
        asker: asker(config, reader, tables, clock)?,
        progress: Progress::new(cut_us, learn::gates::closed(journal.clone(), groups)),
        engine: events(engine.clone()),
        gates: learn::gates::facts(journal.clone()),
        clock: clock.clone(),
        metrics: Metrics::register(registry)?,
    };
    Ok(tokio::task::spawn_blocking(move || Learn::open(parts)).await??)
}

async fn patterns(config: &Config, tables: Tables) -> anyhow::Result<Vec<Pattern>> {
    let (settings, queries_dir, query) = (config.learn.clone(), config.queries_dir.clone(), config.query.clone());
    let loading = tokio::task::spawn_blocking(move || {
        let request = Request { config: &settings, queries_dir: queries_dir.as_deref(), retention: None };
        load(&request, &Planner::new(query, tables))
    });
    let loaded = loading.await?;
    if loaded.has_errors() {
        return Err(LoadError(loaded.problems.into_iter().filter(|problem| problem.code.is_error()).collect()).into());
    }
    for warning in &loaded.problems {
        tracing::warn!(problem = %warning, "a pattern file is odd");
    }
    Ok(loaded.patterns)
}

fn asker(config: &Config, reader: Reader, tables: Tables, clock: &Clock) -> anyhow::Result<Asker> {
    let spill = Some((config.store.path.join("spill"), super::SPILL_BYTES));
    let resources = Resources { memory_bytes: MEMORY_BYTES, spill };
    // Its own registry: the metrics of the statements of people stay theirs.
    let gateway = Gateway::with(reader, config.query.clone(), resources, tables, clock.clone(), &Registry::new())
        .context("cannot start the threads of learning")?;
    Ok(Asker::new(move |ask| {
        let gateway = gateway.clone();
        Box::pin(async move {
            let (start_ns, end_ns) = ask.window_ns;
            let value = |name: &str| match name {
                "window_start" => Some(Param::Instant(start_ns)),
                "window_end" => Some(Param::Instant(end_ns)),
                _ => None,
            };
            let named = names(&ask.sql).into_iter();
            let params = named.filter_map(|(name, _)| Some((name.clone(), value(&name)?))).collect();
            let window = Window { start_ns, end_ns, spans_by: "end_time", tables: WINDOWED };
            let left_out = if ask.include_pipeline_spans { vec!["self"] } else { vec!["pipeline", "self"] };
            let within = Within {
                cut_us: Some(ask.cut_us),
                spans: Spans::NotOf(left_out),
                window: (!ask.is_explicit).then_some(window),
            };
            let statement = Statement {
                sql: ask.sql,
                params: Params::Map(params),
                limits: Limits { rows: Some(MAX_ROWS), bytes: None, time: Some(TIMEOUT) },
                as_of_us: None,
                shape: Shape::Arrow,
            };
            let mut answer = gateway.run_within(statement, within).await.map_err(|error| error.message)?;
            answer.collect().await.map_err(|error| error.message)
        })
    }))
}

/// The engine's journal as facts.
fn events(store: EngineStore) -> EngineEvents {
    let of_head = store.clone();
    let head = move || last(&of_head).map_err(|error| error.to_string());
    let jobs: Arc<Mutex<Jobs>> = Arc::default();
    EngineEvents::new(head, move |from, limit| {
        let logged = store.events(from, limit).map_err(|error| error.to_string())?;
        let mut jobs = jobs.lock().expect("no holder of this lock panics");
        let facts = logged.into_iter().map(|logged| fact(logged.event, &store, &mut jobs));
        let events = facts.collect::<Result<_, _>>().map_err(|error: engine::Error| error.to_string())?;
        // The engine prunes nothing yet.
        Ok(Page { events, first_kept: 0 })
    })
}

fn last(store: &EngineStore) -> Result<u64, engine::Error> {
    let view = store.view()?;
    let view: &dyn StateView = &view;
    Ok(view.meta().last_seq)
}

/// Inputs of `codegen` jobs that may still be activated, by key.
type Jobs = BTreeMap<u64, Input>;

fn fact(event: Event, store: &EngineStore, jobs: &mut Jobs) -> Result<EngineEvent, engine::Error> {
    let run = |instance: u64| i64::try_from(instance).unwrap_or(i64::MAX);
    let fact = match event.body {
        Body::InstanceCreated { instance, process, trigger: Some(trigger), .. } => EngineFact::RunStarted {
            run: run(instance),
            gate: trigger.gate,
            key: trigger.key,
            episode: trigger.episode,
            pipeline: process,
        },
        Body::JobCreated { job, r#type, input, .. } if r#type == "codegen" => {
            jobs.insert(job, input);
            EngineFact::Other
        }
        Body::JobActivated { job, instance, headers, .. } => {
            if !jobs.contains_key(&job)
                && let Some(input) = created(store, instance, job)?
            {
                jobs.insert(job, input);
            }
            match jobs.get_mut(&job) {
                Some(input) => {
                    if let Some(headers) = headers {
                        input.headers = headers;
                    }
                    generated(run(instance), input)
                }
                None => EngineFact::Other,
            }
        }
        Body::JobCompleted { job, instance, r#type, result, .. } => {
            jobs.remove(&job);
            if r#type == "span-gate" {
                EngineFact::Judged { run: run(instance), value: result.get("value").and_then(number) }
            } else {
                EngineFact::Other
            }
        }
        Body::JobCancelled { job, .. } => {
            jobs.remove(&job);
            EngineFact::Other
        }
        Body::InstanceCompleted { instance } => EngineFact::RunEnded { run: run(instance), how: RunEnd::Completed },
        Body::InstanceFailed { instance, .. } => EngineFact::RunEnded { run: run(instance), how: RunEnd::Failed },
        Body::InstanceCancelled { instance, .. } => EngineFact::RunEnded { run: run(instance), how: RunEnd::Cancelled },
        _ => EngineFact::Other,
    };
    Ok(EngineEvent { sequence: event.seq, at_ns: event.at_ms.saturating_mul(1_000_000), fact })
}

/// The input of a `codegen` job that was made before this process began to read.
fn created(store: &EngineStore, instance: u64, job: u64) -> Result<Option<Input>, engine::Error> {
    for sequence in store.events_of(instance)? {
        let event = store.events(sequence, 1)?.into_iter().next();
        if let Some(Body::JobCreated { job: made, r#type, input, .. }) = event.map(|logged| logged.event.body)
            && made == job
        {
            return Ok((r#type == "codegen").then_some(input));
        }
    }
    Ok(None)
}

fn generated(run: i64, input: &Input) -> EngineFact {
    let text = |name: &str| match input.headers.get(name) {
        Some(HeaderValue::Value(Value::String(text))) => Some(text.clone()),
        _ => None,
    };
    let mode = match text("mode").as_deref() {
        Some("apply") => CodegenMode::Apply,
        Some("revert") => CodegenMode::Revert,
        _ => CodegenMode::Stage,
    };
    match (text("target"), text("variant")) {
        (Some(target), Some(variant)) => {
            EngineFact::Generated { run, effect_key: input.effect_key.clone(), target, variant, mode }
        }
        _ => EngineFact::Other,
    }
}

fn number(value: &Value) -> Option<f64> {
    value.to_json().as_f64()
}
