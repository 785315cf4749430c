//! Every row of the table in storage.md 9 that is a decision.

use super::*;

const HOUR: &str = "2023-11-14T22";
const MINUTE_NS: i64 = 60 * 1_000_000_000;
const MIB: u64 = 1 << 20;

fn start() -> i64 {
    hour_start_ns(HOUR)
}

/// When the final pass is due.
fn due() -> i64 {
    start() + 70 * MINUTE_NS
}

/// A part whose rows start from minute `minutes[0]` to `minutes[1]`, written `written` ns after the hour's start.
fn part(level: u8, n: u64, bytes: u64, minutes: [i64; 2], written: i64) -> PartEntry {
    let ms = u64::try_from((start() + written) / 1_000_000).unwrap();
    let range = minutes.map(|minute| start() + minute * MINUTE_NS);
    serde_json::from_value(serde_json::json!({
        "path": format!("spans/date=2023-11-14/hour=22/{}.parquet", Ulid::from_parts(ms, u128::from(n))),
        "level": level, "hour": HOUR, "rows": bytes >> 10, "bytes": bytes, "footer_bytes": 1, "start": range, "end": range,
        "ingest": [n, n], "row_groups": [{"start": range, "end": range}], "services": [], "lsn": [n, n], "schema": 1,
        "file_xxh3": "0", "sum_xxh3": "0",
    }))
    .unwrap()
}

fn level0(n: u64, bytes: u64) -> PartEntry {
    part(0, n, bytes, [0, 59], 30 * MINUTE_NS)
}

fn settings() -> Settings {
    Settings { join_bytes: 64 * MIB, paused: BTreeSet::new(), forced: None }
}

/// Kind and the lsn of the inputs.
fn planned(parts: &[PartEntry], now_ns: i64) -> Option<(Kind, Vec<u64>)> {
    plan(parts, now_ns, &settings()).map(|job| (job.kind, job.inputs.iter().map(|part| part.lsn[0]).collect()))
}

#[test]
fn eight_small_parts_of_a_running_hour_are_joined_in_arrival_order() {
    let parts: Vec<_> = (1..=8).rev().map(|n| level0(n, MIB + n)).collect();
    assert_eq!(planned(&parts, start()), Some((Kind::Join, (1..=8).collect())));
    assert_eq!(planned(&parts[1..], start()), None);
    let large: Vec<_> = (1..=8).map(|n| level0(n, 8 * MIB)).collect();
    assert_eq!(planned(&large, start()), None, "together they have 64 MiB");
}

#[test]
fn a_part_that_outweighs_the_newer_ones_is_not_written_again_for_their_sake_unless_they_crowd() {
    let mut parts = vec![level0(1, 20 * MIB)];
    parts.extend((2..=9).map(|n| level0(n, MIB)));
    assert_eq!(planned(&parts, start()), Some((Kind::Join, (2..=9).collect())));
    assert_eq!(planned(&parts[..8], start()), None);
    let sizes = [9, 1, 9, 1, 9, 1, 9, 1, 9, 1, 1, 1, 1, 1, 1, 1];
    let crowd: Vec<_> = (1..).zip(sizes).map(|(n, size)| level0(n, size * MIB)).collect();
    let (kind, inputs) = planned(&crowd, start()).unwrap();
    assert!(kind == Kind::Join && inputs.len() >= 8 && inputs.ends_with(&[16]), "{inputs:?}");
}

#[test]
fn a_running_hour_of_256_mib_is_compacted_and_its_level_1_left_alone() {
    let mut parts: Vec<_> = (1..=4).map(|n| level0(n, 64 * MIB)).collect();
    parts.push(part(1, 5, 200 * MIB, [0, 20], 20 * MINUTE_NS));
    assert_eq!(planned(&parts, start()), Some((Kind::Sort, vec![1, 2, 3, 4])));
    parts[0].bytes -= 1;
    assert_eq!(planned(&parts, start()), None);
}

#[test]
fn an_hour_is_compacted_ten_minutes_after_its_end() {
    let parts = [level0(1, MIB)];
    assert_eq!(planned(&parts, due() - 1), None);
    assert_eq!(planned(&parts, due()), Some((Kind::Sort, vec![1])));
    let paused = Settings { paused: BTreeSet::from([HOUR.to_owned()]), ..settings() };
    assert_eq!(plan(&parts, due(), &paused), None);
    let forced = Settings { forced: Some(HOUR.to_owned()), ..settings() };
    assert_eq!(plan(&parts, start(), &forced).map(|job| job.kind), Some(Kind::Sort));
    let other = Settings { forced: Some("2023-11-14T21".to_owned()), ..settings() };
    assert_eq!(plan(&parts, start(), &other), None);
    assert_eq!((backlog_hours(&parts, due() - 1), backlog_hours(&parts, due())), (0, 1));
}

