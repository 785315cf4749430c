//! `weavergen gates replay` (gates.md 8): what gates would have said of stored spans.
//!
//! Duty: the ticks of a span of time over a data folder, by the daemon's evaluator on a clock of its own; a transition is a line
//! of JSON. Guarantee: where the folder's journal knows the cut of a tick, the same spans count as then, and times without a
//! daemon, queries that took too long, what was found between ticks and episodes that people closed come again, so that a
//! replay from the journal's begin repeats it; the folder is only read. Left to others: judging (`gate`), what the journal
//! knows (`history`).

mod history;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_json::json;

use self::history::{History, Step};
use super::definitions::{Copied, Definitions};
use super::report::rfc3339;
use super::run::MOST_TICKS;
use super::{house, load_gates};
use crate::cli::exit::{Exit, Failure};
use crate::cli::lines::Lines;
use crate::cli::sources;
use crate::clock::Clock;
use crate::gate::evaluator::{Evaluator, Position};
use crate::gate::journal::{JournalRow, Sampled};
use crate::gate::result::{Ask, RunError, Runner};
use crate::gate::run::at_a_time;
use crate::gate::{Feed, Gate, Group, Journal, Late, Metrics, On, Parts, question};

/// Flags of `gates replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Gate files, globs or builtin:NAME; without them those of the configuration
    #[arg(value_name = "FILES")]
    pub files: Vec<String>,
    /// Ticks behind this instant, RFC 3339
    #[arg(long, value_name = "TIME")]
    pub from: jiff::Timestamp,
    /// Ticks up to this instant, RFC 3339
    #[arg(long, value_name = "TIME")]
    pub to: jiff::Timestamp,
    /// This gate alone; one that reads what other gates gave is played with all, and shown alone
    #[arg(long, value_name = "GATE")]
    pub gate: Option<String>,
    /// All spans count, also those that came after a tick had closed
    #[arg(long)]
    pub all_spans: bool,
    /// Where the configuration and the data folder are.
    #[command(flatten)]
    pub sources: sources::Args,
}

/// Exit: 0 played; 3 a tick too many.
///
/// Errors: configuration and gate files (78), the data folder (74).
pub async fn run(args: Args, clock: &Clock) -> anyhow::Result<Exit> {
    let (from_ns, to_ns) = (nanos("--from", args.from)?, nanos("--to", args.to)?);
    if from_ns >= to_ns {
        return Err(Failure::new(Exit::Usage, "`--to` is not behind `--from`; change one of them").into());
    }
    let config = args.sources.load()?.config;
    let mut groups = load_gates(&config, &args.files)?;
    if let Some(name) = &args.gate {
        groups = needed(groups, name)?;
    }
    let house = house::Spans::of_folder(&config, clock).await?;
    let definitions = Definitions::of_folder(&config.store.path, &groups, clock).await?;
    let asked = house.ask(&config, definitions.table(), clock)?;
    let path = config.store.path.join("gates.redb");
    let past = match path.is_file() && !args.all_spans {
        true => Some(history(&path, (from_ns, to_ns), clock)?),
        false => None,
    };
    let history = past.as_ref();
    play(&asked, Asking { groups, span: (from_ns, to_ns), history, gate: args.gate }, &mut Lines::stdout()).await
}

/// What is played.
#[derive(Debug)]
struct Asking<'a> {
    groups: Vec<Group>,
    /// Ticks behind the first instant up to the second, ns since 1970.
    span: (i64, i64),
    history: Option<&'a History>,
    /// The gate whose transitions are shown; `None` = all.
    gate: Option<String>,
}

async fn play<W: Write>(asked: &house::Asked, asking: Asking<'_>, lines: &mut Lines<W>) -> anyhow::Result<Exit> {
    let Asking { groups, span: (from_ns, to_ns), history, gate } = asking;
    let settles = groups.iter().flat_map(|group| &group.gates).filter(|gate| gate.on == On::Trace);
    let settles: Vec<&str> = settles.map(|gate| gate.name.as_str()).collect();
    if history.is_none() && !settles.is_empty() {
        eprintln!(
            "weavergen: without a journal `on: trace` fires at ticks, and in a daemon as soon as its traces have settled: {}",
            settles.join(", ")
        );
    }
    if let Some(history) = history {
        asked.journal().note_downtimes(&history.downtimes)?;
    }
    let (then, failing) = (Clock::manual(from_ns, 0), Failing::default());
    let runner = late_again(asked.runner(), failing.clone());
    let late = Late::over(asked.gateway());
    let mut evaluator = evaluator(asked.journal(), groups, (runner, late), &then).await?;
    let driven = evaluator.driven();
    let count = driven.iter().map(|group| group.grid.count_due(from_ns, to_ns.saturating_add(group.grid.offset_ns)));
    let count = count.fold(0, usize::saturating_add);
    if count > MOST_TICKS {
        let text = format!("there are {count} ticks between `--from` and `--to`; bring them nearer together");
        return Err(Failure::new(Exit::NotJudged, text).into());
    }
    let plan = history::plan(&driven, (from_ns, to_ns), asked.cut_us(), history);
    for note in &plan.notes {
        eprintln!("weavergen: {note}");
    }
    failing.get_or_init(|| plan.timeouts);
    let mut told = 0;
    for (wall_ns, step) in plan.steps {
        then.advance_to(wall_ns);
        match step {
            Step::Tick { t_ns, cut_us: Some(cut_us), in_event_order, outbox, groups } => {
                evaluator.in_event_order(in_event_order);
                asked.journal().sample(Sampled::Given(outbox));
                evaluator.close_tick(t_ns, cut_us, &groups).await?;
            }
            Step::Tick { t_ns, cut_us: None, groups, .. } => evaluator.miss_tick(t_ns, &groups),
            Step::Look { gate, t_ns, cut_us } => evaluator.look_at((t_ns, cut_us), |of| of.name == gate).await?,
            Step::Close(row) => {
                // What of a gate with `on: ingest` had come by then is said, and its spans begin no other episode.
                let seen_us = row.looked_us.unwrap_or_else(|| row.at_ns.div_euclid(1_000));
                let is_meant = |gate: &Gate| gate.name == row.gate && gate.on.is_ingest();
                evaluator.look_at((row.at_ns, seen_us), is_meant).await?;
                close(&evaluator, &row);
            }
        }
        evaluator.finish().await?;
        for (at, row) in asked.journal().snapshot()?.journal(told, usize::MAX)? {
            told = at + 1;
            let is_asked = gate.as_ref().is_none_or(|gate| *gate == row.gate);
            if is_asked && !lines.put(line(&row))? {
                return Ok(Exit::Good);
            }
        }
    }
    Ok(Exit::Good)
}

