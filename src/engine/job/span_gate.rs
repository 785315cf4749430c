//! `span-gate`: new spans decide, not a step's own word (bpmn.md 10).
//!
//! Duty: when to ask the gate, when to stop, what its answer means for the task. Guarantee: nothing seen is never a pass;
//! waiting holds no worker; only spans newer than `since` count. Left to others: judging (a function from `app`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::schema::Headers;
use super::{Job, Outcome};
use crate::clock::Clock;
use crate::gate::verdict::Outcome as Verdict;

/// What is asked of a gate.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Its name.
    pub gate: String,
    /// Values of its by-columns; `None` = all keys.
    pub key: Option<Map<String, Value>>,
    /// Only spans with resource `weavergen.run` = this; `None` = all spans but those of pipelines.
    pub run: Option<u64>,
    /// Only spans newer than this, ms since 1970.
    pub since_ms: i64,
    /// The time of asking, ms since 1970.
    pub now_ms: i64,
}

/// A gate's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The worst of its keys.
    pub verdict: Verdict,
    /// Keys with their verdicts and values, as the result shows them.
    pub keys: Vec<Value>,
    /// Of the worst key.
    pub value: Option<f64>,
    /// Spans that were judged.
    pub n: u64,
    /// Evidence.
    pub rows: Vec<Value>,
    /// Hex.
    pub trace_ids: Vec<String>,
    /// `interval` of the gate's group: when it is worth asking again.
    pub interval: Duration,
}

/// Asks a gate; says in one sentence why it cannot be asked.
pub type Evaluator = Arc<dyn Fn(Ask) -> BoxFuture<'static, Result<Judged, String>> + Send + Sync>;

/// The handler; cheap to clone.
#[derive(Clone)]
pub struct SpanGate {
    evaluator: Evaluator,
    clock: Clock,
}

impl fmt::Debug for SpanGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanGate").field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// Least wait between two questions.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

impl SpanGate {
    /// A handler that asks `evaluator`.
    pub fn new(evaluator: Evaluator, clock: Clock) -> Self {
        Self { evaluator, clock }
    }

