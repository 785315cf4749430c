//! What a transition writes down, tells and asks for.
//!
//! Duty: its row of the journal, the change of its episode, messages to receivers, the start of a pipeline. Guarantee: one
//! start an episode; whoever was told that it fires is told that it ended. Left to others: sending and starting.

use serde_json::{Value, json};

use super::super::definition::OnFail;
use super::super::identity::transition_id;
use super::super::journal::{EpisodeRow, StartRequest, Told};
use super::super::result::ResultRow;
use super::super::starts::held_until;
use super::super::state::{Level, Transition};
use super::super::template::{self, Values};
use super::super::verdict::Outcome;
use super::tick::Moment;
use super::*;
use crate::span::{TraceId, hex};

/// Rows of the result that a pipeline gets.
const ROWS: usize = 20;
/// Trace ids that a pipeline gets.
const TRACES: usize = 5;

/// The journal's row of a transition.
pub(super) fn journal_row(
    alert: AlertId,
    gate: &str,
    key: &str,
    transition: &Transition,
    t_ns: i64,
    at_ns: i64,
) -> JournalRow {
    JournalRow {
        at_ns,
        t_ns,
        gate: gate.to_owned(),
        key: key.to_owned(),
        from: transition.from,
        to: transition.to,
        cause: transition.cause,
        episode: transition.episode.map(|(episode, _)| episode),
        transition: transition.episode.map(|(episode, number)| transition_id(alert, episode, number)),
        actor: None,
        summary: String::new(),
    }
}

impl Book {
    #[allow(clippy::too_many_arguments, reason = "all that a message shows")]
    pub(super) fn tell(
        &mut self,
        gate: &Gate,
        key: &str,
        after: &mut KeyRow,
        transition: &Transition,
        row: Option<&ResultRow>,
        outcome: Outcome,
        moment: &Moment,
    ) -> Result<(), Error> {
        let alert = AlertId::new(TENANT, &gate.name, &after.labels);
        let mut journaled = journal_row(alert, &gate.name, key, transition, moment.t_ns, moment.wall_ns);
        let mut summary = Vec::new();
        if transition.suppressed {
            summary.push("suppressed: dry_run".to_owned());
        }
        if let Some((episode, number)) = transition.episode {
            self.edit_episode(alert, episode, gate, key, transition, moment);
            let level = transition.to.level().or(transition.from.level()).unwrap_or(Level::Fail);
            let values = values(gate, after, row, level, outcome, episode, moment);
            let mut pipeline =
                gate.on_fail.as_ref().filter(|_| after.told.as_ref().is_some_and(|t| t.notice.pipeline.is_some()));
            if transition.may_start()
                && !transition.suppressed
                && let Some(on_fail) = gate.on_fail.as_ref().filter(|on| on.on_warn || level == Level::Fail)
                && pipeline.is_none()
            {
                pipeline = Some(on_fail);
                summary.push(self.ask_start(alert, episode, gate, on_fail, key, &values, moment)?);
            }
            if transition.is_told() && !transition.suppressed {
                let notice = Notice {
                    alert,
                    episode,
                    number,
                    status: if transition.to.is_open() { Status::Firing } else { Status::Resolved },
                    health: false,
                    gate: gate.name.clone(),
                    key: key.to_owned(),
                    by: after.labels.clone(),
                    labels: self.labels(gate, &values, level),
                    annotations: annotations(gate, &values),
                    level,
                    outcome: row.map(|_| outcome),
                    reason: transition.cause.as_str().to_owned(),
                    value: values.value,
                    n: values.n,
                    window: moment.window,
                    trace_ids: values.trace_ids.iter().map(|id| id.0).collect(),
                    pipeline: pipeline.map(|on_fail| (on_fail.pipeline.clone(), None)),
                    starts_at_ns: after.state.fired_at_ns.unwrap_or(moment.t_ns),
                    ends_at_ns: (!transition.to.is_open()).then_some(moment.t_ns),
                };
                self.send(gate, after, notice)?;
            }
        }
        journaled.summary = summary.join("; ");
        self.batch.journal.push(journaled);
        Ok(())
    }

