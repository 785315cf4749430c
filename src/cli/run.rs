//! `weavergen run`, also without the word.
//!
//! Duty: load the configuration, tell what is odd and what was taken by default, and hand over. Guarantee: nothing is
//! opened or written while the configuration is invalid. Left to others: the daemon itself (`app`).

use std::os::unix::process::CommandExt as _;

use super::exit::Exit;
use super::sources::Args;
use crate::app;
use crate::clock::Clock;
use crate::config::{Format, Loaded, render};

/// For how many milliseconds the allocator keeps memory that was freed, before it gives it back.
///
/// Its default is a second: under all the load that it takes, a daemon with `memory.limit: 256MiB` held 240 to 369 MiB that
/// no file backs, with 10 ms 136 to 168 MiB; and took 2 to 15 % fewer spans.
const PURGE_DELAY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "10");
/// Below it memory matters more than that.
const SMALL_LIMIT_BYTES: u64 = 1 << 30;

/// Runs until a signal.
///
/// Errors: 69 an address or the folder is in use, 74 the folder cannot be used, 78 the configuration is invalid.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let loaded = args.load()?;
    if loaded.config.memory_limit_bytes < SMALL_LIMIT_BYTES {
        give_memory_back();
    }
    tell(&loaded);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("ingest").build()?;
    let ran = runtime.block_on(async {
        let stop = app::signals()?;
        app::run(loaded.config, Clock::os(), stop).await
    });
    // A connection that does not end must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ran.map(|()| Exit::Good)
}

/// Starts this program anew, as the same process, if nothing is said to the allocator yet: it listens at the start alone,
/// and to its variable alone. Where that cannot be done the daemon holds more memory, which is no reason not to start.
#[allow(clippy::disallowed_methods, reason = "a word to the allocator is no setting of ours")]
fn give_memory_back() {
    let (name, milliseconds) = PURGE_DELAY;
    if std::env::var_os(name).is_none()
        && let Ok(program) = std::env::current_exe()
    {
        let mut words = std::env::args_os();
        let mut same = std::process::Command::new(program);
        if let Some(word) = words.next() {
            same.arg0(word);
        }
        // It returns only if it failed.
        let _ = same.args(words).env(name, milliseconds).exec();
    }
}

/// Warnings and defaults, on stderr.
fn tell(loaded: &Loaded) {
    if !loaded.warnings.is_empty() {
        eprintln!("{}", render(&loaded.warnings, Format::Text));
    }
    for line in &loaded.defaults_taken {
        eprintln!("{line}");
    }
}
