//! `weavergen learn` (learn.md 6.1).
//!
//! Duty: check pattern files offline; list patterns and tries by the daemon's tables. Guarantee: each estimate is shown
//! with its interval and its n; values are bound, never pasted. Left to others: the checks and the rows (`learn`).

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::Value;

use super::exit::{Exit, Failure};
use super::lines::{Lines, print};
use super::pipeline::Format;
use super::pipeline::daemon::{Row, rows, show};
use super::pipeline::list::instant;
use super::sources;
use super::sql::ask::Daemon;
use crate::clock::Clock;
use crate::gate::scalar::duration_text;
use crate::gate::schema::empty_tables;
use crate::learn::patterns::load::check;
use crate::learn::patterns::{Planner, Request, load};
use crate::semconv;

/// `weavergen learn …`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check pattern files and plan their statements; opens no port and writes nothing
    Check(Check),
    /// List what pattern files found, the surest effect first
    Patterns(Patterns),
    /// List the tries of template variants and what became of them, newest first
    Feedback(Feedback),
}

/// Flags of `learn check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// Pattern files; without them those that run with this configuration
    #[arg(value_name = "FILES")]
    pub files: Vec<PathBuf>,
    /// Where the configuration is.
    #[command(flatten)]
    pub sources: sources::Args,
}

