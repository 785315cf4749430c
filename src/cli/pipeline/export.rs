//! `weavergen pipeline export` (bpmn.md 2, 17).
//!
//! Duty: a file as Mermaid or as its census. Guarantee: drawings are exported too, whatever the rules say about running
//! them; needs no daemon. Left to others: both forms (`bpmn::model`).

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bpmn::model::{self, Definitions};

use super::printable;
use crate::cli::exit::{Exit, Failure};
use crate::engine::source::Source;

/// Flags of `export`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("form").required(true)))]
pub struct Args {
    /// A BPMN file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// A flowchart in Mermaid's language
    #[arg(long, group = "form")]
    pub mermaid: bool,
    /// Counts, nodes, flows, diagrams as one JSON object
    #[arg(long, group = "form")]
    pub json: bool,
}

/// Exit: 0 done, 74 the file cannot be read, 78 it is no BPMN file.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let definitions = read(&args.file)?;
    let text = if args.mermaid {
        model::mermaid(&definitions)
    } else {
        serde_json::to_string_pretty(&model::census(&definitions)).context("write JSON")? + "\n"
    };
    print(&text);
    Ok(Exit::Good)
}

/// A reader that left, `| head`, is no failure.
fn print(text: &str) {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    drop(std::io::stdout().lock().write_all(format!("{text}{end}").as_bytes()));
}

fn read(path: &Path) -> Result<Definitions, Failure> {
    let name = path.display().to_string();
    let source = Source::read(path, name.clone())
        .map_err(|error| Failure::new(Exit::Io, format!("cannot read {name}: {error}")))?;
    model::parse(&source.content).map_err(|findings| {
        let line = |mut finding: bpmn::diagnostic::Diagnostic| {
            finding.file.clone_from(&name);
            printable(&finding.to_string())
        };
        Failure::new(Exit::Config, findings.into_iter().map(line).collect::<Vec<_>>().join("\n"))
    })
}
