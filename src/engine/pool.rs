//! Running jobs.
//!
//! Duty: call the handler of an attempt and bring its outcome back. Guarantee: every attempt given out comes back exactly
//! once, also when its handler panics or does not heed its time limit; an outcome is offered until the writer has taken
//! or refused it. Left to others: what a handler does (`job/*`), when an attempt runs (`writer`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bpmn::core::OnUnknown;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::job::{Job, Outcome};

/// After the time limit a handler has this long to answer before its outcome counts as unknown.
const GRACE: Duration = Duration::from_secs(10);

/// Runs one attempt.
pub type RunJob = Arc<dyn Fn(Job, CancellationToken) -> BoxFuture<'static, Outcome> + Send + Sync>;
/// Renders a template with variables; the error is one sentence.
pub type Render = Arc<dyn Fn(&str, &Map<String, Value>) -> Result<String, String> + Send + Sync>;
/// What a job type does about an unknown outcome when its header `onUnknown` is absent, by its rendered headers.
pub type OnUnknownOf = Arc<dyn Fn(&str, &BTreeMap<String, Value>) -> OnUnknown + Send + Sync>;

/// What the engine needs of job types. Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    /// The handlers.
    pub run: RunJob,
    /// The template engine.
    pub render: Render,
    /// Answers to unknown outcomes.
    pub on_unknown: OnUnknownOf,
    /// Job type → attempts at a time; a type that is missing is not run here.
    pub limits: BTreeMap<String, usize>,
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// The limits of bpmn.md 10.
pub fn default_limits() -> BTreeMap<String, usize> {
    [("command", 2), ("http", 16), ("sql", 4), ("llm", 4), ("codegen", 1), ("vote", 8), ("span-gate", 8), ("choose", 8)]
        .map(|(name, limit)| (name.to_owned(), limit))
        .into()
}

/// Runs one attempt to its outcome.
pub(super) async fn run(run: RunJob, job: Job, cancel: CancellationToken) -> Outcome {
    let limit = job.timeout;
    // a durable wait answers `later`; its limit is over all tries and its own to keep
    let handler = std::panic::AssertUnwindSafe(run(job, cancel.clone())).catch_unwind();
    tokio::pin!(handler);
    let answer = tokio::select! {
        answer = &mut handler => Some(answer),
        () = tokio::time::sleep(limit) => None,
    };
    let answer = match answer {
        Some(answer) => Some(answer),
        None => {
            cancel.cancel();
            tokio::time::timeout(GRACE, &mut handler).await.ok()
        }
    };
    match answer {
        Some(Ok(outcome)) => outcome,
        Some(Err(_)) => Outcome::Unknown { message: "its handler ended abnormally".to_owned() },
        None => Outcome::Unknown { message: format!("it did not end within its time limit of {} s", limit.as_secs()) },
    }
}
