//! Episodes that are open while their gate changes: labels, `mode`, `notify`, `on_fail`, `on_resolve` (gates.md 7, reload).
//!
//! Duty: at the start end what a gate in `dry_run` had told, tell what fires under its new labels and to new receivers, health
//! alerts too, let starts lapse that nobody wants any more; at a tick tell and start what the change left out. Guarantee: who hears that an episode fires hears its end
//! once; of a gate in `dry_run` nothing is sent but the end of what was told, and nothing starts. Left to others: transitions
//! (`tell`).

use super::super::definition::OnFail;
use super::super::health::follow;
use super::super::journal::{Occasion, StartRequest, StartState, Told};
use super::super::result::ResultRow;
use super::super::state::Level;
use super::super::template::Values;
use super::super::verdict::Outcome;
use super::tell::values;
use super::tick::Moment;
use super::*;

/// Reason of an end that is told because nothing more will be.
const FELL_SILENT: &str = "dry_run";
/// Reason of a message by which an open episode gets other labels.
const RELABELLED: &str = "relabelled";

/// The end of what was told.
pub(super) fn end_of(told: &Told, number: u32, level: Level, reason: &str, now_ns: i64) -> Notice {
    Notice {
        number,
        level,
        status: Status::Resolved,
        outcome: None,
        reason: reason.to_owned(),
        ends_at_ns: Some(now_ns),
        ..told.notice.clone()
    }
}

impl Book {
    /// Fits what was told and what is due to the gates as they are loaded now; those in `renewed` ask another question.
    ///
    /// Errors: the journal cannot be read.
    pub(super) fn catch_up(&mut self, read: &Snapshot, renewed: &BTreeSet<String>, now_ns: i64) -> Result<(), Error> {
        let mut owed = Vec::new();
        for (name, entry) in &self.gates {
            let receivers = self.receivers_of(&entry.gate);
            for (key, row) in &entry.keys {
                let Some(told) = &row.told else { continue };
                // What is over and was never told so was ended by a version that kept silent in `dry_run`.
                let is_open = row.state.phase.is_open() && told.notice.episode == row.state.episode;
                let is_ended = entry.gate.mode == Mode::DryRun || !is_open;
                let is_new = receivers.iter().any(|receiver| !told.receivers.contains(receiver));
                if is_ended || is_new || self.labels_now(entry, row, told) != told.notice.labels {
                    let id = KeyId { gate: name.clone(), generation: entry.row.generation, key: key.clone() };
                    owed.push((id, row.clone(), is_ended));
                }
            }
        }
        for (id, mut row, is_ended) in owed {
            if is_ended {
                self.fall_silent(read, &id, &mut row, now_ns)?;
            } else {
                self.relabel(&id, &mut row);
                self.tell_newcomers(&id, &mut row);
            }
            self.put(id, row);
        }
        self.tell_health_to_newcomers();
        for (due, _) in read.due_starts()? {
            if !self.wants(&due.request, renewed) {
                self.lapse(&due.request);
            }
        }
        Ok(())
    }

    /// Ends what was told of a key: from now on nothing is.
    fn fall_silent(&mut self, read: &Snapshot, id: &KeyId, row: &mut KeyRow, now_ns: i64) -> Result<(), Error> {
        let Some(told) = row.told.take() else { return Ok(()) };
        let Notice { alert, episode, number, level, .. } = told.notice;
        let level = self.level_max(read, alert, episode)?.unwrap_or(level);
        let number = if episode == row.state.episode {
            row.state.next_transition += 1;
            row.state.next_transition - 1
        } else {
            number + 1
        };
        tracing::info!(gate = %id.gate, key = %id.key, episode, "the end of what was told, for the gate is silent now");
        let notice = end_of(&told, number, level, FELL_SILENT, now_ns);
        self.batch.outbox.extend(told.receivers.iter().map(|receiver| (receiver.clone(), notice.clone())));
        Ok(())
    }

    /// The labels under which what was `told` of a key would be told now. Templates of labels see no verdict.
    fn labels_now(&self, entry: &Entry, row: &KeyRow, told: &Told) -> BTreeMap<String, String> {
        let values = Values { labels: row.labels.clone(), gate: entry.gate.name.clone(), ..Values::default() };
        sent_labels(&self.definitions.groups[entry.group], &entry.gate, &values, told.notice.level)
    }

    /// Tells under which labels an open episode goes on, where they changed: who knows label sets ends the old one with it.
    fn relabel(&mut self, id: &KeyId, row: &mut KeyRow) {
        let Some((entry, told)) = self.gates.get(&id.gate).zip(row.told.as_ref()) else { return };
        let labels = self.labels_now(entry, row, told);
        if labels == told.notice.labels {
            return;
        }
        let number = row.state.next_transition;
        row.state.next_transition += 1;
        tracing::info!(gate = %id.gate, key = %id.key, episode = row.state.episode, "an open episode gets other labels");
        let Some(told) = &mut row.told else { return };
        told.notice = Notice { number, labels, reason: RELABELLED.to_owned(), ..told.notice.clone() };
        let messages = told.receivers.iter().map(|receiver| (receiver.clone(), told.notice.clone()));
        self.batch.outbox.extend(messages);
    }

