//! Gates start pipelines (bpmn.md S33, gates.md 11).
//!
//! Duty: follow the due starts of the gates, publish their messages, acknowledge what became of them. Guarantee: a start
//! begins one run, also when the daemon dies between run and acknowledgement; a start that is busy is offered again when
//! the run of its key has ended; evidence that a pipeline made itself starts none. Left to others: when a start is due
//! (`gate`), what the message does (`bpmn::core`).

use std::collections::BTreeMap;
use std::fmt;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use bpmn::core::{Action, Answer, Body, Event, Rejection, Trigger as Origin, Value, Variables};
use futures::future::BoxFuture;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::history::{RunRow, RunState};
use super::{Engine, Error};
use crate::clock::Clock;
use crate::gate::identity::{TENANT, evaluation_span};
use crate::gate::journal::{Occasion, StartRequest};
use crate::gate::starts::{self, Starts, message_id};
use crate::query::render::value::write_json;
use crate::query::{Gateway, Params, Statement};

/// Every gate's message; `weavergen.gate.<gate>` is that of one gate.
const NAME: &str = "weavergen.gate";
/// Who publishes, as the events have it.
const ACTOR: &str = "gate";
/// What could not be tried is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);
/// Without news, due starts are looked at this often.
const IDLE: Duration = Duration::from_secs(60);
/// Evidence from this depth on starts nothing, unless the configuration says otherwise.
pub const MAX_DEPTH: u32 = 1;

/// What the spans of evidence say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The greatest `weavergen.depth` among them, at least 1 when a pipeline is in their traces.
    pub depth: u32,
    /// (trace id, span id) in hex of the first span of each trace.
    pub spans: Vec<(String, String)>,
}

/// From trace ids in hex; the error is one sentence.
type LookUp = dyn Fn(Vec<String>) -> BoxFuture<'static, Result<Evidence, String>> + Send + Sync;

/// Looks evidence up.
#[derive(Clone)]
pub struct Evidences(Arc<LookUp>);

impl fmt::Debug for Evidences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Evidences")
    }
}

impl Evidences {
    /// By a function.
    pub fn new(
        look: impl Fn(Vec<String>) -> BoxFuture<'static, Result<Evidence, String>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(look))
    }

    /// By statements over `spans`.
    pub fn of(gateway: Gateway) -> Self {
        Self::new(move |traces| {
            let gateway = gateway.clone();
            Box::pin(async move { look_up(&gateway, &traces).await })
        })
    }
}

/// The follower.
#[derive(Debug)]
pub struct Trigger {
    engine: Engine,
    starts: Starts,
    evidences: Evidences,
    /// Evidence from this depth on starts nothing.
    max_depth: u32,
    clock: Clock,
    /// Busy starts, by message id: the run that has to end first.
    behind: BTreeMap<String, u64>,
}

/// What to do after an offer.
#[derive(Debug, PartialEq, Eq)]
enum Offered {
    /// It is acknowledged.
    Answered,
    /// It is due still; offer it again when something changes.
    Waits,
    /// It could not be tried.
    Failed,
}

impl Trigger {
    /// Nothing is offered before [`Trigger::follow`].
    pub fn new(engine: Engine, starts: Starts, evidences: Evidences, max_depth: u32, clock: Clock) -> Self {
        Self { engine, starts, evidences, max_depth, clock, behind: BTreeMap::new() }
    }

