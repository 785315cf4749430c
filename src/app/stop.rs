//! The stop: what runs until then, by part, and the store.
//!
//! Duty: watch the parts, end them in time, close the store behind them. Guarantee: what does not end in its time is cut
//! off and named; the end of the process loses nothing that was acknowledged without being told. Left to others: starting
//! (`app`), what a panic means (`fallen`).

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::fallen::Fallen;
use crate::store::Store;
use crate::store::config::Durability;

/// The tasks of each part.
#[derive(Debug, Default)]
pub(super) struct Running {
    pub(super) receivers: JoinSet<()>,
    pub(super) pipelines: JoinSet<()>,
    pub(super) gates: JoinSet<()>,
    pub(super) learning: JoinSet<()>,
}

impl Running {
    /// Waits until pipelines, gates and learning have ended, and tells `fallen` what fell.
    pub(super) async fn watch(&mut self, fallen: &Fallen) {
        let Self { pipelines, gates, learning, .. } = self;
        tokio::join!(fallen.watch(pipelines), fallen.watch(gates), fallen.watch(learning));
    }

    /// Waits until all has ended, not beyond `deadline`; the names of the parts that were cut off then.
    pub(super) async fn end(&mut self, fallen: &Fallen, deadline: Instant) -> Vec<&'static str> {
        let Self { receivers, pipelines, gates, learning } = self;
        let ended = async {
            let drained = async { while receivers.join_next().await.is_some() {} };
            tokio::join!(drained, fallen.watch(pipelines), fallen.watch(gates), fallen.watch(learning));
        };
        let mut cut = Vec::new();
        if timeout_at(deadline, ended).await.is_ok() {
            return cut;
        }
        let parts = [("receivers", receivers), ("pipelines", pipelines), ("gates", gates), ("learning", learning)];
        for (name, tasks) in parts {
            if !tasks.is_empty() {
                tasks.abort_all();
                cut.push(name);
            }
        }
        cut
    }
}

/// Closes the store by `deadline`, and without a log however long that takes: there is no other copy of what is in memory.
///
/// Errors: what was in memory could not be written.
pub(super) async fn close(store: Store, durability: Durability, deadline: Instant) -> anyhow::Result<()> {
    if durability == Durability::Memory {
        let told = "the store closed with an error; acknowledged spans that were in memory alone are lost";
        return store.close().await.context(told);
    }
    match timeout_at(deadline, store.close()).await {
        Ok(closed) => closed.context("the store closed with an error; what was acknowledged is in the log"),
        Err(_) => {
            tracing::warn!("the store did not close in time; the next start replays the log");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::budget::Budget;
    use crate::clock::Clock;
    use crate::disk::{Disk, Op, faults::Faults};
    use crate::store::{Config, samples};

    /// A store in `dir` with a span that is in memory alone, and its disk.
    async fn without_a_log(dir: &std::path::Path) -> (Store, Faults) {
        let config = Config { min_free_bytes: Some(0), durability: Durability::Memory, ..Config::at(dir) };
        let (faults, budget) = (Faults::default(), Budget::try_new(1 << 30).unwrap());
        let (disk, registry) = (Disk::Faulty(faults.clone()), prometheus::Registry::new());
        let store = Store::open(config, disk, Clock::manual(samples::NOW_NS, 1), &budget, &registry).await.unwrap();
        store.append(samples::delivery(1, 3)).await.unwrap();
        (store, faults)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_a_log_what_is_in_memory_is_written_also_when_the_time_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = without_a_log(dir.path()).await;
        close(store, Durability::Memory, Instant::now()).await.unwrap();
        let reader = samples::folder_at(dir.path(), Clock::manual(samples::NOW_NS, 2)).await;
        assert_eq!(reader.view().parts.parts.iter().map(|part| part.entry.rows).sum::<u64>(), 3);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_a_log_a_failed_close_says_what_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let (store, faults) = without_a_log(dir.path()).await;
        faults.arm(Op::Link, 0, usize::MAX, 28);
        let error = close(store, Durability::Memory, Instant::now() + Duration::from_secs(60)).await.unwrap_err();
        assert!(error.to_string().ends_with("in memory alone are lost"), "{error}");
        assert!(error.downcast_ref::<crate::store::Error>().is_some(), "its exit code is that of the store's error");
    }

    #[tokio::test]
    async fn what_does_not_end_in_time_is_cut_off_and_named() {
        let (fallen, mut running) = (Fallen::default(), Running::default());
        running.receivers.spawn(std::future::pending());
        running.pipelines.spawn(async {});
        running.gates.spawn(async {});
        running.gates.spawn(std::future::pending());
        running.learning.spawn(async { panic!("no such row") });
        let deadline = Instant::now() + Duration::from_millis(50);
        assert_eq!(running.end(&fallen, deadline).await, ["receivers", "gates"]);
        assert!(fallen.told().is_some_and(|told| told.contains("no such row")));
        let far = Instant::now() + Duration::from_secs(60);
        assert!(running.end(&fallen, far).await.is_empty(), "they have ended by then");
    }
}
