//! `weavergen sql`: statements to the daemon or over a data folder (sql.md 9.1).
//!
//! Duty: what to run and how to show it, from the command line: one statement, a file, a named query, standard input, or a
//! shell. Guarantee: rows to stdout or `--out`, everything else to stderr; an answer that breaks off ends with a code other
//! than 0. Left to others: who answers (`session`), one statement after another (`shell`), formats (`output`).

pub mod ask;
mod call;
mod failure;
mod list;
mod offline;
mod progress;
mod repl;
mod rows;
mod session;
mod shell;
mod target;
mod token;

use std::io::{self, IsTerminal as _, Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

pub use failure::Failure;
pub use rows::Rows;

use super::output::Output;
use super::sources::Offline;
use crate::clock::Clock;
use crate::query::functions::time::parse_duration;
use crate::query::library::Library;
use crate::query::{Limits, Params};
use call::Call;
use session::Session;
use shell::Shell;

/// Rows of text formats and boxes without `--limit`, as over HTTP.
const DEFAULT_ROWS: u64 = 10_000;
/// Bytes of text formats: a shell can take more than a page.
pub(super) const MAX_TEXT_BYTES: u64 = 4 << 30;

/// Run SQL: one statement, a file, a named query, or a shell
#[derive(Clone, Debug, Default, clap::Args)]
#[command(group(clap::ArgGroup::new("what").args(["sql", "command", "file", "named", "list"])))]
pub struct Args {
    /// The statement; without one, a shell, or the statements of standard input
    #[arg(value_name = "SQL")]
    pub sql: Option<String>,
    /// The statement, as an option
    #[arg(short = 'c', long = "command", value_name = "SQL", allow_hyphen_values = true)]
    pub command: Option<String>,
    /// Run the statements of this file; `-` is standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Run this query of the library
    #[arg(long, value_name = "QUERY")]
    pub named: Option<String>,
    /// List the queries of the library
    #[arg(long)]
    pub list: bool,
    /// Format of the rows: box on a terminal, else ndjson; with --out, by the ending of its name
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum)]
    pub output: Option<Output>,
    /// Write the rows to this file, which is replaced once all are there
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,
    /// Who answers.
    #[command(flatten)]
    pub source: ask::Source,
    /// How `--data` is read, and where named queries are.
    #[command(flatten)]
    pub offline: Offline,
    /// A value for `$name`; may be given more than once
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// Most rows to return
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Longest time to wait, e.g. 10s
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// Show the plan instead of the rows
    #[arg(long)]
    pub explain: bool,
    /// Tell how long each statement took
    #[arg(long)]
    pub timing: bool,
}

/// What to ask, whoever answers.
#[derive(Debug)]
struct Ask {
    sql: String,
    params: serde_json::Map<String, serde_json::Value>,
    /// Rows to show, where that is bounded; one more is asked for.
    rows: Option<u64>,
    time: Option<Duration>,
}

/// Where the command runs.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Where a local daemon keeps its `run.json` if nothing else is said.
    pub data_folder: PathBuf,
    /// Where the shell keeps what was typed.
    pub history: PathBuf,
    /// The time.
    pub clock: Clock,
}

/// Runs the command.
///
/// Errors: with the exit code of sql.md 9.1: 1 query, 2 usage, 3 limit or timeout, 69 daemon, 74 data folder or file.
pub async fn run(args: Args, surroundings: Surroundings) -> Result<(), Failure> {
    let given = [args.sql.is_some(), args.command.is_some(), args.file.is_some(), args.named.is_some(), args.list];
    if given.contains(&true) {
        return quietly(to(&mut io::BufWriter::new(io::stdout()), args, surroundings, String::new()).await);
    }
    if !io::stdin().is_terminal() {
        return quietly(to(&mut io::BufWriter::new(io::stdout()), args, surroundings, read_stdin()?).await);
    }
    if !io::stdout().is_terminal() || args.out.is_some() {
        let text = "nothing to run: give a statement, -f FILE or --named QUERY; `--list` lists the named ones";
        return Err(Failure::Usage(text.to_owned()));
    }
    let history = surroundings.history.clone();
    repl::run(shell(args, surroundings)?, &history).await
}

/// The reader of a pipe may have had enough.
fn quietly(ran: Result<(), Failure>) -> Result<(), Failure> {
    match ran {
        Err(Failure::Pipe) => Ok(()),
        ran => ran,
    }
}

