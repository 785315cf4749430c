//! `weavergen run`, also without the word.
//!
//! Duty: load the configuration, tell what is odd and what was taken by default, and hand over. Guarantee: nothing is
//! opened or written while the configuration is invalid. Left to others: the daemon itself (`app`).

use super::exit::Exit;
use super::sources::Args;
use crate::app;
use crate::clock::Clock;
use crate::config::{Format, Loaded, render};

/// Runs until a signal.
///
/// Errors: 69 an address or the folder is in use, 74 the folder cannot be used, 78 the configuration is invalid.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let loaded = load(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("ingest").build()?;
    let ran = runtime.block_on(async {
        let stop = app::signals()?;
        app::run(loaded.config, Clock::os(), stop).await
    });
    // A connection that does not end must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ran.map(|()| Exit::Good)
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
