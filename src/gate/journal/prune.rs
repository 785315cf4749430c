//! Starts that nobody asks about any more (gates.md 11).
//!
//! Duty: remove their rows. Guarantee: none goes that is due, that holds a later one back by `cooldown` or `max_runs`, or
//! whose episode is open, for an episode asks once. Left to others: when (the parent).

use redb::{ReadableTable as _, WriteTransaction};

use super::rows::{EpisodeRow, Occasion, StartRow, StartState, decode};
use super::{EPISODE, Error, KEPT_NS, starts_of, stored};

/// Removes starts of episodes that closed 30 days before `now_ns`, and those whose episode is not kept any more.
pub(super) fn starts(tx: &WriteTransaction, now_ns: i64) -> Result<(), Error> {
    let before_ns = now_ns.saturating_sub(KEPT_NS);
    let episodes = tx.open_table(EPISODE)?;
    let due = |occasion, key: ([u8; 16], u64)| -> Result<bool, Error> {
        let row: Option<StartRow> = stored(&tx.open_table(starts_of(occasion))?, key)?;
        Ok(row.is_some_and(|row| row.state == StartState::Due))
    };
    // Which to remove first: what follows `on_resolve` asks for the run of `on_fail`.
    for occasion in [Occasion::Resolved, Occasion::Failed] {
        let mut gone = Vec::new();
        for entry in tx.open_table(starts_of(occasion))?.iter()? {
            let (key, row) = entry?;
            let row: StartRow = decode(row.value())?;
            if is_over(&row, now_ns, before_ns) {
                gone.push(key.value());
            }
        }
        for key in gone {
            let episode: Option<EpisodeRow> = stored(&episodes, key)?;
            let is_closed = episode.is_none_or(|row| row.closed_ns.is_some_and(|closed_ns| closed_ns < before_ns));
            if is_closed && !(occasion == Occasion::Failed && due(Occasion::Resolved, key)?) {
                tx.open_table(starts_of(occasion))?.remove(key)?;
            }
        }
    }
    Ok(())
}

/// Whether it was answered, is old and counts for no other.
fn is_over(row: &StartRow, now_ns: i64, before_ns: i64) -> bool {
    let request = &row.request;
    let counts_ns = request.cooldown_ns.max(request.max_runs_in_ns);
    match row.state {
        StartState::Due => false,
        StartState::Started { at_ns, .. } => at_ns < before_ns && at_ns.saturating_add(counts_ns) <= now_ns,
        StartState::Refused(_) | StartState::Lapsed => request.t_ns < before_ns,
    }
}
