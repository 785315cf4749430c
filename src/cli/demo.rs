//! `weavergen demo`: the main job on an embedded store, with nothing to install.
//!
//! Duty: a shop of 7 services sends, a gate breaks, a pipeline repairs, the gate recovers, and the next repair is quicker;
//! before that, a kill in the middle of a load that loses nothing. Guarantee: every number shown comes from a query.
//! Left to others: all of the work (`run`, `sql`, `generate`, `pipeline`, `demo_service`).

mod child;
mod hook;
mod keeper;
mod repair;
mod shop;
mod stage;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use super::exit::{Exit, Failure};
use super::lines::print;
use super::loadgen::Recipe;
use child::Daemon;
use hook::Hook;
use keeper::Keeper;
use repair::Repair;
use shop::Shop;
use stage::Stage;

const TRACES: u64 = 300;

/// Show the main job: a gate breaks, a pipeline repairs, the gate recovers
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Keep everything up until Ctrl-C, and print how to connect
    #[arg(long)]
    pub keep: bool,
    /// Folder for everything [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The same seed gives the same shop
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

const COUNT: &str = "SELECT count(*), count(DISTINCT trace_id) FROM spans WHERE scope_name = 'weavergen.demo'";
const SERVICES: &str = "SELECT service_name AS service, count(*) AS spans, \
    count(*) FILTER (WHERE status_code = 'error') AS errors, round(p95(duration_ms), 1) AS p95_ms, \
    round(sum(required_present) / CAST(sum(required_total) AS DOUBLE), 3) AS completeness \
    FROM spans WHERE span_type LIKE 'shop.%' GROUP BY 1 ORDER BY 1";
const FEEDBACK: &str = "SELECT key, run, target, variant, outcome, round(value_before, 3) AS before, \
    round(value_after, 3) AS after, round(seconds, 1) AS seconds FROM feedback ORDER BY at";
const PATTERNS: &str = "SELECT key, support, n, round(effect, 3) AS share, round(effect_low, 3) AS low, \
    round(effect_high, 3) AS high, hex(trace_ids[1]) AS example FROM learned_patterns \
    WHERE pattern = 'missing_attribute' ORDER BY effect DESC, key LIMIT 5";

/// Runs the demo: [`Exit::Good`] when nothing was lost and both services were repaired.
///
/// It ends its processes when it is told to end; with `--keep` that is how it ends well.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let stop = crate::app::signals()?;
    let root = match &args.data {
        Some(dir) => dir.clone(),
        None => std::env::temp_dir().join(format!("weavergen-demo-{}", std::process::id())),
    };
    if root.join("data/VERSION").exists() || root.join("VERSION").exists() {
        bail!("{} holds data already: give --data a new folder", root.display());
    }
    std::fs::create_dir_all(&root).map_err(|error| {
        let text = format!("cannot make {}: {error}; give --data another folder", root.display());
        Failure::new(Exit::Io, text)
    })?;
    let shown = tokio::select! {
        shown = show(&args, &root) => Some(shown?),
        () = stop.cancelled() => None,
    };
    let is_whole = shown.is_some();
    if let Some((daemon, keeper)) = shown {
        if args.keep {
            let (api, grpc) = (daemon.api()?, daemon.grpc()?);
            tell(format_args!("\nIt stays up until Ctrl-C:\n  export OTEL_EXPORTER_OTLP_ENDPOINT={grpc}"))?;
            tell(format_args!("  weavergen sql --url {api} \"SELECT * FROM gate_state\""))?;
            tell(format_args!("  weavergen pipeline list --url {api}\n  open {api}"))?;
            tell(format_args!("Its files are in {}", root.display()))?;
            stop.cancelled().await;
        }
        drop(keeper);
        daemon.stop().await?;
    }
    if args.data.is_none() {
        // A folder that is left over harms nobody.
        let _ = std::fs::remove_dir_all(&root);
    }
    Ok(if is_whole { Exit::Good } else { Exit::Interrupted })
}

