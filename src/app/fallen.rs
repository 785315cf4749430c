//! Tasks that were to run until the stop, and ended by a panic.
//!
//! Duty: say so. Guarantee: the log has it when it happens, and health from then on: such a task does not come back before
//! the next start. Left to others: tasks that end with an error, which say so themselves.

use std::sync::{Arc, OnceLock};

use tokio::task::{JoinError, JoinSet};

/// The first task that fell; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Fallen(Arc<OnceLock<String>>);

impl Fallen {
    /// Waits until all of `tasks` have ended.
    pub(super) async fn watch(&self, tasks: &mut JoinSet<()>) {
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                self.tell(&error);
            }
        }
    }

    fn tell(&self, error: &JoinError) {
        tracing::error!(%error, "a part of gates, pipelines or learning has ended; ingest goes on");
        // One is enough to know what to do.
        let _ =
            self.0.set(format!("a part of gates, pipelines or learning has ended ({error}); start the daemon anew"));
    }

    /// What is degraded, as a sentence.
    pub(super) fn told(&self) -> Option<String> {
        self.0.get().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_told_and_one_that_ends_is_not() {
        let (fallen, mut tasks) = (Fallen::default(), JoinSet::new());
        tasks.spawn(async {});
        fallen.watch(&mut tasks).await;
        assert_eq!(fallen.told(), None);
        tasks.spawn(async { panic!("no such row") });
        fallen.watch(&mut tasks).await;
        let told = fallen.told().unwrap();
        assert!(told.contains("no such row") && told.ends_with("start the daemon anew"), "{told}");
    }
}
