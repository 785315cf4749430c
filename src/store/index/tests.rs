//! What an index answers, from whole, damaged and foreign files.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use prometheus::IntGauge;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use ulid::Ulid;

use super::*;
use crate::store::manifest::{PartEntry, RowGroupEntry};

mod days;

/// A part as its groups' keys, row for row.
type Groups = Vec<Vec<Key>>;

fn ulid(number: u128) -> Ulid {
    Ulid::from(1 << 100 | number)
}

fn file(part: Ulid, groups: &Groups) -> Bytes {
    let mut facts = TraceFacts::default();
    for (group, keys) in groups.iter().enumerate() {
        // Writers may hand over a group in pieces.
        let (one, other) = keys.split_at(keys.len() / 3);
        facts.add_ids(group, one.iter().copied());
        facts.add_ids(group, other.iter().copied());
    }
    facts.finish(part)
}

fn entry(part: Ulid, groups: &Groups) -> PartEntry {
    let group = RowGroupEntry { start: [0, 0], end: [0, 0] };
    serde_json::from_value(serde_json::json!({
        "path": format!("spans/date=2023-11-14/hour=22/{part}.parquet"), "level": 0, "hour": "2023-11-14T22",
        "rows": groups.iter().map(Vec::len).sum::<usize>(), "bytes": 1, "footer_bytes": 1, "start": [0, 0],
        "end": [0, 0], "ingest": [0, 0], "row_groups": vec![group; groups.len()], "services": [], "lsn": [1, 1],
        "schema": 1, "file_xxh3": "0", "sum_xxh3": "0",
    }))
    .unwrap()
}

/// The indexes of parts, of which `files` are there.
async fn indexes(files: &[(&PartEntry, Bytes)]) -> (Arc<InMemory>, Indexes) {
    let objects = Arc::new(InMemory::new());
    for (entry, file) in files {
        put(&objects, entry, file.clone()).await;
    }
    (objects.clone(), Indexes::new(objects, 1 << 20, IntGauge::new("a", "b").unwrap()))
}

async fn put(objects: &InMemory, entry: &PartEntry, file: Bytes) {
    objects.put(&Path::from(path_of(&entry.path)), file.into()).await.unwrap();
}

/// What a search of all rows says: row group → rows of the zones that hold a row of `key`.
fn searched(groups: &Groups, key: Key) -> Found {
    let mut found = Found::default();
    for (number, keys) in groups.iter().enumerate() {
        let zone = |row: usize| (row / 16_384).min(7);
        let held: BTreeMap<usize, ()> =
            (0..keys.len()).filter(|row| keys[*row] == key).map(|r| (zone(r), ())).collect();
        let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
        for zone in held.into_keys() {
            let (begin, end) =
                (zone * 16_384, if zone == 7 { keys.len() } else { keys.len().min((zone + 1) * 16_384) });
            match ranges.last_mut() {
                Some(last) if last.end == begin => last.end = end,
                _ => ranges.push(begin..end),
            }
        }
        if !ranges.is_empty() {
            found.groups.push(FoundGroup { number, rows: keys.len(), ranges });
        }
    }
    found
}

/// Row groups of random sizes with rows of `traces` traces, some of them in most rows.
fn random(chance: &mut ChaCha8Rng, sizes: &[usize], traces: u64) -> Groups {
    let mut group = |rows: &usize| -> Vec<Key> {
        let mut key = 0;
        (0..*rows)
            .map(|_| {
                let draw = chance.next_u64();
                // Runs of one trace, as they arrive.
                if draw.is_multiple_of(5) {
                    key = chance.next_u64() % if draw.is_multiple_of(2) { traces } else { traces.min(20) };
                }
                Key::of(&key.to_le_bytes())
            })
            .collect()
    };
    sizes.iter().map(&mut group).collect()
}

