//! What the book shows of its keys at this moment.
//!
//! Duty: phase and latest verdict of every key, for those who look at each tick. Guarantee: nothing changes by looking. Left
//! to others: tables of what was written (`tables`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::definition::Gate;
use super::super::health::HealthKind;
use super::super::journal::OutcomeRun;
use super::super::state::Phase;
use super::Book;

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

impl Book {
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
