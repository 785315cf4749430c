//! `weavergen gates import` (gates.md 12).
//!
//! Duty: read a file of another tool, write the gate file that it becomes. Guarantee: a file of which anything cannot be
//! translated writes nothing; a file that is there is not written over; what is written loads. Left to others: translating
//! (`gate::import`).

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::{Planner, Request, known, planner};
use crate::cli::exit::{Exit, Failure};
use crate::cli::lines::print;
use crate::cli::sources;
use crate::gate::import::{Format, Imported, import};
use crate::yaml;

/// Longest file that is read, in bytes: as of a gate file.
const MAX_BYTES: usize = 1 << 20;

/// Flags of `gates import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose file it is
    #[arg(value_name = "FORMAT", value_enum)]
    pub format: Tool,
    /// The file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Write to this file, which is not there yet, instead of stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Leave out what makes the traces of a Tracetest test: a gate sends nothing
    #[arg(long)]
    pub without_trigger: bool,
    /// Where the configuration is.
    #[command(flatten)]
    pub sources: sources::Args,
}

/// Tools whose files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Tool {
    /// Tests of Tracetest, `type: Test`, become gates of kind `assert`
    Tracetest,
    /// SLOs of OpenSLO v1 over spans become gates of kind `slo`
    Openslo,
}

/// Exit: 0 written; 1 something cannot be translated, and nothing is written; 2; 74.
///
/// Errors: the configuration (78), the file (74).
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let format = match args.format {
        Tool::Openslo => Format::OpenSlo,
        Tool::Tracetest => Format::Tracetest { without_trigger: args.without_trigger },
    };
    let shown = args.file.display().to_string();
    let failed =
        |why: &dyn std::fmt::Display| Failure::new(Exit::Io, format!("{shown}: the file cannot be read: {why}"));
    let bytes = std::fs::read(&args.file).map_err(|error| failed(&error))?;
    if bytes.len() > MAX_BYTES {
        return Err(Failure::new(Exit::Io, format!("{shown}: the file is larger than 1 MiB; split it")).into());
    }
    let text = String::from_utf8(bytes).map_err(|error| failed(&error))?;
    let config = args.sources.load()?.config;
    let planner: Planner = planner(&config)?;
    let known = known(&config);
    let request = Request { config: &config.gates, queries_dir: config.queries_dir.as_deref(), known: &known };
    let (imported, told) = import(format, &shown, &text, &request, &planner);
    for problem in &told {
        eprintln!("{problem}");
    }
    let Some(imported) = imported else {
        eprintln!("weavergen: nothing is written: what is told above cannot be translated");
        return Ok(Exit::Bad);
    };
    let written = written(&imported, &shown);
    match &args.out {
        None => drop(print(&written)?),
        Some(path) => create(path, &written)?,
    }
    Ok(Exit::Good)
}

fn written(imported: &Imported, shown: &str) -> String {
    let one_line = |text: &str| text.replace(|c: char| c.is_control(), " ");
    let mut written = format!("# Made by `weavergen gates import` of {}.\n", one_line(shown));
    for note in &imported.notes {
        written.push_str(&format!("# {}\n", one_line(note)));
    }
    written.push_str(&yaml::text(&imported.root));
    written
}

fn create(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        let next = match error.kind() {
            ErrorKind::AlreadyExists => "; remove it, or name another",
            _ => "",
        };
        Failure::new(Exit::Io, format!("cannot write --out {}: {error}{next}", path.display()))
    };
    let mut file = std::fs::File::create_new(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(|error| {
        // Half a file would be in the way of the next try.
        match std::fs::remove_file(path) {
            Ok(()) => failed(error),
            Err(left) => Failure::new(
                Exit::Io,
                format!("cannot write --out {}: {error}; half of it is left there: {left}; remove it", path.display()),
            ),
        }
    })
}
