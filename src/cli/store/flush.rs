//! `weavergen store flush`: rows in memory become parts now.
//!
//! Duty: `POST /api/v1/store/flush` to the daemon. Guarantee: success means that the parts are durable and named by the
//! manifest. Left to others: the flush itself (`store`).

use std::path::PathBuf;

use crate::cli::output::Output;
use crate::cli::sql::Failure;
use crate::cli::sql::ask::Daemon;
use crate::clock::Clock;

const COLUMNS: [&str; 4] = ["parts", "rows", "manifest_version", "elapsed_ms"];

/// Flags of `store flush`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Format of the answer: box on a terminal, else ndjson
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum)]
    pub output: Option<Output>,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Runs the command. Errors: 69 no daemon, or it cannot flush.
pub async fn run(args: Args, data_folder: PathBuf, clock: Clock) -> Result<(), Failure> {
    let offline = "what its log holds becomes parts after the next start of `weavergen`";
    let row = super::order(args.daemon, data_folder, "/api/v1/store/flush", &COLUMNS, offline).await?;
    super::write(&row, args.output, &clock)
}
