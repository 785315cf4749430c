//! `weavergen sql`: one statement, to the daemon or over a data folder (sql.md 9.1).
//!
//! Duty: statement, parameters and limits from the command line; rows to stdout, everything else to stderr. Guarantee:
//! an answer that breaks off ends with a code other than 0. Left to others: formats (`query::render`, `output`).

pub mod ask;
mod failure;
mod offline;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

pub use failure::Failure;

use super::output::{Output, boxes};
use super::sources::Offline;
use crate::clock::Clock;
use crate::query::functions::time::parse_duration;
use crate::query::render::{Head, Lacks, Renderer, value};
use crate::query::{Answer, Limits, Params, Stats};

/// Rows of text formats and boxes without `--limit`, as over HTTP.
const DEFAULT_ROWS: u64 = 10_000;
/// Bytes of text formats: a shell can take more than a page.
pub(super) const MAX_TEXT_BYTES: u64 = 4 << 30;

/// Run one SQL statement
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The statement
    #[arg(value_name = "SQL", required_unless_present = "command", conflicts_with = "command")]
    pub sql: Option<String>,
    /// The statement, as an option
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    pub command: Option<String>,
    /// Format of the rows: box on a terminal, else ndjson
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum)]
    pub output: Option<Output>,
    /// Who answers.
    #[command(flatten)]
    pub source: ask::Source,
    /// How `--data` is read.
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

/// Where rows come from.
#[derive(Debug)]
pub enum Rows {
    /// The daemon's Arrow stream.
    Daemon(Box<ask::Rows>),
    /// A statement that runs here.
    Offline(Box<Answer>),
}

/// Runs the command; `data_folder` is where a local daemon keeps its `run.json` if nothing else is said.
///
/// Errors: with the exit code of sql.md 9.1: 1 query, 2 usage, 3 limit or timeout, 69 daemon, 74 data folder.
pub async fn run(args: Args, data_folder: PathBuf, clock: Clock) -> Result<(), Failure> {
    let output = Output::chosen(args.output);
    let mut out = io::BufWriter::new(io::stdout());
    match to(&mut out, output, args, data_folder, clock).await {
        // The reader of a pipe had enough.
        Err(Failure::Pipe) => Ok(()),
        outcome => outcome,
    }
}

