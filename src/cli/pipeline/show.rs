//! `weavergen pipeline show` (bpmn.md 17).
//!
//! Duty: one run with its steps as a tree and its open incidents, by the tables. Guarantee: one answer comes from three
//! statements, so a run that moves meanwhile may show a step more than its state says. Left to others: the rows
//! (`engine`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::daemon::{Daemon, Row, rows};
use super::{Format, print, printable};
use crate::cli::exit::{Exit, Failure};
use crate::cli::sql::ask::Target;

/// Flags of `show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Key of a run
    #[arg(value_name = "KEY")]
    pub run: u64,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// A run as the tables have it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Run {
    pub run: Row,
    /// By key: in the order of their activation.
    pub steps: Vec<Row>,
    /// By key.
    pub incidents: Vec<Row>,
}

impl Run {
    /// Asks for the run `key`. Errors: there is none (1), or the daemon's.
    pub(super) async fn of(target: &Target, key: u64) -> Result<Self, Failure> {
        let params = || Row::from_iter([("run".to_owned(), key.into())]);
        let run = rows(target, "SELECT * FROM pipeline_runs WHERE run = $run", params()).await?;
        let none = || Failure::new(Exit::Bad, format!("there is no run {key}; `weavergen pipeline list` lists them"));
        let run = run.into_iter().next().ok_or_else(none)?;
        let steps = "SELECT * FROM pipeline_steps WHERE run = $run ORDER BY element_key";
        let incidents = "SELECT * FROM pipeline_incidents WHERE run = $run ORDER BY incident";
        let (steps, incidents) = (rows(target, steps, params()).await?, rows(target, incidents, params()).await?);
        Ok(Self { run, steps, incidents })
    }
}

/// Exit: 0 done, 1 there is no such run, 69 no daemon.
pub async fn run(args: Args, data_folder: PathBuf) -> anyhow::Result<Exit> {
    let target = args.daemon.target(data_folder).map_err(Failure::from)?;
    let run = Run::of(&target, args.run).await?;
    print(&match args.format {
        Format::Text => run.text(),
        Format::Json => {
            let all = json!({ "run": run.run, "steps": run.steps, "incidents": run.incidents });
            serde_json::to_string_pretty(&all).context("write JSON")? + "\n"
        }
    })?;
    Ok(Exit::Good)
}

fn cell(row: &Row, name: &str) -> String {
    match row.get(name) {
        Some(Value::String(text)) => printable(text),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

impl Run {
    /// Head, steps indented by scope, incidents.
    fn text(&self) -> String {
        let of = |name: &str| cell(&self.run, name);
        let mut text = format!("run {} of {} version {}: {}", of("run"), of("process_id"), of("version"), of("state"));
        if !of("error_code").is_empty() {
            let _ = write!(text, " {}", of("error_code"));
        }
        let _ = write!(text, "\nstarted {}", of("started_at"));
        if !of("ended_at").is_empty() {
            let _ = write!(text, ", ended {}", of("ended_at"));
        }
        if !of("gate").is_empty() {
            let _ = write!(text, "\nby gate {}, key {}, episode {}", of("gate"), of("key"), of("episode"));
        } else if !of("key").is_empty() {
            let _ = write!(text, "\nby message, key {}", of("key"));
        }
        let _ = writeln!(text, "\ntrace {}\n", of("trace_id"));
        let depths = self.depths();
        for step in &self.steps {
            let depth = depths.get(&cell(step, "element_key")).copied().unwrap_or(0);
            text.push_str(&"  ".repeat(depth));
            let _ = write!(text, "{} {} {}", cell(step, "state"), cell(step, "element_type"), cell(step, "element_id"));
            if !cell(step, "name").is_empty() {
                let _ = write!(text, " \"{}\"", cell(step, "name"));
            }
            let attempts = cell(step, "attempts");
            if attempts.parse::<i64>().is_ok_and(|n| n > 1) {
                let _ = write!(text, ", {attempts} attempts");
            }
            let _ = write!(text, ", {}", cell(step, "started_at"));
            if !cell(step, "ended_at").is_empty() {
                let _ = write!(text, " to {}", cell(step, "ended_at"));
            }
            text.push('\n');
        }
        if !self.incidents.is_empty() {
            text.push_str("\nincidents\n");
        }
        for incident in &self.incidents {
            let (of, count) = (|name: &str| cell(incident, name), cell(incident, "count"));
            let _ = write!(text, "{} {} at {}: {}", of("incident"), of("kind"), of("element_id"), of("message"));
            if !of("expression").is_empty() {
                let _ = write!(text, "; expression {}", of("expression"));
            }
            let _ = writeln!(text, "; {count} time{} since {}", if count == "1" { "" } else { "s" }, of("since"));
        }
        text
    }

    /// Element key → how many scopes of the run it lies in, beyond the first.
    fn depths(&self) -> BTreeMap<String, usize> {
        let mut depths: BTreeMap<String, usize> = BTreeMap::new();
        // A scope is activated before what lies in it.
        for step in &self.steps {
            let depth = depths.get(&cell(step, "scope_key")).map_or(0, |outer| outer + 1);
            depths.insert(cell(step, "element_key"), depth);
        }
        depths
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn row(value: Value) -> Row {
        value.as_object().unwrap().clone()
    }

    /// A run with a step in a scope in a scope, and an incident.
    pub(in crate::cli::pipeline) fn sample() -> Run {
        let step = |key: u64, scope: u64, id: &str, state: &str, attempts: u64| {
            row(json!({
                "run": 1, "element_id": id, "element_type": "serviceTask", "name": null, "element_key": key,
                "scope_key": scope, "state": state, "attempts": attempts, "started_at": "2025-01-01T00:00:00Z",
                "ended_at": if state == "active" { Value::Null } else { "2025-01-01T00:00:01Z".into() },
            }))
        };
        Run {
            run: row(json!({
                "run": 1, "process_id": "p", "version": 2, "state": "running", "error_code": null,
                "started_at": "2025-01-01T00:00:00Z", "ended_at": null, "gate": "g", "key": "service=cart",
                "episode": 4, "incidents": 1, "trace_id": "ab",
            })),
            steps: vec![
                step(2, 1, "a", "completed", 1),
                step(3, 1, "sub", "active", 0),
                step(4, 3, "b", "active", 3),
                step(5, 1, "a", "active", 1),
                step(6, 1, "c", "terminated", 1),
            ],
            incidents: vec![row(json!({
                "incident": 9, "element_id": "b", "kind": "job-failed", "message": "no\u{1b}[2J", "expression": "=x",
                "count": 2, "since": "2025-01-01T00:00:02Z",
            }))],
        }
    }

    #[test]
    fn a_run_is_shown_with_its_scopes_attempts_and_incidents() {
        let text = "\
run 1 of p version 2: running
started 2025-01-01T00:00:00Z
by gate g, key service=cart, episode 4
trace ab

completed serviceTask a, 2025-01-01T00:00:00Z to 2025-01-01T00:00:01Z
active serviceTask sub, 2025-01-01T00:00:00Z
  active serviceTask b, 3 attempts, 2025-01-01T00:00:00Z
active serviceTask a, 2025-01-01T00:00:00Z
terminated serviceTask c, 2025-01-01T00:00:00Z to 2025-01-01T00:00:01Z

incidents
9 job-failed at b: no [2J; expression =x; 2 times since 2025-01-01T00:00:02Z
";
        assert_eq!(sample().text(), text);
    }
}
