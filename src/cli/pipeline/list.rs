//! `weavergen pipeline list` (bpmn.md 17).
//!
//! Duty: runs, newest first, by `pipeline_runs`. Guarantee: values are bound, never pasted. Left to others: the rows
//! (`engine`).

use std::path::PathBuf;

use serde_json::Value;

use super::Format;
use super::daemon::{Daemon, Row, show};
use crate::cli::exit::{Exit, Failure};
use crate::clock::Clock;
use crate::query::functions::time::parse_duration;

/// Runs that are listed at most.
const MOST: usize = 1_000;

/// Flags of `list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only runs in this state
    #[arg(long, value_enum, value_name = "STATE")]
    pub state: Option<State>,
    /// Only runs of this process
    #[arg(long, value_name = "ID")]
    pub process: Option<String>,
    /// Only runs that started since, e.g. 1h or 2025-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Form of the answer: text is a box on a terminal, else a row a line
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// `--state`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum State {
    /// Live
    Running,
    /// Its last token ended
    Completed,
    /// An error nothing caught
    Failed,
    /// By an operator
    Cancelled,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Exit: 0 done, 2 `--since` is no time, 69 no daemon.
pub async fn run(args: Args, data_folder: PathBuf, clock: &Clock) -> anyhow::Result<Exit> {
    let asked = statement(&args, clock.now_ns()).map_err(|text| Failure::new(Exit::Usage, text))?;
    let target = args.daemon.target(data_folder).map_err(Failure::from)?;
    show(&target, asked, (args.format, "runs"), clock).await
}

/// The statement and its parameters; the error is one sentence.
fn statement(args: &Args, now_ns: i64) -> Result<(String, Row), String> {
    let mut params = Row::new();
    let mut filters = Vec::new();
    if let Some(state) = args.state {
        filters.push("state = $state");
        params.insert("state".to_owned(), state.as_str().into());
    }
    if let Some(process) = &args.process {
        filters.push("process_id = $process");
        params.insert("process".to_owned(), process.clone().into());
    }
    if let Some(since) = &args.since {
        filters.push("started_at >= CAST($since AS TIMESTAMP)");
        params.insert("since".to_owned(), Value::from(instant(since, now_ns)?));
    }
    let filter = if filters.is_empty() { String::new() } else { format!(" WHERE {}", filters.join(" AND ")) };
    let sql = format!(
        "SELECT run, process_id, version, state, error_code, started_at, ended_at, gate, key, episode, incidents \
         FROM pipeline_runs{filter} ORDER BY started_at DESC, run DESC LIMIT {MOST}"
    );
    Ok((sql, params))
}

/// RFC 3339 of an instant, or of so long ago.
pub(in crate::cli) fn instant(text: &str, now_ns: i64) -> Result<String, String> {
    let ago = parse_duration(text).map(|ago| jiff::Timestamp::from_nanosecond(i128::from(now_ns) - i128::from(ago)));
    let at = match ago {
        Some(at) => at.ok(),
        None => text.parse::<jiff::Timestamp>().ok(),
    };
    let at = at.ok_or_else(|| {
        format!("--since {text}: write a duration, e.g. 1h, or an instant, e.g. 2025-01-01T00:00:00Z")
    })?;
    Ok(at.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_735_689_600_000_000_000;

    #[test]
    fn since_is_a_duration_or_an_instant() {
        assert_eq!(instant("1h", NOW).unwrap(), "2024-12-31T23:00:00Z");
        assert_eq!(instant("2025-01-01T01:00:00+01:00", NOW).unwrap(), "2025-01-01T00:00:00Z");
        assert!(instant("yesterday", NOW).unwrap_err().contains("--since yesterday"));
    }

    #[test]
    fn values_are_bound_and_never_pasted() {
        let args = Args {
            state: Some(State::Failed),
            process: Some("x' OR 1=1".to_owned()),
            since: Some("1h".to_owned()),
            format: Format::Text,
            daemon: Daemon { url: None, data: None, token_file: None },
        };
        let (sql, params) = statement(&args, NOW).unwrap();
        assert!(!sql.contains("OR 1=1"), "{sql}");
        assert!(sql.contains("WHERE state = $state AND process_id = $process AND started_at >= "), "{sql}");
        assert_eq!((&params["process"], &params["state"]), (&json!("x' OR 1=1"), &json!("failed")));
    }
}
