//! `weavergen gates` (gates.md 12).
//!
//! Duty: check gate files offline; list and show gates by the daemon's tables. Guarantee: `check` opens no port and
//! writes nothing; it tells every problem of every file. Left to others: the checks (`gate`), asking the daemon (`sql`), judging
//! without a daemon (`run`).

mod arrivals;
mod backfill;
mod close;
mod columns;
mod compare;
mod definitions;
mod frames;
mod house;
mod import;
mod input;
mod listen;
mod looks;
mod outbox;
mod replay;
mod report;
mod run;
mod show;
mod stage;
mod test;
mod worth;

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::exit::Exit;
use super::lines::Lines;
use super::output::Output;
use super::sql::ask::Daemon;
use super::{exit, sources, sql};
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::library::message_starts;
use crate::gate::load::LoadError;
use crate::gate::scalar::duration_text;
use crate::gate::{Code, Group, Known, Loaded, Planner, Request, load, schema};
use crate::semconv;

/// Check and look at quality gates
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands of `gates`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check gate files and plan their queries; opens no port and writes nothing
    Check(Check),
    /// Judge spans and exit: the command for CI
    #[command(after_help = RUN_HELP)]
    Run(Box<run::Args>),
    /// Play gates over stored spans again: their transitions as lines of JSON
    Replay(replay::Args),
    /// Compute what gates with a `baseline` would have given of spans that are stored, so that they need not gather it first
    Backfill(backfill::Args),
    /// Run unit tests of gates: spans by a virtual clock against expected verdicts, transitions and messages
    Test(test::Args),
    /// List the gates of the daemon and their state
    List(List),
    /// Show one gate of the daemon: state and latest results of each key, its class, and what ticks to come would say; or what
    /// it asks, from its file
    Show(Show),
    /// Write the gate file that a file of Tracetest or OpenSLO becomes
    Import(import::Args),
    /// List messages to receivers that wait or were given up; `retry ID` tries one of the latter again
    Outbox(outbox::Args),
    /// Close the open episode of a key by hand
    Close(close::Args),
}

const RUN_HELP: &str = "Exit codes, 1 before 3 before 4: 0 judged and good; 1 a gate failed; 2 usage; 3 something was not \
                        judged (always, if no span was received; in a timeline also a breach that is no \
                        episode yet when the spans end); 4 a warning with --fail-on warn; 69 address unavailable; \
                        74 input unreadable; 78 gate file or configuration invalid; 130 interrupted.";

/// Flags of `gates check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// Gate files, globs or builtin:NAME; without them those of the configuration
    #[arg(value_name = "FILES")]
    pub files: Vec<String>,
    /// Warnings are problems too, but for W01: which gates share nothing
    #[arg(long)]
    pub deny_warnings: bool,
    /// Where the configuration is.
    #[command(flatten)]
    pub sources: sources::Args,
}

/// How the daemon is asked.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// Format of the rows: box on a terminal, else ndjson
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum)]
    pub output: Option<Output>,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Flags of `gates list`.
#[derive(Debug, clap::Args)]
pub struct List {
    /// How the daemon is asked.
    #[command(flatten)]
    pub asked: Asked,
}

/// Flags of `gates show`.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// Name of the gate
    #[arg(value_name = "GATE")]
    pub gate: String,
    /// Print its SQL, also what an objective or an assertion became, and ask no daemon
    #[arg(long)]
    pub sql: bool,
    /// Gate files, globs or builtin:NAME that it stands in; without them those of the configuration
    #[arg(long = "file", value_name = "FILE", requires = "sql")]
    pub files: Vec<String>,
    /// Where gate files are.
    #[command(flatten)]
    pub offline: sources::Offline,
    /// How the daemon is asked.
    #[command(flatten)]
    pub asked: Asked,
}

const LIST: &str = "SELECT gate, key, phase, level, episode, active_at, fired_at, last_outcome, last_value \
                    FROM gate_state ORDER BY gate, key";
const STATE: &str = "SELECT gate, key, phase, level, episode, active_at, fired_at, last_outcome, last_value \
                     FROM gate_state WHERE gate = $gate ORDER BY key";
const RESULTS: &str = "SELECT key, outcome, first_tick, last_tick, evaluations, value, n, window_start, window_end, \
                       evidence, trace_ids FROM gate_results WHERE gate = $gate ORDER BY last_tick DESC, key LIMIT 20";

