//! `weavergen semconv`: registries of semantic conventions (semconv.md 8).
//!
//! Duty: `resolve`, the resolved registry as YAML or JSON. Guarantee: stable bytes: the same registry gives the same
//! output; warnings go to stderr. Left to others: loading and the layout (`semconv`).

mod yaml;

use std::path::PathBuf;

use anyhow::Context as _;

use super::exit::{Exit, Failure};
use super::lines::print;
use crate::semconv::{Registry, Source};

/// `weavergen semconv …`
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Print a registry with all references resolved
    Resolve(Resolve),
}

/// Flags of `resolve`.
#[derive(Debug, clap::Args)]
pub struct Resolve {
    /// A folder of definitions, or builtin:NAME (weavergen, shop)
    #[arg(long, value_name = "REGISTRY")]
    pub registry: String,
    /// The layout resolved/2.0, which is the default for definition/2 files
    #[arg(long)]
    pub v2: bool,
    /// Form of the output
    #[arg(long, value_enum, default_value = "yaml")]
    pub format: Format,
    /// Write to a file instead of stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `--format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    Yaml,
    /// One JSON object
    Json,
}

/// Exit: 0 done, 74 the registry cannot be read or the file not written, 78 it is invalid. `pipelines_dir` holds files
/// that replace shipped ones.
pub fn run(command: &Command, pipelines_dir: Option<PathBuf>) -> anyhow::Result<Exit> {
    let Command::Resolve(args) = command;
    let source = Source::parse(&args.registry).map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
    let loaded = Registry::load(&source, pipelines_dir.as_deref())?;
    for warning in &loaded.warnings {
        eprintln!("{warning}");
    }
    let view = loaded.registry.v2_view();
    let text = match args.format {
        Format::Yaml => yaml::text(&view),
        Format::Json => serde_json::to_string_pretty(&view).context("write JSON")? + "\n",
    };
    match &args.out {
        None => drop(print(&text)?),
        Some(path) => std::fs::write(path, text)
            .map_err(|error| Failure::new(Exit::Io, format!("cannot write --out {}: {error}", path.display())))?,
    }
    Ok(Exit::Good)
}
