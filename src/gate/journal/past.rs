//! What gates with a `baseline` gave, by key (gates.md 4.2).
//!
//! Duty: the table `past`: the numbers of complete rows of results, by gate, generation and key. Guarantee: it holds every
//! complete row that gave values, as long as the row itself is kept; a gate that gets a baseline finds what it gave before.
//! Left to others: what the numbers mean (`baseline`).

use std::collections::{BTreeMap, BTreeSet};

use redb::ReadableTable as _;
use serde::{Deserialize, Serialize};

use super::super::verdict::Outcome;
use super::read::Snapshot;
use super::rows::{OutcomeRun, RUN_NS, Row, decode, encode};
use super::{Error, Journal, META, PAST, RESULT, stored};

/// Key in `meta`: gates whose every complete row with values is in the table, with their generations.
const BASELINES: &str = "baselines";

/// A value at one tick.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastTick {
    /// Milliseconds behind the first tick of the run.
    pub after_ms: u32,
    /// The value.
    pub value: f64,
    /// `pass` held, the baseline left aside.
    pub passed: bool,
}

/// The values of a run of equal outcomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastRun {
    /// Its first tick, ns since 1970.
    pub first_tick_ns: i64,
    /// Its ticks that gave a value.
    pub ticks: Vec<PastTick>,
}

impl Row for PastRun {}

impl From<&OutcomeRun> for PastRun {
    fn from(run: &OutcomeRun) -> Self {
        let ticks = if run.ticks.is_empty() { spread(run) } else { run.ticks.clone() };
        Self { first_tick_ns: run.first_tick_ns, ticks }
    }
}

/// What was judged before the gate had a baseline: in a run, which is at most five minutes long, as many ticks as it had values,
/// at equal distances, with their mean.
fn spread(run: &OutcomeRun) -> Vec<PastTick> {
    let (sum, count) = run.values;
    #[allow(clippy::cast_precision_loss, reason = "a run has a few hundred ticks")]
    let mean = sum / count as f64;
    let length_ms = u64::try_from((run.last_tick_ns - run.first_tick_ns) / 1_000_000).unwrap_or(0);
    let tick = |i: u64| PastTick {
        after_ms: u32::try_from(length_ms * i / count.saturating_sub(1).max(1)).unwrap_or(u32::MAX),
        value: mean,
        passed: run.outcome == Outcome::Pass,
    };
    (0..count).map(tick).collect()
}

impl PastRun {
    /// Adds the values at ticks in `[from_ns, to_ns)`.
    pub fn values_into(&self, values: &mut Vec<f64>, from_ns: i64, to_ns: i64, only_pass: bool) {
        let at = |tick: &PastTick| self.first_tick_ns.saturating_add(i64::from(tick.after_ms) * 1_000_000);
        let counts = |tick: &&PastTick| (from_ns..to_ns).contains(&at(tick)) && (tick.passed || !only_pass);
        values.extend(self.ticks.iter().filter(counts).map(|tick| tick.value));
    }
}

impl Snapshot {
    /// Complete runs of a key that may have a tick in `[from_ns, to_ns)`.
    pub fn past(
        &self,
        gate: &str,
        generation: u64,
        key: &str,
        (from_ns, to_ns): (i64, i64),
    ) -> Result<Vec<PastRun>, Error> {
        let table = self.table(PAST)?;
        let range = (gate, generation, key, from_ns.saturating_sub(RUN_NS))..(gate, generation, key, to_ns);
        let rows = table.range::<(&str, u64, &str, i64)>(range)?;
        rows.map(|entry| decode(entry?.1.value())).collect()
    }
}

