//! Results from before a gate's first tick (gates.md 4.2, `gates backfill`).
//!
//! Duty: find the first tick that is known of a question, and add complete rows before it. Guarantee: a row that is there is not
//! added again, nothing else changes, and the daemon counts as not having run; what was filled for one question is never taken
//! for the past of another. Left to others: computing them (`cli`).

use std::collections::BTreeMap;

use super::rows::{GateRow, OutcomeRun, Row, encode};
use super::{Counter, Error, Journal, META, PAST, RESULT, Snapshot, past, stored};

/// Rows that are read at a time.
const PIECE: usize = 10_000;
/// Key in `meta`: of each gate, what was filled last.
const FILLED: &str = "filled";

/// The generation that rows were filled for, and the hash of its question.
pub type Filled = (u64, [u8; 32]);

impl Row for BTreeMap<String, Filled> {}

/// The generation that a new `question` of a gate gets, where `before` is its row and `filled` what was filled of it: a past that
/// was filled is taken up by its own question alone.
pub fn next_generation(before: Option<&GateRow>, filled: Option<&Filled>, question: [u8; 32]) -> u64 {
    let next = before.map_or(0, |row| row.generation) + 1;
    match filled {
        Some((generation, of)) if *generation >= next && *of == question => *generation,
        Some((generation, _)) if *generation >= next => generation + 1,
        _ => next,
    }
}

impl Snapshot {
    /// What was filled last, by gate.
    ///
    /// Errors: see [`Error`].
    pub fn filled(&self) -> Result<BTreeMap<String, Filled>, Error> {
        Ok(stored(&self.table(META)?, FILLED)?.unwrap_or_default())
    }

    /// The first tick of `gate` in `generation` of which a row of results is kept.
    ///
    /// Errors: see [`Error`].
    pub fn first_tick_ns(&self, gate: &str, generation: u64) -> Result<Option<i64>, Error> {
        let is_of = |run: &OutcomeRun| run.gate == gate && run.generation == generation;
        let mut first = self.running(gate, generation)?.into_values().map(|run| run.first_tick_ns).min();
        let mut after = (i64::MIN, 0);
        loop {
            let rows = self.results(after, i64::MAX, PIECE)?;
            let Some((last, _)) = rows.last() else { return Ok(first) };
            after = *last;
            // They come in the order of their first ticks.
            if let Some((_, run)) = rows.iter().find(|(_, run)| is_of(run)) {
                first = Some(first.map_or(run.first_tick_ns, |first| first.min(run.first_tick_ns)));
                return Ok(first);
            }
        }
    }
}

impl Journal {
    /// Adds those `runs` of `gate` that give values, filled for a generation and its question; how many were not there.
    ///
    /// Errors: see [`Error`]; then nothing of it was written.
    pub fn add_past(&self, gate: &str, filled: Filled, runs: &[OutcomeRun]) -> Result<usize, Error> {
        let tx = self.inner.db.begin_write()?;
        let mut added = 0;
        {
            let mut meta = tx.open_table(META)?;
            let mut all: BTreeMap<String, Filled> = stored(&meta, FILLED)?.unwrap_or_default();
            all.insert(gate.to_owned(), filled);
            meta.insert(FILLED, encode(&all).as_slice())?;
        }
        {
            let mut number = Counter::open(&tx, "results")?;
            let (mut results, mut values) = (tx.open_table(RESULT)?, tx.open_table(PAST)?);
            for run in runs.iter().filter(|run| run.values.1 > 0) {
                let key = (run.gate.as_str(), run.generation, run.key.as_str(), run.first_tick_ns);
                if redb::ReadableTable::get(&values, key)?.is_some() {
                    continue;
                }
                past::write(&mut values, run)?;
                // Nobody evaluated it at its ticks, so it is no verdict that gates reached.
                let row = OutcomeRun { ticks: Vec::new(), evaluations: 0, ..run.clone() };
                results.insert((row.first_tick_ns, number.next()), encode(&row).as_slice())?;
                added += 1;
            }
            number.close(&tx)?;
        }
        tx.commit()?;
        Ok(added)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::run;
    use super::super::{Batch, PastTick};
    use super::*;
    use crate::gate::verdict::Outcome;

    const S: i64 = 1_000_000_000;

    #[test]
    fn what_is_added_is_found_as_the_past_once_and_nobody_seems_to_have_run() {
        let journal = Journal::in_memory().unwrap();
        let of = |tick_s, generation| OutcomeRun {
            generation,
            ticks: vec![PastTick { after_ms: 0, value: 0.5, passed: true }],
            ..run(tick_s, Outcome::Pass, 0.5)
        };
        let batch = Batch { results: vec![of(900, 2), of(1_000, 1)], ..Batch::default() };
        journal.commit(&batch, 5 * S).unwrap();
        let first = |generation| journal.snapshot().unwrap().first_tick_ns("g", generation).unwrap();
        assert_eq!((first(1), first(2), first(3)), (Some(1_000 * S), Some(900 * S), None));

        let none = OutcomeRun { values: (0.0, 0), ..run(60, Outcome::NoData, 0.0) };
        assert_eq!(journal.add_past("g", (1, [7; 32]), &[of(30, 1), none, of(90, 1)]).unwrap(), 2);
        assert_eq!(journal.add_past("g", (1, [7; 32]), &[of(30, 1), of(90, 1)]).unwrap(), 0, "they are there");
        let snapshot = journal.snapshot().unwrap();
        let past = snapshot.past("g", 1, "", (0, 2_000 * S)).unwrap();
        assert_eq!(past.iter().map(|run| run.first_tick_ns / S).collect::<Vec<_>>(), [30, 90, 1_000]);
        let rows = snapshot.results((i64::MIN, 0), i64::MAX, 9).unwrap();
        assert_eq!((rows.len(), rows.iter().all(|(_, row)| row.ticks.is_empty())), (4, true));
        assert_eq!(rows.iter().map(|(_, row)| row.evaluations).sum::<u64>(), 2, "those that were reached");
        assert_eq!((first(1), snapshot.alive_ns().unwrap()), (Some(30 * S), Some(5 * S)));
    }

    #[test]
    fn what_was_filled_for_one_question_is_no_past_of_another() {
        let journal = Journal::in_memory().unwrap();
        let next = |before: Option<&GateRow>, question| {
            next_generation(before, journal.snapshot().unwrap().filled().unwrap().get("g"), question)
        };
        let [one, other] = [[1; 32], [2; 32]];
        assert_eq!(next(None, one), 1);
        journal.add_past("g", (1, one), &[OutcomeRun { generation: 1, ..run(30, Outcome::Pass, 0.5) }]).unwrap();
        assert_eq!((next(None, one), next(None, other)), (1, 2), "the other finds nothing of it");
        journal.add_past("g", (2, other), &[]).unwrap();
        assert_eq!((next(None, one), next(None, other)), (3, 2));
        let row = GateRow {
            generation: 2,
            question: other,
            group: "g".to_owned(),
            last_tick_ns: 0,
            floor: 0,
            errors: 0,
            loaded: true,
            seen_us: None,
        };
        assert_eq!((next(Some(&row), one), next(Some(&row), other)), (3, 3), "it was taken up");
    }
}
