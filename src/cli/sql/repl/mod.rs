//! The shell that people type at.
//!
//! Duty: prompt, run, prompt again. Guarantee: Ctrl-C stops the statement that runs, or clears the one that is typed, and
//! never ends the shell; a failure is told and the shell goes on. Left to others: what is typed (`split`, `meta`), the
//! terminal (`editor`), running (`shell`).

pub(super) mod complete;
mod editor;
pub(super) mod meta;
mod names;
pub(super) mod split;

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use super::Failure;
use super::call::Call;
use super::shell::{Next, Shell};
use editor::{Editor, Typed};
use names::Live;
use split::Item;

/// Runs until `\q` or Ctrl-D; what is typed is kept in `history`.
///
/// Errors: the terminal cannot be used.
pub(super) async fn run(mut shell: Shell, history: &Path) -> Result<(), Failure> {
    shell.progress = true;
    let names = Arc::new(Live::new(shell.session.clone(), shell.library.names()));
    names.refresh();
    let mut editor = Editor::start(history, names.clone())?;
    eprintln!("{}: statements end with `;`, `.help` lists the commands, Ctrl-D ends", shell.session.shown());
    loop {
        let text = match editor.line().await? {
            Typed::Text(text) => text,
            Typed::Cleared => continue,
            Typed::End => break,
        };
        // As people end other shells.
        if matches!(text.trim().trim_end_matches(';').trim_end(), "exit" | "quit") {
            break;
        }
        for item in split::all(&text) {
            match one(&mut shell, item).await {
                Ok(Next::Go) => {}
                Ok(Next::Quit) => return close(shell),
                Err(failure) => {
                    eprintln!("error: {failure}");
                    break;
                }
            }
        }
        names.refresh();
    }
    close(shell)
}

/// Runs one until it ends, or Ctrl-C.
async fn one(shell: &mut Shell, item: Item) -> Result<Next, Failure> {
    let call = match item {
        Item::Meta(line) => Call::Meta(line),
        Item::Sql(sql) => Call::plain(sql, serde_json::Map::new()),
    };
    let mut out = io::BufWriter::new(io::stdout());
    tokio::select! {
        done = shell.call(&call, 0, &mut out) => done,
        _ = tokio::signal::ctrl_c() => {
            // Its rows are dropped here, which stops it: the daemon sees the connection go.
            eprintln!("stopped");
            Ok(Next::Go)
        }
    }
}

/// What `.output` wrote is whole.
fn close(mut shell: Shell) -> Result<(), Failure> {
    match shell.target.take() {
        Some((path, mut file)) => {
            file.flush().map_err(|error| Failure::Write(format!("cannot write {}: {error}", path.display())))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