/// Flags of `learn patterns`.
#[derive(Debug, clap::Args)]
pub struct Patterns {
    /// Only rows of this pattern file
    #[arg(long, value_name = "PATTERN")]
    pub pattern: Option<String>,
    /// Only this key, e.g. service_name=checkout
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Only rows that were seen since, e.g. 1h or 2025-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Most rows
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub limit: u32,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Flags of `learn feedback`.
#[derive(Debug, clap::Args)]
pub struct Feedback {
    /// Only tries for this gate
    #[arg(long, value_name = "GATE")]
    pub gate: Option<String>,
    /// Only tries of this pipeline
    #[arg(long, value_name = "ID")]
    pub pipeline: Option<String>,
    /// Form of the answer: text is a box on a terminal, else a row a line
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Exit of `check`: 0 good, 1 problems, 74 a file is unreadable; of the others 0, 2 `--since` is no time, 69 no daemon.
///
/// Errors: the configuration cannot be loaded; the daemon cannot be asked.
pub async fn run(command: Command, data_folder: PathBuf, clock: &Clock) -> anyhow::Result<Exit> {
    match command {
        Command::Check(args) => checked(&args),
        Command::Patterns(args) => {
            let asked = patterns(&args, clock.now_ns()).map_err(|text| Failure::new(Exit::Usage, text))?;
            let target = args.daemon.target(data_folder).map_err(Failure::from)?;
            if args.format == Format::Json {
                return show(&target, asked, (args.format, "rows"), clock).await;
            }
            let found = rows(&target, &asked.0, asked.1).await.map_err(Failure::from)?;
            let text: String = found.iter().map(line).collect();
            print(&text)?;
            Ok(Exit::Good)
        }
        Command::Feedback(args) => {
            let asked = feedback(&args);
            let target = args.daemon.target(data_folder).map_err(Failure::from)?;
            show(&target, asked, (args.format, "rows"), clock).await
        }
    }
}

fn checked(args: &Check) -> anyhow::Result<Exit> {
    let config = args.sources.load()?.config;
    let types = semconv::attribute_types(&config.semconv, config.pipelines_dir.as_deref())?;
    let planner = Planner::new(config.query.with_registry_types(types), empty_tables());
    let retention = config.store.max_age;
    let request = Request { config: &config.learn, queries_dir: config.queries_dir.as_deref(), retention };
    let (loaded, lines) = if args.files.is_empty() {
        let loaded = load(&request, &planner);
        let line = |pattern: &crate::learn::patterns::Pattern| {
            let (every, window) = (duration_text(pattern.every), duration_text(pattern.window));
            format!("{}  every {every}  window {window}  {}", pattern.name, pattern.path)
        };
        let lines: Vec<String> = loaded.patterns.iter().map(line).collect();
        (loaded, lines)
    } else {
        (check(&args.files, &request, &planner), Vec::new())
    };
    for problem in &loaded.problems {
        eprintln!("{problem}");
    }
    // A folder opens, too, and is still no file that can be read: what reading came to decides.
    if loaded.is_unread {
        return Ok(Exit::Io);
    }
    if loaded.has_errors() {
        return Ok(Exit::Bad);
    }
    let mut out = Lines::stdout();
    for line in lines {
        if !out.put(line)? {
            break;
        }
    }
    Ok(Exit::Good)
}

/// The statement of `learn patterns`; the error is one sentence.
fn patterns(args: &Patterns, now_ns: i64) -> Result<(String, Row), String> {
    let mut params = Row::new();
    let mut filters = Vec::new();
    for (column, value) in [("pattern", &args.pattern), ("key", &args.key)] {
        if let Some(value) = value {
            filters.push(format!("{column} = ${column}"));
            params.insert(column.to_owned(), value.clone().into());
        }
    }
    if let Some(since) = &args.since {
        filters.push("last_seen >= CAST($since AS TIMESTAMP)".to_owned());
        params.insert("since".to_owned(), Value::from(instant(since, now_ns)?));
    }
    let sql = format!(
        "SELECT pattern, key, effect, effect_low, effect_high, effect_kind, support, n, rest_support, rest_n, windows, \
         first_seen, last_seen, trace_ids, labels, evidence FROM learned_patterns{} ORDER BY pattern, effect_low DESC \
         NULLS LAST, support DESC, key LIMIT {}",
        where_all(&filters),
        args.limit
    );
    Ok((sql, params))
}

/// The statement of `learn feedback`.
fn feedback(args: &Feedback) -> (String, Row) {
    let mut params = Row::new();
    let mut filters = Vec::new();
    for (column, value) in [("gate", &args.gate), ("pipeline", &args.pipeline)] {
        if let Some(value) = value {
            filters.push(format!("{column} = ${column}"));
            params.insert(column.to_owned(), value.clone().into());
        }
    }
    let sql = format!(
        "SELECT at, gate, key, episode, pipeline, run, target, variant, outcome, value_before, value_after, seconds FROM \
         feedback{} ORDER BY at DESC, run DESC",
        where_all(&filters)
    );
    (sql, params)
}

fn where_all(filters: &[String]) -> String {
    if filters.is_empty() { String::new() } else { format!(" WHERE {}", filters.join(" AND ")) }
}

/// A row for people; the estimate as `0.31 (0.24–0.39, n 152)`.
fn line(row: &Row) -> String {
    let text = |column: &str| match row.get(column) {
        Some(Value::String(text)) => text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        Some(Value::Null) | None => "–".to_owned(),
        Some(other) => other.to_string(),
    };
    let number = |column: &str| row.get(column).and_then(Value::as_f64);
    let effect = match (number("effect"), number("effect_low"), number("effect_high")) {
        (Some(effect), Some(low), Some(high)) => format!("{effect:.2} ({low:.2}–{high:.2}, n {})", text("n")),
        _ => format!("– (n {})", text("n")),
    };
    let traces = row.get("trace_ids").and_then(Value::as_array).map_or(0, Vec::len);
    let (pattern, key, kind, support, seen) =
        (text("pattern"), text("key"), text("effect_kind"), text("support"), text("last_seen"));
    format!("{pattern}  {key}  {kind} {effect}  support {support}  last seen {seen}  traces {traces}\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patterns_of(pattern: &str) -> Patterns {
        Patterns {
            pattern: Some(pattern.to_owned()),
            key: None,
            since: Some("1h".to_owned()),
            limit: 5,
            format: Format::Text,
            daemon: Daemon { url: None, data: None, token_file: None },
        }
    }

    #[test]
    fn each_estimate_is_shown_with_its_interval_and_its_n() {
        let row = json!({"pattern": "missing_attribute", "key": "attribute=a\nb", "effect": 0.3114, "effect_low": 0.2431,
            "effect_high": 0.3891, "effect_kind": "share", "support": 47, "n": 152, "last_seen": "2025-01-01T00:00:00Z",
            "trace_ids": ["01", "02"]});
        assert_eq!(
            line(row.as_object().unwrap()),
            "missing_attribute  attribute=a b  share 0.31 (0.24–0.39, n 152)  support 47  last seen \
             2025-01-01T00:00:00Z  traces 2\n"
        );
        let none = json!({"pattern": "p", "key": "k", "effect": null, "effect_low": null, "effect_high": null,
            "effect_kind": "ratio", "support": 1, "n": 2, "last_seen": "t", "trace_ids": []});
        assert!(line(none.as_object().unwrap()).contains("ratio – (n 2)  support 1"), "no data is no number");
    }

    #[test]
    fn values_are_bound_and_never_pasted() {
        let (sql, params) = patterns(&patterns_of("x' OR 1=1"), 1_735_689_600_000_000_000).unwrap();
        assert!(sql.contains("WHERE pattern = $pattern AND last_seen >= CAST($since AS TIMESTAMP) ORDER BY"), "{sql}");
        assert!(sql.ends_with("LIMIT 5") && !sql.contains("OR 1=1"), "{sql}");
        assert_eq!((&params["pattern"], &params["since"]), (&json!("x' OR 1=1"), &json!("2024-12-31T23:00:00Z")));
        let daemon = Daemon { url: None, data: None, token_file: None };
        let of = |gate: Option<&str>| Feedback {
            gate: gate.map(str::to_owned),
            pipeline: None,
            format: Format::Json,
            daemon: daemon.clone(),
        };
        let (sql, params) = feedback(&of(Some("g'")));
        assert!(sql.contains("FROM feedback WHERE gate = $gate ORDER BY at DESC") && params["gate"] == "g'", "{sql}");
        assert!(!feedback(&of(None)).0.contains("WHERE"));
        assert!(
            patterns(&Patterns { since: Some("soon".to_owned()), ..patterns_of("p") }, 0).unwrap_err().contains("soon")
        );
    }
}
