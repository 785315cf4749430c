//! `weavergen demo`: the main job on an embedded store, with nothing to install.
//!
//! Duty: start a daemon on free ports, send a seeded shop through OpenTelemetry's own exporter, ask SQL, kill the daemon
//! in the middle and show that nothing acknowledged is lost. Guarantee: every number shown comes from a query; what was
//! acknowledged is counted on the sender's side and compared. Left to others: all of the work (`run`, `sql`).

mod child;
mod shop;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use super::exit::Exit;
use child::Daemon;
use shop::Shop;

const TRACES: u64 = 600;

/// Show the main job: spans in, durable, SQL out
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Leave the daemon and its folder, and print how to connect
    #[arg(long)]
    pub keep: bool,
    /// Folder for the data [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The same seed gives the same shop
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

const OPERATIONS: &str = "SELECT service_name AS service, name AS operation, count(*) AS calls, \
    count(*) FILTER (WHERE status_code = 'error') AS errors, round(p50(duration_ms), 1) AS p50_ms, \
    round(p95(duration_ms), 1) AS p95_ms, round(p99(duration_ms), 1) AS p99_ms \
    FROM spans WHERE resource['service.namespace'] = 'shop' AND is_entry GROUP BY 1, 2 ORDER BY calls DESC LIMIT 10";
const SLOWEST: &str = "SELECT service_name AS service, name, kind, round(duration_ms, 1) AS ms, status_code AS status, \
    attributes['http.route'] AS route, attributes['rpc.method'] AS rpc FROM spans WHERE trace_id = (\
    SELECT trace_id FROM traces WHERE root_service = 'frontend' ORDER BY trace_duration_ns DESC LIMIT 1) \
    ORDER BY start_time";
const COUNT: &str = "SELECT count(*), count(DISTINCT trace_id) FROM spans WHERE resource['service.namespace'] = 'shop'";

/// Runs the demo: [`Exit::Good`] when every acknowledged span was found.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let began = Instant::now();
    let temporary = args.data.is_none();
    let data = match &args.data {
        Some(dir) => dir.clone(),
        None => std::env::temp_dir().join(format!("weavergen-demo-{}", std::process::id())),
    };
    if data.join("VERSION").exists() {
        bail!("{} holds data already: give --data a new folder", data.display());
    }
    std::fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;

    say("1. a daemon starts on free ports");
    let daemon = Daemon::start(&data).await?;
    println!("   OTLP {} · API {} · data {}", daemon.grpc()?, daemon.api()?, data.display());

    say("2. a shop of 7 services sends spans through OpenTelemetry's own exporter over gRPC");
    let mut shop = Shop::open(&daemon.grpc()?, args.seed)?;
    let bar = progress();
    send(&mut shop, 0..TRACES / 2, &bar).await?;
    bar.suspend(|| println!("   {} spans are acknowledged", shop.acknowledged));

    bar.suspend(|| say("3. SQL over them"));
    bar.suspend(|| daemon.show(OPERATIONS))?;

    bar.suspend(|| say("4. kill -9 in the middle of the load"));
    // The second half goes on while the daemon dies: what fails then was never acknowledged.
    let dying = tokio::spawn({
        let victim = daemon.pid();
        async move {
            tokio::time::sleep(Duration::from_millis(120)).await;
            child::kill(victim)
        }
    });
    let cut = send(&mut shop, TRACES / 2..TRACES, &bar).await;
    bar.finish_and_clear();
    dying.await??;
    daemon.reap();
    let told = if cut.is_err() { "an export got no answer, so the shop stopped" } else { "all exports were answered" };
    println!("   killed; {told}; {} spans were acknowledged in all", shop.acknowledged);

    say("5. it starts again: the log is replayed");
    let daemon = Daemon::start(&data).await?;
    daemon.wait_ready().await?;
    let (found, traces) = daemon.two_numbers(COUNT).await?;
    println!("   {} acknowledged, {found} found in {traces} traces", shop.acknowledged);
    // A request whose answer the kill cut off may be stored too: at most the spans that were in flight.
    ensure!(found >= shop.acknowledged, "{} acknowledged spans are lost", shop.acknowledged - found);
    ensure!(found <= shop.acknowledged + shop.in_flight, "more spans are stored than were sent");

    say("6. the slowest trace, span by span");
    daemon.show(SLOWEST)?;
    println!("\nEvery acknowledged span is there. Done in {:.1} s.", began.elapsed().as_secs_f64());
    finish(daemon, args.keep, temporary, &data)?;
    Ok(Exit::Good)
}

fn finish(daemon: Daemon, keep: bool, temporary: bool, data: &std::path::Path) -> anyhow::Result<()> {
    if keep {
        let (api, grpc) = (daemon.api()?, daemon.grpc()?);
        println!("\nIt stays up (process {}):\n  export OTEL_EXPORTER_OTLP_ENDPOINT={grpc}", daemon.pid());
        println!(
            "  weavergen sql --url {api} \"SELECT name, duration_ms FROM spans ORDER BY duration_ns DESC LIMIT 5\""
        );
        println!("  open {api}\n  kill {}    # to end it; its data is in {}", daemon.pid(), data.display());
        daemon.detach();
        return Ok(());
    }
    daemon.stop()?;
    if temporary {
        // A folder that is left over harms nobody.
        let _ = std::fs::remove_dir_all(data);
    }
    Ok(())
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

fn say(what: &str) {
    println!("\n{what}");
    // Output of children comes behind ours.
    let _ = std::io::stdout().flush();
}
