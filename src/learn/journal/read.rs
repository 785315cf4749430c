//! Reading `learn.redb`.
//!
//! Duty: rows decoded, each call over one commit. Guarantee: a row that cannot be read is an error, never left out. Left to
//! others: columns (`tables`).

use std::collections::BTreeMap;

use redb::{ReadableDatabase as _, ReadableTable as _};

use super::{
    BY_AGE, BY_RUN, CLOCK, CURSOR, ClockRow, Cursors, Error, GateRun, Journal, META, PATTERNS, RUN, RUNS, RunRow,
    TENANT, TRIES, TryRow, WATCH, decode, stored,
};
use crate::learn::patterns::fold::Row;

/// A row of `feedback` by its effect key.
pub type Feedback = (String, TryRow);

/// Errors of every method: see [`Error`].
impl Journal {
    /// How far the journals were taken in.
    pub fn cursors(&self) -> Result<Cursors, Error> {
        let table = self.db.begin_read()?.open_table(CURSOR)?;
        Ok(Cursors {
            engine: stored(&table, "engine")?.unwrap_or_default(),
            gates: stored(&table, "gates")?.unwrap_or_default(),
        })
    }

    /// Since when (ns since 1970) a new file stands for a damaged one.
    pub fn lost_before_ns(&self) -> Result<Option<i64>, Error> {
        stored(&self.db.begin_read()?.open_table(META)?, "lost_before")
    }

    /// Where every pattern stands, by name.
    pub fn clocks(&self) -> Result<BTreeMap<String, ClockRow>, Error> {
        let table = self.db.begin_read()?.open_table(CLOCK)?;
        let mut clocks = BTreeMap::new();
        for entry in table.iter()? {
            let (key, row) = entry?;
            clocks.insert(key.value().1.to_owned(), decode(row.value())?);
        }
        Ok(clocks)
    }

    /// Rows of all patterns, by pattern and key.
    pub fn pattern_rows(&self) -> Result<Vec<(String, Row)>, Error> {
        let table = self.db.begin_read()?.open_table(PATTERNS)?;
        let mut rows: Vec<(String, Row)> = Vec::new();
        for entry in table.iter()? {
            let (key, row) = entry?;
            rows.push((key.value().1.to_owned(), decode(row.value())?));
        }
        rows.sort_by(|(a, x), (b, y)| (a, &x.key).cmp(&(b, &y.key)));
        Ok(rows)
    }

    /// Runs of all patterns with their ticks, by pattern and tick.
    pub fn pattern_runs(&self) -> Result<Vec<(String, i64, RunRow)>, Error> {
        let table = self.db.begin_read()?.open_table(RUNS)?;
        let rows = table.iter()?.map(|entry| {
            let (key, row) = entry?;
            let (_, pattern, t_ns) = key.value();
            Ok((pattern.to_owned(), t_ns, decode(row.value())?))
        });
        rows.collect()
    }

    /// Rows of `feedback` by run and time.
    pub fn feedback(&self) -> Result<Vec<Feedback>, Error> {
        let tx = self.db.begin_read()?;
        let (order, tries) = (tx.open_table(BY_RUN)?, tx.open_table(TRIES)?);
        let mut rows = Vec::new();
        for entry in order.iter()? {
            let key = entry?.0;
            let (_, _, effect) = key.value();
            let row =
                stored(&tries, effect)?.ok_or_else(|| Error::Damaged(format!("the try {effect} is not there")))?;
            rows.push((effect.to_owned(), row));
        }
        Ok(rows)
    }

    /// Number of tries and of rows of all patterns.
    pub fn sizes(&self) -> Result<(u64, u64), Error> {
        use redb::ReadableTableMetadata as _;
        let tx = self.db.begin_read()?;
        Ok((tx.open_table(TRIES)?.len()?, tx.open_table(PATTERNS)?.len()?))
    }

    /// Walks the whole file.
    pub(super) fn check(&self) -> Result<(), Error> {
        let tx = self.db.begin_read()?;
        self.cursors()?;
        self.clocks()?;
        for entry in tx.open_table(PATTERNS)?.iter()? {
            decode::<Row>(entry?.1.value())?;
        }
        for entry in tx.open_table(BY_AGE)?.range((TENANT, "", i64::MIN, [0; 16])..)? {
            entry?;
        }
        self.pattern_runs()?;
        self.feedback()?;
        for entry in tx.open_table(WATCH)?.iter()? {
            decode::<Vec<i64>>(entry?.1.value())?;
        }
        for entry in tx.open_table(RUN)?.iter()? {
            decode::<GateRun>(entry?.1.value())?;
        }
        Ok(())
    }
}
