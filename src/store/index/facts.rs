//! What the index says of a part that is being written.
//!
//! Duty: [`TraceFacts`], fed with the rows in the order in which they are written. Guarantee: equal rows in equal row
//! groups give equal bytes, so an index that is made again is the one that was. Left to others: where the bytes go.

use arrow::array::{AsArray as _, RecordBatch};
use bytes::Bytes;
use ulid::Ulid;

use super::block::Blocks;
use super::{Key, Place, fences};
use crate::store::part::ZONE_ROWS;

/// Zones of a row group; the last one holds all rows that are left.
pub(super) const ZONES: usize = 8;
/// Row groups of a part at most: Parquet counts them in 16 bits.
const GROUP_BITS: u32 = 21;
const ZONE_BITS: u32 = 3;

/// The traces of a part that is being written; 8 bytes for each zone of each trace.
#[derive(Debug, Default)]
pub struct TraceFacts {
    /// Key, row group and zone in one number each. Those of complete row groups ascend and occur once.
    facts: Vec<u64>,
    /// Where those of the row group that is being filled begin.
    group_at: usize,
    /// Rows of each row group.
    groups: Vec<u32>,
}

impl TraceFacts {
    /// Adds rows of row group number `group`, behind those added before; `rows` has a column `trace_id`.
    ///
    /// Row groups come in order and none is left out; one may be added in several calls.
    pub fn add(&mut self, group: usize, rows: &RecordBatch) {
        let ids = rows.column_by_name("trace_id").expect("stored rows have their trace's id");
        self.add_ids(group, ids.as_fixed_size_binary().iter().map(|id| Key::of(id.expect("no trace id is null"))));
    }

    /// The same of rows whose ids are `ids`, each named once, of which `keys` tells each row's place.
    pub fn add_distinct(&mut self, group: usize, ids: &[[u8; 16]], keys: &[i32]) {
        self.begin(group);
        let hashes: Vec<Key> = ids.iter().map(|id| Key::of(id)).collect();
        // The last zone in which an id was met, counted from 1.
        let mut met = vec![0; ids.len()];
        for key in keys {
            let zone = self.next_zone();
            let id = key.cast_unsigned() as usize;
            if std::mem::replace(&mut met[id], zone + 1) != zone + 1 {
                self.push(group, zone, hashes[id]);
            }
        }
    }

    pub(super) fn add_ids(&mut self, group: usize, keys: impl Iterator<Item = Key>) {
        self.begin(group);
        for key in keys {
            let zone = self.next_zone();
            self.push(group, zone, key);
        }
    }

    fn begin(&mut self, group: usize) {
        if group == self.groups.len() {
            self.close_group();
            self.groups.push(0);
        }
        assert_eq!(group + 1, self.groups.len(), "row groups come in order");
    }

    /// The zone of the next row.
    fn next_zone(&mut self) -> usize {
        let rows = self.groups.last_mut().expect("a row group was begun");
        let zone = (*rows as usize / ZONE_ROWS).min(ZONES - 1);
        *rows += 1;
        zone
    }

    fn push(&mut self, group: usize, zone: usize, key: Key) {
        let place = (group as u64) << ZONE_BITS | zone as u64;
        self.facts.push(key.0 << (GROUP_BITS + ZONE_BITS) | place);
    }

    /// Rows of one trace lie near each other: most facts occur often.
    fn close_group(&mut self) {
        let group = &mut self.facts[self.group_at..];
        group.sort_unstable();
        let mut kept = self.group_at;
        for at in self.group_at..self.facts.len() {
            if kept == self.group_at || self.facts[kept - 1] != self.facts[at] {
                self.facts[kept] = self.facts[at];
                kept += 1;
            }
        }
        self.facts.truncate(kept);
        self.group_at = kept;
    }

    /// The file of the index of the part `part`.
    pub fn finish(mut self, part: Ulid) -> Bytes {
        self.close_group();
        self.facts.sort_unstable();
        let mut blocks = Blocks::default();
        let mut entries = 0;
        let mut places: Vec<Place> = Vec::new();
        for of_key in self.facts.chunk_by(|a, b| key(*a) == key(*b)) {
            places.clear();
            for fact in of_key {
                let (group, zone) = (fact >> ZONE_BITS & ((1 << GROUP_BITS) - 1), fact & ((1 << ZONE_BITS) - 1));
                let group = u32::try_from(group).expect("21 bits");
                match places.last_mut().filter(|place| place.group == group) {
                    Some(place) => place.zones |= 1 << zone,
                    None => places.push(Place { group, zones: 1 << zone }),
                }
            }
            blocks.push(key(of_key[0]), &places);
            entries += 1;
        }
        let (mut file, fences) = blocks.finish();
        fences::write(&mut file, part, &self.groups, entries, &fences);
        file.into()
    }
}

fn key(fact: u64) -> Key {
    Key(fact >> (GROUP_BITS + ZONE_BITS))
}