impl Journal {
    /// Makes the table whole for the gates of `wanted`, with their generations: what it lacks of one that had no baseline when
    /// this was last called is taken from the rows of results. It keeps what it has of a gate in `loaded`, which may get its
    /// baseline back, and nothing of other gates and generations.
    ///
    /// Errors: see [`Error`].
    pub fn settle_past(&self, wanted: &BTreeMap<String, u64>, loaded: &BTreeMap<String, u64>) -> Result<(), Error> {
        let snapshot = self.snapshot()?;
        let known = snapshot.past_of()?;
        // Versions that did not note it kept rows of gates with a baseline only.
        let whole: BTreeMap<String, u64> = match stored(&snapshot.table(META)?, BASELINES)? {
            Some(whole) => whole,
            None => known.iter().cloned().collect(),
        };
        drop(snapshot);
        let missing: BTreeSet<&String> =
            wanted.iter().filter(|(gate, of)| whole.get(*gate) != Some(of)).map(|(gate, _)| gate).collect();
        let gone: Vec<&(String, u64)> = known.iter().filter(|(gate, of)| loaded.get(gate) != Some(of)).collect();
        if gone.is_empty() && whole == *wanted {
            return Ok(());
        }
        let tx = self.inner.db.begin_write()?;
        {
            tx.open_table(META)?.insert(BASELINES, encode(wanted).as_slice())?;
            let mut past = tx.open_table(PAST)?;
            for (gate, generation) in gone {
                let all = (gate.as_str(), *generation, "", i64::MIN)..(gate.as_str(), generation + 1, "", i64::MIN);
                past.retain_in::<(&str, u64, &str, i64), _>(all, |_, _| false)?;
            }
            if !missing.is_empty() {
                for entry in tx.open_table(RESULT)?.iter()? {
                    let run: OutcomeRun = decode(entry?.1.value())?;
                    let key = (run.gate.as_str(), run.generation, run.key.as_str(), run.first_tick_ns);
                    // What was written while there was a baseline knows each value.
                    if missing.contains(&run.gate)
                        && wanted.get(&run.gate) == Some(&run.generation)
                        && past.get(key)?.is_none()
                    {
                        write(&mut past, &run)?;
                    }
                }
            }
        }
        tx.commit()?;
        Ok(())
    }
}

impl Snapshot {
    /// Gates and generations that the table knows.
    fn past_of(&self) -> Result<BTreeSet<(String, u64)>, Error> {
        let table = self.table(PAST)?;
        let mut found = BTreeSet::new();
        let mut from = (String::new(), 0);
        while let Some(entry) = table.range::<(&str, u64, &str, i64)>((from.0.as_str(), from.1, "", i64::MIN)..)?.next()
        {
            let (key, _) = entry?;
            let (gate, generation, ..) = key.value();
            found.insert((gate.to_owned(), generation));
            from = (gate.to_owned(), generation + 1);
        }
        Ok(found)
    }
}

pub(super) type Past<'tx> = redb::Table<'tx, (&'static str, u64, &'static str, i64), super::Bytes>;

