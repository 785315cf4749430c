//! What the book shows of its keys at this moment.
//!
//! Duty: phase and latest verdict of every key, for those who look at each tick; each gate as those see it who look while
//! the daemon runs (`live`). Guarantee: nothing changes by looking. Left to others: tables of what was written (`tables`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::definition::Gate;
use super::super::health::HealthKind;
use super::super::journal::{KeyRow, Notice, OutcomeRun};
use super::super::live::{ActiveKey, GateNow};
use super::super::state::{Level, Phase};
use super::super::verdict::Outcome;
use super::super::window::Grid;
use super::{Book, Entry};

/// A key with its latest verdict.
#[derive(Clone, Debug)]
pub struct KeyNow {
    /// Whose key.
    pub gate: Arc<Gate>,
    /// Name of the group.
    pub group: String,
    /// File of the group, as shown to people.
    pub file: String,
    /// Alert key; empty without `by`, and for an empty result.
    pub key: String,
    /// `by` values by name.
    pub labels: BTreeMap<String, String>,
    /// Where it stands.
    pub phase: Phase,
    /// Number of the open or last episode; 0 before the first.
    pub episode: u64,
    /// The run of equal outcomes that ends with the latest verdict.
    pub run: OutcomeRun,
    /// The last closed tick of the gate, ns since 1970; the key was judged at it if its run ends there.
    pub tick_ns: i64,
}

/// What changed since it was last asked for.
#[derive(Debug, Default)]
pub(in super::super) struct Changed {
    /// Gates by name.
    pub(in super::super) gates: Vec<(String, Arc<GateNow>)>,
    /// All health alerts about gates that fire, if one of them turned.
    pub(in super::super) health: Option<Vec<Notice>>,
}

impl Book {
    /// What changed since the last call.
    pub(in super::super) fn changed(&mut self) -> Changed {
        let names = std::mem::take(&mut self.touched);
        let now = |name: String| self.gates.get(&name).map(|entry| self.now_of(entry)).map(|now| (name, Arc::new(now)));
        let gates = names.into_iter().filter_map(now).collect();
        let health = std::mem::take(&mut self.is_health_turned).then(|| self.firing_health());
        Changed { gates, health }
    }

    /// Lets the next [`Book::changed`] give all.
    pub(in super::super) fn touch_all(&mut self) {
        self.touched = self.gates.keys().cloned().collect();
        self.is_health_turned = true;
    }

    fn now_of(&self, entry: &Entry) -> GateNow {
        let mut phases = [("inactive", 0), ("pending", 0), ("firing", 0), ("recovering", 0), ("resolved", 0)];
        for row in entry.keys.values() {
            let word = row.state.phase.as_str();
            phases.iter_mut().filter(|(known, _)| *known == word).for_each(|(_, count)| *count += 1);
        }
        let is_active = |row: &&KeyRow| row.state.phase == Phase::Pending || row.state.phase.is_open();
        let active = entry.keys.iter().filter(|(_, row)| is_active(row));
        let mut active: Vec<ActiveKey> =
            active.map(|(key, row)| active_key(key, row, entry.running.get(key).cloned())).collect();
        // Stable, so keys stay in order.
        active.sort_by_key(|key| (key.phase == Phase::Pending, std::cmp::Reverse(key.level)));
        GateNow {
            generation: entry.row.generation,
            last_tick_ns: entry.row.last_tick_ns,
            evaluated_ns: entry.vitals.evaluated_ns,
            took_ns: entry.vitals.took_ns,
            error: entry.vitals.error.clone(),
            missed: entry.vitals.missed,
            grid: Grid::of(&self.definitions.groups[entry.group]),
            phases,
            active,
        }
    }

    /// Health alerts that fire. Those about receivers are written by who delivers, so they are not in the book.
    fn firing_health(&self) -> Vec<Notice> {
        let about_gates = self.health.values().filter(|row| row.kind != HealthKind::DeliveryFailing);
        about_gates.filter_map(|row| row.told.as_ref()).map(|told| told.notice.clone()).collect()
    }

    /// Every key that was judged, by gate and key.
    pub(in super::super) fn keys_now(&self) -> Vec<KeyNow> {
        let mut shown = Vec::new();
        for entry in self.gates.values() {
            let group = &self.definitions.groups[entry.group];
            for (key, run) in &entry.running {
                let row = entry.keys.get(key);
                shown.push(KeyNow {
                    gate: entry.gate.clone(),
                    group: group.name.clone(),
                    file: group.file.clone(),
                    key: key.clone(),
                    labels: row.map(|row| row.labels.clone()).unwrap_or_default(),
                    phase: row.map(|row| row.state.phase).unwrap_or_default(),
                    episode: row.map_or(0, |row| row.state.episode),
                    run: run.clone(),
                    tick_ns: entry.row.last_tick_ns,
                });
            }
        }
        shown
    }

    /// Gates that have more keys than their limit, each with a sentence.
    pub(in super::super) fn overflows(&self) -> BTreeMap<String, String> {
        let over = self.health.values().filter(|row| row.kind == HealthKind::GateOverflow);
        let told = over
            .filter_map(|row| Some((row.about.clone(), row.told.as_ref()?.notice.annotations.get("summary")?.clone())));
        told.collect()
    }
}

fn active_key(key: &str, row: &KeyRow, run: Option<OutcomeRun>) -> ActiveKey {
    let state = &row.state;
    let is_warn = matches!(row.last, Some((Outcome::Warn, _)));
    let keeps_since = |cleared_ns: i64| state.previous_ns().map(|at_ns| at_ns.saturating_sub(cleared_ns));
    ActiveKey {
        key: key.to_owned(),
        labels: row.labels.clone(),
        phase: state.phase,
        // What is pending has the level that it would fire with.
        level: state.phase.level().unwrap_or(if is_warn { Level::Warn } else { Level::Fail }),
        episode: state.episode,
        active_at_ns: state.active_at_ns.unwrap_or_default(),
        fired_at_ns: state.fired_at_ns.filter(|_| state.phase.is_open()),
        keeps_since_ns: state.cleared_for_ns().and_then(keeps_since),
        last: row.last,
        run,
    }
}
