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

/// What is left of a handler that did not heed its time limit.
pub(super) type Rest = BoxFuture<'static, ()>;

/// Runs one attempt to its outcome. With an outcome may come the rest of a handler that still runs: until that is over,
/// its worker and its concurrency key are taken.
///
/// A handler that is asked to end cannot know whether its time is over or its job was withdrawn. Here it is known: of an
/// attempt that ran into its limit a failure can be tried again (bpmn.md 10), whatever the handler says of it.
pub(super) async fn run(run: RunJob, job: Job, cancel: CancellationToken) -> (Outcome, Option<Rest>) {
    run_within(run, job, cancel, GRACE).await
}

async fn run_within(run: RunJob, job: Job, cancel: CancellationToken, grace: Duration) -> (Outcome, Option<Rest>) {
    let limit = job.timeout;
    let token = cancel.clone();
    // a durable wait answers `later`; its limit is over all tries and its own to keep
    let mut handler = std::panic::AssertUnwindSafe(async move { run(job, token).await }).catch_unwind().boxed();
    let ended = |answer: std::thread::Result<Outcome>| {
        answer.unwrap_or_else(|_| Outcome::Unknown { message: "its handler ended abnormally".to_owned() })
    };
    tokio::select! {
        biased;
        answer = &mut handler => return (ended(answer), None),
        () = tokio::time::sleep(limit) => {}
    }
    cancel.cancel();
    let seconds = limit.as_secs_f64();
    match tokio::time::timeout(grace, &mut handler).await.map(ended) {
        Ok(Outcome::Failed { message, backoff, .. }) => {
            let message = format!("its time limit of {seconds} s is over: {message}");
            (Outcome::Failed { message, retryable: true, backoff }, None)
        }
        Ok(outcome) => (outcome, None),
        Err(_) => {
            let message = format!("it did not end within its time limit of {seconds} s");
            (Outcome::Unknown { message }, Some(handler.map(drop).boxed()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            r#type: "command".to_owned(),
            key: 1,
            run: 1,
            process: "p".to_owned(),
            element: "e".to_owned(),
            element_key: 1,
            attempt: 1,
            effect_key: String::new(),
            traceparent: String::new(),
            depth: 1,
            headers: BTreeMap::new(),
            variables: Map::new(),
            since_ms: 0,
            first_activated_ms: 0,
            timeout: Duration::from_millis(100),
        }
    }

    fn handler(answer: impl Fn(CancellationToken) -> BoxFuture<'static, Outcome> + Send + Sync + 'static) -> RunJob {
        Arc::new(move |_, cancel| answer(cancel))
    }

    fn never(message: &str) -> Outcome {
        Outcome::Failed { message: message.to_owned(), retryable: false, backoff: None }
    }

    #[tokio::test]
    async fn a_failure_is_final_within_the_time_limit_and_can_be_tried_again_beyond_it() {
        // as `command` and `sql` do: a limit of their own that begins a moment later, and an ear for cancellation
        let late = handler(|cancel| {
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(2)).await;
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(100)) => never("too slow"),
                    () = cancel.cancelled() => never("was cancelled"),
                }
            })
        });
        let (outcome, rest) = run(late, job(), CancellationToken::new()).await;
        let Outcome::Failed { message, retryable, .. } = outcome else { panic!("{outcome:?}") };
        assert!(retryable && message.contains("time limit of 0.1 s"), "{message}");
        assert!(rest.is_none());
        let soon = handler(|_| Box::pin(async { never("no such program") }));
        let (outcome, _) = run(soon, job(), CancellationToken::new()).await;
        assert_eq!(outcome, never("no such program"));
    }

    #[tokio::test]
    async fn what_is_done_when_the_time_is_over_counts_and_a_panic_is_unknown() {
        let done = handler(|cancel| {
            Box::pin(async move {
                cancel.cancelled().await;
                Outcome::Completed(Map::new())
            })
        });
        assert_eq!(run(done, job(), CancellationToken::new()).await.0, Outcome::Completed(Map::new()));
        for panics in [handler(|_| panic!("at once")), handler(|_| Box::pin(async { panic!("later") }))] {
            let (outcome, rest) = run(panics, job(), CancellationToken::new()).await;
            assert!(matches!(outcome, Outcome::Unknown { .. }) && rest.is_none(), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn a_handler_that_does_not_heed_its_limit_is_unknown_and_its_end_is_told() {
        let (finish, finished) = tokio::sync::watch::channel(false);
        let deaf = handler(move |_| {
            let mut finished = finished.clone();
            Box::pin(async move {
                finished.wait_for(|finished| *finished).await.unwrap();
                Outcome::Completed(Map::new())
            })
        });
        let (outcome, rest) = run_within(deaf, job(), CancellationToken::new(), Duration::from_millis(50)).await;
        assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
        let mut rest = rest.expect("it still runs");
        assert!((&mut rest).now_or_never().is_none());
        finish.send_replace(true);
        rest.await;
    }
}
