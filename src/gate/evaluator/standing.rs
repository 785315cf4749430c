//! Where each group stands at one moment.
//!
//! Duty: grid and last closed tick of a group, apart from the book, and how far groups are behind. Guarantee: groups of one
//! name, which a schedule or derived gates make several, show the lag of the slowest. Left to others: which ticks are due
//! (`window`), closing them (the parent).

use std::collections::BTreeMap;

use super::super::book::Book;
use super::super::derived;
use super::super::metrics::Metrics;
use super::super::window::Grid;

/// Where a group stands.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) name: String,
    pub(super) grid: Grid,
    /// Its last closed tick.
    pub(super) last_ns: i64,
    pub(super) is_derived: bool,
}

impl Standing {
    pub(super) fn of(book: &Book, at: usize) -> Self {
        let group = &book.groups()[at];
        Self {
            name: group.name.clone(),
            grid: Grid::of(group),
            last_ns: book.last_tick_ns(at),
            is_derived: derived::is_group(group),
        }
    }
}

/// The lag of a group is that of its slower half.
pub(super) fn show_lag(metrics: &Metrics, standing: &[Standing], m_ns: i64) {
    let mut lags: BTreeMap<&str, i64> = BTreeMap::new();
    for group in standing {
        let lag_ns = lags.entry(&group.name).or_default();
        *lag_ns = (*lag_ns).max(group.grid.last_due(m_ns) - group.last_ns);
    }
    for (name, lag_ns) in lags {
        #[allow(clippy::cast_precision_loss, reason = "a gauge is a double")]
        metrics.lag_seconds.with_label_values(&[name]).set(lag_ns as f64 / 1e9);
    }
}
