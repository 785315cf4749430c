//! `weavergen store`: the stored spans as files (storage.md 12.4).
//!
//! Duty: the tree of its commands, one file each. Guarantee: only `flush`, `compact` and `repair` change anything. Left to
//! others: what the files hold (`store`), statements (`sql`).

pub mod compact;
pub mod flush;
pub mod ls;
pub mod repair;
pub mod stats;
pub mod verify;

use std::path::PathBuf;

use clap::Subcommand;

use super::exit::Exit;
use super::output::Output;
use super::sources::Offline;
use super::sql::{self, Failure};
use crate::clock::Clock;

/// List, sum up, check, repair, flush or compact the stored spans
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List parts and log segments
    Ls(Source),
    /// Sum up rows, bytes by column, compression, log, memory and time range
    Stats(Source),
    /// Check manifest, parts, checksum files and log; exit code 1 if something is damaged
    Verify(verify::Args),
    /// Make a damaged folder usable: name parts anew, put what is damaged into quarantine; needs the daemon stopped
    Repair(repair::Args),
    /// Let the daemon write all rows in memory to parts
    Flush(flush::Args),
    /// Let the daemon merge parts now, of one hour or of all
    Compact(compact::Args),
}

/// Where the answer comes from, and its format.
#[derive(Clone, Debug, clap::Args)]
pub struct Source {
    /// Format of the rows: box on a terminal, else ndjson
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum)]
    pub output: Option<Output>,
    /// How `--data` is read.
    #[command(flatten)]
    pub offline: Offline,
    /// Most rows to list
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Who answers.
    #[command(flatten)]
    pub source: sql::ask::Source,
}

impl Source {
    /// Runs `sql` and writes its rows.
    async fn run(self, sql: &str, data_folder: PathBuf, clock: Clock) -> Result<(), Failure> {
        let args = sql::Args {
            sql: Some(sql.to_owned()),
            command: None,
            output: self.output,
            source: self.source,
            params: Vec::new(),
            limit: self.limit,
            timeout: None,
            offline: self.offline,
        };
        sql::run(args, data_folder, clock).await
    }
}

/// Runs the command; `data_folder` is where a local daemon keeps its data if nothing else is said.
///
/// Errors: 1 damage, 2 usage, 69 no daemon, 74 the data folder cannot be read.
pub async fn run(args: Args, data_folder: PathBuf, clock: Clock) -> Result<Exit, Failure> {
    let ran = match args.command {
        Command::Ls(source) => source.run(ls::SQL, data_folder, clock).await.map(|()| Exit::Good),
        Command::Stats(source) => source.run(stats::SQL, data_folder, clock).await.map(|()| Exit::Good),
        Command::Verify(args) => verify::run(args, data_folder, clock).await,
        Command::Repair(args) => repair::run(args, data_folder, clock).await,
        Command::Flush(args) => flush::run(args, data_folder, clock).await.map(|()| Exit::Good),
        Command::Compact(args) => compact::run(args, data_folder, clock).await.map(|()| Exit::Good),
    };
    match ran {
        // The reader of a pipe had enough.
        Err(Failure::Pipe) => Ok(Exit::Good),
        ran => ran,
    }
}
