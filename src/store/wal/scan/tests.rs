//! Each row of the table in storage.md 4.5, and seeded damage of every kind (C5).

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use ulid::Ulid;

use super::super::record::{Kind, padded};
use super::*;

const SALT: u64 = 0xfeed_beef_0bad_cafe;

fn header() -> SegmentHeader {
    SegmentHeader { first_lsn: 1, prev_lsn: 0, salt: SALT, created_ns: 0, node: Ulid(1), store: Ulid(2) }
}

/// A segment whose groups have these sizes, with its unwritten end; payloads are 20 to 60 bytes.
fn segment_of(groups: &[u32]) -> Vec<u8> {
    let mut bytes = header().encode();
    let mut lsn = 1;
    for size in groups {
        for position in 0..*size {
            let payload: Vec<u8> = (0..20 + lsn % 40).map(|i| (i * 7 + lsn) as u8).collect();
            let record = RecordHeader {
                lsn,
                stored_len: payload.len() as u32,
                decoded_len: payload.len() as u32,
                kind: Kind::OtlpProto,
                codec: 0,
                own: false,
                spans: 1,
                ingest_us: 1_000 + lsn as i64,
                payload_xxh3: record::payload_hash(&payload),
                identity: 0,
                dataset: 0,
                position,
            };
            bytes.extend(record.encode(SALT));
            bytes.extend(&payload);
            bytes.resize(bytes.len() + padded(payload.len()) - payload.len(), 0);
            lsn += 1;
        }
    }
    bytes.resize(bytes.len() + 8192, 0);
    bytes
}

fn lsns(scan: &Scan) -> Vec<Lsn> {
    scan.records.iter().map(|f| f.header.lsn).collect()
}

/// Where each record begins and ends.
fn places(bytes: &[u8]) -> Vec<Found> {
    scan(bytes, &header(), Bound::Last).records
}

#[test]
fn a_whole_segment_has_all_records_and_no_damage() {
    let bytes = segment_of(&[1, 3, 2]);
    for bound in [Bound::Last, Bound::Next(6), Bound::Lost(7)] {
        let scan = scan(&bytes, &header(), bound);
        assert_eq!(lsns(&scan), [1, 2, 3, 4, 5, 6]);
        assert!(!scan.is_corrupt() && scan.torn_bytes == 0, "{bound:?}: {scan:?}");
        assert_eq!((scan.highest, scan.highest_us), (6, 1_006));
    }
}

#[test]
fn a_cut_last_group_is_torn_and_not_corrupt() {
    let whole = segment_of(&[1, 3]);
    let at = places(&whole);
    // After the second record's header, and in the middle of its payload.
    for end in [at[1].at + 10, at[1].payload().start, at[1].payload().start + 5] {
        let scan = scan(&whole[..end], &header(), Bound::Last);
        assert_eq!(lsns(&scan), [1]);
        assert!(!scan.is_corrupt() && scan.torn_bytes > 0, "{scan:?}");
    }
}

#[test]
fn a_hole_in_the_last_group_is_torn_even_if_its_later_records_are_valid() {
    let mut bytes = segment_of(&[1, 3]);
    let hole = places(&bytes)[1];
    bytes[hole.at..hole.end()].fill(0);
    let scan = scan(&bytes, &header(), Bound::Last);
    assert_eq!(lsns(&scan), [1], "the group's one sync never ended");
    assert!(!scan.is_corrupt() && scan.torn_bytes > 0, "{scan:?}");
}

#[test]
fn a_hole_before_a_later_group_is_corruption_and_the_rest_goes_on() {
    let good = segment_of(&[1, 3, 2]);
    let hole = places(&good)[2];
    let mut zeroed = good.clone();
    zeroed[hole.at..hole.end()].fill(0);
    let mut header_hit = good.clone();
    header_hit[hole.at + 20] ^= 1;
    let mut payload_hit = good.clone();
    payload_hit[hole.payload().start] ^= 1;
    for bytes in [zeroed, header_hit, payload_hit] {
        let scan = scan(&bytes, &header(), Bound::Last);
        assert_eq!(lsns(&scan), [1, 2, 4, 5, 6]);
        assert_eq!(scan.lost, vec![3..4]);
        assert_eq!(scan.torn_bytes, 0);
    }
}

#[test]
fn what_the_successor_calls_valid_must_be_there() {
    let mut bytes = segment_of(&[2, 2]);
    let last = places(&bytes)[3];
    bytes[last.payload().start] ^= 1;
    let corrupt = scan(&bytes, &header(), Bound::Next(4));
    assert_eq!(lsns(&corrupt), [1, 2, 3]);
    assert_eq!(corrupt.lost.iter().cloned().flatten().collect::<Vec<_>>(), [4]);
    assert!(!corrupt.damaged.is_empty());
    let void = scan(&bytes, &header(), Bound::Next(3));
    assert_eq!(lsns(&void), [1, 2, 3]);
    assert!(!void.is_corrupt() && void.torn_bytes > 0, "{void:?}");
}

#[test]
fn what_stands_above_the_successors_prev_lsn_is_void() {
    let bytes = segment_of(&[2, 2]);
    let some = scan(&bytes, &header(), Bound::Next(2));
    assert_eq!((lsns(&some), some.highest), (vec![1, 2], 4));
    assert!(!some.is_corrupt() && some.torn_bytes > 0);
    let all = scan(&bytes, &header(), Bound::Next(0));
    assert_eq!((lsns(&all), all.is_corrupt()), (vec![], false));
}

