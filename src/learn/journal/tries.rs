//! Facts of the journals become rows of `feedback` (learn.md 4, 5).
//!
//! Duty: one transaction for facts, rows and cursor. Guarantee: an event at or below the cursor changes nothing; a closed
//! row is never opened again. Left to others: the table of outcomes (`feedback::decide`), following (`follow`).

use std::collections::BTreeSet;

use redb::{ReadableTable as _, ReadableTableMetadata as _, Table, WriteTransaction};

use super::{BY_RUN, Bytes, CURSOR, Error, GateRun, Journal, RUN, TRIES, TryRow, WATCH, decode, encode, stored};
use crate::learn::feedback::{Decision, EpisodeFacts, TryFacts, decide};
use crate::learn::sources::{CodegenMode, EngineEvent, EngineFact, Wanted};

/// Looks up the facts of episodes, all of one commit of the gates' journal.
pub type Look<'a> = dyn Fn(&[Wanted]) -> Result<Vec<EpisodeFacts>, String> + 'a;

/// What a commit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Tries opened.
    pub opened: u64,
    /// Rows closed.
    pub closed: u64,
    /// Closed rows that went because there were too many.
    pub evicted: u64,
}

/// Number of runs whose rows are open.
pub type Watched = usize;

struct Tables<'t> {
    tries: Table<'t, &'static str, Bytes>,
    by_run: Table<'t, (i64, i64, &'static str), ()>,
    watch: Table<'t, (&'static str, &'static str, u64), Bytes>,
    run: Table<'t, i64, Bytes>,
}

impl Journal {
    /// Takes in `events`, in order, with what `look` knows of their episodes.
    ///
    /// Errors: see [`Error`]; then nothing of it was written.
    pub fn take_engine(&self, events: &[EngineEvent], look: &Look<'_>) -> Result<Taken, Error> {
        let tx = self.begin()?;
        let mut taken = Taken::default();
        {
            let mut cursor = tx.open_table(CURSOR)?;
            let mut last = stored::<_, u64>(&cursor, "engine")?.unwrap_or_default();
            let mut tables = Tables::open(&tx)?;
            let mut touched = BTreeSet::new();
            for event in events {
                // Once: what was taken in before changes nothing.
                if event.sequence > last {
                    last = event.sequence;
                    touched.extend(tables.take(event, &mut taken)?);
                }
            }
            cursor.insert("engine", encode(&last).as_slice())?;
            tables.settle(&touched, look, &mut taken)?;
            tables.evict(self.limits.tries, &mut taken)?;
        }
        tx.commit()?;
        Ok(taken)
    }

    /// Takes in what the gates' journal holds up to `sequence`: open rows of runs that wait for it are looked at again.
    ///
    /// Errors: see [`Error`]; then nothing of it was written.
    pub fn take_gates(&self, sequence: u64, look: &Look<'_>) -> Result<Taken, Error> {
        let tx = self.begin()?;
        let mut taken = Taken::default();
        {
            let mut cursor = tx.open_table(CURSOR)?;
            let last = stored::<_, u64>(&cursor, "gates")?.unwrap_or_default();
            let mut tables = Tables::open(&tx)?;
            let mut watched = BTreeSet::new();
            for entry in tables.watch.iter()? {
                watched.extend(decode::<Vec<i64>>(entry?.1.value())?);
            }
            let changed = tables.settle(&watched, look, &mut taken)?;
            if !changed && sequence <= last {
                // Dropping the transaction writes nothing.
                return Ok(taken);
            }
            cursor.insert("gates", encode(&sequence.max(last)).as_slice())?;
        }
        tx.commit()?;
        Ok(taken)
    }
}

impl<'t> Tables<'t> {
    fn open(tx: &'t WriteTransaction) -> Result<Self, Error> {
        Ok(Self {
            tries: tx.open_table(TRIES)?,
            by_run: tx.open_table(BY_RUN)?,
            watch: tx.open_table(WATCH)?,
            run: tx.open_table(RUN)?,
        })
    }