#[tokio::test]
async fn an_index_names_exactly_the_zones_that_hold_the_trace() {
    let mut chance = ChaCha8Rng::seed_from_u64(10);
    let sizes: [(&[usize], u64); 6] = [
        (&[1], 1),
        (&[5, 1, 300], 40),
        (&[131_072, 131_072, 40_001], 30_000),
        // Larger than eight zones: the last one holds the rest.
        (&[200_000], 9_000),
        (&[16_384, 16_385, 16_383], 20_000),
        (&[70; 900], 3),
    ];
    for (at, (sizes, traces)) in sizes.into_iter().enumerate() {
        let groups = random(&mut chance, sizes, traces);
        let entry = entry(ulid(at as u128), &groups);
        let (_, indexes) = indexes(&[(&entry, file(ulid(at as u128), &groups))]).await;
        let mut sought: Vec<u64> = (0..30).map(|_| chance.next_u64() % traces).collect();
        sought.extend((0..20).map(|_| traces + chance.next_u64() % 1_000_000));
        for trace in sought {
            let key = Key::of(&trace.to_le_bytes());
            let found = indexes.find(&entry, &[key]).await.expect("the index is whole");
            assert_eq!(found, searched(&groups, key), "case {at}, trace {trace}");
        }
        let few: Vec<Key> = (0..3).map(|trace: u64| Key::of(&trace.to_le_bytes())).collect();
        let rows = |found: &Found, row: (usize, usize)| {
            found.groups.iter().any(|group| group.number == row.0 && group.ranges.iter().any(|r| r.contains(&row.1)))
        };
        let found = indexes.find(&entry, &few).await.unwrap();
        for (number, keys) in groups.iter().enumerate() {
            let held = (0..keys.len()).filter(|row| few.contains(&keys[*row]));
            held.for_each(|row| assert!(rows(&found, (number, row)), "case {at}: row {row} of group {number}"));
        }
    }
}

#[tokio::test]
async fn traces_of_one_key_share_the_zones_of_both() {
    // Keys that differ in one bit, at the ends of the range and in a row: deltas from 0 to the largest.
    let keys: Vec<Key> = [0, 1, 2, 1 << 20, (1 << 39) - 1, 1 << 39, (1 << 40) - 2, (1 << 40) - 1].map(Key).into();
    let mut groups: Groups = vec![vec![Key(77); 40_000]; 3];
    groups[0][0] = keys[1];
    groups[0][20_000] = keys[1];
    groups[2][39_999] = keys[1];
    (0..keys.len()).for_each(|at| groups[1][at * 4_000] = keys[at]);
    let entry = entry(ulid(1), &groups);
    let (_, indexes) = indexes(&[(&entry, file(ulid(1), &groups))]).await;
    for key in keys.into_iter().chain([Key(77), Key(3), Key(78)]) {
        assert_eq!(indexes.find(&entry, &[key]).await.unwrap(), searched(&groups, key), "{key:?}");
    }
}

#[tokio::test]
async fn a_trace_in_more_row_groups_than_a_block_holds_is_found_in_all_of_them() {
    let mut chance = ChaCha8Rng::seed_from_u64(3);
    for giant in [0, 1 << 35, (1 << 40) - 1] {
        // 4000 row groups: eight blocks for the giant alone; every other group also has a few of the rest.
        let groups: Groups = (0..4_000)
            .map(|_| {
                let rest = (0..chance.next_u64() % 4).map(|_| Key(chance.next_u64() >> 24)).collect::<Vec<_>>();
                [vec![Key(giant)], rest].concat()
            })
            .collect();
        let entry = entry(ulid(9), &groups);
        let (_, indexes) = indexes(&[(&entry, file(ulid(9), &groups))]).await;
        let neighbours = groups.iter().flatten().copied().filter(|key| key.0 != giant).step_by(97);
        for key in neighbours.chain([Key(giant)]) {
            assert_eq!(indexes.find(&entry, &[key]).await.unwrap(), searched(&groups, key), "{key:?} beside {giant}");
        }
    }
}