async fn show(args: &Args, root: &Path) -> anyhow::Result<(Daemon, Keeper)> {
    let began = Instant::now();
    let (hook, url) = Hook::listen().await?;
    let stage = Stage::build(root, &url)?;

    say("1. a daemon starts, is killed with -9 in the middle of a load, and starts again")?;
    let daemon = durable(&stage, args.seed).await?;

    say("2. a shop: each service a process that sets what its instrumentation file says")?;
    let keeper = Keeper::new(stage.clone(), daemon.grpc()?, args.seed);
    for service in Recipe::Shop.services().iter().filter(|service| service.name != "payment") {
        keeper.start(service.name)?;
    }
    let enough = "SELECT 1 FROM spans WHERE span_type LIKE 'shop.%' HAVING count(DISTINCT service_name) = 6 \
                  AND count(*) > 500";
    daemon.until("spans of six services", Duration::from_secs(60), enough).await?;
    daemon.show(SERVICES).await?;

    let mut repair = Repair::new(&daemon, &stage, &hook);
    repair.watch("checkout", 3).await?;
    say("8. it learned: payment starts, lacks attributes as well, and is repaired at the first try")?;
    keeper.start("payment")?;
    let tries = repair.watch("payment", 9).await?;
    ensure!(tries == 1, "payment took {tries} tries");

    say("14. what was learned: the record of variants, and which attribute is missing where")?;
    daemon.show(FEEDBACK).await?;
    daemon.until("patterns", Duration::from_secs(60), "SELECT 1 FROM learned_patterns").await?;
    daemon.show(PATTERNS).await?;
    // A firing and a resolved one for each of the two.
    ensure!(hook.count() == 4, "the webhook was told {} notices", hook.count());
    tell(format_args!(
        "\nBoth services were repaired by what their spans said. Done in {:.1} s.",
        began.elapsed().as_secs_f64()
    ))?;
    Ok((daemon, keeper))
}

/// Loads, kills, lets it start again, and compares what was acknowledged with what is found.
async fn durable(stage: &Stage, seed: u64) -> anyhow::Result<Daemon> {
    let daemon = Daemon::start(stage).await?;
    tell(format_args!("   OTLP {} · API {} · folder {}", daemon.grpc()?, daemon.api()?, stage.folder().display()))?;
    let mut shop = Shop::open(&daemon.grpc()?, seed)?;
    let bar = progress();
    send(&mut shop, 0..TRACES / 2, &bar).await?;
    let victim = daemon.pid().context("the daemon runs")?;
    let dying = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(120)).await;
        // One that is dead already was killed by somebody else.
        let _ = child::kill(victim);
    });
    // The second half goes on while the daemon dies: what gets no answer is sent again, as it was.
    send(&mut shop, TRACES / 2..TRACES, &bar).await?;
    bar.finish_and_clear();
    dying.await?;
    daemon.wait_successor(victim).await?;
    let (found, traces) = daemon.two_numbers(COUNT).await?;
    let (again, acknowledged) = (shop.again, shop.acknowledged);
    tell(format_args!(
        "   killed; {again} exports got no answer and were sent again; {acknowledged} spans were acknowledged"
    ))?;
    tell(format_args!("   {acknowledged} acknowledged, {found} found in {traces} traces: none lost, none twice"))?;
    ensure!(found >= acknowledged, "{} acknowledged spans are lost", acknowledged - found);
    ensure!(found == acknowledged, "{} spans are stored twice", found - acknowledged);
    Ok(daemon)
}

async fn send(shop: &mut Shop, traces: std::ops::Range<u64>, bar: &ProgressBar) -> anyhow::Result<()> {
    for index in traces {
        shop.export(index).await?;
        bar.set_position(index + 1);
    }
    Ok(())
}

fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("   {bar:30} {pos}/{len} traces").unwrap_or(ProgressStyle::default_bar());
    ProgressBar::new(TRACES).with_style(style)
}

/// A step that begins.
fn say(what: &str) -> Result<(), Failure> {
    tell(format_args!("\n{what}"))
}

/// A line; output of children comes behind it. Where nobody reads any more the demo goes on: its exit code tells.
///
/// Errors: it cannot be written (74).
fn tell(line: impl Display) -> Result<(), Failure> {
    print(&format!("{line}\n")).map(|_| ())
}