/// Exit of `check`: 0 good, 1 problems, 74 a file is unreadable; of `list` and `show` as `sql`.
///
/// Errors: the configuration cannot be loaded; the daemon cannot be asked.
pub async fn run(args: Args, data_folder: PathBuf, clock: Clock) -> anyhow::Result<Exit> {
    match args.command {
        Command::Check(check) => checked(&check),
        Command::Run(args) => run::run(*args, &clock).await,
        Command::Replay(args) => replay::run(args, &clock).await,
        Command::Backfill(args) => backfill::run(args, &clock).await,
        Command::Test(args) => test::run(args).await,
        Command::Import(args) => import::run(&args),
        Command::Close(args) => close::run(args, data_folder).await,
        Command::List(list) => {
            ask(LIST, Vec::new(), list.asked, data_folder, clock).await?;
            Ok(Exit::Good)
        }
        Command::Outbox(args) => Ok(outbox::run(args, data_folder, &clock).await.map_err(exit::Failure::from)?),
        Command::Show(show) if show.sql => shown_sql(&show),
        Command::Show(show) => {
            let Asked { output, daemon } = show.asked;
            let target = daemon.clone().target(data_folder.clone()).map_err(exit::Failure::from)?;
            must_exist(&target, &show.gate).await?;
            let gate = serde_json::Value::from(show.gate.as_str()).to_string();
            for statement in [STATE, RESULTS] {
                let asked = Asked { output, daemon: daemon.clone() };
                ask(statement, vec![format!("gate={gate}")], asked, data_folder.clone(), clock.clone()).await?;
            }
            let beside = show::beside_tables(&target, &show.gate, output, &clock).await;
            beside.map_err(exit::Failure::from)?;
            Ok(Exit::Good)
        }
    }
}

/// A gate without keys has a row too, so that no row means no gate.
async fn must_exist(target: &sql::ask::Target, gate: &str) -> Result<(), exit::Failure> {
    let params = serde_json::Map::from_iter([("gate".to_owned(), gate.into())]);
    let found = "SELECT gate FROM gate_state WHERE gate = $gate LIMIT 1";
    let (_, batches) = sql::rows_of_daemon(target, found, params).await?;
    if batches.iter().all(|batch| batch.num_rows() == 0) {
        let text = format!("there is no gate `{gate}`; `weavergen gates list` lists them");
        return Err(exit::Failure::new(Exit::Bad, text));
    }
    Ok(())
}

async fn ask(
    statement: &str,
    params: Vec<String>,
    asked: Asked,
    data_folder: PathBuf,
    clock: Clock,
) -> Result<(), exit::Failure> {
    let Daemon { url, data, token_file } = asked.daemon;
    let args = sql::Args {
        sql: Some(statement.to_owned()),
        output: asked.output,
        // The daemon of a folder is found by its `run.json`.
        source: sql::ask::Source { url, data: None, token_file },
        params,
        ..sql::Args::default()
    };
    let data_folder = data.unwrap_or(data_folder);
    // Only a shell has one.
    let history = PathBuf::new();
    Ok(sql::run(args, sql::Surroundings { data_folder, history, clock }).await?)
}

/// A glob that matches nothing would be a check of nothing that ends well.
fn must_match(patterns: &[String]) -> Result<(), exit::Failure> {
    for pattern in patterns {
        if pattern.contains(['*', '?', '[']) && !Path::new(pattern).exists() {
            let mut found = glob::glob(pattern)
                .map_err(|error| exit::Failure::new(Exit::Usage, format!("`{pattern}` is no pattern: {error}")))?;
            if found.next().is_none() {
                let text = format!("no file matches `{pattern}`; correct the pattern, or name files");
                return Err(exit::Failure::new(Exit::Io, text));
            }
        }
    }
    Ok(())
}

/// Loads and plans `files`, else those of the configuration, offline.
fn loaded(config: &Config, files: &[String]) -> anyhow::Result<Loaded> {
    must_match(files)?;
    let mut gates = config.gates.clone();
    if !files.is_empty() {
        gates.files = Some(files.to_vec());
    }
    let (planner, known) = (planner(config)?, known(config));
    let queries_dir: Option<&Path> = config.queries_dir.as_deref();
    Ok(load(&Request { config: &gates, queries_dir, known: &known }, &planner))
}

/// Plans queries as the daemon of `config` would.
fn planner(config: &Config) -> anyhow::Result<Planner> {
    let types = semconv::attribute_types(&config.semconv, config.pipelines_dir.as_deref())?;
    Ok(Planner::new(config.query.clone().with_registry_types(types), schema::empty_tables()))
}