#[tokio::test]
async fn a_flipped_byte_gives_no_answer_or_the_right_one() {
    let mut chance = ChaCha8Rng::seed_from_u64(4);
    let groups = random(&mut chance, &[7_000, 5_000, 300], 5_000);
    let entry = entry(ulid(2), &groups);
    let whole = file(ulid(2), &groups);
    assert!(whole.len() > 4096 + 500, "more than one block: {}", whole.len());
    let sought: Vec<Key> = [1_u64, 7, 300, 900, 3_999, 5_000].map(|trace| Key::of(&trace.to_le_bytes())).into();
    let right: Vec<Found> = sought.iter().map(|key| searched(&groups, *key)).collect();
    let mut refused = 0;
    for at in 0..whole.len() {
        let mut bad = whole.to_vec();
        bad[at] ^= 1 << (chance.next_u64() % 8);
        let (_, indexes) = indexes(&[(&entry, bad.into())]).await;
        let mut noted = false;
        for (key, right) in sought.iter().zip(&right) {
            match indexes.find(&entry, &[*key]).await {
                Some(found) => assert_eq!(found, *right, "byte {at}, {key:?}"),
                None => noted = true,
            }
        }
        assert_eq!(indexes.take_wanted().len(), usize::from(noted), "byte {at}");
        refused += usize::from(noted);
    }
    assert!(refused * 2 > whole.len(), "the keys lie in most blocks: {refused} of {}", whole.len());
}

#[tokio::test]
async fn a_cut_grown_missing_or_foreign_file_gives_no_answer_and_is_made_again_once() {
    let mut chance = ChaCha8Rng::seed_from_u64(5);
    let groups = random(&mut chance, &[9_000], 6_000);
    let (part, other) = (entry(ulid(1), &groups), entry(ulid(2), &groups));
    let whole = file(ulid(1), &groups);
    let key = groups[0][0];
    let grown = [&whole[..], &[0]].concat();
    let shifted = [&[0; 4096], &whole[..]].concat();
    let files: Vec<(&str, Option<Vec<u8>>)> = vec![
        ("half", Some(whole[..whole.len() / 2].to_vec())),
        ("without its last byte", Some(whole[..whole.len() - 1].to_vec())),
        ("without its first block", Some(whole[4096..].to_vec())),
        ("grown", Some(grown)),
        ("shifted", Some(shifted)),
        ("empty", Some(Vec::new())),
        ("of another part", Some(file(ulid(2), &groups).to_vec())),
        ("of other rows", Some(file(ulid(1), &vec![groups[0][1..].to_vec()]).to_vec())),
        ("missing", None),
    ];
    for (what, bytes) in files {
        let (objects, indexes) = indexes(&[(&other, file(ulid(2), &groups))]).await;
        if let Some(bytes) = bytes {
            put(&objects, &part, bytes.into()).await;
        }
        assert_eq!(indexes.find(&part, &[key]).await, None, "{what}");
        assert_eq!(indexes.find(&part, &[key]).await, None, "{what}");
        assert!(indexes.find(&other, &[key]).await.is_some(), "{what}: the other part's is whole");
        let wanted: Vec<String> = indexes.take_wanted().into_iter().map(|entry| entry.path).collect();
        assert_eq!(wanted, std::slice::from_ref(&part.path), "{what}");
        put(&objects, &part, whole.clone()).await;
        assert_eq!(indexes.find(&part, &[key]).await, Some(searched(&groups, key)), "{what}, made again");
        assert!(indexes.take_wanted().is_empty(), "{what}, made again");
    }
}

#[tokio::test]
async fn fences_stay_below_their_share_and_evicted_ones_are_read_again() {
    let mut chance = ChaCha8Rng::seed_from_u64(6);
    let groups = random(&mut chance, &[5_000], 4_000);
    let parts: Vec<(Ulid, PartEntry)> = (0..40).map(|n| (ulid(n), entry(ulid(n), &groups))).collect();
    let objects = Arc::new(InMemory::new());
    for (ulid, entry) in &parts {
        put(&objects, entry, file(*ulid, &groups)).await;
    }
    let gauge = IntGauge::new("a", "b").unwrap();
    let limit = 3_000;
    let indexes = Indexes::new(objects, limit, gauge.clone());
    let key = groups[0][17];
    let right = searched(&groups, key);
    for round in 0..3 {
        for (_, entry) in &parts {
            assert_eq!(indexes.find(entry, &[key]).await.as_ref(), Some(&right), "round {round}");
            let kept = usize::try_from(gauge.get()).unwrap();
            assert!(kept <= limit && (round == 0 || kept > limit / 3), "{kept} bytes are kept");
        }
    }
    parts.iter().for_each(|(_, entry)| indexes.forget(&entry.path));
    assert_eq!(gauge.get(), 0);
}

