//! What a transition writes down, tells and asks for.
//!
//! Duty: its row of the journal, the change of its episode, messages to receivers, the start of a pipeline. Guarantee: one
//! start an episode by `on_fail` and one by `on_resolve`; whoever was told that it fires is told that it ended. Left to
//! others: sending and starting, what a change of the gate leaves to tell (`catch_up`).

use serde_json::{Value, json};

use super::super::definition::OnFail;
use super::super::identity::{alert_key, transition_id};
use super::super::journal::{EpisodeRow, Occasion, StartRequest, Told};
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
        looked_us: None,
        looked_ns: None,
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
            let mut values = values(gate, after, row, level, outcome, episode, moment);
            let mut pipeline =
                gate.on_fail.as_ref().filter(|_| after.told.as_ref().is_some_and(|t| t.notice.pipeline.is_some()));
            if transition.may_start()
                && !transition.suppressed
                && let Some(on_fail) = gate.on_fail.as_ref().filter(|on| on.on_warn || level == Level::Fail)
                && pipeline.is_none()
            {
                pipeline = Some(on_fail);
                let what = self.ask_start(alert, episode, gate, (on_fail, Occasion::Failed), key, &values, moment)?;
                summary.push(what);
            }
            // An episode that nobody was told of, for it began in `dry_run`, has no end that starts something.
            if transition.cause == Cause::Passed
                && !transition.suppressed
                && after.told.is_some()
                && let Some(on_resolve) = &gate.on_resolve
                && (on_resolve.on_warn
                    || self.level_max(moment.read(&self.journal)?, alert, episode)? == Some(Level::Fail))
            {
                if let Some((process, _)) = after.told.as_ref().and_then(|told| told.notice.pipeline.clone()) {
                    let run = moment.read(&self.journal)?.episode(alert, episode)?.and_then(|row| row.pipeline_run);
                    values.pipeline = Some((process, run));
                }
                let what =
                    self.ask_start(alert, episode, gate, (on_resolve, Occasion::Resolved), key, &values, moment)?;
                summary.push(what);
            }
            if transition.is_told() && !transition.suppressed {
                // Who hears of fail only was told of it once, and hears of the end.
                let told_level = match transition.to.level() {
                    Some(level) => level,
                    None => self.level_max(moment.read(&self.journal)?, alert, episode)?.unwrap_or(level),
                };
                let notice = Notice {
                    number,
                    status: if transition.to.is_open() { Status::Firing } else { Status::Resolved },
                    level: told_level,
                    outcome: row.map(|_| outcome),
                    reason: transition.cause.as_str().to_owned(),
                    pipeline: pipeline.map(|on_fail| (on_fail.pipeline.clone(), None)),
                    ends_at_ns: (!transition.to.is_open()).then_some(moment.t_ns),
                    ..self.firing(gate, key, after, level, &values, moment)
                };
                self.send(gate, after, notice, moment)?;
            }
        }
        journaled.summary = summary.join("; ");
        self.batch.journal.push(journaled);
        Ok(())
    }

    /// The notice that the open episode of `after` fires at `level`, as its first.
    pub(super) fn firing(
        &self,
        gate: &Gate,
        key: &str,
        after: &KeyRow,
        level: Level,
        values: &Values,
        moment: &Moment,
    ) -> Notice {
        Notice {
            alert: AlertId::new(TENANT, &gate.name, &after.labels),
            episode: after.state.episode,
            number: 0,
            status: Status::Firing,
            health: false,
            gate: gate.name.clone(),
            key: key.to_owned(),
            by: after.labels.clone(),
            labels: self.labels(gate, values, level),
            annotations: annotations(gate, values),
            level,
            outcome: None,
            reason: Cause::Firing.as_str().to_owned(),
            value: values.value,
            n: values.n,
            window: moment.window,
            trace_ids: values.trace_ids.iter().map(|id| id.0).collect(),
            pipeline: None,
            starts_at_ns: after.state.fired_at_ns.unwrap_or(moment.t_ns),
            ends_at_ns: None,
        }
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
            (Cause::Firing, Some(level)) => {
                // What the end before asked for came to nothing.
                self.batch.starts.push((alert, episode.saturating_sub(1), StartEdit::LapseResolved));
                EpisodeEdit::Open(EpisodeRow {
                    gate: gate.name.clone(),
                    key: key.to_owned(),
                    opened_ns: moment.t_ns,
                    closed_ns: None,
                    level_max: level,
                    closed_by: None,
                    pipeline_run: None,
                })
            }
            (Cause::Raised, Some(level)) => EpisodeEdit::Raise(level),
            (cause, None) => {
                self.batch.starts.push((alert, episode, StartEdit::Lapse));
                EpisodeEdit::Close(moment.t_ns, cause)
            }
            (_, Some(_)) => return,
        };
        self.batch.edit(alert, episode, edit);
    }

    /// The highest level of an episode so far; `None`: it is not kept any more.
    pub(super) fn level_max(&self, read: &Snapshot, alert: AlertId, episode: u64) -> Result<Option<Level>, Error> {
        let written = read.episode(alert, episode)?.map(|row| row.level_max);
        Ok(self.batch.levels.get(&(alert, episode)).copied().max(written))
    }

    /// Puts the message into the outbox, and keeps what an end without a verdict repeats.
    pub(super) fn send(
        &mut self,
        gate: &Gate,
        after: &mut KeyRow,
        mut notice: Notice,
        moment: &Moment,
    ) -> Result<(), Error> {
        if notice.status == Status::Firing {
            let mut receivers = self.receivers_of(gate);
            // Who heard of it before hears all of it, also where `notify` does not name it any more.
            for receiver in after.told.take().into_iter().flat_map(|told| told.receivers) {
                if !receivers.contains(&receiver) {
                    receivers.push(receiver);
                }
            }
            self.batch.outbox.extend(receivers.iter().map(|receiver| (receiver.clone(), notice.clone())));
            after.told = Some(Told { receivers, notice });
            return Ok(());
        }
        let Some(told) = after.told.take() else { return Ok(()) };
        if let Some((_, run)) = &mut notice.pipeline {
            let episode = moment.read(&self.journal)?.episode(notice.alert, notice.episode)?;
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
    pub(super) fn ask_start(
        &mut self,
        alert: AlertId,
        episode: u64,
        gate: &Gate,
        (asked, occasion): (&OnFail, Occasion),
        key: &str,
        values: &Values,
        moment: &Moment,
    ) -> Result<String, Error> {
        let request = StartRequest {
            alert,
            episode,
            gate: gate.name.clone(),
            key: key.to_owned(),
            pipeline: asked.pipeline.clone(),
            t_ns: moment.t_ns,
            variables: variables(asked, key, values, moment).to_string(),
            cooldown_ns: nanos(asked.cooldown),
            max_runs: asked.max_runs,
            max_runs_in_ns: nanos(asked.max_runs_in),
            occasion,
        };
        let began = moment.read(&self.journal)?.began(occasion, alert)?;
        let held = held_until(&request, &began, moment.wall_ns);
        self.batch.starts.push((alert, episode, StartEdit::Request(Box::new(request))));
        let result = if held.is_some() { "held" } else { "due" };
        self.metrics.pipeline_starts.with_label_values(&[gate.name.as_str(), result]).inc();
        let of = match occasion {
            Occasion::Failed => "on_fail",
            Occasion::Resolved => "on_resolve",
        };
        Ok(match held {
            None => format!("{of}: {}", asked.pipeline),
            Some(held) => format!("{of}: {} suppressed: {}", asked.pipeline, held.by),
        })
    }
}

pub(super) fn values(
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
        baseline: moment.baselines.get(&alert_key(&after.labels)).copied(),
        window_start_ns: moment.window.start_ns,
        window_end_ns: moment.window.end_ns,
        trace_ids: row
            .map_or_else(Vec::new, |row| row.trace_ids.iter().take(TRACES).copied().collect::<Vec<TraceId>>()),
        pipeline: None,
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
fn variables(asked: &OnFail, key: &str, values: &Values, moment: &Moment) -> Value {
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
    for (name, text) in &asked.input {
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
