//! `weavergen store compact`: parts are merged now, without the waits of compaction.
//!
//! Duty: `POST /api/v1/store/compact` to the daemon. Guarantee: success means that there is nothing left to merge and
//! that readers see the outputs. Left to others: compaction itself (`store`), rows in memory (`store flush`).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};

use crate::cli::output::{self, Output};
use crate::cli::sql::Failure;
use crate::cli::sql::ask::{Daemon, Target};
use crate::clock::Clock;

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
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Runs the command. Errors: 2 no such hour, 69 no daemon, or it cannot compact.
pub async fn run(args: Args, data_folder: PathBuf, clock: Clock) -> Result<(), Failure> {
    let output = Output::chosen(args.output);
    let Daemon { url, data, token_file } = args.daemon;
    let folder = data.unwrap_or(data_folder);
    if url.is_none() && !folder.join("run.json").exists() {
        return Err(Failure::Daemon(format!(
            "no daemon runs on {}: start `weavergen`, which compacts hours by itself ten minutes after their end; --url \
             names another daemon",
            folder.display()
        )));
    }
    let path = match &args.hour {
        Some(hour) => format!("/api/v1/store/compact?hour={}", query_text(hour)),
        None => "/api/v1/store/compact".to_owned(),
    };
    let answer = Target::of(url, token_file, &folder)?.call(&path).await?;
    let fields = COLUMNS.map(|name| Field::new(name, DataType::UInt64, true));
    let columns = COLUMNS.map(|name| -> ArrayRef {
        Arc::new(UInt64Array::from(vec![answer.get(name).and_then(serde_json::Value::as_u64)]))
    });
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let batch = RecordBatch::try_new(schema.clone(), columns.to_vec()).expect("the arrays are those of the schema");
    output::write(output, &schema, &[batch], &clock, &mut io::BufWriter::new(io::stdout()))
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
