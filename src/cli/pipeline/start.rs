//! `weavergen pipeline run` (bpmn.md 17).
//!
//! Duty: start a run, and with `--wait` follow it to its end. Guarantee: with `--key`, the command can be repeated: one
//! key starts one run. Left to others: the run (`engine`).

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::daemon::{Daemon, Row, call, rows};
use super::{Format, print};
use crate::cli::exit::{Exit, Failure};
use crate::cli::sql::ask::Target;

/// First and longest time between two looks at a run.
const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Flags of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Process to start
    #[arg(value_name = "ID")]
    pub process: String,
    /// A version other than the one in force
    #[arg(long, value_name = "N")]
    pub version: Option<u32>,
    /// Start event, where there are several
    #[arg(long, value_name = "EL")]
    pub start: Option<String>,
    /// Set a variable; JSON, else text; repeatable
    #[arg(long = "set", value_name = "K=V")]
    pub set: Vec<String>,
    /// JSON object of variables; --set wins
    #[arg(long, value_name = "FILE")]
    pub vars: Option<PathBuf>,
    /// Wait for the end: 0 completed, 1 failed, 3 cancelled, 4 incident
    #[arg(long)]
    pub wait: bool,
    /// Idempotency key: the same key within 24 hours starts nothing more and answers the same run
    #[arg(long, value_name = "K")]
    pub key: Option<String>,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Exit: 0 started, or completed with `--wait`; 1 refused, or failed; 2 usage; 3 cancelled; 4 incident; 69 no daemon; 74
/// `--vars` cannot be read.
pub async fn run(args: Args, data_folder: PathBuf) -> anyhow::Result<Exit> {
    let mut body = json!({ "process_id": args.process, "variables": variables(&args)? });
    if let Some(version) = args.version {
        body["version"] = version.into();
    }
    if let Some(start) = &args.start {
        body["start"] = start.as_str().into();
    }
    let target = args.daemon.target(data_folder).map_err(Failure::from)?;
    let path = "/api/v1/pipelines/instances";
    let answer = call(&target, path, &body, args.key.as_deref()).await?;
    let run = answer.get("instance").and_then(Value::as_u64);
    let run = run.ok_or_else(|| Failure::new(Exit::Bad, "the daemon's answer names no instance: is it weavergen?"))?;
    let Some((state, code)) = (if args.wait { Some(end(&target, run).await?) } else { None }) else {
        print(&match args.format {
            Format::Json => format!("{}\n", json!({ "run": run })),
            Format::Text => format!("{run}\n"),
        })?;
        return Ok(Exit::Good);
    };
    print(&match args.format {
        Format::Json => format!("{}\n", json!({ "run": run, "state": state, "error_code": code })),
        Format::Text => format!("{run} {state}{}\n", code.map(|code| format!(" {code}")).unwrap_or_default()),
    })?;
    Ok(exit_of(&state))
}

fn exit_of(state: &str) -> Exit {
    match state {
        "completed" => Exit::Good,
        "cancelled" => Exit::NotJudged,
        "incident" => Exit::Warn,
        _ => Exit::Bad,
    }
}

/// Its last state, or `incident` as soon as it has one, and the code of its error.
async fn end(target: &Target, run: u64) -> Result<(String, Option<String>), Failure> {
    let sql = "SELECT state, error_code, incidents FROM pipeline_runs WHERE run = $run";
    let mut wait = LOOK.0;
    loop {
        let found = rows(target, sql, Row::from_iter([("run".to_owned(), run.into())])).await?;
        let row = found.first().ok_or_else(|| Failure::new(Exit::Bad, format!("run {run} is no longer there")))?;
        let text = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
        let state = text("state").unwrap_or_default();
        let incidents = row.get("incidents").and_then(Value::as_i64).unwrap_or(0);
        if state != "running" {
            return Ok((state, text("error_code")));
        }
        if incidents > 0 {
            return Ok(("incident".to_owned(), None));
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LOOK.1);
    }
}

fn variables(args: &Args) -> anyhow::Result<Map<String, Value>> {
    let mut variables = match &args.vars {
        None => Map::new(),
        Some(path) => {
            let name = path.display();
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::new(Exit::Io, format!("--vars {name}: cannot read it: {error}")))?;
            serde_json::from_str(&text)
                .map_err(|error| Failure::new(Exit::Usage, format!("--vars {name}: {error}; write a JSON object")))?
        }
    };
    for pair in &args.set {
        let (name, value) = pair
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| Failure::new(Exit::Usage, format!("--set {pair}: write --set name=value")))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        variables.insert(name.to_owned(), value);
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn given(line: &[&str]) -> anyhow::Result<Map<String, Value>> {
        use clap::Parser as _;
        variables(&Line::try_parse_from([&["run", "p"], line].concat()).unwrap().args)
    }

    #[test]
    fn a_set_value_is_json_or_else_text_and_wins_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("v.json");
        std::fs::write(&file, r#"{"a": 1, "b": {"c": true}}"#).unwrap();
        let file = file.to_str().unwrap();
        let set = ["--vars", file, "--set", "a=[2]", "--set", "d=x=y", "--set", "e="];
        let all = given(&set).unwrap();
        assert_eq!(Value::Object(all), json!({"a": [2], "b": {"c": true}, "d": "x=y", "e": ""}));
    }

    #[test]
    fn what_is_no_variable_is_a_usage_error() {
        for (line, exit) in [
            (["--set", "x"], Exit::Usage),
            (["--set", "=x"], Exit::Usage),
            (["--vars", "/nowhere"], Exit::Io),
            (["--vars", "/dev/null"], Exit::Usage),
        ] {
            assert_eq!(Exit::of(&given(&line).unwrap_err()), exit, "{line:?}");
        }
    }

    #[test]
    fn each_end_has_its_exit_code() {
        let exits = ["completed", "failed", "cancelled", "incident"].map(|state| exit_of(state) as u8);
        assert_eq!(exits, [0, 1, 3, 4]);
    }
}
