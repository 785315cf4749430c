//! `weavergen gates backfill` (gates.md 4.2, 12).
//!
//! Duty: the results that gates with a `baseline` would have, had they run while the spans of a data folder came, written where
//! the daemon looks for them. Guarantee: only ticks before the first that the gate's question knows are added, so running it
//! again adds nothing; no state, episode or message comes of it; spans are only read. Left to others: judging (`gate`), looking
//! back (`gate::baseline`).

use std::collections::{BTreeMap, BTreeSet};

use super::definitions::Definitions;
use super::replay::{evaluator, nanos, needed, no_gate};
use super::report::rfc3339;
use super::run::MOST_TICKS;
use super::{house, load_gates};
use crate::cli::exit::{Exit, Failure};
use crate::cli::lines::Lines;
use crate::cli::sources;
use crate::clock::Clock;
use crate::config::Config;
use crate::gate::journal::{GateRow, KEPT_NS, OutcomeRun, next_generation};
use crate::gate::window::Grid;
use crate::gate::{Gate, Group, Journal, Late, question};

/// Flags of `gates backfill`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Gate files, globs or builtin:NAME; without them those of the configuration
    #[arg(value_name = "FILES")]
    pub files: Vec<String>,
    /// Ticks behind this instant, RFC 3339 [default: as far back as the `baseline` of each gate looks]
    #[arg(long, value_name = "TIME")]
    pub from: Option<jiff::Timestamp>,
    /// Ticks up to this instant, RFC 3339 [default: the first tick that is known of the gate, else now]
    #[arg(long, value_name = "TIME")]
    pub to: Option<jiff::Timestamp>,
    /// This gate alone
    #[arg(long, value_name = "GATE")]
    pub gate: Option<String>,
    /// Where the configuration and the data folder are.
    #[command(flatten)]
    pub sources: sources::Args,
}

/// What is filled of one gate.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Gap {
    generation: u64,
    /// Ticks behind the first instant up to the second, ns since 1970.
    span: (i64, i64),
}

/// Exit: 0 filled, or nothing lacks; 3 a tick too many.
///
/// Errors: configuration and gate files (78), the data folder (74), the daemon runs (69).
pub async fn run(args: Args, clock: &Clock) -> anyhow::Result<Exit> {
    let from_ns = args.from.map(|at| nanos("--from", at)).transpose()?;
    let to_ns = args.to.map(|at| nanos("--to", at)).transpose()?;
    if let (Some(from_ns), Some(to_ns)) = (from_ns, to_ns)
        && from_ns >= to_ns
    {
        return Err(Failure::new(Exit::Usage, "`--to` is not behind `--from`; change one of them").into());
    }
    let config = args.sources.load()?.config;
    let groups = load_gates(&config, &args.files)?;
    let wanted = wanted(&groups, args.gate.as_deref())?;
    let house = house::Spans::of_folder(&config, clock).await?;
    let path = config.store.path.join("gates.redb");
    let journal = tokio::task::spawn_blocking(move || Journal::open(&path)).await??;
    let rows = journal.snapshot()?.gates()?;
    let mut lines = Lines::stdout();
    for (group, gate) in wanted {
        let gap = gap(&journal, &rows, (&groups, group, gate), (from_ns, to_ns), clock.now_ns())?;
        let line = match gap {
            Some(gap) => fill(&journal, &house, (&groups, gate), &gap, &config, clock).await?,
            None => format!("{}: nothing lacks", gate.name),
        };
        if !lines.put(line)? {
            break;
        }
    }
    Ok(Exit::Good)
}

/// The gates that are filled: those that look back, or the one that is named.
fn wanted<'a>(groups: &'a [Group], name: Option<&str>) -> Result<Vec<(&'a Group, &'a Gate)>, Failure> {
    let all = groups.iter().flat_map(|group| group.gates.iter().map(move |gate| (group, gate)));
    let all: Vec<_> = all.filter(|(_, gate)| name.is_none_or(|name| gate.name == name)).collect();
    if let (Some(name), []) = (name, all.as_slice()) {
        return Err(no_gate(name));
    }
    let found: Vec<_> = all.into_iter().filter(|(_, gate)| gate.baseline.is_some()).collect();
    if found.is_empty() {
        let which = name.map_or_else(|| "no gate".to_owned(), |name| format!("the gate `{name}` does not"));
        let has = if name.is_some() { "have" } else { "has" };
        let text =
            format!("{which} {has} a `baseline`, and nothing else looks back at results; there is nothing to fill");
        return Err(Failure::new(Exit::Config, text));
    }
    Ok(found)
}