#[test]
fn the_final_pass_merges_small_and_overlapping_parts_once() {
    let before = |n, bytes, minutes| part(1, n, bytes, minutes, 40 * MINUTE_NS);
    let apart = [before(1, 200 * MIB, [0, 20]), before(2, 200 * MIB, [25, 59])];
    assert_eq!(planned(&apart, due()), None, "large, and no bucket in common");
    let shared = [before(1, 200 * MIB, [0, 20]), before(2, 200 * MIB, [22, 59])];
    assert_eq!(planned(&shared, due()), Some((Kind::Sort, vec![1, 2])));
    assert_eq!(planned(&shared, due() - 1), None);
    let small = [before(1, 100 * MIB, [0, 20]), before(2, 90 * MIB, [25, 39]), before(3, 300 * MIB, [45, 59])];
    assert_eq!(planned(&small, due()), Some((Kind::Sort, vec![1, 2])));
    assert_eq!(planned(&small[..1], due()), None, "alone it has no company");
    let after = |n, bytes, minutes| part(1, n, bytes, minutes, 71 * MINUTE_NS);
    assert_eq!(planned(&[after(1, MIB, [0, 20]), after(2, MIB, [20, 59])], due() + MINUTE_NS), None, "it was there");
    let with_rest = [before(1, MIB, [0, 59]), level0(2, MIB)];
    assert_eq!(planned(&with_rest, due()), Some((Kind::Sort, vec![2, 1])));
}

#[test]
fn time_outliers_say_nothing_of_overlap() {
    let mut first = part(1, 1, 200 * MIB, [0, 20], 40 * MINUTE_NS);
    first.row_groups.insert(0, crate::store::manifest::RowGroupEntry { start: [0, 0], end: [0, 0] });
    first.row_groups.push(crate::store::manifest::RowGroupEntry { start: [i64::MAX; 2], end: [i64::MAX; 2] });
    first.start = [0, i64::MAX];
    let second = part(1, 2, 200 * MIB, [25, 59], 40 * MINUTE_NS);
    assert_eq!(planned(&[first, second], due()), None);
}

#[test]
fn late_rows_wait_for_5_percent_64_mib_or_six_quiet_hours_and_touch_only_their_parts() {
    let done = |n, minutes| part(1, n, 400 * MIB, minutes, 71 * MINUTE_NS);
    let level1 = [done(1, [0, 19]), done(2, [20, 39]), done(3, [40, 59])];
    let now = start() + 100 * MINUTE_NS;
    let with = |bytes, minutes| {
        let mut parts = level1.to_vec();
        parts.push(part(0, 9, bytes, minutes, 90 * MINUTE_NS));
        parts
    };
    assert_eq!(planned(&with(59 * MIB, [21, 22]), now), None);
    assert_eq!(planned(&with(60 * MIB, [21, 22]), now), Some((Kind::Sort, vec![9, 2])), "5 % of 1200 MiB");
    let written = start() + 90 * MINUTE_NS;
    let quiet = written + QUIET_NS;
    assert_eq!(planned(&with(MIB, [21, 42]), quiet - 1), None);
    assert_eq!(planned(&with(MIB, [21, 42]), quiet), Some((Kind::Sort, vec![9, 2, 3])));
    // Each shares a bucket with the next, as files of whole row groups do.
    let chained = [done(1, [0, 20]), done(2, [20, 40]), done(3, [40, 59]), part(0, 9, MIB, [21, 22], 90 * MINUTE_NS)];
    assert_eq!(planned(&chained, quiet), Some((Kind::Sort, vec![9, 1, 2])), "minute 20 is in the bucket of 21 and 22");
    let larger = [done(1, [0, 59]), part(0, 9, 64 * MIB, [0, 1], 90 * MINUTE_NS)];
    let mut larger = larger.to_vec();
    larger[0].rows *= 10;
    assert_eq!(planned(&larger, now), Some((Kind::Sort, vec![9, 1])), "64 MiB");
}

#[test]
fn eight_stray_parts_come_first_smallest_first_and_never_into_an_hour_s_own_jobs() {
    let stray = |n, bytes| PartEntry { stray: true, ..level0(n, bytes) };
    let mut parts: Vec<_> = (1..=7).map(|n| stray(n, MIB)).collect();
    assert_eq!(planned(&parts, due()), None);
    parts.push(stray(8, MIB));
    parts.push(level0(9, MIB));
    assert_eq!(planned(&parts, due()), Some((Kind::Split, (1..=8).collect())));
    parts[0].bytes = 63 * MIB;
    assert_eq!(planned(&parts, due()), Some((Kind::Split, (2..=8).collect())));
}
