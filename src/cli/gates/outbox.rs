//! `weavergen gates outbox`: messages to receivers that wait or were given up (gates.md 12).
//!
//! Duty: list them, and have one that was given up tried again. Guarantee: listing shows all, however many. Left to others:
//! the work (the daemon).

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use clap::Subcommand;
use serde_json::Value;

use crate::cli::exit::Exit;
use crate::cli::output::{self, Output};
use crate::cli::sql::Failure;
use crate::cli::sql::ask::{Daemon, Target};
use crate::clock::Clock;

const PATH: &str = "/api/v1/gates/outbox";
/// Columns that are numbers, then those that are text; as the daemon names them.
const NUMBERS: [&str; 2] = ["id", "attempts"];
const COLUMNS: [&str; 10] =
    ["id", "receiver", "transition", "status", "level", "written", "attempts", "next_try", "dead", "line"];

/// Flags of `gates outbox`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// What to do with one.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How the daemon is asked.
    #[command(flatten)]
    pub asked: super::Asked,
}

/// Subcommands of `gates outbox`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Try a message again that was given up; it gets a new number
    Retry(Retry),
}

/// Flags of `gates outbox retry`.
#[derive(Debug, clap::Args)]
pub struct Retry {
    /// Its number, as `gates outbox` shows it
    #[arg(value_name = "ID")]
    pub id: u64,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Exit 0; 1 if the message cannot be tried again.
///
/// Errors: the daemon cannot be asked.
pub(super) async fn run(args: Args, data_folder: PathBuf, clock: &Clock) -> Result<Exit, Failure> {
    let written = match args.command {
        Some(Command::Retry(Retry { id, daemon })) => {
            let answer = daemon.target(data_folder)?.call(&format!("{PATH}/{id}/retry")).await?;
            writeln!(io::stdout(), "message {id} waits again, as {}", answer["id"]).map_err(Failure::from)
        }
        None => {
            let rows = batch(&all(&args.asked.daemon.target(data_folder)?).await?);
            let (output, mut out) = (Output::chosen(args.asked.output), io::BufWriter::new(io::stdout()));
            output::write(output, &rows.schema(), std::slice::from_ref(&rows), clock, &mut out)
        }
    };
    match written {
        // The reader of a pipe had enough.
        Err(Failure::Pipe) => Ok(Exit::Good),
        written => written.map(|()| Exit::Good),
    }
}

async fn all(target: &Target) -> Result<Vec<Value>, Failure> {
    let mut messages = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let query: Vec<(&str, &str)> = after.iter().map(|after| ("after", after.as_str())).collect();
        let mut answer = target.look(PATH, &query).await?;
        if let Some(Value::Array(more)) = answer.get_mut("messages").map(Value::take) {
            messages.extend(more);
        }
        match answer.get("next").and_then(Value::as_str) {
            Some(next) => after = Some(next.to_owned()),
            None => return Ok(messages),
        }
    }
}

fn batch(messages: &[Value]) -> RecordBatch {
    let column = |name: &&str| -> (Field, ArrayRef) {
        let values = messages.iter().map(|message| &message[*name]);
        match NUMBERS.contains(name) {
            true => (
                Field::new(*name, DataType::UInt64, true),
                Arc::new(values.map(Value::as_u64).collect::<UInt64Array>()),
            ),
            false => {
                (Field::new(*name, DataType::Utf8, true), Arc::new(values.map(Value::as_str).collect::<StringArray>()))
            }
        }
    };
    let (fields, columns): (Vec<_>, Vec<_>) = COLUMNS.iter().map(column).unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("the arrays are those of the schema")
}
