//! Closed ticks of patterns become rows (learn.md 3.3, 3.4, 5).
//!
//! Duty: one transaction for cut, run row and table rows of all patterns due together. Guarantee: a tick at or below the
//! pattern's last committed one changes nothing. Left to others: running statements (`task`), the fold (`patterns::fold`).

use std::collections::{BTreeMap, BTreeSet};

use redb::{ReadableTable as _, ReadableTableMetadata as _, Table, WriteTransaction};
use sha2::{Digest as _, Sha256};

use super::{
    BY_AGE, Bytes, CLOCK, ClockRow, Error, Journal, PATTERNS, RUNS, RunRow, RunState, TENANT, decode, encode, stored,
};
use crate::learn::patterns::fold::{self, Row, Selected, Tick};

/// Run rows are kept for this event time.
const RUNS_KEPT_NS: i64 = 24 * 3_600 * 1_000_000_000;

/// A tick of one pattern that was run, or missed.
#[derive(Clone, Debug, PartialEq)]
pub struct TickDone {
    /// File stem.
    pub pattern: String,
    /// Hash of statement, `by` and `window`: another one is a new generation.
    pub statement: [u8; 32],
    /// The tick.
    pub tick: Tick,
    /// `rows` and `evicted` are filled in here.
    pub run: RunRow,
    /// What stays of the result; `None` unless the run is done.
    pub selected: Option<Selected>,
}

/// What a commit did, by pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows of each pattern after it.
    pub rows: BTreeMap<String, u64>,
    /// Rows of each pattern that went because there were too many.
    pub evicted: BTreeMap<String, u64>,
    /// Rows of each pattern that were not seen for `expire`.
    pub expired: BTreeMap<String, u64>,
}

struct Tables<'t> {
    patterns: Table<'t, (&'static str, &'static str, [u8; 16]), Bytes>,
    by_age: Table<'t, (&'static str, &'static str, i64, [u8; 16]), ()>,
}

impl Journal {
    /// Writes `done`, in the order given, in one transaction.
    ///
    /// Errors: see [`Error`]; then nothing of it was written.
    pub fn commit_ticks(&self, done: &[TickDone]) -> Result<Written, Error> {
        let tx = self.begin()?;
        let mut written = Written::default();
        {
            let mut clocks = tx.open_table(CLOCK)?;
            let mut runs = tx.open_table(RUNS)?;
            let mut tables = Tables::open(&tx)?;
            for of in done {
                let name = of.pattern.as_str();
                let clock = stored::<_, ClockRow>(&clocks, (TENANT, name))?;
                if clock.is_some_and(|clock| of.tick.t_ns <= clock.last_tick_ns) {
                    continue;
                }
                let is_same = clock.is_some_and(|clock| clock.statement == of.statement);
                let mut run = of.run.clone();
                // An error leaves the rows alone, those of the generation before too.
                let begins = run.state == RunState::Done && !is_same;
                if let Some(selected) = &of.selected {
                    run.rows = selected.rows.len() as u64;
                    let gone = tables.fold(name, selected.clone(), of.tick, begins)?;
                    run.evicted = gone.evicted;
                    *written.expired.entry(of.pattern.clone()).or_default() += gone.expired;
                    for (pattern, count) in tables.evict(self.limits.patterns)? {
                        run.evicted += count;
                        *written.evicted.entry(pattern).or_default() += count;
                    }
                    *written.evicted.entry(of.pattern.clone()).or_default() += gone.evicted;
                }
                let row = match clock {
                    Some(clock) if !begins => ClockRow { last_tick_ns: of.tick.t_ns, ..clock },
                    Some(clock) => ClockRow {
                        generation: clock.generation + 1,
                        statement: of.statement,
                        last_tick_ns: of.tick.t_ns,
                    },
                    None => ClockRow { generation: 1, statement: of.statement, last_tick_ns: of.tick.t_ns },
                };
                clocks.insert((TENANT, name), encode(&row).as_slice())?;
                runs.insert((TENANT, name, of.tick.t_ns), encode(&run).as_slice())?;
                let old = (TENANT, name, of.tick.t_ns.saturating_sub(RUNS_KEPT_NS));
                runs.retain_in((TENANT, name, i64::MIN)..old, |_, _| false)?;
                written.rows.insert(of.pattern.clone(), tables.count(name)?);
            }
        }
        tx.commit()?;
        Ok(written)
    }