    /// Asks for the start of an episode that was open before its gate got `on_fail`: once an episode, as any other.
    pub(super) fn start_late(
        &mut self,
        gate: &Gate,
        key: &str,
        after: &mut KeyRow,
        row: Option<&ResultRow>,
        outcome: Outcome,
        moment: &Moment,
    ) -> Result<(), Error> {
        let (Some(on_fail), Phase::Firing(level)) = (&gate.on_fail, after.state.phase) else { return Ok(()) };
        // An episode of `dry_run` was told to nobody, and starts nothing either.
        let is_open = after.told.as_ref().is_some_and(|told| told.notice.pipeline.is_none());
        if !is_open || gate.mode == Mode::DryRun || !(on_fail.on_warn || level == Level::Fail) {
            return Ok(());
        }
        let alert = AlertId::new(TENANT, &gate.name, &after.labels);
        let episode = after.state.episode;
        if self.journal.snapshot()?.start(alert, episode)?.is_none() {
            let values = values(gate, after, row, level, outcome, episode, moment);
            let what = self.ask_start(alert, episode, gate, on_fail, key, &values, moment)?;
            tracing::info!(gate = %gate.name, key, episode, what, "an open episode got a pipeline");
        }
        if let Some(told) = &mut after.told {
            told.notice.pipeline = Some((on_fail.pipeline.clone(), None));
        }
        Ok(())
    }

    fn edit_episode(
        &mut self,
        alert: AlertId,
        episode: u64,
        gate: &Gate,
        key: &str,
        transition: &Transition,
        moment: &Moment,
    ) {
        let edit = match (transition.cause, transition.to.level()) {
            (Cause::Firing, Some(level)) => EpisodeEdit::Open(EpisodeRow {
                gate: gate.name.clone(),
                key: key.to_owned(),
                opened_ns: moment.t_ns,
                closed_ns: None,
                level_max: level,
                closed_by: None,
                pipeline_run: None,
            }),
            (Cause::Raised, Some(level)) => EpisodeEdit::Raise(level),
            (cause, None) => {
                self.batch.starts.push((alert, episode, StartEdit::Lapse));
                EpisodeEdit::Close(moment.t_ns, cause)
            }
            (_, Some(_)) => return,
        };
        self.batch.episodes.push((alert, episode, edit));
    }

    /// Puts the message into the outbox, and keeps what an end without a verdict repeats.
    fn send(&mut self, gate: &Gate, after: &mut KeyRow, mut notice: Notice) -> Result<(), Error> {
        if notice.status == Status::Firing {
            let receivers = self.receivers_of(gate);
            self.batch.outbox.extend(receivers.iter().map(|receiver| (receiver.clone(), notice.clone())));
            after.told = Some(Told { receivers, notice });
            return Ok(());
        }
        let Some(told) = after.told.take() else { return Ok(()) };
        if let Some((_, run)) = &mut notice.pipeline {
            let episode = self.journal.snapshot()?.episode(notice.alert, notice.episode)?;
            *run = episode.and_then(|episode| episode.pipeline_run);
        }
        if notice.outcome.is_none() {
            // The key is gone: what it last showed is all there is.
            notice = Notice {
                annotations: told.notice.annotations,
                value: told.notice.value,
                n: told.notice.n,
                trace_ids: told.notice.trace_ids,
                ..notice
            };
        }
        self.batch.outbox.extend(told.receivers.into_iter().map(|receiver| (receiver, notice.clone())));
        Ok(())
    }

    fn labels(&self, gate: &Gate, values: &Values, level: Level) -> BTreeMap<String, String> {
        sent_labels(&self.definitions.groups[self.gates[&gate.name].group], gate, values, level)
    }

    /// Writes the start and says for the journal what becomes of it.
    #[allow(clippy::too_many_arguments, reason = "all that a start carries")]
    fn ask_start(
        &mut self,
        alert: AlertId,
        episode: u64,
        gate: &Gate,
        on_fail: &OnFail,
        key: &str,
        values: &Values,
        moment: &Moment,
    ) -> Result<String, Error> {
        let request = StartRequest {
            alert,
            episode,
            gate: gate.name.clone(),
            key: key.to_owned(),
            pipeline: on_fail.pipeline.clone(),
            t_ns: moment.t_ns,
            variables: variables(on_fail, key, values, moment).to_string(),
            cooldown_ns: nanos(on_fail.cooldown),
            max_runs: on_fail.max_runs,
            max_runs_in_ns: nanos(on_fail.max_runs_in),
        };
        let began = self.journal.snapshot()?.began(alert)?;
        let held = held_until(&request, &began, moment.wall_ns);
        self.batch.starts.push((alert, episode, StartEdit::Request(Box::new(request))));
        let result = if held.is_some() { "held" } else { "due" };
        self.metrics.pipeline_starts.with_label_values(&[gate.name.as_str(), result]).inc();
        Ok(match held {
            None => format!("on_fail: {}", on_fail.pipeline),
            Some(held) => format!("on_fail: {} suppressed: {}", on_fail.pipeline, held.by),
        })
    }
}

