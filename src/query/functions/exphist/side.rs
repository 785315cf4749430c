//! The buckets of one sign.
//!
//! Duty: [`Side`], counts by index. Guarantee: a bucket is found in a step where many lie close to each other, as those of
//! durations do, and few that lie far apart take no memory for what is between them. Left to others: what an index means.

use std::collections::BTreeMap;

/// With fewer buckets there is nothing to win.
const MANY: usize = 32;
/// Places in a row, a bucket that is filled, from which on they become one table, and above which no longer.
const CLOSE: usize = 4;
const FAR: usize = 8;

/// Counts by index.
#[derive(Clone, Debug)]
pub(super) enum Side {
    Apart(BTreeMap<i32, u64>),
    /// Those from `first` on; `filled` are not 0.
    Row {
        first: i32,
        counts: Vec<u64>,
        filled: usize,
    },
}

impl Default for Side {
    fn default() -> Self {
        Self::Apart(BTreeMap::new())
    }
}

impl PartialEq for Side {
    fn eq(&self, other: &Self) -> bool {
        self.to_vec() == other.to_vec()
    }
}

impl FromIterator<(i32, u64)> for Side {
    fn from_iter<I: IntoIterator<Item = (i32, u64)>>(buckets: I) -> Self {
        let mut side = Self::default();
        buckets.into_iter().for_each(|(index, count)| side.add(index, count));
        side
    }
}

impl Side {
    /// Counts `count` more, at least one, in the bucket `index`.
    #[inline]
    pub(super) fn add(&mut self, index: i32, count: u64) {
        if let Self::Row { first, counts, filled } = self
            && let Some(place) = index.checked_sub(*first).and_then(|place| usize::try_from(place).ok())
            && let Some(counted) = counts.get_mut(place)
        {
            *filled += usize::from(*counted == 0);
            *counted = counted.saturating_add(count);
            return;
        }
        self.add_beyond(index, count);
    }

    fn add_beyond(&mut self, index: i32, count: u64) {
        match self {
            Self::Apart(buckets) => {
                let before = buckets.len();
                let counted = buckets.entry(index).or_insert(0);
                *counted = counted.saturating_add(count);
                let filled = buckets.len();
                if filled == before || filled < MANY {
                    return;
                }
                let ends = buckets.first_key_value().zip(buckets.last_key_value());
                let Some((first, last)) = ends.map(|((first, _), (last, _))| (*first, *last)) else { return };
                if length(first, last) <= filled * CLOSE {
                    let mut counts = vec![0; length(first, last)];
                    buckets.iter().for_each(|(index, count)| counts[(index - first) as usize] = *count);
                    *self = Self::Row { first, counts, filled };
                }
            }
            Self::Row { first, counts, filled } => {
                let last = *first + (counts.len() as i32 - 1);
                let (low, high) = (index.min(*first), index.max(last));
                if length(low, high) > (*filled + 1) * FAR {
                    *self = Self::Apart(self.to_vec().into_iter().collect());
                    return self.add_beyond(index, count);
                }
                if low < *first {
                    counts.splice(0..0, std::iter::repeat_n(0, length(low, *first) - 1));
                    *first = low;
                }
                counts.resize(length(low, high), 0);
                counts[(index - low) as usize] = count;
                *filled += 1;
            }
        }
    }

    /// Number of buckets.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Apart(buckets) => buckets.len(),
            Self::Row { filled, .. } => *filled,
        }
    }

    /// The buckets by index.
    pub(super) fn to_vec(&self) -> Vec<(i32, u64)> {
        match self {
            Self::Apart(buckets) => buckets.iter().map(|(index, count)| (*index, *count)).collect(),
            Self::Row { first, counts, .. } => {
                (*first..).zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect()
            }
        }
    }

    /// Bytes of memory held, about.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Apart(buckets) => buckets.len() * 24,
            Self::Row { counts, .. } => counts.capacity() * size_of::<u64>(),
        }
    }
}

/// Places from `first` to `last`; indices of doubles are within 17 bits.
fn length(first: i32, last: i32) -> usize {
    (i64::from(last) - i64::from(first) + 1).try_into().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_counts_as_a_map_does_wherever_the_indices_lie() {
        let mut state = 5u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let mut rows = 0;
        for round in 0..300 {
            let (mut side, mut expected) = (Side::default(), BTreeMap::new());
            let width = [3, 90, 400, 70_000][round % 4];
            for _ in 0..next() % 800 {
                // Now and then far away, then near again.
                let near = i32::try_from(next() % width).unwrap() - 40;
                let index = if next().is_multiple_of(97) { near * 50 } else { near };
                let count = 1 + next() % 3;
                side.add(index, count);
                *expected.entry(index).or_insert(0) += count;
                rows += usize::from(matches!(side, Side::Row { .. }));
            }
            assert_eq!(side.to_vec(), expected.clone().into_iter().collect::<Vec<_>>());
            assert_eq!(side.len(), expected.len());
            assert!(side.size() <= (side.len() + 1) * FAR * 8 * 2, "{} for {}", side.size(), side.len());
            assert_eq!(side, expected.into_iter().collect());
        }
        assert!(rows > 5_000, "tables were tried: {rows}");
    }

    #[test]
    fn counts_end_at_the_largest_number() {
        let mut side: Side = (0..100).map(|index| (index, u64::MAX)).collect();
        side.add(7, 9);
        assert_eq!(side.to_vec()[7], (7, u64::MAX));
    }
}