/// Runs what `args` name, or the statements of `script` if they name nothing, with rows to `out` or `--out`.
async fn to(
    out: &mut (dyn Write + Send),
    args: Args,
    surroundings: Surroundings,
    script: String,
) -> Result<(), Failure> {
    if args.list {
        let (path, chosen) = (args.out.clone(), Output::chosen(args.output));
        let library = library(&args.offline)?;
        let Some(path) = path else { return list::write(&library, chosen, &surroundings.clock, out) };
        let output = Output::of_file(args.output, &path);
        let mut file = target::Replacing::new(&path)?;
        list::write(&library, output, &surroundings.clock, &mut file)?;
        return file.keep();
    }
    if let (Some(output), None, true) = (args.output, &args.out, io::stdout().is_terminal())
        && output.is_binary()
    {
        let text = "these rows are not for a terminal: add --out FILE, or `> FILE`";
        return Err(Failure::Usage(text.to_owned()));
    }
    let calls = calls(&args, &surroundings, script)?;
    let (path, output) = (args.out.clone(), args.output);
    let mut shell = shell(args, surroundings)?;
    let Some(path) = path else { return shell.script(&calls, out).await };
    if let [Call::Statement { .. }] = calls.as_slice() {
        shell.output = Output::of_file(output, &path);
        let mut file = target::Replacing::new(&path)?;
        shell.script(&calls, &mut file).await?;
        return file.keep();
    }
    Err(Failure::Usage(format!("--out takes the rows of one statement, and there are {}", calls.len())))
}

/// What there is to do.
fn calls(args: &Args, surroundings: &Surroundings, script: String) -> Result<Vec<Call>, Failure> {
    let pairs = call::pairs(&args.params)?;
    let now_ns = surroundings.clock.now_ns();
    let explain = |calls: Vec<Call>| match args.explain {
        true => calls.into_iter().map(Call::explained).collect(),
        false => calls,
    };
    if let Some(name) = &args.named {
        let query = library(&args.offline)?.query(name)?;
        return Ok(explain(vec![Call::query(&query, &pairs, now_ns)?]));
    }
    if let Some(sql) = args.sql.as_ref().or(args.command.as_ref()) {
        return Ok(explain(vec![Call::plain(sql.clone(), call::typed(&pairs)?)]));
    }
    let (shown, text) = match &args.file {
        None => ("standard input".to_owned(), script),
        Some(path) if path.as_os_str() == "-" => ("standard input".to_owned(), read_stdin()?),
        Some(path) => (path.display().to_string(), read(path)?),
    };
    call::script(&shown, text, &pairs, now_ns).map(explain)
}

fn shell(args: Args, surroundings: Surroundings) -> Result<Shell, Failure> {
    let ask::Source { url, data, token_file } = args.source;
    let library = library(&args.offline)?;
    let clock = surroundings.clock;
    let session = match data {
        Some(dir) => Session::folder(dir, args.offline, clock.clone()),
        None => Session::daemon(ask::Target::of(url, token_file, &surroundings.data_folder)?),
    };
    Ok(Shell {
        session: std::sync::Arc::new(session),
        library,
        clock,
        output: Output::chosen(args.output),
        expanded: false,
        timing: args.timing,
        limit: args.limit,
        time: args.timeout.as_deref().map(time).transpose()?,
        target: None,
        progress: false,
    })
}

/// The compiled-in queries, with those of `queries.dir` over them.
fn library(offline: &Offline) -> Result<Library, Failure> {
    Ok(Library::shipped(offline.queries_dir()?))
}

fn read(path: &Path) -> Result<String, Failure> {
    let why = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => format!("there is no file {}; correct its path", path.display()),
        io::ErrorKind::InvalidData => format!("{} is not UTF-8 text; save it as UTF-8", path.display()),
        _ => format!("cannot read {}: {error}", path.display()),
    };
    std::fs::read_to_string(path).map_err(|error| Failure::Data(why(error)))
}

fn read_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    match io::stdin().read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::Data(format!("cannot read standard input: {error}"))),
    }
}

/// All rows of `sql`, as the daemon at `target` answers it.
pub(super) async fn of_daemon(target: &ask::Target, sql: &str) -> Result<(SchemaRef, Vec<RecordBatch>), Failure> {
    rows_of_daemon(target, sql, serde_json::Map::new()).await
}

/// All rows of `sql` with values for its `$names`, as the daemon at `target` answers it.
pub(super) async fn rows_of_daemon(
    target: &ask::Target,
    sql: &str,
    params: serde_json::Map<String, serde_json::Value>,
) -> Result<(SchemaRef, Vec<RecordBatch>), Failure> {
    let ask = Ask { sql: sql.to_owned(), params, rows: None, time: None };
    let mut rows = ask::run(target, &ask).await?;
    for notice in &rows.notices {
        eprintln!("notice: {notice}");
    }
    let mut batches = Vec::new();
    while let Some(batch) = rows.next().await? {
        batches.push(batch);
    }
    Ok((rows.schema.clone(), batches))
}

impl Ask {
    fn limits(&self) -> Limits {
        Limits { rows: self.rows.map(|rows| rows.saturating_add(1)), bytes: None, time: self.time }
    }

    fn typed(&self) -> Result<Params, Failure> {
        match self.params.is_empty() {
            true => Ok(Params::None),
            false => Ok(Params::from_json(&serde_json::Value::Object(self.params.clone()))?),
        }
    }
}

fn time(text: &str) -> Result<Duration, Failure> {
    let ns = parse_duration(text).and_then(|ns| u64::try_from(ns).ok()).filter(|ns| *ns > 0);
    ns.map(Duration::from_nanos)
        .ok_or_else(|| Failure::Usage(format!("--timeout {text}: it is no duration; write e.g. 500ms, 10s, 2m")))
}

#[cfg(test)]
mod tests;
