//! Results from before a gate's first tick (gates.md 4.2, `gates backfill`).
//!
//! Duty: find the first tick that is known of a question, and add complete rows before it. Guarantee: a row that is there is not
//! added again, nothing else changes, and the daemon counts as not having run. Left to others: computing them (`cli`).

use super::rows::{OutcomeRun, encode};
use super::{Counter, Error, Journal, PAST, RESULT, Snapshot, past};

/// Rows that are read at a time.
const PIECE: usize = 10_000;

impl Snapshot {
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
    /// Adds the rows that give values; how many were not there.
    ///
    /// Errors: see [`Error`]; then nothing of it was written.
    pub fn add_past(&self, runs: &[OutcomeRun]) -> Result<usize, Error> {
        let tx = self.inner.db.begin_write()?;
        let mut added = 0;
        {
            let mut number = Counter::open(&tx, "results")?;
            let (mut results, mut values) = (tx.open_table(RESULT)?, tx.open_table(PAST)?);
            for run in runs.iter().filter(|run| run.values.1 > 0) {
                let key = (run.gate.as_str(), run.generation, run.key.as_str(), run.first_tick_ns);
                if redb::ReadableTable::get(&values, key)?.is_some() {
                    continue;
                }
                past::write(&mut values, run)?;
                let row = OutcomeRun { ticks: Vec::new(), ..run.clone() };
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
        assert_eq!(journal.add_past(&[of(30, 1), none, of(90, 1)]).unwrap(), 2);
        assert_eq!(journal.add_past(&[of(30, 1), of(90, 1)]).unwrap(), 0, "they are there");
        let snapshot = journal.snapshot().unwrap();
        let past = snapshot.past("g", 1, "", (0, 2_000 * S)).unwrap();
        assert_eq!(past.iter().map(|run| run.first_tick_ns / S).collect::<Vec<_>>(), [30, 90, 1_000]);
        let rows = snapshot.results((i64::MIN, 0), i64::MAX, 9).unwrap();
        assert_eq!((rows.len(), rows.iter().all(|(_, row)| row.ticks.is_empty())), (4, true));
        assert_eq!((first(1), snapshot.alive_ns().unwrap()), (Some(30 * S), Some(5 * S)));
    }
}