/// Spans by 5-minute bucket and operation, as compaction orders them: a trace's ten spans lie anywhere in one bucket.
#[test]
fn in_compacted_order_the_index_takes_less_than_two_bytes_a_span() {
    const TRACES: u64 = 60_000;
    let mut chance = ChaCha8Rng::seed_from_u64(7);
    let mut rows: Vec<(u64, u64, u64)> = (0..TRACES)
        .flat_map(|trace| (0..10).map(move |_| trace))
        .map(|trace| (trace * 12 / TRACES, chance.next_u64() % 1_000, trace))
        .collect();
    rows.sort_unstable();
    let keys: Vec<Key> = rows.iter().map(|(_, _, trace)| Key::of(&trace.to_le_bytes())).collect();
    let groups: Groups = keys.chunks(131_072).map(<[Key]>::to_vec).collect();
    let bytes = file(ulid(1), &groups).len();
    assert!(bytes <= 2 * rows.len(), "{bytes} bytes for {} spans", rows.len());
}

#[test]
fn the_file_is_made_of_the_bytes_that_its_description_names() {
    let groups: Groups = vec![vec![Key(5); 3], vec![Key(5), Key(300)]];
    let part = ulid(1);
    let bytes = file(part, &groups);
    // key 5: group 0 zone 0, more; group 1 zone 0. key 300: delta 295, group 1 zone 0.
    let entries = [5, 16, 0, 0xa7, 2, 32];
    let block = [&[6, 0][..], &entries].concat();
    let sum = twox_hash::XxHash3_64::oneshot(&block).to_le_bytes();
    let mut want = [&sum[..], &block].concat();
    let mut footer = part.to_bytes().to_vec();
    for number in [5_u64, 2, 16] {
        footer.extend(number.to_le_bytes());
    }
    for number in [2_u32, 1, 3, 2] {
        footer.extend(number.to_le_bytes());
    }
    footer.extend(5_u64.to_le_bytes());
    footer.extend(u32::try_from(footer.len() + 20).unwrap().to_le_bytes());
    footer.extend(twox_hash::XxHash3_64::oneshot(&footer).to_le_bytes());
    footer.extend(b"WGTIX001");
    want.extend(footer);
    assert_eq!(bytes, want);
}

#[test]
fn rows_in_another_order_within_their_zone_give_the_same_file() {
    let mut chance = ChaCha8Rng::seed_from_u64(8);
    let groups = random(&mut chance, &[9_000, 100], 3_000);
    let mut turned = groups.clone();
    turned.iter_mut().for_each(|keys| keys.reverse());
    assert_eq!(file(ulid(1), &groups), file(ulid(1), &turned));
    let seen: HashMap<Key, ()> = groups.iter().flatten().map(|key| (*key, ())).collect();
    assert!(seen.len() > 500, "{}", seen.len());
}

#[test]
fn an_answer_is_split_between_zones_and_loses_none() {
    let group = |number, rows, ranges: &[[usize; 2]]| {
        let ranges = ranges.iter().map(|[begin, end]| *begin..*end).collect();
        FoundGroup { number, rows, ranges }
    };
    let found = Found {
        groups: vec![
            group(1, 40_000, &[[0, 16_384], [32_768, 40_000]]),
            group(3, 200_000, &[[16_384, 65_536], [114_688, 200_000]]),
        ],
    };
    let rows = |found: &Found| -> Vec<(usize, usize)> {
        let of = |group: &FoundGroup| {
            let number = group.number;
            group.ranges.clone().into_iter().flatten().map(move |row| (number, row)).collect::<Vec<_>>()
        };
        found.groups.iter().flat_map(of).collect()
    };
    assert_eq!(found.rows(), rows(&found).len());
    // Eleven zones, of which two are worth a piece.
    for (most, pieces) in [(0, 1), (1, 1), (2, 2), (3, 3), (5, 5), (100, 5)] {
        let split = found.split(most);
        assert_eq!(split.len(), pieces, "{most}");
        assert_eq!(split.iter().flat_map(rows).collect::<Vec<_>>(), rows(&found), "{most}");
    }
    let [first, second]: [Found; 2] = found.split(2).try_into().unwrap();
    assert_eq!(first.groups, [found.groups[0].clone(), group(3, 200_000, &[[16_384, 65_536]])]);
    assert_eq!(second.groups, [group(3, 200_000, &[[114_688, 200_000]])]);
    assert_eq!(Found::default().split(4), [Found::default()]);
}