    /// Tells receivers that the gate did not have before what fires.
    fn tell_newcomers(&mut self, id: &KeyId, row: &mut KeyRow) {
        let Some(entry) = self.gates.get(&id.gate) else { return };
        let receivers = self.receivers_of(&entry.gate);
        let Some(told) = &mut row.told else { return };
        let newcomers: Vec<String> =
            receivers.into_iter().filter(|receiver| !told.receivers.contains(receiver)).collect();
        // For them it begins, whatever the others heard last.
        let notice = Notice { reason: Cause::Firing.as_str().to_owned(), ..told.notice.clone() };
        self.batch.outbox.extend(newcomers.iter().map(|receiver| (receiver.clone(), notice.clone())));
        told.receivers.extend(newcomers);
    }

    /// Tells receivers that a gate did not have before which health alerts about it fire. Of one in `dry_run` the next tick
    /// ends them.
    fn tell_health_to_newcomers(&mut self) {
        let followed = self.health.iter().filter_map(|(alert, row)| {
            let about_gate = row.kind != HealthKind::DeliveryFailing;
            let entry = self.gates.get(&row.about).filter(|entry| about_gate && entry.gate.mode == Mode::Enforce)?;
            Some((*alert, follow(row, &self.receivers_of(&entry.gate))?))
        });
        for (alert, (row, messages)) in followed.collect::<Vec<_>>() {
            self.health.insert(alert, row.clone());
            self.batch.health.insert(alert, row);
            self.batch.outbox.extend(messages);
        }
    }

    /// Whether a start that is due is still one of its gate.
    fn wants(&self, request: &StartRequest, renewed: &BTreeSet<String>) -> bool {
        let Some(entry) = self.gates.get(&request.gate) else { return false };
        let effect = match request.occasion {
            Occasion::Failed => &entry.gate.on_fail,
            Occasion::Resolved => &entry.gate.on_resolve,
        };
        entry.gate.mode == Mode::Enforce && effect.is_some() && !renewed.contains(&request.gate)
    }

    fn lapse(&mut self, request: &StartRequest) {
        let StartRequest { alert, episode, gate, key, occasion, .. } = request;
        let edit = match occasion {
            Occasion::Failed => StartEdit::Lapse,
            Occasion::Resolved => StartEdit::LapseResolved,
        };
        tracing::info!(gate, key, episode, pipeline = %request.pipeline, "a start lapses with the change of its gate");
        self.batch.starts.push((*alert, *episode, edit));
        let Some(entry) = self.gates.get(gate) else { return };
        let id = KeyId { gate: gate.clone(), generation: entry.row.generation, key: key.clone() };
        let Some(mut row) = entry.keys.get(key).cloned() else { return };
        // So that it is asked for again if the gate wants it again.
        if *occasion == Occasion::Failed
            && let Some(told) = row.told.as_mut().filter(|told| told.notice.episode == *episode)
        {
            told.notice.pipeline = None;
            self.put(id, row);
        }
    }

    fn put(&mut self, id: KeyId, row: KeyRow) {
        if let Some(entry) = self.gates.get_mut(&id.gate) {
            entry.keys.insert(id.key.clone(), row.clone());
        }
        self.batch.keys.insert(id, Some(row));
    }

    /// Tells and starts what an open episode was not told or did not start because of how its gate was before.
    pub(super) fn make_up(
        &mut self,
        gate: &Gate,
        key: &str,
        after: &mut KeyRow,
        row: Option<&ResultRow>,
        outcome: Outcome,
        moment: &Moment,
    ) -> Result<(), Error> {
        let Phase::Firing(level) = after.state.phase else { return Ok(()) };
        let wanted = gate.on_fail.as_ref().filter(|on_fail| on_fail.on_warn || level == Level::Fail);
        let is_done = after.told.as_ref().is_some_and(|told| told.notice.pipeline.is_some() || wanted.is_none());
        if gate.mode == Mode::DryRun || is_done {
            return Ok(());
        }
        let values = values(gate, after, row, level, outcome, after.state.episode, moment);
        let pipeline = match wanted {
            Some(on_fail) => Some(self.start_late(gate, key, after, on_fail, &values, moment)?),
            None => None,
        };
        if let Some(told) = &mut after.told {
            told.notice.pipeline = pipeline;
            return Ok(());
        }
        // It fired in `dry_run`.
        let number = after.state.next_transition;
        after.state.next_transition += 1;
        tracing::info!(gate = %gate.name, key, episode = after.state.episode, "an open episode is told late");
        let told = self.firing(gate, key, after, level, &values, moment);
        let notice = Notice { number, outcome: row.map(|_| outcome), pipeline, ..told };
        self.send(gate, after, notice, moment)
    }

    /// Asks for the start of an open episode, which asks once as any other; what lapsed did not begin. The pipeline.
    fn start_late(
        &mut self,
        gate: &Gate,
        key: &str,
        after: &KeyRow,
        on_fail: &OnFail,
        values: &Values,
        moment: &Moment,
    ) -> Result<(String, Option<i64>), Error> {
        let alert = AlertId::new(TENANT, &gate.name, &after.labels);
        let episode = after.state.episode;
        let before = moment.read(&self.journal)?.start(alert, episode)?;
        if before.is_none_or(|start| start.state == StartState::Lapsed) {
            let what = self.ask_start(alert, episode, gate, (on_fail, Occasion::Failed), key, values, moment)?;
            tracing::info!(gate = %gate.name, key, episode, what, "an open episode got a pipeline");
        }
        Ok((on_fail.pipeline.clone(), None))
    }
}
