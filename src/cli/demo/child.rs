//! The demo's daemon: this program, as a process of its own.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use serde_json::Value;

use super::stage::Stage;

/// A running daemon; ended when dropped.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Option<Child>,
    pid: u32,
    run: Value,
    log: PathBuf,
}

impl Daemon {
    /// Starts one on `stage` and waits until it has bound its ports.
    pub(super) async fn start(stage: &Stage) -> anyhow::Result<Self> {
        let run_file = stage.data().join("run.json");
        // A killed daemon leaves its file.
        let _ = std::fs::remove_file(&run_file);
        let log = stage.log();
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        // In the demo's folder: files of the one it is started in are none of its business.
        command.arg("run").arg("--config").arg(stage.config()).current_dir(stage.folder());
        let errors = File::options().create(true).append(true).open(&log)?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn()?;
        let began = Instant::now();
        loop {
            let run = std::fs::read_to_string(&run_file).ok().and_then(|text| serde_json::from_str(&text).ok());
            if let Some(run) = run {
                let pid = child.id();
                return Ok(Self { child: Some(child), pid, run, log });
            }
            if child.try_wait()?.is_some() || began.elapsed() > Duration::from_secs(30) {
                // It must not outlive a demo that gave up on it.
                let _ = child.kill();
                bail!("the daemon did not start; it said:\n{}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn address(&self, pointer: &str) -> anyhow::Result<String> {
        let address = self.run.pointer(pointer).and_then(Value::as_str);
        Ok(format!("http://{}", address.with_context(|| format!("run.json has no {pointer}"))?))
    }

    pub(super) fn grpc(&self) -> anyhow::Result<String> {
        self.address("/receivers/otlp/grpc/0")
    }

    pub(super) fn api(&self) -> anyhow::Result<String> {
        self.address("/api/0")
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until replay has ended.
    pub(super) async fn wait_ready(&self) -> anyhow::Result<()> {
        let url = format!("{}/ready", self.address("/health/0")?);
        for _ in 0..600 {
            if reqwest::get(&url).await.is_ok_and(|response| response.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the daemon did not become ready in 30 s; its log is {}", self.log.display())
    }

    /// Prints the answer to `sql` as a box, as `weavergen sql` does.
    pub(super) fn show(&self, sql: &str) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let status = Command::new(program).args(["sql", "-o", "box", "--url", &self.api()?, sql]).status()?;
        if status.success() { Ok(()) } else { bail!("the query failed: {sql}") }
    }

    /// Prints what `weavergen ARGS --url …` prints.
    pub(super) fn print(&self, args: &[&str]) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let status = Command::new(program).args(args).args(["--url", &self.api()?]).status()?;
        if status.success() { Ok(()) } else { bail!("`weavergen {}` failed", args.join(" ")) }
    }

    /// The rows of `sql`.
    pub(super) async fn rows(&self, sql: &str) -> anyhow::Result<Vec<Value>> {
        let url = format!("{}/api/v1/sql", self.api()?);
        let request = reqwest::Client::new().post(url).json(&serde_json::json!({ "sql": sql }));
        let response = request.send().await?;
        let failed = !response.status().is_success();
        let answer: Value = response.json().await?;
        if failed {
            bail!("{}: {sql}", answer["error"]["message"]);
        }
        Ok(answer["rows"].as_array().cloned().unwrap_or_default())
    }

    /// The rows of `sql` once there are any; `what` says what is waited for.
    pub(super) async fn until(&self, what: &str, patience: Duration, sql: &str) -> anyhow::Result<Vec<Value>> {
        let began = Instant::now();
        let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
        loop {
            spinner.tick();
            // A daemon that starts again refuses for a moment.
            let rows = self.rows(sql).await;
            match rows {
                Ok(rows) if !rows.is_empty() => {
                    spinner.finish_and_clear();
                    return Ok(rows);
                }
                Err(error) if began.elapsed() > patience => return Err(error.context(format!("waited for: {what}"))),
                Ok(_) if began.elapsed() > patience => {
                    bail!("waited {} s for: {what}; the daemon's log is {}", patience.as_secs(), self.log.display())
                }
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// The two numbers of the only row of `sql`.
    pub(super) async fn two_numbers(&self, sql: &str) -> anyhow::Result<(u64, u64)> {
        let rows = self.rows(sql).await?;
        let number = |at: usize| rows.first().and_then(|row| row[at].as_u64()).context("the answer has no number");
        Ok((number(0)?, number(1)?))
    }

    /// Takes notice of a daemon that was killed.
    pub(super) fn reap(mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    /// Leaves it running.
    pub(super) fn detach(mut self) {
        self.child = None;
    }

    /// Ends it in order.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        signal(self.pid, rustix::process::Signal::TERM)?;
        if let Some(mut child) = self.child.take() {
            let status = child.wait()?;
            if !status.success() {
                bail!("the daemon ended with {status}; its log is {}", self.log.display());
            }
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// `kill -9`.
pub(super) fn kill(pid: u32) -> anyhow::Result<()> {
    signal(pid, rustix::process::Signal::KILL)
}

fn signal(pid: u32, signal: rustix::process::Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).context("no process id")?;
    Ok(rustix::process::kill_process(pid, signal)?)
}
