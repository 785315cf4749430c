//! How a running service and whoever restarts it find each other: two small files in a folder.
//!
//! Duty: `NAME.pid` (who runs), `NAME.heard` (whose first export was acknowledged), and the restart that uses them.
//! Guarantee: only a process that is this service is told to end; a repeated restart is harmless. Left to others:
//! starting it again, which its keeper does.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::cli::exit::Exit;
use crate::cli::lines::print;

/// A running service that can be found.
#[derive(Debug)]
pub(super) struct Kept {
    heard: PathBuf,
}

fn files(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    (folder.join(format!("{name}.pid")), folder.join(format!("{name}.heard")))
}

/// Readers see the old content or the new one, never a part.
fn write(path: &Path, pid: u32) -> anyhow::Result<()> {
    let begun = path.with_extension(format!("new{pid}"));
    std::fs::write(&begun, pid.to_string())
        .and_then(|()| std::fs::rename(&begun, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn read(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

impl Kept {
    /// Leaves this process's id in `folder`.
    pub(super) fn begin(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let (pid, heard) = files(folder, name);
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        write(&pid, std::process::id())?;
        Ok(Self { heard })
    }

    /// The first export was acknowledged.
    pub(super) fn heard(&self) -> anyhow::Result<()> {
        write(&self.heard, std::process::id())
    }
}

/// Tells the service `name` to end and waits for its successor: [`Exit::Good`] when that was heard, [`Exit::Bad`] after
/// `patience`.
pub(super) async fn restart(folder: &Path, name: &str, patience: Duration) -> anyhow::Result<Exit> {
    let (pid_file, heard_file) = files(folder, name);
    let Some(old) = read(&pid_file) else {
        eprintln!("error: no service \"{name}\" left its process id in {}", folder.display());
        return Ok(Exit::Bad);
    };
    if is_service(old, name)
        && let Some(pid) = i32::try_from(old).ok().and_then(Pid::from_raw)
    {
        // An error: it ended by itself meanwhile, which is what was wanted.
        let _ = kill_process(pid, Signal::TERM);
    }
    let began = Instant::now();
    while began.elapsed() < patience {
        let (running, heard) = (read(&pid_file), read(&heard_file));
        if running != Some(old) && running == heard && running.is_some() && !is_service(old, name) {
            print(&format!("{name} runs again: process {}\n", running.unwrap_or_default()))?;
            return Ok(Exit::Good);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eprintln!("error: {name} did not come back in {} s: does its keeper run?", patience.as_secs());
    Ok(Exit::Bad)
}

/// Whether process `pid` is this service: a number is used again by others.
fn is_service(pid: u32, name: &str) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0);
    let is_ours = words.by_ref().any(|word| word == b"demo-service");
    is_ours && words.collect::<Vec<_>>().windows(2).any(|pair| pair[0] == b"--name" && pair[1] == name.as_bytes())
}
