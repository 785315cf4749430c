//! `weavergen pipeline check` (bpmn.md 16, 17).
//!
//! Duty: lint over files and folders. Guarantee: findings on stdout in the order file, line, column, rule; every readable
//! file is judged even when another is not readable; needs no daemon. Left to others: the rules (`bpmn::lint`).

use std::path::PathBuf;

use anyhow::Context as _;
use bpmn::diagnostic::{Diagnostic, Severity};
use serde::Serialize;

use super::{Format, cannot_read, print, printable, read_all, registry};
use crate::cli::exit::Exit;
use crate::clock::Clock;
use crate::engine::source::Checked;

/// Flags of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files, or folders that hold *.bpmn
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Form of the findings
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Findings that end with 1 beside errors
    #[arg(long, value_enum, value_name = "WHAT")]
    pub deny: Option<Deny>,
}

/// `--deny`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Deny {
    /// Warnings too
    Warnings,
}

/// `--format json`
#[derive(Debug, Serialize)]
struct Report<'a> {
    files: Vec<File<'a>>,
    errors: usize,
    warnings: usize,
    infos: usize,
}

#[derive(Debug, Serialize)]
struct File<'a> {
    file: &'a str,
    processes: Vec<Process<'a>>,
    diagnostics: &'a [Diagnostic],
}

#[derive(Debug, Serialize)]
struct Process<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    executable: bool,
}

/// Exit: 0 clean (infos included), 1 errors or denied warnings, 74 a file or folder is unreadable.
pub fn run(args: &Args, clock: &Clock) -> anyhow::Result<Exit> {
    let registry = registry(clock);
    let (sources, unreadable) = read_all(&args.paths);
    let checked: Vec<Checked> = sources.iter().map(|source| source.check(&registry)).collect();
    let report = Report::of(&checked);
    let text = match args.format {
        Format::Json => serde_json::to_string_pretty(&report).context("write JSON")? + "\n",
        Format::Text => {
            let findings = checked.iter().flat_map(|checked| &checked.findings);
            findings.map(|finding| printable(&finding.to_string()) + "\n").collect()
        }
    };
    print(&text)?;
    if !unreadable.is_empty() {
        return Err(cannot_read(&unreadable).into());
    }
    if args.format == Format::Text {
        eprintln!("{}", report.summary());
    }
    let denied = args.deny == Some(Deny::Warnings) && report.warnings > 0;
    Ok(if report.errors > 0 || denied { Exit::Bad } else { Exit::Good })
}

impl<'a> Report<'a> {
    fn of(checked: &'a [Checked]) -> Self {
        let count = |severity| {
            checked.iter().flat_map(|checked| &checked.findings).filter(|finding| finding.severity == severity).count()
        };
        Self {
            files: checked.iter().map(File::of).collect(),
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            infos: count(Severity::Info),
        }
    }

    fn summary(&self) -> String {
        let number = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let files = number(self.files.len(), "file");
        let (errors, warnings) = (number(self.errors, "error"), number(self.warnings, "warning"));
        format!("{files}: {errors}, {warnings}, {}", number(self.infos, "info"))
    }
}

impl<'a> File<'a> {
    fn of(checked: &'a Checked) -> Self {
        let processes = checked.definitions.iter().flat_map(|definitions| &definitions.processes);
        let process = |process: &'a bpmn::model::Process| Process {
            id: &process.id,
            name: process.name.as_deref(),
            executable: process.is_executable(),
        };
        Self { file: &checked.name, processes: processes.map(process).collect(), diagnostics: &checked.findings }
    }
}