    /// Offers what is due until `stop`.
    pub async fn follow(mut self, stop: CancellationToken) {
        let mut changes = self.starts.changes();
        let mut events = self.engine.subscribe();
        loop {
            changes.mark_unchanged();
            // An offer that is cut off here is made again by the next life; it begins no second run.
            let wait = tokio::select! {
                () = stop.cancelled() => return,
                wait = self.round() => wait,
            };
            let sleep = tokio::time::sleep(wait);
            tokio::pin!(sleep);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = changes.changed() => match changed {
                        Ok(()) => break,
                        // The gates are gone; so is what could become due.
                        Err(_) => return,
                    },
                    batch = events.recv() => match batch {
                        Ok(batch) if !batch.iter().any(makes_room) => {}
                        // Missed some: any of them may have made room.
                        Ok(_) | Err(RecvError::Lagged(_)) => break,
                        Err(RecvError::Closed) => return,
                    },
                    () = &mut sleep => break,
                }
            }
        }
    }

    /// Offers what is due, once; how long to wait if nothing changes.
    async fn round(&mut self) -> Duration {
        let starts = self.starts.clone();
        let due = match tokio::task::spawn_blocking(move || starts.due()).await {
            Ok(Ok(due)) => due,
            Ok(Err(error)) => {
                tracing::error!(%error, "due starts cannot be read");
                return AGAIN;
            }
            Err(error) => {
                tracing::error!(%error, "reading due starts ended abnormally");
                return AGAIN;
            }
        };
        let mut wait = IDLE;
        if let Some(next_ns) = due.next_ns {
            let left = u64::try_from(next_ns.saturating_sub(self.clock.now_ns())).unwrap_or(0);
            wait = wait.min(Duration::from_nanos(left)).max(Duration::from_millis(1));
        }
        let ids: Vec<String> = due.requests.iter().map(id_of).collect();
        self.behind.retain(|id, _| ids.contains(id));
        for request in due.requests {
            if self.offer(request).await == Offered::Failed {
                wait = wait.min(AGAIN);
            }
        }
        wait
    }

    async fn offer(&mut self, request: StartRequest) -> Offered {
        let id = id_of(&request);
        if let Some(run) = self.behind.get(&id) {
            match self.engine.store().run(*run) {
                Ok(Some(row)) if row.state == RunState::Running => return Offered::Waits,
                Ok(_) => drop(self.behind.remove(&id)),
                Err(error) => {
                    tracing::error!(%error, "the engine's runs cannot be read");
                    return Offered::Failed;
                }
            }
        }
        // The run may have begun and its acknowledgement been lost, with this process or with the disk of the gates.
        if request.occasion == Occasion::Resolved && self.recover_failure(&request).await == Offered::Failed {
            return Offered::Failed;
        }
        // As long as an episode is open, all its runs are of its begin, also of one that was asked for at another tick before.
        let evaluation = evaluation_of(&request);
        let is_its = |asked: Option<&Link>| request.occasion == Occasion::Failed || asked == Some(&evaluation);
        match self.run_of(&request, is_its) {
            Ok(Some(run)) => return self.started(request, run).await,
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "the engine's runs cannot be read");
                return Offered::Failed;
            }
        }
        let variables = match serde_json::from_str(&request.variables) {
            Ok(serde_json::Value::Object(variables)) => variables,
            _ => {
                return self
                    .answer(request, starts::Answer::Refused("its variables are no JSON object".to_owned()))
                    .await;
            }
        };
        let evidence = match (self.evidences.0)(trace_ids(&variables)).await {
            Ok(evidence) => evidence,
            Err(error) => {
                tracing::warn!(gate = %request.gate, %error, "the evidence of a start cannot be read yet");
                return Offered::Failed;
            }
        };
        if evidence.depth >= self.max_depth {
            let reason = format!(
                "its evidence comes from a pipeline itself (depth {}): `engine.spans.depth` {} ends such loops",
                evidence.depth, self.max_depth
            );
            return self.answer(request, starts::Answer::Refused(reason)).await;
        }
        let payload: Variables =
            variables.iter().map(|(name, value)| (name.clone(), Value::from_json(value))).collect();
        // The gate's own name first: a process with both starts gets the one meant for this gate.
        let mut last = None;
        for name in [format!("{NAME}.{}", request.gate), NAME.to_owned()] {
            match self.publish(&name, &id, &request, &payload, &evidence).await {
                Err(Error::Rejected(Rejection::NoSuchStart { .. })) => {}
                published => {
                    last = Some(published);
                    break;
                }
            }
        }
        self.acknowledge(request, id, last).await
    }

    /// Acknowledges the run of `on_fail` of the same episode, if that was lost until the episode ended.
    async fn recover_failure(&self, resolved: &StartRequest) -> Offered {
        let failed = match self.starts.lapsed_failure(resolved) {
            Ok(Some(failed)) => failed,
            Ok(None) => return Offered::Answered,
            Err(error) => {
                tracing::error!(%error, "the starts of gates cannot be read");
                return Offered::Failed;
            }
        };
        let evaluation = evaluation_of(resolved);
        match self.run_of(&failed, |asked| asked != Some(&evaluation)) {
            Ok(Some(run)) => self.started(failed, run).await,
            Ok(None) => Offered::Answered,
            Err(error) => {
                tracing::error!(%error, "the engine's runs cannot be read");
                Offered::Failed
            }
        }
    }

    async fn publish(
        &self,
        name: &str,
        id: &str,
        request: &StartRequest,
        payload: &Variables,
        evidence: &Evidence,
    ) -> Result<Answer, Error> {
        // The evaluation first, then the spans that it fired on.
        let links = iter::once(evaluation_of(request)).chain(evidence.spans.iter().cloned()).collect();
        let action = Action::PublishMessage {
            name: name.to_owned(),
            key: format!("{}/{}", request.gate, request.key),
            message_id: Some(id.to_owned()),
            variables: payload.clone(),
            only: Some(request.pipeline.clone()),
            trigger: Some(Origin {
                gate: request.gate.clone(),
                key: request.key.clone(),
                episode: request.episode,
                links,
            }),
            depth: evidence.depth,
        };
        self.engine.submit(action, Some(ACTOR.to_owned()), None).await
    }

    async fn acknowledge(
        &mut self,
        request: StartRequest,
        id: String,
        published: Option<Result<Answer, Error>>,
    ) -> Offered {
        match published {
            Some(Ok(Answer::Published { started })) if !started.is_empty() => self.started(request, started[0]).await,
            Some(Err(Error::Rejected(Rejection::Busy { instance, .. }))) => {
                self.behind.insert(id, instance);
                // It stays due: the answer only counts.
                match self.answer(request, starts::Answer::Busy).await {
                    Offered::Answered => Offered::Waits,
                    failed => failed,
                }
            }
            Some(Err(Error::Rejected(rejection))) => {
                self.answer(request, starts::Answer::Refused(rejection.to_string())).await
            }
            Some(Err(error)) => {
                tracing::warn!(gate = %request.gate, %error, "a start cannot be taken yet");
                Offered::Failed
            }
            Some(Ok(_)) => {
                let reason = format!("the message start of process `{}` did not take it", request.pipeline);
                self.answer(request, starts::Answer::Refused(reason)).await
            }
            None => self.without_start(request).await,
        }
    }

    async fn started(&self, request: StartRequest, run: u64) -> Offered {
        let (gate, key, process) = (&request.gate, &request.key, &request.pipeline);
        tracing::info!(%gate, %key, episode = request.episode, %process, run, "a gate started a pipeline");
        self.answer(request, starts::Answer::Started(i64::try_from(run).unwrap_or(i64::MAX))).await
    }

    /// No version in force has a message start of these names. A process that is not there at all may come yet.
    async fn without_start(&self, request: StartRequest) -> Offered {
        let process = request.pipeline.clone();
        match self.is_deployed(&process) {
            Ok(true) => {
                let reason = format!(
                    "process `{process}` has no start by message `{NAME}` or `{NAME}.{}`; add one and deploy it",
                    request.gate
                );
                self.answer(request, starts::Answer::Refused(reason)).await
            }
            Ok(false) => {
                tracing::warn!(gate = %request.gate, %process, "a gate names a pipeline that is not deployed; its start waits");
                Offered::Waits
            }
            Err(error) => {
                tracing::error!(%error, "the engine's definitions cannot be read");
                Offered::Failed
            }
        }
    }

    fn is_deployed(&self, process: &str) -> Result<bool, Error> {
        let view = self.engine.store().view()?;
        let found = (&view as &dyn bpmn::core::StateView).definition(process).is_some();
        view.failed()?;
        Ok(found)
    }

    /// The newest run that this start began. One process may be asked for when an episode begins and again when it ends; what
    /// tells them apart is the evaluation that asked, which is the first link of a run: `is_its` says whether it fits.
    fn run_of(&self, request: &StartRequest, is_its: impl Fn(Option<&Link>) -> bool) -> Result<Option<u64>, Error> {
        let runs = self.engine.store().runs()?;
        let of_it = |origin: &Origin| {
            (&origin.gate, &origin.key, origin.episode) == (&request.gate, &request.key, request.episode)
                && is_its(origin.links.first())
        };
        let is_it = |row: &RunRow| row.process == request.pipeline && row.trigger.as_ref().is_some_and(of_it);
        Ok(runs.iter().rev().find(|(_, row)| is_it(row)).map(|(run, _)| *run))
    }

    async fn answer(&self, request: StartRequest, answer: starts::Answer) -> Offered {
        if let starts::Answer::Refused(reason) = &answer {
            let (gate, key, process) = (&request.gate, &request.key, &request.pipeline);
            tracing::warn!(%gate, %key, episode = request.episode, %process, %reason, "a pipeline was not started");
        }
        let starts = self.starts.clone();
        match tokio::task::spawn_blocking(move || starts.answer(&request, &answer)).await {
            Ok(Ok(_)) => Offered::Answered,
            Ok(Err(error)) => {
                tracing::error!(%error, "a start cannot be acknowledged; it is offered again");
                Offered::Failed
            }
            Err(error) => {
                tracing::error!(%error, "acknowledging a start ended abnormally; it is offered again");
                Offered::Failed
            }
        }
    }
}

