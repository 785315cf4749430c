//! `weavergen gates replay` (gates.md 8): what gates would have said of stored spans.
//!
//! Duty: the ticks of a span of time over a data folder, by the daemon's evaluator on a clock of its own; a transition is a line
//! of JSON. Guarantee: where the folder's journal knows the cut of a tick, the same spans count as then, so that a replay from
//! the journal's begin repeats it; the folder is only read. Left to others: judging (`gate`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::{house, load_gates};
use crate::cli::exit::{Exit, Failure};
use crate::cli::sources;
use crate::clock::Clock;
use crate::gate::evaluator::{Evaluator, Position};
use crate::gate::journal::{JournalRow, Snapshot};
use crate::gate::{Group, Journal, Late, Metrics, Parts, question};

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
    /// This gate alone
    #[arg(long, value_name = "GATE")]
    pub gate: Option<String>,
    /// All spans count, also those that came after a tick had closed
    #[arg(long)]
    pub all_spans: bool,
    /// Where the configuration and the data folder are.
    #[command(flatten)]
    pub sources: sources::Args,
}

/// A tick to close: its spans count up to the cut; `None` = it was missed.
type Ticks = BTreeMap<(i64, Option<i64>), BTreeSet<usize>>;

/// Exit: 0 played; 3 a tick too many.
///
/// Errors: configuration and gate files (78), the data folder (74).
pub async fn run(args: Args, clock: &Clock) -> anyhow::Result<Exit> {
    let nanos = |at: jiff::Timestamp| i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX);
    let (from_ns, to_ns) = (nanos(args.from), nanos(args.to));
    if from_ns >= to_ns {
        return Err(Failure::new(Exit::Usage, "`--to` is not behind `--from`; change one of them").into());
    }
    let config = args.sources.load()?.config;
    let mut groups = load_gates(&config, &args.files)?;
    if let Some(name) = &args.gate {
        groups = only(groups, name)?;
    }
    let house = house::Spans::of_folder(&config, clock).await?;
    let asked = house.ask(&config, clock)?;
    let then = Clock::manual(from_ns, 0);
    let parts = Parts {
        questions: groups
            .iter()
            .flat_map(|group| &group.gates)
            .map(|gate| (gate.name.clone(), question(gate)))
            .collect(),
        groups,
        default_receivers: Vec::new(),
        value_metrics: false,
        runner: asked.runner(),
        late: Late::new(|_| Box::pin(async { Ok(0) })),
        position: Position::new(|| None),
        journal: asked.journal(),
        clock: then.clone(),
        metrics: Metrics::register(&prometheus::Registry::new())?,
        concurrency: std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
    };
    let mut evaluator = tokio::task::spawn_blocking(move || Evaluator::open(parts)).await??;
    let path = config.store.path.join("gates.redb");
    let known = match path.is_file() && !args.all_spans {
        true => Some(Copied::of(&path, clock)?),
        false => None,
    };
    let snapshot = known.as_ref().map(|copy| copy.journal.snapshot()).transpose()?;
    let ticks = ticks(&evaluator, (from_ns, to_ns), asked.cut_us(), snapshot.as_ref())?;
    let mut told = 0;
    for ((t_ns, cut_us), groups) in ticks {
        then.advance(Duration::from_nanos(u64::try_from(t_ns.saturating_sub(then.now_ns())).unwrap_or(0)));
        match cut_us {
            Some(cut_us) => evaluator.close_tick(t_ns, cut_us, &groups).await?,
            None => evaluator.miss_tick(t_ns, &groups),
        }
        evaluator.finish().await?;
        for (at, row) in asked.journal().snapshot()?.journal(told, usize::MAX)? {
            told = at + 1;
            println!("{}", line(&row));
        }
    }
    Ok(Exit::Good)
}

fn only(groups: Vec<Group>, name: &str) -> anyhow::Result<Vec<Group>> {
    let of = |mut group: Group| {
        group.gates.retain(|gate| gate.name == name);
        (!group.gates.is_empty()).then_some(group)
    };
    let left: Vec<Group> = groups.into_iter().filter_map(of).collect();
    if left.is_empty() {
        let text = format!("no gate file has a gate `{name}`; `weavergen gates check` lists them");
        return Err(Failure::new(Exit::Usage, text).into());
    }
    Ok(left)
}

/// The ticks of every group in time. Those that the journal knows have its cuts; others see every span.
fn ticks(
    evaluator: &Evaluator,
    (from_ns, to_ns): (i64, i64),
    all_us: i64,
    known: Option<&Snapshot>,
) -> anyhow::Result<Ticks> {
    let mut ticks = Ticks::new();
    for group in evaluator.driven() {
        let journaled: BTreeMap<i64, Option<i64>> = match known {
            Some(known) => known.ticks(&group.id)?.into_iter().map(|(t_ns, tick)| (t_ns, tick.cut_us)).collect(),
            None => BTreeMap::new(),
        };
        if known.is_some() && journaled.is_empty() {
            eprintln!("weavergen: the journal knows no tick of group {}; all spans count", group.id);
        }
        let count = group.grid.count_due(from_ns, to_ns.saturating_add(group.grid.offset_ns));
        if count > super::run::MOST_TICKS {
            let text = format!("there are {count} ticks between `--from` and `--to`; bring them nearer together");
            return Err(Failure::new(Exit::NotJudged, text).into());
        }
        let mut t_ns = group.grid.next(from_ns);
        while t_ns <= to_ns {
            // A daemon that did not run then judged nothing; a journal that knows none of the group says nothing of it.
            let cut_us = match journaled.get(&t_ns) {
                Some(cut_us) => *cut_us,
                None if journaled.is_empty() => Some(all_us),
                None => None,
            };
            ticks.entry((t_ns, cut_us)).or_default().insert(group.at);
            t_ns = t_ns.saturating_add(group.grid.interval_ns);
        }
    }
    Ok(ticks)
}

/// A transition: what `gate_transitions` shows of it, without the wall clock.
fn line(row: &JournalRow) -> serde_json::Value {
    let tick = jiff::Timestamp::from_nanosecond(i128::from(row.t_ns)).map(|at| at.to_string()).unwrap_or_default();
    json!({
        "tick": tick,
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

/// A journal of its own: a daemon may hold the file, and opening it would write to it.
struct Copied {
    journal: Journal,
    path: std::path::PathBuf,
}

impl Copied {
    fn of(path: &std::path::Path, clock: &Clock) -> anyhow::Result<Self> {
        let to = std::env::temp_dir().join(format!("weavergen-gates-{}-{}.redb", std::process::id(), clock.ulid()));
        std::fs::copy(path, &to)
            .map_err(|error| Failure::new(Exit::Io, format!("cannot copy {}: {error}", path.display())))?;
        let journal = Journal::open(&to).map_err(|error| {
            let _ = std::fs::remove_file(&to);
            let text = format!("{}: {error}; stop the daemon, or use `--all-spans`", path.display());
            Failure::new(Exit::Io, text)
        })?;
        Ok(Self { journal, path: to })
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        // What cannot be removed lies where the system removes it.
        let _ = std::fs::remove_file(&self.path);
    }
}
