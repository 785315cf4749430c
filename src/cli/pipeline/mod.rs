//! `weavergen pipeline`: check, export, deploy, run and show BPMN pipelines (bpmn.md 17).
//!
//! Duty: the tree of commands and how they read files. Guarantee: `check` and `export FILE` need no daemon; stdout
//! carries data only. Left to others: the rules (`bpmn`), the running (`engine`).

mod check;
pub(super) mod daemon;
mod deploy;
mod export;
pub(super) mod list;
mod show;
mod start;

use std::path::{Path, PathBuf};

use super::exit::{Exit, Failure};
use super::lines::print;
use crate::clock::Clock;
use crate::engine::job::schema;
use crate::engine::source::{Source, files_below};

/// `weavergen pipeline …`
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Say what is wrong with BPMN files; needs no daemon
    Check(check::Args),
    /// Put BPMN files in force, all or none
    Deploy(deploy::Args),
    /// Start a run
    Run(start::Args),
    /// List runs, newest first
    List(list::Args),
    /// Show a run: its steps and incidents
    Show(show::Args),
    /// Draw a BPMN file or a run, or print what a file holds
    Export(export::Args),
}

/// `--format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// Runs the command; `data_folder` is where a local daemon keeps its `run.json` if nothing else is said. Exit: as the
/// command's file says.
pub async fn run(command: Command, data_folder: PathBuf, clock: &Clock) -> anyhow::Result<Exit> {
    match command {
        Command::Check(args) => check::run(&args, clock),
        Command::Deploy(args) => deploy::run(args, data_folder).await,
        Command::Run(args) => start::run(args, data_folder).await,
        Command::List(args) => list::run(args, data_folder, clock).await,
        Command::Show(args) => show::run(args, data_folder).await,
        Command::Export(args) => export::run(args, data_folder).await,
    }
}

/// What lint is told at a desk, where no daemon says which gates or workers there are.
fn registry(clock: &Clock) -> bpmn::lint::Registry {
    bpmn::lint::Registry { now_ms: Some(clock.now_ns() / 1_000_000), ..schema::lint_registry(Vec::new(), None) }
}

/// The files that `paths` name: files as given, folders by their `*.bpmn`; each once, and one sentence a path that could
/// not be read.
fn read_all(paths: &[PathBuf]) -> (Vec<Source>, Vec<String>) {
    let (mut sources, mut unreadable) = (Vec::new(), Vec::new());
    let mut seen = std::collections::BTreeSet::new();
    for path in paths {
        let found = match files_of(path) {
            Ok(found) => found,
            Err(why) => {
                unreadable.push(why);
                continue;
            }
        };
        for path in found {
            if !seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
                continue;
            }
            match Source::read(&path, path.display().to_string()) {
                Ok(source) => sources.push(source),
                Err(error) => unreadable.push(format!("cannot read {}: {error}; check the path", path.display())),
            }
        }
    }
    (sources, unreadable)
}

fn files_of(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let found = files_below(path).map_err(|(at, error)| format!("cannot read the folder {}: {error}", at.display()))?;
    if found.is_empty() {
        return Err(format!("there is no .bpmn file below {}; name a file or another folder", path.display()));
    }
    Ok(found.into_iter().collect())
}

/// Tells each on stderr and gives the failure that ends the command.
fn cannot_read(unreadable: &[String]) -> Failure {
    Failure::new(Exit::Io, unreadable.join("\n"))
}

/// `text` without what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
