//! `weavergen gates run` (gates.md 12): judges spans and exits, for CI.
//!
//! Duty: take spans from files, a listener or a data folder, play the gates over them, report. Guarantee: verdicts are the
//! daemon's own (`gate::playback`); without a span nothing is good; a data folder is only read. Left to others: spans out of
//! bytes (`input`, `listen`), what an outcome is worth (`worth`), formats (`report`).

mod baseline;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::ArgGroup;

use super::definitions::Definitions;
use super::input::{self, Source, Taken};
use super::listen::{self, Until};
use super::report::{self, Outputs, Report};
use super::worth::{Allowed, FailOn};
use super::{house, load_gates};
use crate::cli::exit::{Exit, Failure};
use crate::cli::sources;
use crate::clock::Clock;
use crate::config::Config;
use crate::gate::Group;
use crate::gate::playback::{Extent, Judge, Seat, play, ticks};
use crate::gate::run::at_a_time;

/// Ticks of all groups above which a timeline is refused: it would take hours.
pub(super) const MOST_TICKS: usize = 1_000_000;

/// Later spans may have no tick behind them: the longest interval is a day.
const LAST_NS: i64 = i64::MAX - 86_400 * 1_000_000_000;

/// Flags of `gates run`.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("spans").args(["input", "otlp", "data"]).required(true)))]
pub struct Args {
    /// Gate files, globs or builtin:NAME; without them those of the configuration
    #[arg(value_name = "FILES")]
    pub files: Vec<String>,
    /// Spans: OTLP JSON lines or protobuf, Parquet, Arrow IPC, a folder of these, or - for stdin; a file is read once
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub input: Vec<Source>,
    /// Listen for OTLP here and judge what comes: gRPC on this port, HTTP on the next
    #[arg(long, value_name = "ADDR")]
    pub otlp: Option<String>,
    /// When to stop listening: idle=5s (counted from the first span), spans=N, trace=N, time=60s or signal; the first that
    /// comes true ends it
    #[arg(long, value_name = "WHEN", value_delimiter = ',', requires = "otlp")]
    pub until: Vec<Until>,
    /// One evaluation a gate over all spans, or every tick in event time
    #[arg(long, value_enum, default_value = "once")]
    pub judge: How,
    /// Spans of before, as --input takes them, or a data folder: what gates give of them, asked in the same way, is the
    /// `baseline` of those that have one
    #[arg(long, value_name = "PATH")]
    pub baseline: Option<PathBuf>,
    /// Which verdicts end with a bad exit code
    #[arg(long, value_enum, default_value = "fail")]
    pub fail_on: FailOn,
    /// Gates by name that may have no data or too few samples; repeatable
    #[arg(long, value_name = "GLOB")]
    pub allow_no_data: Vec<glob::Pattern>,
    /// What is written where.
    #[command(flatten)]
    pub outputs: Outputs,
    /// Where the configuration is.
    #[command(flatten)]
    pub sources: sources::Args,
}

/// `--judge`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum How {
    /// One evaluation a gate over all spans; `for` and hysteresis do not apply
    #[default]
    Once,
    /// Every tick in event time; a key is as bad as its worst episode
    Timeline,
}

