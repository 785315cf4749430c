//! Rows of one run become rows of `learned_patterns` (learn.md 3.4).
//!
//! Duty: which rows of a result stay, and what they do to what is known. Guarantee: pure; the outcome depends on state,
//! rows and tick alone, never on the order of the rows. Left to others: reading results (`rows`), keeping (`journal`).

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::learn::stats::{self, Estimate};

/// Most rows of one pattern.
pub const MOST_ROWS: usize = 10_000;

/// One row of a result, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The values of `by` by name, as text.
    pub labels: BTreeMap<String, String>,
    /// Units that show the pattern.
    pub support: u64,
    /// Units that could have shown it.
    pub n: u64,
    /// The same counts outside the key.
    pub rest: Option<(u64, u64)>,
    /// At most five.
    pub trace_ids: Vec<[u8; 16]>,
    /// JSON object of the other columns.
    pub evidence: String,
}

impl Seen {
    /// F1, with rest F2; `None` where one side has no data.
    pub fn effect(&self) -> Option<Estimate> {
        match self.rest {
            None => stats::share(self.support, self.n),
            Some((support, n)) => stats::ratio(self.support, self.n, support, n),
        }
    }
}

/// What decides which rows stay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Rows below are left out.
    pub min_support: u64,
    /// Rows whose `effect_low` is below are left out.
    pub min_effect: Option<f64>,
    /// Most rows.
    pub limit: usize,
}

/// The rows of one run that stay, by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selected {
    /// By alert key.
    pub rows: BTreeMap<String, (Seen, Option<Estimate>)>,
    /// Rows below `min_support` or `min_effect`.
    pub below: u64,
    /// Rows behind `limit`.
    pub over_limit: u64,
}

/// What `thresholds` leave of `rows`, whose keys are distinct.
pub fn select(rows: BTreeMap<String, Seen>, thresholds: Thresholds) -> Selected {
    let all = rows.len();
    let strong = |seen: &Seen, effect: Option<Estimate>| {
        let is_enough = |least: f64| effect.is_some_and(|effect| effect.low >= least);
        seen.support >= thresholds.min_support && thresholds.min_effect.is_none_or(is_enough)
    };
    let mut kept: Vec<(String, (Seen, Option<Estimate>))> = rows
        .into_iter()
        .map(|(key, seen)| (key, seen.effect(), seen))
        .filter(|(_, effect, seen)| strong(seen, *effect))
        .map(|(key, effect, seen)| (key, (seen, effect)))
        .collect();
    let below = (all - kept.len()) as u64;
    let over_limit = kept.len().saturating_sub(thresholds.limit) as u64;
    if over_limit > 0 {
        let low = |effect: Option<Estimate>| effect.map_or(f64::NEG_INFINITY, |effect| effect.low);
        kept.sort_by(|(a_key, (a, a_effect)), (b_key, (b, b_effect))| {
            let by_effect = low(*b_effect).total_cmp(&low(*a_effect));
            by_effect.then(b.support.cmp(&a.support)).then_with(|| a_key.cmp(b_key))
        });
        kept.truncate(thresholds.limit);
    }
    Selected { rows: kept.into_iter().collect(), below, over_limit }
}

/// Table `patterns`: a row of `learned_patterns` without its pattern and key. Times in ns since 1970, the cut in µs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The alert key.
    pub key: String,
    /// The values of `by` by name.
    pub labels: BTreeMap<String, String>,
    /// Of the newest window in which it was seen.
    pub support: u64,
    /// Of that window.
    pub n: u64,
    /// Of that window.
    pub rest: Option<(u64, u64)>,
    /// Share or ratio with its interval.
    pub effect: Option<Estimate>,
    /// End of the first window with it.
    pub first_seen_ns: i64,
    /// End of the newest window with it.
    pub last_seen_ns: i64,
    /// At most five.
    pub trace_ids: Vec<[u8; 16]>,
    /// Closed windows in which it was seen.
    pub windows: u64,
    /// Start of the newest window with it.
    pub window_start_ns: i64,
    /// Cut of that window.
    pub cut_us: i64,
    /// JSON object.
    pub evidence: String,
    /// `last_seen` + `expire`.
    pub expires_ns: i64,
}

/// A closed tick of one pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// End of its window.
    pub t_ns: i64,
    /// Start of its window.
    pub window_start_ns: i64,
    /// Spans up to here counted.
    pub cut_us: i64,
    /// `expire` of the file.
    pub expire_ns: i64,
}

/// What a fold took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// Rows that were not seen for `expire`.
    pub expired: u64,
    /// Rows above [`MOST_ROWS`].
    pub evicted: u64,
}

/// Takes the rows of `tick` into `known`, rows of one pattern by key.
pub fn fold(known: &mut BTreeMap<String, Row>, selected: Selected, tick: Tick) -> Gone {
    fold_bounded(known, selected, tick, MOST_ROWS)
}

fn fold_bounded(known: &mut BTreeMap<String, Row>, selected: Selected, tick: Tick, most: usize) -> Gone {
    for (key, (seen, effect)) in selected.rows {
        let before = known.remove(&key);
        let (first_seen_ns, windows, old_ids) = match before {
            Some(row) => (row.first_seen_ns, row.windows + 1, row.trace_ids),
            None => (tick.t_ns, 1, Vec::new()),
        };
        let row = Row {
            key: key.clone(),
            labels: seen.labels,
            support: seen.support,
            n: seen.n,
            rest: seen.rest,
            effect,
            first_seen_ns,
            last_seen_ns: tick.t_ns,
            trace_ids: if seen.trace_ids.is_empty() { old_ids } else { seen.trace_ids },
            windows,
            window_start_ns: tick.window_start_ns,
            cut_us: tick.cut_us,
            evidence: seen.evidence,
            expires_ns: tick.t_ns.saturating_add(tick.expire_ns),
        };
        known.insert(key, row);
    }
    let before = known.len();
    // By today's `expire`, which may have changed since the row was seen.
    known.retain(|_, row| row.last_seen_ns.saturating_add(tick.expire_ns) > tick.t_ns);
    let expired = (before - known.len()) as u64;
    let surplus = known.len().saturating_sub(most);
    if surplus > 0 {
        let mut order: Vec<(i64, String)> = known.iter().map(|(key, row)| (row.last_seen_ns, key.clone())).collect();
        order.sort_by(oldest_first);
        for (_, key) in order.into_iter().take(surplus) {
            known.remove(&key);
        }
    }
    Gone { expired, evicted: surplus as u64 }
}

/// Oldest `last_seen` first, then last key.
pub fn oldest_first(a: &(i64, String), b: &(i64, String)) -> Ordering {
    a.0.cmp(&b.0).then_with(|| b.1.cmp(&a.1))
}

#[cfg(test)]
pub(in crate::learn) mod tests;
