//! The states of one aggregation, by bucket of time.
//!
//! Duty: keep them from a bucket on, forget those that no window reaches, say which make up a window. Guarantee: a bucket is
//! whole or not there, and none is kept of a time that is far ahead; what was given up stays so until the time that was said.
//! Left to others: making states (`query::shared`), reading spans (`source`).

use std::collections::BTreeMap;

use arrow::array::RecordBatch;

/// Batches of one bucket above which they become one.
const MOST_BATCHES: usize = 3;

/// Why an aggregation has no states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// They were too many.
    Full,
    /// They cannot be made: an expression of one of the gates fails on some span, or spans cannot be read. Each gate is asked
    /// alone, so that only those fail that have to.
    Broken,
}

/// States by bucket; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct States {
    /// The first bucket from which on all spans are in; `None` = they have to be read.
    from: Option<i64>,
    buckets: BTreeMap<i64, Vec<RecordBatch>>,
    /// So many buckets are one before a bucket, and stand at the first of them.
    wide: (i64, i64),
    /// Given up until this event time.
    given: Option<(Given, i64)>,
    /// From this bucket on none is kept.
    limit: i64,
    /// The first bucket of those that were not kept for that.
    beyond: Option<i64>,
    pub entries: u64,
    pub bytes: u64,
}

impl Default for States {
    fn default() -> Self {
        let (buckets, wide) = (BTreeMap::new(), (1, i64::MIN));
        Self { from: None, buckets, wide, given: None, limit: i64::MAX, beyond: None, entries: 0, bytes: 0 }
    }
}

impl States {
    /// Whether its spans are to be read for a window that ends at `t_ns`.
    pub(super) fn is_to_load(&self, t_ns: i64) -> bool {
        self.from.is_none() && self.given.is_none_or(|(_, until_ns)| until_ns <= t_ns)
    }

    /// Whether spans that come are to be added.
    pub(super) const fn is_loaded(&self) -> bool {
        self.from.is_some()
    }

    /// The first bucket of them.
    pub(super) const fn from(&self) -> Option<i64> {
        self.from
    }

    /// Why there are none.
    pub(super) fn given_up(&self) -> Option<Given> {
        self.given.map(|(why, _)| why)
    }

    /// Its spans have to be read again.
    pub(super) fn unload(&mut self) {
        *self = Self { limit: self.limit, ..Self::default() };
    }

    /// Spans of the bucket `limit` and of later ones are not kept: clocks that are wrong would fill the time to come. Those that
    /// were left out are read once a window that ends with the bucket `end` holds them.
    pub(super) fn bound(&mut self, limit: i64, end: i64) {
        self.limit = limit;
        if self.beyond.is_some_and(|first| first < end) {
            self.unload();
        }
    }

    /// All spans from the bucket `from` on are added next.
    pub(super) fn begin(&mut self, from: i64) {
        *self = Self { from: Some(from), limit: self.limit, ..Self::default() };
    }

    /// Nothing is kept until the event time `until_ns`.
    pub(super) fn give_up(&mut self, why: Given, until_ns: i64) {
        *self = Self { given: Some((why, until_ns)), limit: self.limit, ..Self::default() };
    }

    /// Adds states of `bucket`.
    pub(super) fn add(&mut self, bucket: i64, states: RecordBatch) {
        let Some(from) = self.from else { return };
        if bucket >= self.limit {
            self.beyond = Some(self.beyond.map_or(bucket, |first| first.min(bucket)));
        } else if bucket >= from {
            let (entries, bytes) = size(&states);
            self.entries += entries;
            self.bytes += bytes;
            self.buckets.entry(self.place(bucket)).or_default().push(states);
        }
    }

    /// Forgets what lies before `oldest`.
    pub(super) fn forget_before(&mut self, oldest: i64) {
        if self.from.is_some_and(|from| from < oldest) {
            let kept = self.buckets.split_off(&oldest);
            let gone = std::mem::replace(&mut self.buckets, kept);
            gone.values().flatten().for_each(|states| self.less(states));
            self.from = Some(oldest);
        }
    }

    /// From now on `wide` buckets are one before the bucket `until`, a multiple of it.
    pub(super) fn widen_before(&mut self, until: i64, wide: i64) {
        let before = self.wide.1;
        if wide <= 1 || until <= before {
            return;
        }
        self.wide = (wide, until);
        let narrow: Vec<i64> = self.buckets.range(before..until).map(|(at, _)| *at).collect();
        for at in narrow {
            let batches = self.buckets.remove(&at).unwrap_or_default();
            self.buckets.entry(self.place(at)).or_default().extend(batches);
        }
    }

