//! `weavergen validate` (collector_config.md 5).
//!
//! Duty: load and check as a start would. Guarantee: opens no port, writes nothing, is silent about a good
//! configuration; what it has to say goes to stderr. Left to others: the checks (`config`).

use super::exit::Exit;
use super::sources;
use crate::config::{Config, Error, Format, render};
use crate::error::Class;
use crate::semconv;

/// The registry of `semconv::registry`, loaded as a start would.
fn conventions(config: &Config) -> Result<(), semconv::Error> {
    match &config.semconv.registry {
        Some(source) => semconv::Registry::load(source, config.pipelines_dir.as_deref()).map(drop),
        None => Ok(()),
    }
}

/// Flags of `validate`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where the configuration is.
    #[command(flatten)]
    pub sources: sources::Args,
    /// Form of the messages
    #[arg(long, value_enum, default_value = "text")]
    pub format: MessageFormat,
}

/// `--format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum MessageFormat {
    /// For people
    Text,
    /// A JSON array, an object a message
    Json,
}

/// Exit: 0 valid (warnings included), 1 invalid, 74 a file is unreadable.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let format = match args.format {
        MessageFormat::Text => Format::Text,
        MessageFormat::Json => Format::Json,
    };
    match args.sources.load() {
        Ok(loaded) => {
            if !loaded.warnings.is_empty() {
                eprintln!("{}", render(&loaded.warnings, format));
            }
            match conventions(&loaded.config) {
                Ok(()) => Ok(Exit::Good),
                Err(error) if error.class() == Class::Invalid => {
                    eprintln!("{error}");
                    Ok(Exit::Bad)
                }
                Err(error) => Err(error.into()),
            }
        }
        Err(Error::Invalid(problems)) => {
            eprintln!("{}", render(&problems, format));
            Ok(Exit::Bad)
        }
        Err(error @ Error::Unreadable { .. }) => Err(error.into()),
    }
}
