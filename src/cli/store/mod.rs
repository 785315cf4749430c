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

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};

use clap::Subcommand;

use super::exit::Exit;
use super::output::{self, Output};
use super::sources::Offline;
use super::sql::ask::{Daemon, Target};
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
    /// List parts, log segments and files of the catalogue
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
            output: self.output,
            source: self.source,
            limit: self.limit,
            offline: self.offline,
            ..sql::Args::default()
        };
        // Only a shell has one.
        let history = PathBuf::new();
        sql::run(args, sql::Surroundings { data_folder, history, clock }).await
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

/// Has the daemon do `path` and takes the numbers `columns` of its answer as one row.
///
/// `offline` is the next move where no daemon runs on the folder. Errors: 69 no daemon, or it cannot do it.
async fn order(
    daemon: Daemon,
    data_folder: PathBuf,
    path: &str,
    columns: &[&str],
    offline: &str,
) -> Result<RecordBatch, Failure> {
    let Daemon { url, data, token_file } = daemon;
    let folder = data.unwrap_or(data_folder);
    if url.is_none() && !folder.join("run.json").exists() {
        return Err(Failure::Daemon(format!(
            "no daemon runs on {}: {offline}; --url names another daemon",
            folder.display()
        )));
    }
    let answer = Target::of(url, token_file, &folder)?.call(path).await?;
    let fields: Vec<_> = columns.iter().map(|name| Field::new(*name, DataType::UInt64, true)).collect();
    let number = |name: &&str| answer.get(*name).and_then(serde_json::Value::as_u64);
    let columns = columns.iter().map(|name| -> ArrayRef { Arc::new(UInt64Array::from(vec![number(name)])) }).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("the arrays are those of the schema"))
}

/// Writes one row to standard output.
fn write(row: &RecordBatch, output: Option<Output>, clock: &Clock) -> Result<(), Failure> {
    let output = Output::chosen(output);
    output::write(output, &row.schema(), std::slice::from_ref(row), clock, &mut io::BufWriter::new(io::stdout()))
}