/// Exit as gates.md 12: 0 good, 1 a gate failed, 3 something was not judged, 4 a warning under `--fail-on warn`.
///
/// Errors: configuration and gate files (78), input (74), the address (69), output (74).
pub async fn run(args: Args, clock: &Clock) -> anyhow::Result<Exit> {
    let mut outs = args.outputs.open()?;
    let config = args.sources.load()?.config;
    let mut gates = load_gates(&config, &args.files)?;
    let judge = match args.judge {
        How::Once => Judge::Once,
        How::Timeline => Judge::Timeline,
    };
    if let Some(path) = &args.baseline {
        gates = baseline::held_to(path, gates, judge, &config, clock).await?;
    }
    let house = match (&args.otlp, &args.sources.data) {
        (Some(_), _) | (None, None) => house::Spans::fresh(&config, clock).await?,
        (None, Some(_)) => house::Spans::of_folder(&config, clock).await?,
    };
    let taken = match &args.otlp {
        Some(address) => listen::take(address, &args.until, &config, &house, clock).await?,
        None if args.input.is_empty() => Taken::default(),
        None => input::take(&args.input, &house).await?,
    };
    let judged = judged(&config, &house, gates, judge, clock).await;
    let source = described(&args);
    house.close().await;
    let (input, found) = judged?;
    let allowed = Allowed { no_data: &args.allow_no_data, fail_on: args.fail_on };
    let input = report::Input { source, rejected: taken.rejected, left_out: taken.left_out, ..input };
    let (report, failure) = match found {
        Ok(found) => (Report::new(judge, input, found, &allowed), None),
        Err(failure) => (Report::without(judge, input, failure.to_string(), &allowed), Some(failure)),
    };
    for (what, spans) in &taken.rejected_by {
        eprintln!("weavergen: {spans} spans were set aside: {what}; they are not judged");
    }
    outs.write(&report)?;
    match failure {
        Some(failure) => Err(failure.into()),
        None => Ok(report.exit),
    }
}

fn described(args: &Args) -> String {
    match (&args.otlp, &args.sources.data) {
        (Some(address), _) => format!("otlp {address}"),
        (None, Some(folder)) => folder.display().to_string(),
        (None, None) => args.input.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    }
}

/// What there was, and how it fared; or why it could not be judged (3).
type Judged = (report::Input, Result<Vec<crate::gate::playback::Found>, Failure>);

async fn judged(
    config: &Config,
    house: &house::Spans,
    groups: Vec<Group>,
    judge: Judge,
    clock: &Clock,
) -> anyhow::Result<Judged> {
    let definitions = match house.is_folder() {
        true => Definitions::of_folder(&config.store.path, &groups, clock).await?,
        false => Definitions::Absent,
    };
    let asked = house.ask(config, definitions.table(), clock)?;
    let (input, extent) = asked.extent().await?;
    let Some(extent) = extent else {
        // Gates that were asked of nothing would say no data; the report says why.
        return Ok((input, Ok(Vec::new())));
    };
    if let Err(failure) = playable(&groups, judge, extent) {
        return Ok((input, Err(failure)));
    }
    let found = play(seat(&asked, groups), judge, extent).await.context("the gates could not be played")?;
    Ok((input, Ok(found)))
}

/// Whether the ticks over `extent` can be played (3 if not).
fn playable(groups: &[Group], judge: Judge, extent: Extent) -> Result<(), Failure> {
    if extent.last_ns > LAST_NS {
        if judge == Judge::Timeline {
            let text = "spans lie at the end of what clocks can say, 2262, where no tick is; mend their clocks, or use \
                        `--judge once`";
            return Err(Failure::new(Exit::NotJudged, text));
        }
        eprintln!(
            "weavergen: spans lie at the end of what clocks can say, 2262; those of its last nanosecond are not judged"
        );
    }
    let count = ticks(groups, judge, extent);
    if count > MOST_TICKS {
        let text = format!(
            "the spans lie so far apart that their timeline has {count} ticks; use `--judge once`, or lengthen `interval`"
        );
        return Err(Failure::new(Exit::NotJudged, text));
    }
    Ok(())
}

/// What is asked, and by whom.
fn seat(asked: &house::Asked, groups: Vec<Group>) -> Seat {
    Seat { groups, runner: asked.runner(), journal: asked.journal(), cut_us: asked.cut_us(), concurrency: at_a_time() }
}

/// Tables of other modules that gates read.
pub(super) type Tables = Vec<(String, Arc<dyn datafusion::catalog::TableProvider>)>;
/// Rows set aside by reason.
pub(super) type Reasons = BTreeMap<String, usize>;