/// (trace id, span id)
type Link = (String, String);

/// The evaluation that asked for it.
fn evaluation_of(request: &StartRequest) -> Link {
    evaluation_span(TENANT, &request.gate, request.t_ns)
}

fn id_of(request: &StartRequest) -> String {
    message_id(request)
}

/// Whether a start that waited may go now: a run ended, or a version came into force.
fn makes_room(event: &Event) -> bool {
    matches!(
        event.body,
        Body::InstanceCompleted { .. }
            | Body::InstanceFailed { .. }
            | Body::InstanceCancelled { .. }
            | Body::Deployed(_)
    )
}

/// Those of the variable `trace_ids` that are ids.
fn trace_ids(variables: &serde_json::Map<String, serde_json::Value>) -> Vec<String> {
    let ids = variables.get("trace_ids").and_then(serde_json::Value::as_array).into_iter().flatten();
    let is_id = |id: &&str| id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit());
    ids.filter_map(serde_json::Value::as_str).filter(is_id).map(str::to_ascii_lowercase).collect()
}

/// Depth and first span of each trace. A called service copies the baggage `weavergen.depth` into its spans; a trace that
/// a pipeline is in counts as depth 1 where no service does.
async fn look_up(gateway: &Gateway, traces: &[String]) -> Result<Evidence, String> {
    if traces.is_empty() {
        return Ok(Evidence::default());
    }
    let places = (1..=traces.len()).map(|n| format!("trace_id(${n})")).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT hex(trace_id) AS trace, first_value(hex(span_id) ORDER BY start_time, span_id) AS span, \
         max(CASE WHEN resource['weavergen.origin'] = 'pipeline' THEN 1 ELSE 0 END) AS made, \
         max(CAST(attributes['weavergen.depth'] AS BIGINT)) AS depth \
         FROM spans WHERE trace_id IN ({places}) GROUP BY trace_id ORDER BY trace_id"
    );
    let ids = serde_json::Value::from(traces.to_vec());
    let statement = Statement { params: Params::from_json(&ids).map_err(|e| e.to_string())?, ..Statement::new(sql) };
    let mut answer = gateway.run(statement).await.map_err(|error| error.to_string())?;
    let mut evidence = Evidence::default();
    while let Some(batch) = answer.next().await.map_err(|error| error.to_string())? {
        for row in 0..batch.num_rows() {
            let cell = |column: usize| -> Result<serde_json::Value, String> {
                let mut text = Vec::new();
                write_json(batch.column(column), row, &mut text).map_err(|error| error.to_string())?;
                serde_json::from_slice(&text).map_err(|error| error.to_string())
            };
            let (trace, span, made, depth) = (cell(0)?, cell(1)?, cell(2)?, cell(3)?);
            let depth = depth.as_i64().or(made.as_i64()).unwrap_or(0).max(made.as_i64().unwrap_or(0));
            evidence.depth = evidence.depth.max(u32::try_from(depth.max(0)).unwrap_or(u32::MAX));
            if let (Some(trace), Some(span)) = (trace.as_str(), span.as_str()) {
                evidence.spans.push((trace.to_owned(), span.to_owned()));
            }
        }
    }
    Ok(evidence)
}

#[cfg(test)]
mod tests;
