//! `weavergen run`, also without the word.
//!
//! Duty: load the configuration, tell what is odd and what was taken by default, and hand over. Guarantee: nothing is
//! opened or written while the configuration is invalid. Left to others: the daemon itself (`app`).

use super::exit::{Exit, Failure};
use super::sources::Args;
use crate::config::{Format, Loaded, render};

/// Runs until a signal.
///
/// Errors: 74 a configuration file is unreadable, 78 the configuration is invalid.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let loaded = load(args)?;
    let data = loaded.config.store.path.display();
    Err(Failure::new(Exit::Bad, format!("no daemon is linked into this program; nothing was opened in {data}")).into())
}

/// The configuration, with its warnings and defaults told on stderr.
pub fn load(args: &Args) -> anyhow::Result<Loaded> {
    let loaded = args.load()?;
    if !loaded.warnings.is_empty() {
        eprintln!("{}", render(&loaded.warnings, Format::Text));
    }
    for line in &loaded.defaults_taken {
        eprintln!("{line}");
    }
    Ok(loaded)
}
