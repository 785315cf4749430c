//! `weavergen store verify`: whether what was stored can be read as it was written.
//!
//! Duty: check a data folder here, or let a daemon check its own; one line a finding. Guarantee: exit code 1 if anything
//! is damaged, 0 if not; notes do not count. Left to others: the checks (`store::verify`).

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::cli::exit::Exit;
use crate::cli::output::{self, Output};
use crate::cli::sources::Offline;
use crate::cli::sql::ask::Target;
use crate::cli::sql::{self, Failure};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::store::verify::{Depth, Report, Severity, verify};

const OF_DAEMON: &str = "SELECT severity, file, place, problem, next_move FROM system.damage";

/// Flags of `store verify`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Also decode every page and record, and compute again what footers claim
    #[arg(long, conflicts_with = "url")]
    pub deep: bool,
    /// Format of the findings: lines on a terminal, else ndjson
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum)]
    pub output: Option<Output>,
    /// Let the daemon at this address check its folder
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    pub url: Option<String>,
    /// Data folder to check, also beside its running daemon [default: that of the local daemon]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// How `--data` is read.
    #[command(flatten)]
    pub offline: Offline,
    /// File with the token to send, where the daemon wants one
    #[arg(long, value_name = "FILE", requires = "url")]
    pub token_file: Option<PathBuf>,
}

/// Runs the command. Errors: 69 no daemon at `--url`, 74 the folder is none or cannot be read at all.
pub async fn run(args: Args, data_folder: PathBuf, clock: Clock) -> Result<Exit, Failure> {
    let output = Output::chosen(args.output);
    let (checked, schema, findings) = match args.url {
        Some(url) => {
            let target = Target::of(Some(url.clone()), args.token_file, &data_folder)?;
            let (schema, findings) = sql::of_daemon(&target, OF_DAEMON).await?;
            (format!("the folder of the daemon at {url}"), schema, findings)
        }
        None => {
            let dir = args.data.unwrap_or(data_folder);
            let depth = if args.deep { Depth::Deep } else { Depth::Quick };
            let report = check(&dir, &args.offline, depth, &clock).await?;
            (summary(&report), schema(), vec![batch(&report)])
        }
    };
    let damaged = count(&findings, Severity::Damage);
    let mut out = io::BufWriter::new(io::stdout());
    match output {
        Output::Box => lines(&mut out, &checked, &findings)?,
        _ => output::write(output, &schema, &findings, &clock, &mut out)?,
    }
    Ok(if damaged == 0 { Exit::Good } else { Exit::Bad })
}

async fn check(dir: &Path, offline: &Offline, depth: Depth, clock: &Clock) -> Result<Report, Failure> {
    let config = offline.store(dir)?;
    verify(&config, &Disk::Os, clock, depth).await.map_err(|error| Failure::of_folder(dir, &error))
}

fn summary(report: &Report) -> String {
    let of = |count: u64, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    format!(
        "manifest version {}, {} with {}, {}",
        report.manifest_version,
        of(report.parts, "part"),
        of(report.rows, "row"),
        of(report.segments, "log segment")
    )
}

fn schema() -> SchemaRef {
    let text = |name, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        text("severity", false),
        text("file", false),
        text("place", true),
        text("problem", false),
        text("next_move", false),
    ]))
}

fn batch(report: &Report) -> RecordBatch {
    let all = || report.findings.iter();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(all().map(|finding| finding.severity.as_str()))),
        Arc::new(StringArray::from_iter_values(all().map(|finding| finding.file.as_str()))),
        Arc::new(StringArray::from_iter(all().map(|finding| finding.place.as_deref()))),
        Arc::new(StringArray::from_iter_values(all().map(|finding| finding.problem.as_str()))),
        Arc::new(StringArray::from_iter_values(all().map(|finding| finding.next.as_str()))),
    ];
    RecordBatch::try_new(schema(), columns).expect("the arrays are those of the schema")
}

fn cells<'a>(batch: &'a RecordBatch, column: &str) -> Option<&'a StringArray> {
    batch.column_by_name(column)?.as_string_opt::<i32>()
}

fn count(findings: &[RecordBatch], severity: Severity) -> usize {
    let of_batch = |batch| cells(batch, "severity").into_iter().flatten().flatten();
    findings.iter().flat_map(of_batch).filter(|found| *found == severity.as_str()).count()
}

/// One line a finding, and one about all.
fn lines(out: &mut dyn Write, checked: &str, findings: &[RecordBatch]) -> Result<(), Failure> {
    for batch in findings {
        for row in 0..batch.num_rows() {
            let cell = |name| cells(batch, name).filter(|of| of.is_valid(row)).map(|of| of.value(row)).unwrap_or("");
            let place = match cell("place") {
                "" => String::new(),
                place => format!("{place}: "),
            };
            let (severity, file, problem, next) = (cell("severity"), cell("file"), cell("problem"), cell("next_move"));
            writeln!(out, "{}", shown(&format!("{severity}: {file}: {place}{problem}; {next}")))?;
        }
    }
    let (damaged, notes) = (count(findings, Severity::Damage), count(findings, Severity::Note));
    let verdict = if damaged == 0 { "whole".to_owned() } else { format!("{damaged} damaged") };
    let noted = if notes == 0 { String::new() } else { format!(", {notes} to know") };
    writeln!(out, "{checked}: {verdict}{noted}")?;
    Ok(out.flush()?)
}

/// Names of files may hold anything: one line, nothing that moves the cursor.
fn shown(line: &str) -> String {
    line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
