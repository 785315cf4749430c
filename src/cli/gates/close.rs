//! `weavergen gates close` (gates.md 12).
//!
//! Duty: ask the daemon to close the open episode of a key. Guarantee: exit 0 means that it is durable. Left to others: who
//! may, and what follows of it (the daemon).

use std::path::PathBuf;

use serde_json::{Value, json};

use super::sql::ask::Daemon;
use crate::cli::exit::{Exit, Failure};
use crate::cli::lines::print;

/// Flags of `gates close`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the gate
    #[arg(value_name = "GATE")]
    pub gate: String,
    /// Alert key as `gates show` prints it, e.g. service_name=cart; empty for a gate without `by`
    #[arg(long, value_name = "K")]
    pub key: String,
    /// Why it is over: kept in the journal with who closed it
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Exit: 0 closed; 1 no such gate or key, or nothing is open; 2 usage; 69 no daemon, or it could not write.
pub(super) async fn run(args: Args, data_folder: PathBuf) -> anyhow::Result<Exit> {
    if args.reason.trim().is_empty() {
        return Err(Failure::new(Exit::Usage, "a close by hand needs a reason: write --reason TEXT").into());
    }
    // It becomes part of an address.
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !args.gate.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') || !args.gate.chars().all(is_name) {
        let text = format!("there is no gate `{}`; `weavergen gates list` lists them", args.gate);
        return Err(Failure::new(Exit::Bad, text).into());
    }
    let target = args.daemon.target(data_folder).map_err(Failure::from)?;
    let path = format!("/api/v1/gates/{}/close", args.gate);
    let body = json!({ "key": args.key, "reason": args.reason });
    let answered = target.post_json(&path, &body, None).await.map_err(Failure::from)?;
    // Only pipelines refuse with a problem.
    let closed = answered.map_err(|problem| Failure::new(Exit::Bad, problem.to_string()))?;
    let Some(episode) = closed.get("episode").and_then(Value::as_u64) else {
        return Err(Failure::new(Exit::Bad, "the daemon's answer names no episode: is it weavergen?").into());
    };
    print(&format!("closed episode {episode} of {} {}\n", args.gate, args.key))?;
    Ok(Exit::Good)
}
