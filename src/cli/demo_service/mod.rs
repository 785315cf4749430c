//! `weavergen demo-service`: one service of the demo's shop, as a process of its own.
//!
//! Duty: do the shop's work in real time and tell of it by OpenTelemetry's SDK, with exactly the attributes that the
//! instrumentation file names. Guarantee: the file is read once, at start, so only a restart changes the telemetry; an
//! export that was not acknowledged is sent again. Left to others: who starts it again (`demo`), the file (`generate`).

mod export;
mod instrumentation;
mod keeping;
mod work;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::exit::{Exit, Failure};
use super::lines::print;
use crate::clock::Clock;
use crate::config::Environment;
use export::Exporter;
use instrumentation::Instrumentation;
use keeping::Kept;
use work::Work;

/// Between two exports.
const EXPORT_EVERY: Duration = Duration::from_millis(200);
/// How long a run of `--traces` waits for its last acknowledgement, and a restart for its first.
const PATIENCE: Duration = Duration::from_secs(10);

/// One service of the demo's shop
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which service: frontend, catalog, cart, checkout, payment, shipping or email
    #[arg(long, value_name = "S", required_unless_present = "restart")]
    pub name: Option<String>,
    /// Which attributes its spans get
    #[arg(long, value_name = "FILE", required_unless_present = "restart")]
    pub instrumentation: Option<PathBuf>,
    /// OTLP/gRPC endpoint [default: $OTEL_EXPORTER_OTLP_ENDPOINT]
    #[arg(long, value_name = "E")]
    pub endpoint: Option<String>,
    /// Work for so many traces and end [default: until told to]
    #[arg(long, value_name = "N")]
    pub traces: Option<u64>,
    /// One more resource attribute
    #[arg(long, value_name = "K=V", value_parser = pair)]
    pub resource: Vec<(String, String)>,
    /// Folder where a running service leaves its process id
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// The same seed gives the same shop, over all of its services
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Tell the running service S to end; 0 when its keeper has started it again and it was heard
    #[arg(long, value_name = "S", conflicts_with_all = ["name", "instrumentation", "traces"], requires = "run_dir")]
    pub restart: Option<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    if key.is_empty() { Err("the key is empty".to_owned()) } else { Ok((key.to_owned(), value.to_owned())) }
}

/// Runs the service, or restarts it: [`Exit::Good`] when every span was acknowledged, or the new process was heard.
pub async fn run(args: Args, clock: &Clock) -> anyhow::Result<Exit> {
    if let Some(name) = &args.restart {
        let folder = args.run_dir.as_deref().context("--restart needs --run-dir")?;
        return keeping::restart(folder, name, PATIENCE).await;
    }
    let name = args.name.context("--name says which service")?;
    let file = args.instrumentation.context("--instrumentation names the file")?;
    let instrumentation = Instrumentation::read(&file, &name).map_err(|problem| Failure::new(Exit::Config, problem))?;
    let endpoint = match args.endpoint.or_else(|| Environment::of_process().otlp_endpoint) {
        Some(endpoint) => endpoint,
        None => bail!("--endpoint says where the spans go"),
    };
    let work = Work::of(&name, args.seed, instrumentation)
        .with_context(|| format!("the shop has no service \"{name}\"; it has {}", work::names().join(", ")))?;
    let exporter = Exporter::open(&endpoint, work.resource(), &args.resource)?;
    match args.traces {
        Some(traces) => sandbox(work, exporter, traces, clock).await,
        None => {
            let kept = args.run_dir.map(|folder| Kept::begin(&folder, &name)).transpose()?;
            serve(work, exporter, kept, clock).await
        }
    }
}

/// Works for `traces` traces in real time, so that their spans are newer than this process.
async fn sandbox(mut work: Work, mut exporter: Exporter, traces: u64, clock: &Clock) -> anyhow::Result<Exit> {
    work.take(traces, clock.now_ns());
    let mut patience = PATIENCE;
    while !(work.is_done() && exporter.is_idle()) {
        tokio::time::sleep(EXPORT_EVERY).await;
        exporter.export(work.ended(clock.now_ns())).await;
        if work.is_done() {
            patience = patience.saturating_sub(EXPORT_EVERY);
        }
        if patience.is_zero() {
            eprintln!("error: {} spans were not acknowledged in {} s", exporter.waiting(), PATIENCE.as_secs());
            return Ok(Exit::Bad);
        }
    }
    print(&format!("{traces} traces, {} spans acknowledged\n", exporter.acknowledged()))?;
    Ok(Exit::Good)
}

/// Works until told to end; what has ended by then is sent first.
async fn serve(mut work: Work, mut exporter: Exporter, kept: Option<Kept>, clock: &Clock) -> anyhow::Result<Exit> {
    let stop = crate::app::signals()?;
    work.open(clock.now_ns());
    let mut heard = false;
    loop {
        let last = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(EXPORT_EVERY) => false,
        };
        exporter.export(work.ended(clock.now_ns())).await;
        if !heard && exporter.acknowledged() > 0 {
            heard = true;
            if let Some(kept) = &kept {
                kept.heard()?;
            }
        }
        if last {
            return Ok(Exit::Good);
        }
    }
}
