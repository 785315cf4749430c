//! The demo's daemon: this program, as a process of its own, started again whenever it dies.
//!
//! Guarantee: it is found where it was, for its ports are chosen once; a question waits while it is away, up to
//! [`AWAY`]. Left to others: what a daemon keeps over a kill (`store`, `gate`, `engine`).

use std::fs::File;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::stage::Stage;

/// How long a daemon that was killed may be away, replay included.
const AWAY: Duration = Duration::from_secs(120);
/// Between two questions.
pub(super) const ASK_EVERY: Duration = Duration::from_millis(200);
/// Between two looks at it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A running daemon; ended when dropped.
#[derive(Debug)]
pub(super) struct Daemon {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    stage: Stage,
    run: Value,
    /// None = it is meant to be down.
    child: Mutex<Option<Child>>,
}

/// What one try of a question came to, if it was not answered.
enum Refused {
    /// The statement is wrong: another try would say the same.
    Wrong(anyhow::Error),
    /// The daemon is away or not ready.
    Away(anyhow::Error),
}

impl Daemon {
    /// Starts one on `stage`, waits until it has bound its ports, and keeps it running.
    pub(super) async fn start(stage: &Stage) -> anyhow::Result<Self> {
        let mut child = spawn(stage)?;
        let began = Instant::now();
        let run = loop {
            let text = std::fs::read_to_string(stage.data().join("run.json")).ok();
            if let Some(run) = text.and_then(|text| serde_json::from_str(&text).ok()) {
                break run;
            }
            if child.try_wait()?.is_some() || began.elapsed() > AWAY {
                // It must not outlive a demo that gave up on it.
                let _ = child.kill();
                let said = std::fs::read_to_string(stage.log()).unwrap_or_default();
                bail!("the daemon did not start; it said:\n{said}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let inner = Arc::new(Inner { stage: stage.clone(), run, child: Mutex::new(Some(child)) });
        let weak = Arc::downgrade(&inner);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let Some(inner) = weak.upgrade() else { return };
                inner.tend();
            }
        });
        Ok(Self { inner })
    }

    fn address(&self, pointer: &str) -> anyhow::Result<String> {
        let address = self.inner.run.pointer(pointer).and_then(Value::as_str);
        Ok(format!("http://{}", address.with_context(|| format!("run.json has no {pointer}"))?))
    }

    pub(super) fn grpc(&self) -> anyhow::Result<String> {
        self.address("/receivers/otlp/grpc/0")
    }

    pub(super) fn api(&self) -> anyhow::Result<String> {
        self.address("/api/0")
    }

    /// The process that runs, or ran last.
    pub(super) fn pid(&self) -> Option<u32> {
        self.inner.lock().as_ref().map(Child::id)
    }

