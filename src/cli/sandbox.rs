//! `weavergen __sandbox PARENT -- ARGV…` (bpmn.md 10 *Sandbox*).
//!
//! Duty: become the command of a pipeline. Guarantee: the command leads a process group of its own and is killed when
//! the thread that started it ends, also if that happened before this process could ask for it. Left to others: what may
//! be started, its environment, its end (`engine/job/command`).

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

#[cfg(target_os = "linux")]
use rustix::process::Signal;
use rustix::process::{Pid, getppid, setpgid};

use super::exit::Exit;

/// Arguments of `__sandbox`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Process id of the starter
    pub parent: i32,
    /// What to run: a path, then its arguments
    #[arg(last = true, required = true, num_args = 1..)]
    pub argv: Vec<OsString>,
}

/// Does not return if the command could be started.
///
/// Exit: 69 it could not, with the reason on stderr.
pub fn run(args: &Args) -> Exit {
    let Some((program, rest)) = args.argv.split_first() else { return Exit::Usage };
    // A group that exists already is as good: the starter makes one too, so that it never signals a group too early.
    let _ = setpgid(None, None);
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("weavergen: cannot tie {} to its parent: {error}", program.display());
        return Exit::Unavailable;
    }
    if getppid() != Pid::from_raw(args.parent) {
        return Exit::Unavailable;
    }
    let error = Command::new(program).args(rest).exec();
    eprintln!("weavergen: cannot run {}: {error}", program.display());
    Exit::Unavailable
}
