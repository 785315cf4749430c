//! `weavergen pipeline deploy` (bpmn.md 13, 17).
//!
//! Duty: files to a daemon, which puts all of them in force or none. Guarantee: bytes are sent as they are in the file;
//! `--dry-run` changes nothing. Left to others: all checks (`engine`).

use std::path::PathBuf;

use anyhow::Context as _;
use base64::Engine as _;
use serde_json::{Value, json};

use super::daemon::{Daemon, call};
use super::{Format, cannot_read, print, read_all};
use crate::cli::exit::{Exit, Failure};

/// Flags of `deploy`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files, or folders that hold *.bpmn
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Say what would be done, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Exit: 0 in force, 1 refused, 69 no daemon, 74 a file is unreadable, 78 a file has errors.
pub async fn run(args: Args, data_folder: PathBuf) -> anyhow::Result<Exit> {
    let (sources, unreadable) = read_all(&args.paths);
    if !unreadable.is_empty() {
        return Err(cannot_read(&unreadable).into());
    }
    if let Some((source, bindings)) = sources.iter().find_map(|source| Some((source, source.bindings.as_ref()?))) {
        let text = format!(
            "{}: bindings files are not supported by weavergen yet, and {bindings} is one; write what it binds into the \
             file, and rename it",
            source.name
        );
        return Err(Failure::new(Exit::Config, text).into());
    }
    let file = |source: &crate::engine::source::Source| match std::str::from_utf8(&source.content) {
        Ok(text) => json!({ "name": source.name, "content": text }),
        Err(_) => json!({
            "name": source.name,
            "base64": base64::engine::general_purpose::STANDARD.encode(&source.content),
        }),
    };
    let files: Value = sources.iter().map(file).collect();
    let target = args.daemon.target(data_folder).map_err(Failure::from)?;
    let path = format!("/api/v1/pipelines/deployments{}", if args.dry_run { "?dry_run=true" } else { "" });
    let answer = call(&target, &path, &files, None).await?;
    let text = match args.format {
        Format::Json => serde_json::to_string_pretty(&answer).context("write JSON")? + "\n",
        Format::Text => lines(&answer),
    };
    print(&text)?;
    Ok(Exit::Good)
}

/// A process a line: id, version, hash, outcome.
fn lines(answer: &Value) -> String {
    let deployed = answer.get("deployed").and_then(Value::as_array).into_iter().flatten();
    let line = |one: &Value| {
        let text = |name: &str| one.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
        let version = one.get("version").and_then(Value::as_u64).unwrap_or(0);
        format!("{} {version} {} {}\n", text("process_id"), text("hash"), text("outcome"))
    };
    deployed.map(line).collect()
}
