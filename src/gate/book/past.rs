//! What the keys of a gate are held to (gates.md 4.2).
//!
//! Duty: gather what a key gave before from the journal, from what is not written yet and from its running row. Guarantee: the
//! tick itself is not its own past. Left to others: what values make (`baseline`).

use super::super::identity::alert_key;
use super::super::journal::PastRun;
use super::super::verdict::{self, Judged};
use super::*;

impl Book {
    /// The verdict of `row` at tick `t_ns`, for a question beside the tick's own. What cannot be read is no baseline.
    pub(in super::super) fn judged(&self, gate: &Gate, row: &ResultRow, t_ns: i64) -> Judged {
        let key = alert_key(&row.key);
        let base = self.baselines(gate, std::iter::once(key.as_str()), t_ns).unwrap_or_else(|error| {
            tracing::warn!(gate = %gate.name, key, %error, "the baseline cannot be read");
            BTreeMap::new()
        });
        verdict::judge(gate, row, base.get(&key).copied())
    }

    /// What the values of `keys` are held to at tick `t_ns`; without those that have too little past.
    pub(super) fn baselines<'a>(
        &self,
        gate: &Gate,
        keys: impl Iterator<Item = &'a str>,
        t_ns: i64,
    ) -> Result<BTreeMap<String, f64>, Error> {
        let (Some(baseline), Some(entry)) = (&gate.baseline, self.gates.get(&gate.name)) else {
            return Ok(BTreeMap::new());
        };
        if let Some(given) = &baseline.given {
            return Ok(keys.filter_map(|key| Some((key.to_owned(), *given.get(key)?))).collect());
        }
        let generation = entry.row.generation;
        // Complete rows that are not written yet.
        let mut waiting: BTreeMap<&str, Vec<PastRun>> = BTreeMap::new();
        for run in self.batch.results.iter().filter(|run| run.gate == gate.name && run.generation == generation) {
            waiting.entry(&run.key).or_default().push(run.into());
        }
        let snapshot = self.journal.snapshot()?;
        let mut found = BTreeMap::new();
        for key in keys {
            let mut runs = snapshot.past(&gate.name, generation, key, baseline.ticks(t_ns))?;
            runs.extend(waiting.remove(key).into_iter().flatten());
            runs.extend(entry.running.get(key).map(PastRun::from));
            if let Some(base) = baseline.of(baseline.values(runs.iter(), t_ns)) {
                found.insert(key.to_owned(), base);
            }
        }
        Ok(found)
    }
}
