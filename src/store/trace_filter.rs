//! Which traces a batch in memory may hold (storage.md 5.1).
//!
//! Duty: [`TraceFilter`], a Bloom filter over the ids of a batch, made by the first lookup that asks and kept with the
//! batch. Guarantee: a trace of the batch is never missed; ingest pays nothing, and a batch that is looked up 1 to 2
//! bytes for each id that differs from the one before. Left to others: which rows they are (the filter of the statement,
//! above the scan).

use std::collections::BTreeSet;
use std::sync::OnceLock;

use arrow::array::{Array as _, FixedSizeBinaryArray};
use parquet::bloom_filter::Sbbf;

/// Batches up to so many rows are searched themselves: half a KiB is read as fast as a filter is asked.
const SEARCHED_ROWS: usize = 32;

/// See above. All calls of one filter are about one batch.
#[derive(Clone, Debug, Default)]
pub struct TraceFilter(OnceLock<Sbbf>);

impl TraceFilter {
    /// Whether `traces`, the ids of the batch's rows, may have one of `wanted`.
    pub(super) fn may_hold(&self, traces: &FixedSizeBinaryArray, wanted: &BTreeSet<[u8; 16]>) -> bool {
        // Whichever is fewer is looked for in the other.
        if traces.len() <= SEARCHED_ROWS.max(wanted.len()) {
            return traces.iter().flatten().any(|id| wanted.contains(id));
        }
        let filter = self.0.get_or_init(|| filter_of(traces));
        wanted.iter().any(|id| filter.check(id.as_slice()))
    }
}

/// Of a request's spans those of one trace mostly follow each other: each run is added once.
fn filter_of(traces: &FixedSizeBinaryArray) -> Sbbf {
    let runs = || {
        let mut before = None;
        traces.iter().flatten().filter(move |id| before.replace(*id) != Some(*id))
    };
    let mut filter = Sbbf::new_with_num_of_bytes(runs().count());
    runs().for_each(|id| filter.insert(id));
    filter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Traces `from..to` in runs of `each` rows.
    fn traces(from: u128, to: u128, each: usize) -> FixedSizeBinaryArray {
        let ids = (from..to).flat_map(|id| vec![id.to_be_bytes(); each]);
        FixedSizeBinaryArray::try_from_iter(ids).unwrap()
    }

    fn one(id: u128) -> BTreeSet<[u8; 16]> {
        [id.to_be_bytes()].into()
    }

    #[test]
    fn no_trace_of_a_batch_is_missed_and_few_others_are_taken_for_one() {
        for (rows, each) in [(1, 1), (32, 1), (33, 1), (100, 7), (8_192, 1), (8_192, 8), (32_768, 3)] {
            let filter = TraceFilter::default();
            let count = u128::try_from(rows / each).unwrap();
            let batch = traces(0, count, each);
            assert!((0..count).all(|id| filter.may_hold(&batch, &one(id))), "{rows} rows, {each} a trace");
            let foreign = (count..count + 1_000).filter(|id| filter.may_hold(&batch, &one(*id))).count();
            assert!(foreign < 100, "{foreign} of 1000 with {rows} rows, {each} a trace");
            // Any of several counts.
            let mixed = [count + 1_000_000, count - 1].map(u128::to_be_bytes).into();
            assert!(filter.may_hold(&batch, &mixed));
        }
    }

    #[test]
    fn a_filter_is_made_once_by_a_lookup_that_needs_it_and_has_one_to_two_bytes_a_run() {
        let kept = TraceFilter::default();
        let (few, many) = (traces(0, 32, 1), traces(0, 3_000, 3));
        assert!(kept.may_hold(&few, &one(7)) && kept.0.get().is_none(), "so few are searched");
        let all: BTreeSet<_> = (0..10_000_u128).map(u128::to_be_bytes).collect();
        assert!(kept.may_hold(&many, &all) && kept.0.get().is_none(), "so many ids are not asked one by one");
        assert!(kept.may_hold(&many, &one(2_999)));
        let blocks = kept.0.get().unwrap().num_blocks();
        assert!((3_000..6_000).contains(&(blocks * 32)), "{blocks} blocks");
        // Other rows show that it is the same one that is asked.
        assert!(kept.may_hold(&traces(50_000, 50_100, 1), &one(2_999)));
    }

    #[test]
    fn a_batch_without_rows_holds_nothing() {
        assert!(!TraceFilter::default().may_hold(&traces(0, 1, 1).slice(0, 0), &one(0)));
    }
}
