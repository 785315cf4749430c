//! `weavergen store flush`: rows in memory become parts now.
//!
//! Duty: `POST /api/v1/store/flush` to the daemon. Guarantee: success means that the parts are durable and named by the
//! manifest. Left to others: the flush itself (`store`).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};

use crate::cli::output::{self, Output};
use crate::cli::sql::Failure;
use crate::cli::sql::ask::{Daemon, Target};
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
    let output = Output::chosen(args.output);
    let Daemon { url, data, token_file } = args.daemon;
    let folder = data.unwrap_or(data_folder);
    if url.is_none() && !folder.join("run.json").exists() {
        return Err(Failure::Daemon(format!(
            "no daemon runs on {}: what its log holds becomes parts after the next start of `weavergen`; --url names \
             another daemon",
            folder.display()
        )));
    }
    let answer = Target::of(url, token_file, &folder)?.call("/api/v1/store/flush").await?;
    let fields = COLUMNS.map(|name| Field::new(name, DataType::UInt64, true));
    let columns = COLUMNS.map(|name| -> ArrayRef {
        Arc::new(UInt64Array::from(vec![answer.get(name).and_then(serde_json::Value::as_u64)]))
    });
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let batch = RecordBatch::try_new(schema.clone(), columns.to_vec()).expect("the arrays are those of the schema");
    output::write(output, &schema, &[batch], &clock, &mut io::BufWriter::new(io::stdout()))
}