/// Adds the numbers of a complete row, if it has some.
pub(super) fn write(past: &mut Past<'_>, run: &OutcomeRun) -> Result<(), Error> {
    if run.values.1 > 0 {
        let key = (run.gate.as_str(), run.generation, run.key.as_str(), run.first_tick_ns);
        past.insert(key, encode(&PastRun::from(run)).as_slice())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::run;
    use super::super::{Batch, DAY_NS};
    use super::*;

    const S: i64 = 1_000_000_000;

    fn values(runs: &[PastRun], from_s: i64, to_s: i64, only_pass: bool) -> Vec<f64> {
        let mut values = Vec::new();
        runs.iter().for_each(|run| run.values_into(&mut values, from_s * S, to_s * S, only_pass));
        values
    }

    #[test]
    fn ticks_count_one_by_one_and_of_runs_without_them_their_mean() {
        let tick = |after_ms, value, passed| PastTick { after_ms, value, passed };
        let of = |outcome, ticks| {
            let run = OutcomeRun { last_tick_ns: 90 * S, values: (6.0, 3), ticks, ..run(30, outcome, 3.0) };
            [PastRun::from(&run)]
        };
        let known = vec![tick(0, 1.0, true), tick(30_000, 2.0, false), tick(60_000, 3.0, true)];
        let known = of(Outcome::Inconclusive, known);
        assert_eq!(values(&known, 30, 90, true), [1.0]);
        assert_eq!(values(&known, 31, 91, false), [2.0, 3.0]);
        let before = of(Outcome::Pass, vec![]);
        assert_eq!(values(&before, 30, 91, true), [2.0; 3]);
        assert_eq!(values(&before, 31, 90, true), [2.0], "at 60");
        assert_eq!(values(&of(Outcome::Warn, vec![]), 30, 91, true), [0.0; 0], "it did not pass");
        let none = OutcomeRun { values: (0.0, 0), ..run(30, Outcome::NoData, 0.0) };
        assert_eq!(PastRun::from(&none).ticks, []);
    }

    #[test]
    fn a_gate_that_gets_a_baseline_finds_what_it_gave_and_one_that_loses_it_leaves_nothing() {
        let journal = Journal::in_memory().unwrap();
        let of = |gate: &str, generation, tick_s| OutcomeRun {
            gate: gate.into(),
            generation,
            ..run(tick_s, Outcome::Pass, 1.5)
        };
        let results = vec![of("g", 1, 30), of("g", 2, 60), of("g", 2, 90), of("other", 1, 30)];
        journal.commit(&Batch { results, ..Batch::default() }, 0).unwrap();
        let past = |gate: &str, generation| {
            let runs = journal.snapshot().unwrap().past(gate, generation, "", (0, 1_000 * S)).unwrap();
            runs.iter().map(|run| run.first_tick_ns / S).collect::<Vec<_>>()
        };
        assert_eq!(past("g", 2), [0; 0], "nobody asked");
        let wanted = BTreeMap::from([("g".to_owned(), 2)]);
        journal.settle_past(&wanted, &wanted).unwrap();
        assert_eq!((past("g", 2), past("g", 1), past("other", 1)), (vec![60, 90], vec![], vec![]));

        let ticks = vec![PastTick { after_ms: 0, value: 1.5, passed: true }];
        let later = OutcomeRun { ticks, ..of("g", 2, 120) };
        journal.commit(&Batch { results: vec![later], ..Batch::default() }, 0).unwrap();
        assert_eq!(past("g", 2), [60, 90, 120]);
        let rows = journal.snapshot().unwrap().results((i64::MIN, 0), i64::MAX, 9).unwrap();
        assert!(rows.iter().all(|(_, row)| row.ticks.is_empty()), "the values stand in one place");
        journal.prune(30 * DAY_NS + 90 * S).unwrap();
        assert_eq!(past("g", 2), [90, 120]);

        let later = BTreeMap::from([("g".to_owned(), 3), ("other".to_owned(), 1)]);
        journal.settle_past(&later, &later).unwrap();
        assert_eq!((past("g", 2), past("other", 1)), (vec![], vec![]), "the row of the other is gone already");
    }

    #[test]
    fn a_gate_that_gets_its_baseline_back_finds_what_it_gathered_before_and_meanwhile() {
        let journal = Journal::in_memory().unwrap();
        let loaded = BTreeMap::from([("g".to_owned(), 2)]);
        let write = |tick_s, ticks| {
            let run = OutcomeRun { generation: 2, ticks, ..run(tick_s, Outcome::Inconclusive, 1.5) };
            journal.commit(&Batch { results: vec![run], ..Batch::default() }, 0).unwrap();
        };
        let passed = |passed| vec![PastTick { after_ms: 0, value: 1.5, passed }];
        let past = || journal.snapshot().unwrap().past("g", 2, "", (0, 1_000 * S)).unwrap();
        journal.settle_past(&loaded, &loaded).unwrap();
        write(30, passed(true));
        journal.settle_past(&BTreeMap::new(), &loaded).unwrap();
        assert_eq!(past().len(), 1, "it may come back");
        write(60, vec![]);
        journal.settle_past(&loaded, &loaded).unwrap();
        let known: Vec<_> = past().iter().map(|run| (run.first_tick_ns / S, run.ticks[0].passed)).collect();
        assert_eq!(known, [(30, true), (60, false)], "`pass` held at 30 though the gate was inconclusive");
        journal.settle_past(&BTreeMap::new(), &BTreeMap::new()).unwrap();
        assert!(past().is_empty(), "the gate is gone");
    }
}