/// As [`run`], to `out`.
async fn to(
    out: &mut (dyn Write + Send),
    output: Output,
    args: Args,
    data_folder: PathBuf,
    clock: Clock,
) -> Result<(), Failure> {
    let ask = Ask {
        params: params(&args.params)?,
        time: args.timeout.as_deref().map(time).transpose()?,
        rows: args.limit.or((output != Output::Arrow).then_some(DEFAULT_ROWS)),
        sql: args.sql.or(args.command).unwrap_or_default(),
    };
    let sql = ask.sql.clone();
    let ask::Source { url, data, token_file } = args.source;
    let mut rows = match data {
        Some(dir) => Rows::Offline(Box::new(offline::run(&dir, &args.offline, &ask, clock).await?)),
        None => {
            let target = ask::Target::of(url, token_file, &data_folder)?;
            Rows::Daemon(Box::new(ask::run(&target, &ask).await?))
        }
    };
    let most = ask.rows.unwrap_or(u64::MAX);
    let outcome = match output.format() {
        None => boxes::write(&mut rows, most, out).await,
        Some(format) => text(&mut rows, format, most, out).await,
    };
    for notice in rows.notices() {
        eprintln!("notice: {notice}");
    }
    outcome.and_then(|()| Ok(out.flush()?)).map_err(|failure| failure.of(&sql))
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

async fn text(
    rows: &mut Rows,
    format: crate::query::render::Format,
    most: u64,
    out: &mut (dyn Write + Send),
) -> Result<(), Failure> {
    let (schema, query_id, snapshot) = (rows.schema(), rows.query_id(), rows.snapshot());
    let head = Head { query_id: &query_id, snapshot: &snapshot, schema: &schema, max_bytes: MAX_TEXT_BYTES };
    let (mut renderer, bytes) = Renderer::begin(format, false, head)?;
    out.write_all(&bytes)?;
    let (mut left, mut truncated) = (most, false);
    while let Some(batch) = rows.next().await? {
        let batch = rows.shown(&batch);
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(batch.num_rows());
        truncated = take < batch.num_rows();
        left -= take as u64;
        out.write_all(&renderer.rows(&batch.slice(0, take))?)?;
        if truncated || renderer.is_full() {
            break;
        }
    }
    let lacks = Lacks { truncated: truncated || rows.truncated(), incomplete: rows.incomplete() };
    let bytes = renderer.end(rows.stats(), lacks, rows.notices())?;
    out.write_all(&bytes)?;
    if truncated && format == crate::query::render::Format::Csv {
        eprintln!("notice: cut after {most} rows; `--limit` raises it");
    }
    Ok(())
}

impl Rows {
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, Failure> {
        match self {
            Self::Daemon(rows) => rows.next().await,
            Self::Offline(answer) => Ok(answer.next().await?),
        }
    }

    pub(super) fn schema(&self) -> SchemaRef {
        match self {
            Self::Daemon(rows) => rows.schema.clone(),
            Self::Offline(answer) => answer.schema.clone(),
        }
    }

    /// Rows of the wire have attributes in plain types; formats know them as containers.
    pub(super) fn shown(&self, batch: &RecordBatch) -> RecordBatch {
        use arrow::datatypes::{Field, Schema};
        let columns: Vec<_> = batch.columns().iter().map(value::with_containers).collect();
        let schema = batch.schema();
        let fields = schema.fields().iter().zip(&columns).map(|(field, column)| {
            Field::new(field.name(), column.data_type().clone(), true).with_metadata(field.metadata().clone())
        });
        let schema = Schema::new(fields.collect::<Vec<_>>());
        RecordBatch::try_new(std::sync::Arc::new(schema), columns).unwrap_or_else(|_| batch.clone())
    }

    fn query_id(&self) -> String {
        match self {
            Self::Daemon(rows) => rows.query_id.clone(),
            Self::Offline(answer) => answer.query_id.clone(),
        }
    }

    fn snapshot(&self) -> String {
        match self {
            Self::Daemon(rows) => rows.snapshot.clone(),
            Self::Offline(answer) => value::snapshot(answer.snapshot_us),
        }
    }

    fn notices(&self) -> &[String] {
        match self {
            Self::Daemon(rows) => &rows.notices,
            Self::Offline(answer) => &answer.notices,
        }
    }

    /// The daemon's own figures stay with it: an Arrow stream has no place for them.
    fn stats(&self) -> Stats {
        match self {
            Self::Daemon(rows) => Stats { elapsed_ms: rows.elapsed_ms(), ..Stats::default() },
            Self::Offline(answer) => answer.stats(),
        }
    }

    pub(super) fn truncated(&self) -> bool {
        match self {
            Self::Daemon(_) => false,
            Self::Offline(answer) => answer.truncated,
        }
    }

    fn incomplete(&self) -> bool {
        match self {
            Self::Daemon(_) => false,
            Self::Offline(answer) => answer.incomplete,
        }
    }
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

/// `name=value`: a JSON scalar is of its type, all else is text.
fn params(given: &[String]) -> Result<serde_json::Map<String, serde_json::Value>, Failure> {
    let mut params = serde_json::Map::new();
    for pair in given {
        let usage = |why: &str| Failure::Usage(format!("-p {pair}: {why}; write -p name=value"));
        let (name, value) = pair.split_once('=').ok_or_else(|| usage("there is no `=`"))?;
        let name = name.strip_prefix('$').unwrap_or(name);
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return Err(usage("its name is not letters, digits and `_`"));
        }
        let value = match serde_json::from_str(value) {
            Ok(scalar @ (serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::String(_))) => {
                scalar
            }
            Ok(number @ serde_json::Value::Number(_)) => number,
            _ => serde_json::Value::String(value.to_owned()),
        };
        if params.insert(name.to_owned(), value).is_some() {
            return Err(usage("it is given twice"));
        }
    }
    Ok(params)
}

fn time(text: &str) -> Result<Duration, Failure> {
    let ns = parse_duration(text).and_then(|ns| u64::try_from(ns).ok()).filter(|ns| *ns > 0);
    ns.map(Duration::from_nanos)
        .ok_or_else(|| Failure::Usage(format!("--timeout {text}: it is no duration; write e.g. 500ms, 10s, 2m")))
}

#[cfg(test)]
mod tests;
