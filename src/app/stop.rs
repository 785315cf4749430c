//! What runs until the stop, by part.
//!
//! Duty: watch it, and end it in time. Guarantee: what does not end in its time is cut off and named. Left to others:
//! starting it (`app`), what a panic means (`fallen`).

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::fallen::Fallen;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_end_in_time_is_cut_off_and_named() {
        let (fallen, mut running) = (Fallen::default(), Running::default());
        running.receivers.spawn(std::future::pending());
        running.pipelines.spawn(async {});
        running.gates.spawn(async {});
        running.gates.spawn(std::future::pending());
        running.learning.spawn(async { panic!("no such row") });
        let deadline = Instant::now() + std::time::Duration::from_millis(50);
        assert_eq!(running.end(&fallen, deadline).await, ["receivers", "gates"]);
        assert!(fallen.told().is_some_and(|told| told.contains("no such row")));
        let far = Instant::now() + std::time::Duration::from_secs(60);
        assert!(running.end(&fallen, far).await.is_empty(), "they have ended by then");
    }
}