    /// Asks once: the outcome is the answer, or when to ask again.
    pub async fn run(&self, job: Job, cancel: CancellationToken) -> Outcome {
        let asked = match Asked::read(&job, self.clock.now_ns() / 1_000_000) {
            Ok(asked) => asked,
            Err(message) => return Outcome::Failed { message, retryable: false, backoff: None },
        };
        let question = (self.evaluator)(asked.ask.clone());
        let judged = tokio::select! {
            judged = question => judged,
            () = cancel.cancelled() => Err("the job was cancelled".to_owned()),
        };
        match judged {
            Ok(judged) => asked.decide(&judged, self.clock.now_ns() / 1_000_000),
            Err(why) => Outcome::Failed {
                message: format!("gate `{}` cannot be asked: {why}", asked.ask.gate),
                retryable: true,
                backoff: None,
            },
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    UntilVerdict,
    Once,
    UntilPass,
}

#[derive(Debug)]
struct Asked {
    ask: Ask,
    mode: Mode,
    fail_is_error: bool,
    /// ms since 1970.
    deadline_ms: i64,
}

impl Asked {
    fn read(job: &Job, now_ms: i64) -> Result<Self, String> {
        let headers = Headers::of("span-gate", &job.headers)?;
        let mode = match headers.word("mode")?.as_str() {
            "once" => Mode::Once,
            "until-pass" => Mode::UntilPass,
            _ => Mode::UntilVerdict,
        };
        let key = headers.map("key")?;
        let timeout = i64::try_from(job.timeout.as_millis()).unwrap_or(i64::MAX);
        Ok(Self {
            ask: Ask {
                gate: headers.text("gate")?.unwrap_or_default(),
                key: Some(key).filter(|key| !key.is_empty()),
                run: (headers.word("only")? == "run").then_some(job.run),
                since_ms: headers.instant_ms("since")?.unwrap_or(job.since_ms),
                now_ms,
            },
            mode,
            fail_is_error: headers.word("onFail")? == "error",
            deadline_ms: job.first_activated_ms.saturating_add(timeout),
        })
    }

    fn decide(&self, judged: &Judged, now_ms: i64) -> Outcome {
        let done = match self.mode {
            Mode::Once => true,
            Mode::UntilVerdict => judged.verdict.is_effective(),
            Mode::UntilPass => judged.verdict == Verdict::Pass,
        };
        if !done && now_ms < self.deadline_ms {
            let wait = i64::try_from(judged.interval.max(MIN_INTERVAL).as_millis()).unwrap_or(i64::MAX);
            return Outcome::Later(now_ms.saturating_add(wait).min(self.deadline_ms));
        }
        let result = json!({
            "verdict": judged.verdict.as_str(),
            "keys": judged.keys,
            "value": judged.value,
            "n": judged.n,
            "rows": judged.rows,
            "traceIds": judged.trace_ids,
        });
        let Value::Object(result) = result else { return Outcome::Completed(Map::new()) };
        if judged.verdict == Verdict::Fail && self.fail_is_error {
            return Outcome::Error {
                code: "GATE_FAILED".to_owned(),
                message: format!("gate `{}` fails for spans of this run's time", self.ask.gate),
                variables: result,
            };
        }
        Outcome::Completed(result)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const NOW: i64 = 1_000_000;

    /// Runs one try in which the gate says `verdict`; what it was asked, and the outcome.
    async fn try_once(headers: Value, verdict: Verdict, now_ms: i64) -> (Ask, Outcome) {
        let seen = Arc::new(Mutex::new(None));
        let evaluator: Evaluator = {
            let seen = Arc::clone(&seen);
            Arc::new(move |ask| {
                *seen.lock().unwrap() = Some(ask);
                let judged = Judged {
                    verdict,
                    keys: vec![json!({"key": "a"})],
                    value: Some(0.5),
                    n: 3,
                    rows: Vec::new(),
                    trace_ids: vec!["ab".into()],
                    interval: Duration::from_secs(10),
                };
                Box::pin(async move { Ok(judged) })
            })
        };
        let gate = SpanGate::new(evaluator, Clock::manual(now_ms * 1_000_000, 1));
        let mut all = json!({"gate": "g"});
        all.as_object_mut().unwrap().extend(headers.as_object().unwrap().clone());
        let job = Job {
            r#type: "span-gate".into(),
            key: 1,
            run: 42,
            process: "p".into(),
            element: "e".into(),
            element_key: 1,
            attempt: 1,
            effect_key: "k".into(),
            traceparent: String::new(),
            depth: 1,
            headers: all.as_object().unwrap().clone().into_iter().collect(),
            variables: Map::new(),
            since_ms: NOW - 5_000,
            first_activated_ms: NOW,
            timeout: Duration::from_secs(120),
        };
        let outcome = gate.run(job, CancellationToken::new()).await;
        let ask = seen.lock().unwrap().take().unwrap();
        (ask, outcome)
    }

    fn verdict(outcome: &Outcome) -> &str {
        match outcome {
            Outcome::Completed(result) => result["verdict"].as_str().unwrap(),
            Outcome::Later(_) => "later",
            Outcome::Error { code, .. } => code,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn each_mode_stops_at_its_verdicts_and_waits_otherwise() {
        use Verdict::{Error, Fail, Inconclusive, Insufficient, NoData, Pass, Warn};
        for (mode, stops) in [("once", 7), ("until-verdict", 3), ("until-pass", 1)] {
            for (at, said) in [Pass, Warn, Fail, NoData, Insufficient, Inconclusive, Error].into_iter().enumerate() {
                let (_, outcome) = try_once(json!({"mode": mode}), said, NOW).await;
                let want = if at < stops { said.as_str() } else { "later" };
                assert_eq!(verdict(&outcome), want, "{mode} {said:?}");
                let (_, late) = try_once(json!({"mode": mode}), said, NOW + 120_000).await;
                assert_eq!(verdict(&late), said.as_str(), "at the timeout it completes with what it has");
            }
        }
    }

    #[tokio::test]
    async fn it_asks_again_after_the_interval_and_at_the_deadline_at_last() {
        let (_, outcome) = try_once(json!({}), Verdict::NoData, NOW).await;
        assert_eq!(outcome, Outcome::Later(NOW + 10_000));
        let (_, outcome) = try_once(json!({}), Verdict::NoData, NOW + 115_000).await;
        assert_eq!(outcome, Outcome::Later(NOW + 120_000));
    }

    #[tokio::test]
    async fn a_failing_gate_is_an_error_only_if_asked() {
        let (_, outcome) = try_once(json!({"onFail": "error"}), Verdict::Fail, NOW).await;
        assert_eq!(verdict(&outcome), "GATE_FAILED");
        let (_, outcome) = try_once(json!({"onFail": "error"}), Verdict::NoData, NOW + 120_000).await;
        assert_eq!(verdict(&outcome), "no_data");
        let (_, outcome) = try_once(json!({"onFail": "error", "mode": "until-pass"}), Verdict::Fail, NOW).await;
        assert_eq!(verdict(&outcome), "later");
    }

    #[tokio::test]
    async fn only_new_spans_of_the_asked_kind_count() {
        let (ask, _) = try_once(json!({}), Verdict::Pass, NOW).await;
        assert_eq!((ask.since_ms, ask.run, ask.key), (NOW - 5_000, None, None));
        let headers = json!({"since": "1970-01-01T00:00:02Z", "only": "run", "key": {"service": "a"}});
        let (ask, _) = try_once(headers, Verdict::Pass, NOW).await;
        assert_eq!((ask.since_ms, ask.run), (2_000, Some(42)));
        assert_eq!(ask.key.unwrap()["service"], "a");
    }
}