    /// Waits until another process than `victim` has replayed its log.
    pub(super) async fn wait_successor(&self, victim: u32) -> anyhow::Result<()> {
        let url = format!("{}/ready", self.address("/health/0")?);
        let (client, began) = (client()?, Instant::now());
        while began.elapsed() < AWAY {
            if self.pid() != Some(victim)
                && client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success())
            {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!("the daemon did not become ready in {} s; its log is {}", AWAY.as_secs(), self.log())
    }

    /// Prints the answer to `sql` as a box, as `weavergen sql` does.
    pub(super) async fn show(&self, sql: &str) -> anyhow::Result<()> {
        self.print(&["sql", "-o", "box", sql]).await
    }

    /// Prints what `weavergen ARGS --url …` prints, once the daemon answers.
    pub(super) async fn print(&self, args: &[&str]) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let began = Instant::now();
        loop {
            let mut command = Command::new(&program);
            // Its output is ours: a box is as wide as the terminal.
            command.args(args).args(["--url", &self.api()?]).stdin(Stdio::null()).stdout(Stdio::inherit());
            let output = command.stderr(Stdio::piped()).output()?;
            if output.status.success() {
                return Ok(());
            }
            if began.elapsed() > AWAY {
                bail!("`weavergen {}` failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// The rows of `sql`, once the daemon answers.
    pub(super) async fn rows(&self, sql: &str) -> anyhow::Result<Vec<Value>> {
        let began = Instant::now();
        loop {
            match self.ask(sql).await {
                Ok(rows) => return Ok(rows),
                Err(Refused::Wrong(error)) => return Err(error),
                Err(Refused::Away(error)) if began.elapsed() > AWAY => return Err(error),
                Err(Refused::Away(_)) => tokio::time::sleep(ASK_EVERY).await,
            }
        }
    }

    async fn ask(&self, sql: &str) -> Result<Vec<Value>, Refused> {
        let url = format!("{}/api/v1/sql", self.api().map_err(Refused::Wrong)?);
        let client = client().map_err(|error| Refused::Wrong(error.into()))?;
        let request = client.post(url).json(&serde_json::json!({ "sql": sql }));
        let away = |error: reqwest::Error| Refused::Away(error.into());
        let response = request.send().await.map_err(away)?;
        let status = response.status();
        let answer: Value = response.json().await.map_err(away)?;
        if status.is_success() {
            return Ok(answer["rows"].as_array().cloned().unwrap_or_default());
        }
        let error = anyhow::anyhow!("{}: {sql}", answer["error"]["message"]);
        let is_busy = status.is_server_error() || status == reqwest::StatusCode::TOO_MANY_REQUESTS;
        Err(if is_busy { Refused::Away(error) } else { Refused::Wrong(error) })
    }

    /// The rows of `sql` once there are any; `what` says what is waited for, `patience` for how long.
    ///
    /// Only time in which the daemon answers counts: one that is away makes no progress.
    pub(super) async fn until(&self, what: &str, patience: Duration, sql: &str) -> anyhow::Result<Vec<Value>> {
        let mut left = patience;
        let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
        loop {
            spinner.tick();
            let rows = self.rows(sql).await.with_context(|| format!("waited for: {what}"))?;
            if !rows.is_empty() {
                spinner.finish_and_clear();
                return Ok(rows);
            }
            if left.is_zero() {
                bail!("waited {} s for: {what}; the daemon's log is {}", patience.as_secs(), self.log());
            }
            tokio::time::sleep(ASK_EVERY).await;
            left = left.saturating_sub(ASK_EVERY);
        }
    }

    /// The two numbers of the only row of `sql`.
    pub(super) async fn two_numbers(&self, sql: &str) -> anyhow::Result<(u64, u64)> {
        let rows = self.rows(sql).await?;
        let number = |at: usize| rows.first().and_then(|row| row[at].as_u64()).context("the answer has no number");
        Ok((number(0)?, number(1)?))
    }

    /// Ends it in order; one that is away is started and ended, so that its folder is left closed.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.rows("SELECT 1").await.context("before the end")?;
        let child = self.inner.lock().take();
        let Some(mut child) = child else { return Ok(()) };
        signal(child.id(), Signal::TERM)?;
        let status = child.wait()?;
        // Somebody else's kill -9 is what this daemon is built for.
        if status.success() || status.signal() == Some(Signal::KILL.as_raw()) {
            return Ok(());
        }
        bail!("the daemon ended with {status}; its log is {}", self.log())
    }

    fn log(&self) -> String {
        self.inner.stage.log().display().to_string()
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().expect("no holder of this lock panics")
    }

    fn tend(&self) {
        let mut child = self.lock();
        // An error to start it: it is tried again at the next look.
        if let Some(child) = child.as_mut()
            && matches!(child.try_wait(), Ok(Some(_)))
            && let Ok(again) = spawn(&self.stage)
        {
            *child = again;
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(child) = self.lock().as_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// It goes straight to the daemon, whatever proxies the environment names.
fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().no_proxy().build()
}

fn spawn(stage: &Stage) -> anyhow::Result<Child> {
    // A killed daemon leaves its file.
    let _ = std::fs::remove_file(stage.data().join("run.json"));
    let program = std::env::current_exe().context("cannot find this program")?;
    let errors = File::options().create(true).append(true).open(stage.log())?;
    let mut command = Command::new(program);
    // In the demo's folder: files of the one it is started in are none of its business. In a group of its own: a Ctrl-C
    // is for the demo, which ends it.
    command.arg("run").arg("--config").arg(stage.config()).current_dir(stage.folder()).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn().context("cannot start the daemon")
}

/// `kill -9`.
pub(super) fn kill(pid: u32) -> anyhow::Result<()> {
    signal(pid, Signal::KILL)
}

fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")?;
    Ok(kill_process(pid, signal)?)
}
