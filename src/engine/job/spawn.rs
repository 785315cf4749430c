//! One thread that starts every command of the daemon.
//!
//! Duty: fork and exec on a thread that lives as long as the daemon. Guarantee: the parent-death signal of a child, which
//! Linux binds to the thread that started it, comes when the daemon dies and not when a pool's thread idles out. Left to
//! others: what is started (`command`).

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc;

use tokio::sync::oneshot;

/// Starts commands; cheap to clone. When the last clone is dropped its thread ends, and its children with it.
#[derive(Clone, Debug)]
pub struct Spawner {
    requests: mpsc::Sender<Request>,
}

struct Request {
    command: Command,
    started: oneshot::Sender<io::Result<Child>>,
}

impl Spawner {
    /// Starts the thread.
    ///
    /// Errors: the machine has no thread left.
    pub fn new() -> io::Result<Self> {
        let (requests, received) = mpsc::channel::<Request>();
        std::thread::Builder::new().name("job-spawner".to_owned()).spawn(move || {
            for Request { mut command, started } in received {
                if let Err(Ok(mut child)) = started.send(command.spawn()) {
                    // Whoever asked is gone: nobody would ever end it.
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        })?;
        Ok(Self { requests })
    }

    /// Starts `command`.
    ///
    /// Errors: those of the operating system.
    pub async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (started, answer) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts commands has ended");
        self.requests.send(Request { command, started }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_is_not_there_is_an_error_and_the_next_one_starts() {
        let spawner = Spawner::new().unwrap();
        assert!(spawner.spawn(Command::new("/nowhere/at/all")).await.is_err());
        let mut child = spawner.spawn(Command::new("/bin/true")).await.unwrap();
        assert!(child.wait().unwrap().success());
    }
}
