//! `weavergen store repair`: a damaged data folder becomes one that a daemon starts on.
//!
//! Duty: run the repair without a daemon, one row a thing that was wrong. Guarantee: exit code 0 if no span was lost by
//! the damage, 1 if some were. Left to others: the repair (`store::repair`).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};

use crate::cli::exit::Exit;
use crate::cli::output::{self, Output};
use crate::cli::sources::Offline;
use crate::cli::sql::Failure;
use crate::clock::Clock;
use crate::config::Assignment;
use crate::disk::Disk;
use crate::store::repair::{Repaired, repair};

/// Flags of `store repair`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Format of the answer: box on a terminal, else ndjson
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum)]
    pub output: Option<Output>,
    /// Data folder to repair, without a daemon on it [default: that of the local daemon]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Configuration of the daemon, where it keeps the parts of the data folder elsewhere
    #[arg(long, value_name = "FILE")]
    pub config: Vec<String>,
    /// Set one key of that configuration, e.g. storage.object_store.url=s3://spans
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<Assignment>,
}

/// Runs the command. Errors: 69 a daemon runs on the folder, or its parts cannot be reached, 74 it is none, or cannot be
/// read or written, 78 its parts are elsewhere.
pub async fn run(args: Args, data_folder: PathBuf, clock: Clock) -> Result<Exit, Failure> {
    let output = Output::chosen(args.output);
    let folder = args.data.unwrap_or(data_folder);
    let config = Offline { config: args.config, set: args.set }.store(&folder)?;
    let repaired = repair(&config, &Disk::Os, &clock).await.map_err(|error| match error {
        crate::store::Error::Locked { .. } => Failure::Daemon(error.to_string()),
        other => Failure::of_folder(&folder, &other),
    })?;
    let text = |name| Field::new(name, DataType::Utf8, false);
    let count = Field::new("lost_spans", DataType::UInt64, false);
    let schema = Arc::new(Schema::new(vec![text("file"), text("problem"), text("done"), count]));
    let of = |cell: fn(&Repaired) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(repaired.iter().map(cell)))
    };
    let columns = vec![
        of(|row| &row.file),
        of(|row| &row.problem),
        of(|row| row.done),
        Arc::new(UInt64Array::from_iter_values(repaired.iter().map(|row| row.lost_spans))),
    ];
    let batch = RecordBatch::try_new(schema.clone(), columns).expect("the arrays are those of the schema");
    output::write(output, &schema, &[batch], &clock, &mut io::BufWriter::new(io::stdout()))?;
    Ok(if repaired.iter().all(|row| row.lost_spans == 0) { Exit::Good } else { Exit::Bad })
}
