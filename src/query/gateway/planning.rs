//! What is planned and not run.
//!
//! Duty: a slot, the query threads and the limits of planning for it, and a line among the statements. Guarantee: it can be
//! stopped as any other; no line of it is left, for nothing ran. Left to others: what is planned (`describe`, `typed`).

use tokio::time::Instant;

use super::run::Job;
use super::{Abort, Gateway, Granted, Statement, internal};
use crate::query::error::Error;

impl Gateway {
    /// Plans `statement` by `work` within `limits`.
    ///
    /// Errors: `sql.busy`, `sql.timeout`, `sql.cancelled`, those of `work`.
    pub(super) async fn planning<T, F>(
        &self,
        statement: Statement,
        limits: &Granted,
        work: impl FnOnce(Job) -> F,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let query_id = self.id_of(&statement);
        let entered = self.inner.log.enter(self.who(&statement, query_id)).passing();
        let entry = &entered.entry;
        let planned = async {
            let slot = self.slot(&statement.identity, Instant::now() + limits.time).await?;
            entry.has_slot();
            let work = work(self.job(statement, limits));
            let task = self.spawn(async move {
                let _held = slot;
                work.await
            });
            let _stopped = Abort(task.abort_handle());
            match tokio::time::timeout(self.inner.config.planning_timeout.min(limits.time), task).await {
                Ok(Ok(planned)) => planned,
                Ok(Err(_)) => Err(internal()),
                Err(_) => Err(self.planned_late()),
            }
        };
        entry.stop.run_until_cancelled(planned).await.unwrap_or_else(|| Err(entry.stopped()))
    }
}
