//! A running command and its group.
//!
//! Duty: wait for it, read what it says, end it. Guarantee: however it ends, its whole group is killed before its number
//! can be given to another process; reading never waits for a process that escaped; output beyond a cap is read and
//! thrown away. Left to others: what is run and what its end means (`command`).

use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// From TERM to KILL.
const GRACE: Duration = Duration::from_secs(5);
/// For pipes that something outside the group still holds.
const DRAIN: Duration = Duration::from_secs(1);
/// Kept of standard error.
const STDERR_TAIL: usize = 8 << 10;

/// How it ended.
#[derive(Debug)]
pub(super) enum End {
    /// By itself.
    Own(ExitStatus),
    /// Its time was over.
    TimedOut,
    /// Its job was cancelled.
    Cancelled,
}

/// What it left.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) end: End,
    /// Up to the cap.
    pub(super) stdout: Vec<u8>,
    pub(super) truncated: bool,
    /// The last bytes, whole characters.
    pub(super) stderr_tail: String,
}

/// A group that may be signalled while its leader is not reaped yet.
#[derive(Clone, Debug)]
struct Group(Arc<Mutex<Option<Pid>>>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(pid) = *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // It may have ended in this moment.
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Kills what is left and reaps the leader, which has ended: until then no other process can have its number.
    fn reap(&self, child: &mut Child) -> std::io::Result<ExitStatus> {
        let mut pid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = pid.take() {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        child.wait()
    }
}

/// Kills the group if the job is dropped before it ended.
struct KillOnDrop(Group);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.signal(Signal::KILL);
    }
}

/// Feeds, reads and waits for `child`, which leads its group; at most `timeout`.
///
/// Errors: the operating system does not let us wait or read.
pub(super) async fn run(
    mut child: Child,
    stdin: Vec<u8>,
    max_output: usize,
    timeout: Duration,
    cancel: &CancellationToken,
) -> std::io::Result<Ran> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let group = Group(Arc::new(Mutex::new(pid)));
    let _guard = KillOnDrop(group.clone());
    let input = child.stdin.take();
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let mut ended = waiter(child, pid, group.clone())?;
    if let Some(input) = input {
        let mut input = tokio::process::ChildStdin::from_std(input)?;
        // A command that does not read its input is its own affair.
        tokio::spawn(async move { input.write_all(&stdin).await });
    }
    let stdout = Reader::start(out.map(tokio::process::ChildStdout::from_std).transpose()?, Keep::First(max_output));
    let stderr = Reader::start(err.map(tokio::process::ChildStderr::from_std).transpose()?, Keep::Last(STDERR_TAIL));
    let end = tokio::select! {
        status = &mut ended => End::Own(answer(status)?),
        () = tokio::time::sleep(timeout) => End::TimedOut,
        () = cancel.cancelled() => End::Cancelled,
    };
    if !matches!(end, End::Own(_)) {
        group.signal(Signal::TERM);
        if tokio::time::timeout(GRACE, &mut ended).await.is_err() {
            group.signal(Signal::KILL);
            answer(ended.await)?;
        }
    }
    let (stdout, truncated) = stdout.finish().await;
    let (stderr, _) = stderr.finish().await;
    Ok(Ran { end, stdout, truncated, stderr_tail: whole_characters(&stderr) })
}

fn answer(status: Result<std::io::Result<ExitStatus>, oneshot::error::RecvError>) -> std::io::Result<ExitStatus> {
    status.unwrap_or_else(|_| Err(std::io::Error::other("the thread that waits for the command has ended")))
}

/// Waits on a thread of its own, so that the group is killed and the leader reaped whatever becomes of the job.
fn waiter(
    mut child: Child,
    pid: Option<Pid>,
    group: Group,
) -> std::io::Result<oneshot::Receiver<std::io::Result<ExitStatus>>> {
    let (tell, told) = oneshot::channel();
    std::thread::Builder::new().name("job-waiter".to_owned()).spawn(move || {
        if let Some(pid) = pid {
            // Not reaped yet: its number, and so that of its group, stays taken.
            let wait = || waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            while let Err(rustix::io::Errno::INTR) = wait() {}
        }
        let _ = tell.send(group.reap(&mut child));
    })?;
    Ok(told)
}

#[derive(Clone, Copy)]
enum Keep {
    First(usize),
    Last(usize),
}

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    truncated: bool,
}

/// Reads a pipe to its end on a task of its own.
struct Reader {
    kept: Arc<Mutex<Kept>>,
    task: Option<JoinHandle<()>>,
}

impl Reader {
    fn start<R: AsyncRead + Unpin + Send + 'static>(pipe: Option<R>, keep: Keep) -> Self {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let task = pipe.map(|mut pipe| {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 << 10];
                while let Ok(n @ 1..) = pipe.read(&mut buffer).await {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).take(&buffer[..n], keep);
                }
            })
        });
        Self { kept, task }
    }

    async fn finish(mut self) -> (Vec<u8>, bool) {
        if let Some(task) = &mut self.task
            && tokio::time::timeout(DRAIN, &mut *task).await.is_err()
        {
            task.abort();
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut kept.bytes), kept.truncated)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Kept {
    fn take(&mut self, bytes: &[u8], keep: Keep) {
        match keep {
            Keep::First(max) => {
                let room = max.saturating_sub(self.bytes.len()).min(bytes.len());
                self.bytes.extend_from_slice(&bytes[..room]);
                self.truncated |= room < bytes.len();
            }
            Keep::Last(max) => {
                self.bytes.extend_from_slice(bytes);
                let over = self.bytes.len().saturating_sub(max);
                self.bytes.drain(..over);
                self.truncated |= over > 0;
            }
        }
    }
}

/// Text of `bytes`; half a character at the start is left out, other broken ones are replaced.
fn whole_characters(bytes: &[u8]) -> String {
    let start = bytes.iter().take(3).take_while(|byte| **byte & 0xc0 == 0x80).count();
    String::from_utf8_lossy(&bytes[start..]).into_owned()
}