pub(super) fn nanos(flag: &str, at: jiff::Timestamp) -> Result<i64, Failure> {
    let text = || format!("{flag} {at}: no span lies there; write a time from 1677 to 2262");
    i64::try_from(at.as_nanosecond()).map_err(|_| Failure::new(Exit::Usage, text()))
}

/// Who closes the ticks of `groups` into `journal`, by a clock that the caller moves; who answers, and who counts late spans.
pub(super) async fn evaluator(
    journal: Journal,
    groups: Vec<Group>,
    (runner, late): (Runner, Late),
    then: &Clock,
) -> anyhow::Result<Evaluator> {
    let parts = Parts {
        questions: groups
            .iter()
            .flat_map(|group| &group.gates)
            .map(|gate| (gate.name.clone(), question(gate)))
            .collect(),
        groups,
        default_receivers: Vec::new(),
        value_metrics: false,
        runner,
        late,
        position: Position::new(|| None),
        feed: Feed::none(),
        journal,
        clock: then.clone(),
        metrics: Metrics::register(&prometheus::Registry::new())?,
        concurrency: at_a_time(),
    };
    Ok(tokio::task::spawn_blocking(move || Evaluator::open(parts)).await??)
}

pub(super) fn no_gate(name: &str) -> Failure {
    let text = format!("no gate file has a gate `{name}`; `weavergen gates check` lists them");
    Failure::new(Exit::Usage, text)
}

/// What must be played to play the gate `name`: it alone, or all, if it reads what they gave.
pub(super) fn needed(groups: Vec<Group>, name: &str) -> anyhow::Result<Vec<Group>> {
    let Some(gate) = groups.iter().flat_map(|group| &group.gates).find(|gate| gate.name == name) else {
        return Err(no_gate(name).into());
    };
    if gate.source.is_derived {
        return Ok(groups);
    }
    let of = |mut group: Group| {
        group.gates.retain(|gate| gate.name == name);
        (!group.gates.is_empty()).then_some(group)
    };
    Ok(groups.into_iter().filter_map(of).collect())
}

/// The past that the journal at `path` keeps.
///
/// Errors: it cannot be read (74).
fn history(path: &Path, span: (i64, i64), clock: &Clock) -> anyhow::Result<History> {
    let copy = Copied::of(path, clock)?;
    let failed = |error| {
        let text = format!("{}: {error}; stop the daemon, or use `--all-spans`", path.display());
        Failure::new(Exit::Io, text)
    };
    let journal = Journal::open(copy.path()).map_err(failed)?;
    let snapshot = journal.snapshot().map_err(failed)?;
    Ok(History::of(&snapshot, span).map_err(failed)?)
}

/// Gates and ticks, once they are known.
type Failing = Arc<OnceLock<BTreeSet<(String, i64)>>>;

/// Lets the queries fail that took too long then, for they may be quicker now.
fn late_again(inner: Runner, failing: Failing) -> Runner {
    Runner::new(move |ask: Ask| {
        if failing.get().is_some_and(|failing| failing.contains(&(ask.gate.name.clone(), ask.window.end_ns))) {
            return Box::pin(async { Err(RunError::Timeout) });
        }
        inner.run(ask)
    })
}

fn close(evaluator: &Evaluator, row: &JournalRow) {
    let actor = row.actor.as_deref().unwrap_or_default();
    if !evaluator.operator().close(&row.gate, &row.key, actor, &row.summary) {
        eprintln!(
            "weavergen: {} {{{}}}: {actor} closed an episode that is not open in this replay; it begins behind it, or the \
             gates differ",
            row.gate, row.key
        );
    }
}

/// A transition: what `gate_transitions` shows of it, without the wall clock.
fn line(row: &JournalRow) -> serde_json::Value {
    json!({
        "tick": rfc3339(row.t_ns),
        "gate": row.gate,
        "key": row.key,
        "from_phase": row.from.as_str(),
        "to_phase": row.to.as_str(),
        "cause": row.cause.as_str(),
        "level": row.to.level().or(row.from.level()).map(|level| level.as_str()),
        "episode": row.episode,
        "transition": row.transition,
    })
}
