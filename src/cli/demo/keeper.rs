//! Keeps the shop's services running: each a child process, started again when it ends.
//!
//! Guarantee: a service that ended is started again within 50 ms, with the same arguments; none outlives the keeper.
//! Left to others: what a service does (`demo_service`).

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;

use super::stage::Stage;

/// The services that run.
#[derive(Clone, Debug)]
pub(super) struct Keeper {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    stage: Stage,
    endpoint: String,
    seed: u64,
    services: Mutex<Vec<(String, Child)>>,
}

impl Keeper {
    /// Keeps what [`Keeper::start`] starts, sending to `endpoint`.
    pub(super) fn new(stage: Stage, endpoint: String, seed: u64) -> Self {
        let keeper = Self { inner: Arc::new(Inner { stage, endpoint, seed, services: Mutex::default() }) };
        let weak = Arc::downgrade(&keeper.inner);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let Some(inner) = weak.upgrade() else { return };
                inner.tend();
            }
        });
        keeper
    }

    /// Generates the instrumentation of `service` as it is at first, and starts it.
    pub(super) fn start(&self, service: &str) -> anyhow::Result<()> {
        self.inner.stage.instrument(service)?;
        let child = self.inner.spawn(service)?;
        self.inner.lock().push((service.to_owned(), child));
        Ok(())
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, Child)>> {
        self.services.lock().expect("no holder of this lock panics")
    }

    fn spawn(&self, service: &str) -> anyhow::Result<Child> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let log = File::options().create(true).append(true).open(self.stage.log())?;
        let mut command = Command::new(program);
        command.args(["demo-service", "--name", service, "--endpoint", &self.endpoint, "--instrumentation"]);
        command.arg(self.stage.instrumentation(service)).arg("--run-dir").arg(self.stage.run_dir());
        command.arg("--seed").arg(self.seed.to_string());
        // In a group of its own: a Ctrl-C is for the demo, which ends it.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        command.spawn().with_context(|| format!("cannot start the service {service}"))
    }

    fn tend(&self) {
        for (service, child) in self.lock().iter_mut() {
            // An error to start it: it is tried again at the next look.
            if matches!(child.try_wait(), Ok(Some(_)))
                && let Ok(again) = self.spawn(service)
            {
                *child = again;
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for (_, child) in self.lock().iter_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