/// The ticks that `gate` lacks; `None`: none.
fn gap(
    journal: &Journal,
    rows: &BTreeMap<String, GateRow>,
    (groups, group, gate): (&[Group], &Group, &Gate),
    (from_ns, to_ns): (Option<i64>, Option<i64>),
    now_ns: i64,
) -> anyhow::Result<Option<Gap>> {
    let Some(baseline) = &gate.baseline else { return Ok(None) };
    let before = rows.get(&gate.name);
    // As the daemon will count, or has counted.
    let generation = match before {
        Some(row) if row.loaded && row.question == question(gate) => row.generation,
        _ => next_generation(before, journal.snapshot()?.filled()?.get(&gate.name), question(gate)),
    };
    let grid = Grid::of_gate(group, gate);
    let known = journal.snapshot()?.first_tick_ns(&gate.name, generation)?;
    let end_ns = match known {
        Some(first_ns) => first_ns - 1,
        None => {
            // A gate that joins a group follows its ticks: the daemon evaluates those behind the last one.
            let same = groups.iter().filter(|other| (&other.file, &other.name) == (&group.file, &group.name));
            let same = same.flat_map(|group| &group.gates).filter(|other| other.cron == gate.cron);
            let last =
                same.filter_map(|gate| rows.get(&gate.name).filter(|row| row.loaded)).map(|row| row.last_tick_ns);
            last.max().unwrap_or_else(|| grid.last_due(now_ns))
        }
    };
    let end_ns = to_ns.map_or(end_ns, |to_ns| to_ns.min(end_ns));
    // What the next ticks look back at.
    let begin_ns = from_ns.unwrap_or_else(|| baseline.ticks(grid.last_due(now_ns)).0.saturating_sub(1));
    // Older ones would be removed at once.
    let begin_ns = begin_ns.max(now_ns.saturating_sub(KEPT_NS));
    let has_ticks = grid.next(begin_ns) <= end_ns;
    Ok(has_ticks.then_some(Gap { generation, span: (begin_ns, end_ns) }))
}

/// Plays the ticks of `gap` and writes what they gave; a sentence about it.
async fn fill(
    journal: &Journal,
    house: &house::Spans,
    (groups, gate): (&[Group], &Gate),
    gap: &Gap,
    config: &Config,
    clock: &Clock,
) -> anyhow::Result<String> {
    let groups = needed(groups.to_vec(), &gate.name)?;
    let definitions = Definitions::of_folder(&config.store.path, &groups, clock).await?;
    let asked = house.ask(config, definitions.table(), clock)?;
    let (from_ns, to_ns) = gap.span;
    let then = Clock::manual(from_ns, 0);
    // All spans are there.
    let none_late = Late::new(|_| Box::pin(async { Ok(0) }));
    let mut evaluator = evaluator(asked.journal(), groups, (asked.runner(), none_late), &then).await?;
    evaluator.in_event_order(true);
    let mut ticks: BTreeMap<i64, BTreeSet<usize>> = BTreeMap::new();
    for group in evaluator.driven() {
        if group.grid.count(group.grid.next(from_ns), to_ns) > MOST_TICKS {
            let text = format!(
                "gate {}: there are too many ticks to fill; bring `--from` and `--to` nearer together",
                gate.name
            );
            return Err(Failure::new(Exit::NotJudged, text).into());
        }
        for t_ns in group.grid.ticks(from_ns, to_ns) {
            ticks.entry(t_ns).or_default().insert(group.at);
        }
    }
    let count = ticks.len();
    for (t_ns, groups) in ticks {
        then.advance_to(t_ns);
        evaluator.close_tick(t_ns, asked.cut_us(), &groups).await?;
    }
    evaluator.finish().await?;
    let runs = runs(&asked.journal(), &gate.name, gap.generation)?;
    // A tick without spans is of no key.
    let keys: BTreeSet<&String> = runs.iter().filter(|run| run.values.1 > 0).map(|run| &run.key).collect();
    let (keys, values) = (keys.len(), runs.iter().map(|run| run.values.1).sum::<u64>());
    let (journal, name, filled) = (journal.clone(), gate.name.clone(), (gap.generation, question(gate)));
    tokio::task::spawn_blocking(move || journal.add_past(&name, filled, &runs)).await??;
    Ok(format!(
        "{}: {count} ticks behind {} up to {} gave {values} values of {keys} keys",
        gate.name,
        rfc3339(from_ns),
        rfc3339(to_ns)
    ))
}

/// All that `gate` gave, with each of its values, as rows of `generation`.
fn runs(played: &Journal, gate: &str, generation: u64) -> anyhow::Result<Vec<OutcomeRun>> {
    let snapshot = played.snapshot()?;
    let mut runs = Vec::new();
    for (_, run) in snapshot.results((i64::MIN, 0), i64::MAX, usize::MAX)? {
        if run.gate != gate {
            continue;
        }
        let around = (run.first_tick_ns, run.first_tick_ns.saturating_add(1));
        let past = snapshot.past(gate, run.generation, &run.key, around)?;
        let ticks = past.into_iter().find(|past| past.first_tick_ns == run.first_tick_ns).map(|past| past.ticks);
        runs.push(OutcomeRun { ticks: ticks.unwrap_or_default(), ..run });
    }
    runs.extend(snapshot.all_running()?.into_iter().filter(|run| run.gate == gate));
    runs.iter_mut().for_each(|run| run.generation = generation);
    Ok(runs)
}