#[test]
fn without_the_salt_the_lsns_are_known_by_their_payload_hash() {
    let mut bytes = segment_of(&[1, 2]);
    bytes[40] ^= 1;
    assert_eq!(SegmentHeader::decode(&bytes), None);
    let found: Vec<_> = scan_without_salt(&bytes).iter().map(|h| h.lsn).collect();
    assert_eq!(found, [1, 2, 3]);
}

#[test]
fn bytes_of_another_segment_are_never_records() {
    let bytes = segment_of(&[1, 2]);
    let other = SegmentHeader { salt: SALT + 1, ..header() };
    assert!(scan(&bytes, &other, Bound::Last).records.is_empty());
}

/// C5: cut, zero, flip, duplicate, swap, insert at random offsets.
#[test]
fn damage_never_panics_never_invents_and_never_loses_what_stands_before_it() {
    for seed in 0..2_000_u64 {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let mut below = |n: usize| (rng.next_u64() % n.max(1) as u64) as usize;
        let groups: Vec<u32> = (0..1 + below(8)).map(|_| 1 + below(4) as u32).collect();
        let good = segment_of(&groups);
        let records = places(&good);
        let written = records.last().unwrap().end();
        let mut bad = good.clone();
        let at = segment::HEADER_BYTES + below(written - segment::HEADER_BYTES);
        let len = 1 + below(written - at);
        match below(6) {
            0 => bad.truncate(at),
            1 => bad[at..at + len].fill(0),
            2 => bad[at] ^= 1 << below(8),
            3 => {
                let copy = bad[at..at + len].to_vec();
                bad.splice(at..at, copy);
            }
            4 => {
                let other = segment::HEADER_BYTES + below(written - segment::HEADER_BYTES);
                let len = len.min(at.abs_diff(other)).min(written - at.max(other));
                let (low, high) = (at.min(other), at.max(other));
                let (head, tail) = bad.split_at_mut(high);
                head[low..low + len].swap_with_slice(&mut tail[..len]);
            }
            _ => {
                let noise: Vec<u8> = (0..len).map(|_| below(256) as u8).collect();
                bad.splice(at..at, noise);
            }
        }
        let first_hit = bad.iter().zip(&good).position(|(a, b)| a != b).unwrap_or(bad.len().min(written));
        let before = records.iter().filter(|f| f.end() <= first_hit).count();
        let last = records.last().unwrap().header;
        for bound in [Bound::Last, Bound::Next(last.lsn), Bound::Next(last.lsn / 2), Bound::Lost(last.lsn + 1)] {
            let scan = scan(&bad, &header(), bound);
            let found = lsns(&scan);
            let ceiling = if let Bound::Next(prev) = bound { prev } else { last.lsn };
            // A cut may fall behind the last record's payload: then its padding is all that is missing.
            let certain = (1..=before as Lsn).filter(|lsn| *lsn <= ceiling).collect::<Vec<_>>();
            assert!(found.starts_with(&certain), "seed {seed} {bound:?}: {found:?} lacks {certain:?}");
            for f in &scan.records {
                let original = records[f.header.lsn as usize - 1];
                assert_eq!(f.header, original.header, "seed {seed}");
                assert_eq!(bad[f.payload()], good[original.payload()], "seed {seed}");
            }
            assert!(found.is_sorted_by(|a, b| a < b), "seed {seed}: {found:?}");
            // Every acknowledged lsn is found, told as lost, or in a tail that may be torn.
            let lost = |lsn: Lsn| scan.lost.iter().any(|range| range.contains(&lsn));
            for lsn in 1..=ceiling {
                let torn = matches!(bound, Bound::Last | Bound::Lost(_)) && found.last().is_none_or(|l| lsn > *l);
                assert!(found.contains(&lsn) || lost(lsn) || torn, "seed {seed} {bound:?}: {lsn} vanished: {scan:?}");
            }
        }
    }
}

#[test]
fn a_cut_is_torn_and_a_flip_before_a_later_group_is_corruption() {
    for seed in 0..500_u64 {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let mut below = |n: usize| (rng.next_u64() % n.max(1) as u64) as usize;
        let groups: Vec<u32> = (0..2 + below(6)).map(|_| 1 + below(3) as u32).collect();
        let good = segment_of(&groups);
        let records = places(&good);
        let written = records.last().unwrap().end();
        let cut = segment::HEADER_BYTES + below(written - segment::HEADER_BYTES);
        let torn = scan(&good[..cut], &header(), Bound::Last);
        assert!(!torn.is_corrupt(), "seed {seed}: a cut at {cut} of {written} is no corruption: {torn:?}");
        let last_group = records.last().unwrap().header.group_start() as usize - 1;
        let victim = records[below(last_group)];
        let mut bad = good.clone();
        let at = victim.at + below(72 + victim.header.stored_len as usize);
        bad[at] ^= 1 << below(8);
        let flipped = scan(&bad, &header(), Bound::Last);
        assert_eq!(flipped.lost, vec![victim.header.lsn..victim.header.lsn + 1], "seed {seed}");
        assert_eq!(flipped.records.len() + 1, records.len(), "seed {seed}");
    }
}