    fn put_run(&mut self, run: i64, row: &GateRun) -> Result<(), Error> {
        self.run.insert(run, encode(row).as_slice())?;
        Ok(())
    }

    fn put_try(&mut self, effect: &str, row: &TryRow) -> Result<(), Error> {
        self.tries.insert(effect, encode(row).as_slice())?;
        Ok(())
    }

    /// The run whose rows may change.
    fn take(&mut self, event: &EngineEvent, taken: &mut Taken) -> Result<Option<i64>, Error> {
        match &event.fact {
            EngineFact::Other => Ok(None),
            EngineFact::RunStarted { run, gate, key, episode, pipeline } => {
                let row = GateRun {
                    gate: gate.clone(),
                    key: key.clone(),
                    episode: *episode,
                    pipeline: pipeline.clone(),
                    ended: None,
                    verdict: None,
                    newest: None,
                };
                if self.run.get(*run)?.is_none() {
                    self.put_run(*run, &row)?;
                }
                Ok(None)
            }
            EngineFact::Generated { run, effect_key, target, variant, mode } => {
                let Some(mut of) = stored::<_, GateRun>(&self.run, *run)? else { return Ok(None) };
                let is_known = self.tries.get(effect_key.as_str())?.is_some();
                if is_known || *mode == CodegenMode::Revert || of.ended.is_some() {
                    return Ok(None);
                }
                let newest = match &of.newest {
                    Some(effect) => stored::<_, TryRow>(&self.tries, effect.as_str())?.map(|row| (effect.clone(), row)),
                    None => None,
                };
                if let Some((effect, mut before)) = newest {
                    let is_same = before.target == *target && before.variant == *variant;
                    if *mode == CodegenMode::Apply && is_same {
                        return Ok(None);
                    }
                    before.facts.next_ns = Some(event.at_ns);
                    self.put_try(&effect, &before)?;
                }
                let row = TryRow {
                    gate: of.gate.clone(),
                    key: of.key.clone(),
                    episode: of.episode,
                    pipeline: of.pipeline.clone(),
                    run: *run,
                    target: target.clone(),
                    variant: variant.clone(),
                    facts: TryFacts { at_ns: event.at_ns, next_ns: None, sandbox: None },
                    value_before: None,
                    decision: Decision::default(),
                };
                self.put_try(effect_key, &row)?;
                self.by_run.insert((*run, event.at_ns, effect_key.as_str()), ())?;
                of.newest = Some(effect_key.clone());
                self.put_run(*run, &of)?;
                taken.opened += 1;
                Ok(Some(*run))
            }
            EngineFact::Judged { run, value } => {
                let Some(of) = stored::<_, GateRun>(&self.run, *run)? else { return Ok(None) };
                let Some(effect) = of.newest.filter(|_| of.ended.is_none()) else { return Ok(None) };
                if let Some(mut row) = stored::<_, TryRow>(&self.tries, effect.as_str())? {
                    row.facts.sandbox = *value;
                    self.put_try(&effect, &row)?;
                }
                Ok(Some(*run))
            }
            EngineFact::RunEnded { run, how } => {
                let Some(mut of) = stored::<_, GateRun>(&self.run, *run)? else { return Ok(None) };
                if of.ended.is_none() {
                    of.ended = Some((event.at_ns, *how));
                    self.put_run(*run, &of)?;
                }
                Ok(Some(*run))
            }
        }
    }

    /// Decides the rows of `runs`; whether a row changed.
    fn settle(&mut self, runs: &BTreeSet<i64>, look: &Look<'_>, taken: &mut Taken) -> Result<bool, Error> {
        let mut found = Vec::new();
        for run in runs {
            if let Some(row) = stored::<_, GateRun>(&self.run, *run)? {
                found.push((*run, row));
            }
        }
        if found.is_empty() {
            return Ok(false);
        }
        let wanted: Vec<Wanted> = found.iter().map(|(_, row)| wanted(row)).collect();
        let facts = look(&wanted).map_err(Error::Source)?;
        if facts.len() != wanted.len() {
            return Err(Error::Source(format!("{} episodes were asked for, {} came", wanted.len(), facts.len())));
        }
        let mut changed = false;
        for ((run, row), episode) in found.iter().zip(&facts) {
            changed |= self.settle_run(*run, row, episode, taken)?;
        }
        Ok(changed)
    }

