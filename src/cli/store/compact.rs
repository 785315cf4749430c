//! `weavergen store compact`: parts are merged now, without the waits of compaction.
//!
//! Duty: `POST /api/v1/store/compact` to the daemon. Guarantee: success means that there is nothing left to merge and
//! that readers see the outputs. Left to others: compaction itself (`store`), rows in memory (`store flush`).

use std::path::PathBuf;

use crate::cli::output::Output;
use crate::cli::sql::Failure;
use crate::cli::sql::ask::Daemon;
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
    let path = match &args.hour {
        Some(hour) => format!("/api/v1/store/compact?hour={}", query_text(hour)),
        None => "/api/v1/store/compact".to_owned(),
    };
    let offline = "start `weavergen`, which compacts hours by itself ten minutes after their end";
    let row = super::order(args.daemon, data_folder, &path, &COLUMNS, offline).await?;
    super::write(&row, args.output, &clock)
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