fn values(
    gate: &Gate,
    after: &KeyRow,
    row: Option<&ResultRow>,
    level: Level,
    outcome: Outcome,
    episode: u64,
    moment: &Moment,
) -> Values {
    Values {
        labels: after.labels.clone(),
        value: row.and_then(|row| row.value).filter(|value| value.is_finite()),
        n: row.and_then(|row| row.n),
        row: row.map(|row| row.evidence.clone()).unwrap_or_default(),
        gate: gate.name.clone(),
        level: level.as_str().to_owned(),
        outcome: outcome.as_str().to_owned(),
        episode,
        window_start_ns: moment.window.start_ns,
        window_end_ns: moment.window.end_ns,
        trace_ids: row
            .map_or_else(Vec::new, |row| row.trace_ids.iter().take(TRACES).copied().collect::<Vec<TraceId>>()),
    }
}

/// Key labels, then those of group and gate, then the names of §6. `values` needs only what label templates may name.
pub(in super::super) fn sent_labels(
    group: &Group,
    gate: &Gate,
    values: &Values,
    level: Level,
) -> BTreeMap<String, String> {
    let mut labels = values.labels.clone();
    for (name, text) in group.labels.iter().chain(&gate.labels) {
        // Most are plain text, and an environment for templates costs more than all else here.
        let text = if text.contains(['{', '\n', '\r']) { template::render(text, values) } else { text.clone() };
        labels.insert(name.clone(), text);
    }
    let severity = match level {
        Level::Warn => &gate.severity.warn,
        Level::Fail => &gate.severity.fail,
    };
    for (name, value) in [
        ("alertname", gate.name.as_str()),
        ("gate_group", group.name.as_str()),
        ("severity", severity.as_str()),
        ("level", level.as_str()),
    ] {
        labels.insert(name.to_owned(), value.to_owned());
    }
    labels
}

/// `description`, `owner`, `runbook_url` and the annotations, rendered.
pub(in super::super) fn annotations(gate: &Gate, values: &Values) -> BTreeMap<String, String> {
    let mut annotations = gate.about.clone();
    let rendered = gate.annotations.iter().map(|(name, text)| (name.clone(), template::render(text, values)));
    annotations.extend(rendered);
    annotations
}

/// The variables of bpmn.md S33; the gate's own `input` stands beside them.
fn variables(on_fail: &OnFail, key: &str, values: &Values, moment: &Moment) -> Value {
    // Own row first: it is what the pipeline is about.
    let (own, others): (Vec<_>, Vec<_>) =
        moment.rows.iter().partition(|(row, _)| super::super::identity::alert_key(&row.key) == key);
    let rows: Vec<Value> =
        own.into_iter().chain(others).take(ROWS).map(|(row, judged)| row_json(row, judged.outcome)).collect();
    let mut variables = json!({
        "gate": values.gate,
        "verdict": values.outcome,
        "value": values.value,
        "labels": values.labels,
        "window": { "start": rfc3339(moment.window.start_ns), "end": rfc3339(moment.window.end_ns) },
        "episode": values.episode,
        "rows": rows,
        "trace_ids": values.trace_ids.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    for (name, text) in &on_fail.input {
        variables[name] = Value::from(template::render(text, values));
    }
    variables
}

/// A row as its columns.
fn row_json(row: &ResultRow, outcome: Outcome) -> Value {
    let mut columns: serde_json::Map<String, Value> =
        row.key.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    columns.extend(row.evidence.clone());
    columns.insert("value".to_owned(), row.value.filter(|value| value.is_finite()).map_or(Value::Null, Value::from));
    columns.insert("n".to_owned(), row.n.map_or(Value::Null, Value::from));
    columns.insert("outcome".to_owned(), Value::from(outcome.as_str()));
    columns.insert("trace_ids".to_owned(), row.trace_ids.iter().map(|id| Value::from(hex(&id.0))).collect());
    Value::Object(columns)
}

fn rfc3339(ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(ns)).map_or_else(|_| ns.to_string(), |at| at.to_string())
}