    fn settle_run(&mut self, run: i64, of: &GateRun, episode: &EpisodeFacts, taken: &mut Taken) -> Result<bool, Error> {
        let mut effects = Vec::new();
        for entry in self.by_run.range((run, i64::MIN, "")..(run.saturating_add(1), i64::MIN, ""))? {
            effects.push(entry?.0.value().2.to_owned());
        }
        let episode = &EpisodeFacts { verdict: of.verdict.or(episode.verdict), ..*episode };
        let (mut changed, mut is_open) = (false, false);
        if episode.verdict != of.verdict {
            changed = true;
            self.put_run(run, &GateRun { verdict: episode.verdict, ..of.clone() })?;
        }
        for effect in effects {
            let Some(before) = stored::<_, TryRow>(&self.tries, effect.as_str())? else { continue };
            let mut row = before.clone();
            // An episode fires before its run begins: if it is not there by then, it is lost and not to be waited for.
            let lost = (episode.known_until_ns >= row.facts.at_ns).then_some(None);
            row.value_before = row.value_before.or(episode.value_before).or(lost);
            if row.decision.outcome.is_none() {
                row.decision = decide(&row.facts, of.ended, episode);
                taken.closed += u64::from(row.decision.outcome.is_some());
            }
            is_open |= row.decision.outcome.is_none() || row.value_before.is_none();
            if row != before {
                changed = true;
                self.put_try(&effect, &row)?;
            }
        }
        self.watch_run(run, of, is_open)?;
        if of.ended.is_some() && !is_open {
            self.run.remove(run)?;
        }
        Ok(changed)
    }

    /// Keeps `run` among those of its episode while `is_open`.
    fn watch_run(&mut self, run: i64, of: &GateRun, is_open: bool) -> Result<(), Error> {
        let key = (of.gate.as_str(), of.key.as_str(), of.episode);
        let before: Vec<i64> = stored(&self.watch, key)?.unwrap_or_default();
        let mut runs: Vec<i64> = before.iter().copied().filter(|other| *other != run).collect();
        if is_open {
            runs.push(run);
            runs.sort_unstable();
        }
        if runs == before {
            return Ok(());
        }
        if runs.is_empty() {
            self.watch.remove(key)?;
        } else {
            self.watch.insert(key, encode(&runs).as_slice())?;
        }
        Ok(())
    }

    /// Removes the oldest closed rows above `limit`; open ones never go.
    fn evict(&mut self, limit: u64, taken: &mut Taken) -> Result<(), Error> {
        let surplus = usize::try_from(self.tries.len()?.saturating_sub(limit)).unwrap_or(usize::MAX);
        if surplus == 0 {
            return Ok(());
        }
        let mut closed = Vec::new();
        for entry in self.tries.iter()? {
            let (effect, row) = entry?;
            let row: TryRow = decode(row.value())?;
            // A live run needs its tries: the next one closes the newest.
            if row.decision.outcome.is_some() && self.run.get(row.run)?.is_none() {
                closed.push((row.facts.at_ns, effect.value().to_owned(), row.run));
            }
        }
        closed.sort_unstable();
        for (at_ns, effect, run) in closed.into_iter().take(surplus) {
            self.tries.remove(effect.as_str())?;
            self.by_run.remove((run, at_ns, effect.as_str()))?;
            taken.evicted += 1;
        }
        Ok(())
    }
}

fn wanted(run: &GateRun) -> Wanted {
    Wanted {
        gate: run.gate.clone(),
        key: run.key.clone(),
        episode: run.episode,
        run_ended_ns: run.ended.map(|(ended_ns, _)| ended_ns).filter(|_| run.verdict.is_none()),
    }
}