/// What gate files may name, as the configuration and its folders have it.
fn known(config: &Config) -> Known {
    Known {
        receivers: Some(config.notify.receivers.keys().cloned().collect()),
        pipelines: Some(message_starts(config.pipelines_dir.as_deref())),
    }
}

/// The groups that somebody named, for commands that judge: a built-in file that nobody named is left out.
///
/// Errors: every problem (78; 74 if a file is unreadable); nobody named a gate file (78).
fn load_gates(config: &Config, files: &[String]) -> anyhow::Result<Vec<Group>> {
    let mut loaded = loaded(config, files)?;
    if loaded.problems.iter().any(|problem| problem.code == Code::Unreadable) {
        let told: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        return Err(exit::Failure::new(Exit::Io, told.join("\n")).into());
    }
    if loaded.has_errors() {
        return Err(LoadError(loaded.problems.into_iter().filter(|problem| problem.code.is_error()).collect()).into());
    }
    for warning in &loaded.problems {
        eprintln!("{warning}");
    }
    loaded.groups.truncate(loaded.named);
    if loaded.groups.is_empty() {
        let text = "no gate is named, so nothing would be judged; name gate files, e.g. `builtin:founding`, or set `gates.files`";
        return Err(exit::Failure::new(Exit::Config, text).into());
    }
    Ok(loaded.groups)
}

fn checked(check: &Check) -> anyhow::Result<Exit> {
    let config = check.sources.load()?.config;
    let loaded = loaded(&config, &check.files)?;
    let (lines, exit) = told(&loaded, check.deny_warnings);
    // Groups of files that are refused are stand-ins.
    let notes: &[_] = if loaded.has_errors() { &[] } else { loaded.notes.as_slice() };
    for problem in loaded.problems.iter().chain(notes) {
        eprintln!("{problem}");
    }
    let mut out = Lines::stdout();
    for line in lines {
        if !out.put(line)? {
            break;
        }
    }
    Ok(exit)
}

/// Prints the SQL of a gate of the files.
fn shown_sql(show: &Show) -> anyhow::Result<Exit> {
    let config = show.offline.load()?.config;
    let loaded = loaded(&config, &show.files)?;
    let Some(gate) = loaded.groups.iter().flat_map(|group| &group.gates).find(|gate| gate.name == show.gate) else {
        let text = format!("no file has a gate `{}`; `weavergen gates check` lists those there are", show.gate);
        return Err(exit::Failure::new(Exit::Bad, text).into());
    };
    let of_it = |problem: &&crate::gate::Problem| problem.who == crate::gate::problem::Who::Gate(gate.name.clone());
    let wrong: Vec<String> =
        loaded.problems.iter().filter(of_it).filter(|p| p.code.is_error()).map(ToString::to_string).collect();
    if !wrong.is_empty() {
        return Err(exit::Failure::new(Exit::Bad, wrong.join("\n")).into());
    }
    let mut out = Lines::stdout();
    if let Some(slo) = &gate.slo {
        out.put(format_args!("-- {}", slo.told()))?;
    }
    if let Some(assertion) = &gate.assertion {
        out.put(format_args!("-- {}", assertion.told()))?;
    }
    out.put(gate.source.sql.trim_end())?;
    Ok(Exit::Good)
}

/// How `gate` is evaluated; of one that is asked by its SQL also why.
fn class(gate: &crate::gate::Gate) -> String {
    match &gate.class {
        crate::gate::Class::Rerun(why) if gate.class() == "re-run" && !why.is_empty() => {
            format!("{} ({why})", gate.class())
        }
        _ => gate.class().to_owned(),
    }
}

/// A line for each gate, if nothing stops the load, and the exit code.
fn told(loaded: &Loaded, deny_warnings: bool) -> (Vec<String>, Exit) {
    if loaded.problems.iter().any(|problem| problem.code == Code::Unreadable) {
        return (Vec::new(), Exit::Io);
    }
    if loaded.has_errors() || (deny_warnings && !loaded.problems.is_empty()) {
        return (Vec::new(), Exit::Bad);
    }
    let gates = loaded.groups.iter().flat_map(|group| group.gates.iter().map(move |gate| (group, gate)));
    let line = |(group, gate): (&crate::gate::Group, &crate::gate::Gate)| {
        let cron = gate.cron.as_ref().map(|cron| format!("  cron {cron}")).unwrap_or_default();
        format!("{}  class {}  window {}{cron}  {}", gate.name, class(gate), duration_text(gate.window), group.file)
    };
    (gates.map(line).collect(), Exit::Good)
}
