//! The line editor, on a thread of its own.
//!
//! Duty: prompt, keys, history file, completion, lines that go on until a statement is whole. Guarantee: while a statement
//! runs the terminal is as it was, so Ctrl-C is a signal. Left to others: what completes (`complete`), where a statement
//! ends (`split`).

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Helper};
use tokio::sync::mpsc;

use super::complete::complete;
use super::names::Live;
use super::split::split;
use crate::cli::sql::Failure;

const PROMPT: &str = "weavergen> ";
/// Statements that the history keeps.
const KEPT: usize = 2_000;

/// What came of a prompt.
#[derive(Debug)]
pub(super) enum Typed {
    /// A text that is whole.
    Text(String),
    /// Ctrl-C.
    Cleared,
    /// Ctrl-D.
    End,
}

/// The thread's other end.
#[derive(Debug)]
pub(super) struct Editor {
    prompts: std::sync::mpsc::Sender<()>,
    lines: mpsc::Receiver<Result<Typed, String>>,
}

impl Editor {
    /// Errors: the terminal cannot be used.
    pub(super) fn start(history: &Path, names: Arc<Live>) -> Result<Self, Failure> {
        let (prompts, asked) = std::sync::mpsc::channel();
        let (sender, lines) = mpsc::channel(1);
        let history = history.to_owned();
        let run = move || {
            let mut terminal = match Terminal::open(history, names) {
                Ok(terminal) => terminal,
                Err(why) => {
                    // The shell has ended already if nobody takes it.
                    let _ = sender.blocking_send(Err(why));
                    return;
                }
            };
            while asked.recv().is_ok() {
                if sender.blocking_send(terminal.line()).is_err() {
                    return;
                }
            }
        };
        let started = std::thread::Builder::new().name("editor".to_owned()).spawn(run);
        started.map_err(|error| Failure::Write(format!("cannot start the editor: {error}")))?;
        Ok(Self { prompts, lines })
    }

    /// Prompts, and waits for what is typed.
    pub(super) async fn line(&mut self) -> Result<Typed, Failure> {
        // A thread that has ended has said why.
        let _ = self.prompts.send(());
        match self.lines.recv().await {
            Some(Ok(typed)) => Ok(typed),
            Some(Err(why)) => Err(Failure::Write(format!("the terminal cannot be used: {why}"))),
            None => Ok(Typed::End),
        }
    }
}

struct Terminal {
    editor: rustyline::Editor<Assistant, FileHistory>,
    history: PathBuf,
}

impl Terminal {
    fn open(history: PathBuf, names: Arc<Live>) -> Result<Self, String> {
        let failed = |error: ReadlineError| error.to_string();
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .max_history_size(KEPT)
            .map_err(failed)?
            .history_ignore_dups(true)
            .map_err(failed)?
            .history_ignore_space(true)
            .bracketed_paste(true)
            .build();
        let mut editor = rustyline::Editor::with_config(config).map_err(failed)?;
        editor.set_helper(Some(Assistant { names }));
        if let Some(folder) = history.parent()
            && let Err(error) = std::fs::create_dir_all(folder)
        {
            eprintln!("notice: what is typed is not kept: {}: {error}", folder.display());
        }
        // Absent at the first start.
        let _ = editor.load_history(&history);
        Ok(Self { editor, history })
    }

    fn line(&mut self) -> Result<Typed, String> {
        match self.editor.readline(PROMPT) {
            Ok(text) => {
                if !text.trim().is_empty() && self.editor.add_history_entry(text.trim_end()).is_ok_and(|is_new| is_new)
                {
                    // A shell without a history is still one.
                    let _ = self.editor.append_history(&self.history);
                }
                Ok(Typed::Text(text))
            }
            Err(ReadlineError::Interrupted) => Ok(Typed::Cleared),
            Err(ReadlineError::Eof) => Ok(Typed::End),
            Err(error) => Err(error.to_string()),
        }
    }
}

struct Assistant {
    names: Arc<Live>,
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(complete(line, pos, &self.names.names()))
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = context.input();
        let is_word = matches!(text.trim(), "exit" | "quit");
        Ok(match is_word || split(text).rest.is_empty() {
            true => ValidationResult::Valid(None),
            false => ValidationResult::Incomplete,
        })
    }
}

impl Hinter for Assistant {
    type Hint = String;
}

impl Highlighter for Assistant {
    fn highlight_candidate<'c>(&self, candidate: &'c str, _: CompletionType) -> Cow<'c, str> {
        // An attribute key is a sender's text: it must not reach the terminal as control characters.
        match candidate.chars().any(char::is_control) {
            true => Cow::Owned(candidate.chars().map(|c| if c.is_control() { '�' } else { c }).collect()),
            false => Cow::Borrowed(candidate),
        }
    }
}

impl Helper for Assistant {}
