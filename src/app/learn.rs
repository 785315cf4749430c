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
use crate::learn::patterns::{Pattern, plan::Planner, run};
use crate::learn::sources::{CodegenMode, EngineEvent, EngineFact, EngineHead, Page};
use crate::learn::{self, EngineEvents, Learn, Metrics, Parts, Progress};
use crate::query::Gateway;
use crate::span::pinned::ScalarType;
use crate::store::Reader;

/// Opens learning over the journals of gates and engine.
pub(super) async fn open(
    config: &Config,
    (journal, groups): (&Journal, &[Group]),
    engine: &EngineStore,
    (tables, types): (Tables, BTreeMap<String, ScalarType>),
    (reader, query_bytes): (Reader, usize),
    registry: &Registry,
    clock: &Clock,
) -> anyhow::Result<(Learn, Gateway)> {
    let patterns = patterns(config, types.clone(), tables.clone()).await?;
    let spill = Some((config.store.path.join("spill"), super::SPILL_BYTES));
    let gateway = run::gateway(reader.clone(), &config.query, query_bytes, spill, tables, clock.clone())
        .context("cannot start the threads of learning")?;
    gateway.set_registry_types(types);
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
        asker: run::asker(gateway.clone()),
        progress: Progress::new(cut_us, learn::gates::closed(journal.clone(), groups)),
        engine: events(engine.clone()),
        gates: learn::gates::facts(journal.clone()),
        clock: clock.clone(),
        metrics: Metrics::register(registry)?,
    };
    Ok((tokio::task::spawn_blocking(move || Learn::open(parts)).await??, gateway))
}

async fn patterns(
    config: &Config,
    types: BTreeMap<String, ScalarType>,
    tables: Tables,
) -> anyhow::Result<Vec<Pattern>> {
    let (settings, queries_dir, query) = (config.learn.clone(), config.queries_dir.clone(), config.query.clone());
    let retention = config.store.max_age;
    let loading = tokio::task::spawn_blocking(move || {
        let request = Request { config: &settings, queries_dir: queries_dir.as_deref(), retention };
        load(&request, &Planner::new(query.with_registry_types(types), tables))
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

/// The engine's journal as facts.
fn events(store: EngineStore) -> EngineEvents {
    let of_head = store.clone();
    let head = move || head(&of_head).map_err(|error| error.to_string());
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

/// Number of the last event.
pub(super) fn last(store: &EngineStore) -> Result<u64, engine::Error> {
    head(store).map(|head| head.sequence)
}

fn head(store: &EngineStore) -> Result<EngineHead, engine::Error> {
    let view = store.view()?;
    let meta = (&view as &dyn StateView).meta();
    // What cannot be read reads as an engine without events.
    view.failed()?;
    let at_ns = meta.last_now.saturating_mul(1_000_000);
    Ok(EngineHead { id: meta.engine_id, sequence: meta.last_seq, at_ns })
}

/// Jobs that may still be activated, by key: the input of a `codegen` job, nothing of any other.
type Jobs = BTreeMap<u64, Option<Input>>;

fn fact(event: Event, store: &EngineStore, jobs: &mut Jobs) -> Result<EngineEvent, engine::Error> {
    let run = |instance: u64| i64::try_from(instance).unwrap_or(i64::MAX);
    if let Body::JobActivated { job, instance, .. } = &event.body
        && !jobs.contains_key(job)
    {
        // It was made before this process began to read.
        for sequence in store.events_of(*instance)?.into_iter().filter(|sequence| *sequence < event.seq) {
            store.events(sequence, 1)?.into_iter().for_each(|logged| note(&logged.event.body, jobs));
        }
    }
    note(&event.body, jobs);
    let fact = match event.body {
        Body::InstanceCreated { instance, process, trigger: Some(trigger), .. } => EngineFact::RunStarted {
            run: run(instance),
            gate: trigger.gate,
            key: trigger.key,
            episode: trigger.episode,
            pipeline: process,
        },
        Body::JobActivated { job, instance, .. } => match jobs.get(&job) {
            Some(Some(input)) => generated(run(instance), input),
            _ => EngineFact::Other,
        },
        Body::JobCompleted { instance, r#type, result, .. } if r#type == "span-gate" => {
            EngineFact::Judged { run: run(instance), value: result.get("value").and_then(number) }
        }
        Body::InstanceCompleted { instance } => EngineFact::RunEnded { run: run(instance), how: RunEnd::Completed },
        Body::InstanceFailed { instance, .. } => EngineFact::RunEnded { run: run(instance), how: RunEnd::Failed },
        Body::InstanceCancelled { instance, .. } => EngineFact::RunEnded { run: run(instance), how: RunEnd::Cancelled },
        _ => EngineFact::Other,
    };
    Ok(EngineEvent { sequence: event.seq, at_ns: event.at_ms.saturating_mul(1_000_000), fact })
}

/// Keeps what later activations need: type and effect key stand in the events that make a job or change its input.
fn note(body: &Body, jobs: &mut Jobs) {
    match body {
        Body::JobCreated { job, r#type, input, .. } => {
            jobs.insert(*job, (r#type == "codegen").then(|| input.clone()));
        }
        Body::JobActivated { job, headers: Some(headers), .. } => {
            if let Some(Some(input)) = jobs.get_mut(job) {
                input.headers.clone_from(headers);
            }
        }
        Body::JobRetryScheduled { job, input: Some(changed), .. } => {
            if let Some(Some(input)) = jobs.get_mut(job) {
                input.clone_from(changed);
            }
        }
        Body::JobCompleted { job, .. } | Body::JobCancelled { job, .. } => {
            jobs.remove(job);
        }
        _ => {}
    }
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