    /// Removes rows of patterns that are not `loaded` any more and expired before `now_ns`; how many. A pattern without
    /// rows and file is forgotten with its runs.
    ///
    /// Errors: see [`Error`]; then nothing was removed.
    pub fn expire_unloaded(&self, loaded: &BTreeSet<String>, now_ns: i64) -> Result<u64, Error> {
        let gone: Vec<String> = self.clocks()?.into_keys().filter(|name| !loaded.contains(name)).collect();
        if gone.is_empty() {
            return Ok(0);
        }
        let tx = self.begin()?;
        let mut removed = 0;
        {
            let mut tables = Tables::open(&tx)?;
            let mut clocks = tx.open_table(CLOCK)?;
            let mut runs = tx.open_table(RUNS)?;
            for name in gone {
                let rows = tables.of(&name)?;
                let all = rows.len();
                let mut left = all;
                for row in rows.into_values().filter(|row| row.expires_ns <= now_ns) {
                    tables.remove(&name, &row)?;
                    removed += 1;
                    left -= 1;
                }
                if left == 0 {
                    clocks.remove((TENANT, name.as_str()))?;
                    runs.retain_in((TENANT, name.as_str(), i64::MIN)..=(TENANT, name.as_str(), i64::MAX), |_, _| {
                        false
                    })?;
                }
            }
        }
        tx.commit()?;
        Ok(removed)
    }
}

impl<'t> Tables<'t> {
    fn open(tx: &'t WriteTransaction) -> Result<Self, Error> {
        Ok(Self { patterns: tx.open_table(PATTERNS)?, by_age: tx.open_table(BY_AGE)? })
    }

    fn of(&self, pattern: &str) -> Result<BTreeMap<String, Row>, Error> {
        let mut rows = BTreeMap::new();
        for entry in self.patterns.range((TENANT, pattern, [0; 16])..=(TENANT, pattern, [255; 16]))? {
            let row: Row = decode(entry?.1.value())?;
            rows.insert(row.key.clone(), row);
        }
        Ok(rows)
    }

    fn count(&self, pattern: &str) -> Result<u64, Error> {
        Ok(self.patterns.range((TENANT, pattern, [0; 16])..=(TENANT, pattern, [255; 16]))?.count() as u64)
    }

    fn remove(&mut self, pattern: &str, row: &Row) -> Result<(), Error> {
        let hash = key_hash(&row.key);
        self.patterns.remove((TENANT, pattern, hash))?;
        self.by_age.remove((TENANT, pattern, row.last_seen_ns, hash))?;
        Ok(())
    }

    fn fold(&mut self, pattern: &str, selected: Selected, tick: Tick, begins: bool) -> Result<fold::Gone, Error> {
        let before = self.of(pattern)?;
        let mut after = if begins { BTreeMap::new() } else { before.clone() };
        let gone = fold::fold(&mut after, selected, tick);
        for (key, row) in &before {
            if after.get(key) != Some(row) {
                self.remove(pattern, row)?;
            }
        }
        for (key, row) in &after {
            if before.get(key) != Some(row) {
                let hash = key_hash(key);
                self.patterns.insert((TENANT, pattern, hash), encode(row).as_slice())?;
                self.by_age.insert((TENANT, pattern, row.last_seen_ns, hash), ())?;
            }
        }
        Ok(gone)
    }

    /// Removes what is above `limit` over all patterns: the oldest `last_seen` first, then the last key.
    fn evict(&mut self, limit: u64) -> Result<BTreeMap<String, u64>, Error> {
        let mut evicted: BTreeMap<String, u64> = BTreeMap::new();
        let mut surplus = usize::try_from(self.patterns.len()?.saturating_sub(limit)).unwrap_or(usize::MAX);
        while surplus > 0 {
            let mut oldest: Option<i64> = None;
            let mut after = String::new();
            // The first entry of each pattern: its oldest row.
            while let Some(entry) = self.by_age.range((TENANT, after.as_str(), i64::MIN, [0; 16])..)?.next() {
                let key = entry?.0;
                let (_, pattern, last_seen_ns, _) = key.value();
                oldest = Some(oldest.map_or(last_seen_ns, |known| known.min(last_seen_ns)));
                after = format!("{pattern}\0");
            }
            let Some(oldest) = oldest else { break };
            let mut rows: Vec<(String, Row)> = Vec::new();
            for entry in self.patterns.iter()? {
                let (key, row) = entry?;
                let row: Row = decode(row.value())?;
                if row.last_seen_ns == oldest {
                    rows.push((key.value().1.to_owned(), row));
                }
            }
            rows.sort_by(|(a, x), (b, y)| y.key.cmp(&x.key).then_with(|| b.cmp(a)));
            rows.truncate(surplus);
            surplus -= rows.len();
            for (pattern, row) in rows {
                self.remove(&pattern, &row)?;
                *evicted.entry(pattern).or_default() += 1;
            }
        }
        Ok(evicted)
    }
}

/// First 16 bytes of SHA-256 of a key.
fn key_hash(key: &str) -> [u8; 16] {
    let digest = Sha256::digest(key.as_bytes());
    let mut hash = [0; 16];
    hash.copy_from_slice(&digest[..16]);
    hash
}
