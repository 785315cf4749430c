//! `weavergen store compact`: parts are merged now, without the waits of compaction.
//!
//! Duty: `POST /api/v1/store/compact` to the daemon, or the same in the folder `--data` if no daemon runs on it. Guarantee:
//! success means that there is nothing left to merge and that readers see the outputs. Left to others: compaction itself
//! (`store`), rows in memory (`store flush`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};

use crate::budget::Budget;
use crate::cli::output::Output;
use crate::cli::sources::Offline;
use crate::cli::sql::Failure;
use crate::cli::sql::ask::Daemon;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::store::{self, alone, is_hour};

const COLUMNS: [&str; 5] = ["added", "removed", "parts", "manifest_version", "elapsed_ms"];

/// Flags of `store compact`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only this hour in UTC, e.g. 2026-11-28T09; without it, all
    #[arg(long, value_name = "YYYY-MM-DDTHH")]
    pub hour: Option<String>,
    /// Format of the answer: box on a terminal, else ndjson
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum)]
    pub output: Option<Output>,
    /// How the folder is read if no daemon runs on it.
    #[command(flatten)]
    pub offline: Offline,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Runs the command. Errors: 2 no such hour, 69 no daemon, or it cannot compact, 74 the folder cannot be read or written.
pub async fn run(args: Args, data_folder: PathBuf, clock: Clock) -> Result<(), Failure> {
    if let Some(folder) = &args.daemon.data
        && let Some(row) = without_daemon(folder, &args, &clock).await?
    {
        return super::write(&row, args.output, &clock);
    }
    let path = match &args.hour {
        Some(hour) => format!("/api/v1/store/compact?hour={}", query_text(hour)),
        None => "/api/v1/store/compact".to_owned(),
    };
    let offline = "--data names a folder to compact without one";
    let row = super::order(args.daemon, data_folder, &path, &COLUMNS, offline).await?;
    super::write(&row, args.output, &clock)
}

/// The answer of a compaction of `folder` here; `None` if a daemon runs on it, which is to be asked.
async fn without_daemon(folder: &Path, args: &Args, clock: &Clock) -> Result<Option<RecordBatch>, Failure> {
    let hour = args.hour.as_deref();
    if let Some(hour) = hour.filter(|hour| !is_hour(hour)) {
        return Err(Failure::Usage(format!("`{hour}` is no hour: write --hour YYYY-MM-DDTHH in UTC")));
    }
    let config = args.offline.store(folder)?;
    let began = Instant::now();
    let done = match alone::compact(&config, &Disk::Os, clock, &Budget::detect(), hour).await {
        Ok(done) => done,
        Err(store::Error::Locked { .. }) => return Ok(None),
        Err(error) => return Err(Failure::of_folder(folder, &error)),
    };
    let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let numbers = [done.added, done.removed, done.parts, done.manifest_version, elapsed_ms];
    let columns = numbers.map(|number| -> ArrayRef { Arc::new(UInt64Array::from(vec![number])) });
    let fields = COLUMNS.map(|name| Field::new(name, DataType::UInt64, true));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    Ok(Some(RecordBatch::try_new(schema, columns.to_vec()).expect("the arrays are those of the schema")))
}

/// `text` as the value of a query parameter.
fn query_text(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let coded = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(coded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_hour_reaches_the_daemon_as_it_was_written() {
        assert_eq!(query_text("2026-11-28T09"), "2026-11-28T09");
        assert_eq!(query_text("a&b=ü +"), "a%26b%3D%C3%BC%20%2B");
    }
}