    fn place(&self, bucket: i64) -> i64 {
        let (wide, until) = self.wide;
        if bucket < until { bucket.div_euclid(wide).saturating_mul(wide) } else { bucket }
    }

    /// Takes out the batches of buckets that have too many.
    pub(super) fn take_crowded(&mut self) -> Vec<(i64, Vec<RecordBatch>)> {
        let many = self.buckets.iter().filter(|(_, batches)| batches.len() > MOST_BATCHES).map(|(at, _)| *at);
        let many: Vec<i64> = many.collect();
        let taken = many.into_iter().filter_map(|at| Some((at, self.buckets.remove(&at)?)));
        let taken: Vec<_> = taken.collect();
        taken.iter().flat_map(|(_, batches)| batches).for_each(|states| self.less(states));
        taken
    }

    /// The states of the buckets `[first, end)`; `None` if they are not whole.
    pub(super) fn of(&self, first: i64, end: i64) -> Option<Vec<RecordBatch>> {
        let is_whole = self.from.is_some_and(|from| from <= first) && self.beyond.is_none_or(|beyond| beyond >= end);
        let is_edge = |bucket: i64| self.place(bucket) == bucket;
        (is_whole && is_edge(first) && is_edge(end))
            .then(|| self.buckets.range(first..end).flat_map(|(_, batches)| batches.iter().cloned()).collect())
    }

    fn less(&mut self, states: &RecordBatch) {
        let (entries, bytes) = size(states);
        self.entries = self.entries.saturating_sub(entries);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

fn size(states: &RecordBatch) -> (u64, u64) {
    (states.num_rows() as u64, states.get_array_memory_size() as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn of(rows: i64) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(0..rows))]).unwrap()
    }

    fn rows(states: &States, first: i64, end: i64) -> Option<usize> {
        states.of(first, end).map(|batches| batches.iter().map(RecordBatch::num_rows).sum())
    }

    #[test]
    fn a_window_is_whole_from_the_first_bucket_on_and_what_no_window_reaches_is_forgotten() {
        let mut states = States::default();
        states.add(5, of(1));
        assert_eq!(rows(&states, 5, 6), None, "nothing was read");
        states.begin(5);
        for (bucket, count) in [(4, 100), (5, 1), (7, 2), (7, 3), (9, 4)] {
            states.add(bucket, of(count));
        }
        assert_eq!(
            [(4, 9), (5, 8), (6, 7), (5, 10)].map(|(a, b)| rows(&states, a, b)),
            [None, Some(6), Some(0), Some(10)]
        );
        assert_eq!(states.entries, 10);
        states.forget_before(7);
        assert_eq!((rows(&states, 5, 8), rows(&states, 7, 10), states.entries), (None, Some(9), 9));
        states.give_up(Given::Full, 100);
        assert_eq!((states.given_up(), states.entries, states.bytes), (Some(Given::Full), 0, 0));
        assert_eq!([99, 100].map(|t_ns| states.is_to_load(t_ns)), [false, true]);
    }

    #[test]
    fn what_lies_far_ahead_is_not_kept_and_read_once_it_comes_due() {
        let mut states = States::default();
        states.bound(20, 9);
        states.begin(5);
        [7, 19, 20, 9_000].into_iter().for_each(|bucket| states.add(bucket, of(1)));
        assert_eq!((states.entries, rows(&states, 5, 20), rows(&states, 5, 21)), (2, Some(2), None));
        states.bound(30, 20);
        assert!(states.is_loaded());
        states.bound(31, 21);
        assert!(states.is_to_load(0));
        states.begin(15);
        [19, 20, 9_000].into_iter().for_each(|bucket| states.add(bucket, of(1)));
        assert_eq!(rows(&states, 15, 21), Some(2));
    }

    #[test]
    fn wide_buckets_answer_windows_that_begin_and_end_with_one() {
        let mut states = States::default();
        states.begin(6);
        (6..20).for_each(|bucket| states.add(bucket, of(1)));
        states.widen_before(12, 6);
        // Late ones go into the wide bucket.
        states.add(8, of(1));
        let windows = [(6, 12), (6, 15), (12, 13), (7, 12), (6, 11), (13, 20)];
        let found = windows.map(|(first, end)| rows(&states, first, end));
        assert_eq!(found, [Some(7), Some(10), Some(1), None, None, Some(7)]);
        let crowded = states.take_crowded();
        assert_eq!(crowded.iter().map(|(at, batches)| (*at, batches.len())).collect::<Vec<_>>(), [(6, 7)]);
        states.add(6, of(3));
        assert_eq!((rows(&states, 6, 20), states.entries), (Some(11), 11));
        states.forget_before(12);
        assert_eq!(states.entries, 8);
    }
}
