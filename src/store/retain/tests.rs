//! What leaves, and when the clock is believed.

use super::*;

const NOW_NS: i64 = 1_767_225_600_000_000_000; // 2026-01-01T00:00:00Z
const DAY: Duration = Duration::from_secs(86_400);

fn part(hour: &str, bytes: u64) -> PartEntry {
    serde_json::from_value(serde_json::json!({
        "path": format!("spans/{hour}/{bytes}"), "level": 0, "hour": hour, "rows": 1, "bytes": bytes,
        "footer_bytes": 1, "start": [1, 1], "end": [1, 1], "ingest": [1, 1], "row_groups": [], "services": [],
        "lsn": [1, 1], "schema": 1, "file_xxh3": "0", "sum_xxh3": "0",
    }))
    .unwrap()
}

fn by_age(age: Duration) -> Limits {
    Limits { max_age: Some(age), max_bytes: None }
}

fn by_bytes(bytes: u64) -> Limits {
    Limits { max_age: None, max_bytes: Some(bytes) }
}

#[test]
fn a_part_leaves_when_its_hour_ended_before_the_horizon_and_not_a_moment_sooner() {
    let parts = [part("2025-12-30T23", 1), part("2025-12-31T00", 1), part("2026-01-05T00", 1)];
    assert_eq!(expired(&parts, by_age(DAY), NOW_NS), [0]);
    assert_eq!(expired(&parts, by_age(DAY), NOW_NS - 1), Vec::<usize>::new());
    assert_eq!(expired(&parts, by_age(DAY), NOW_NS + HOUR_NS), [0, 1]);
    assert_eq!(expired(&parts, Limits::default(), i64::MAX), Vec::<usize>::new());
}

#[test]
fn by_size_the_oldest_hours_leave_whole_until_the_rest_fits() {
    let parts =
        [part("2025-12-31T22", 10), part("2025-12-31T20", 5), part("2025-12-31T21", 7), part("2025-12-31T20", 1)];
    assert_eq!(expired(&parts, by_bytes(23), NOW_NS), Vec::<usize>::new());
    assert_eq!(expired(&parts, by_bytes(22), NOW_NS), [1, 3]);
    assert_eq!(expired(&parts, by_bytes(16), NOW_NS), [1, 2, 3]);
}

#[test]
fn the_current_hour_and_later_ones_never_leave_for_want_of_room() {
    let parts = [part("2026-01-01T00", 10), part("2025-12-31T23", 10), part("2026-01-01T05", 10)];
    assert_eq!(expired(&parts, by_bytes(0), NOW_NS), [1]);
}

#[test]
fn hours_that_a_clock_far_ahead_has_filed_leave_for_want_of_room_after_those_that_are_over() {
    let parts = [part("2026-02-01T00", 10), part("2025-12-31T23", 10), part("2026-01-01T00", 10)];
    assert_eq!(expired(&parts, by_bytes(20), NOW_NS), [1]);
    assert_eq!(expired(&parts, by_bytes(10), NOW_NS), [0, 1]);
    assert_eq!(expired(&parts, by_bytes(0), NOW_NS), [0, 1], "the current hour stays");
    assert_eq!(expired(&parts, by_age(DAY), NOW_NS), Vec::<usize>::new());
}

#[test]
fn a_path_that_is_no_hour_is_never_old() {
    let parts = [part("", 10), part("2025-13-01T00", 10), part("yesterday", 10)];
    let both = Limits { max_age: Some(Duration::ZERO), max_bytes: Some(0) };
    assert_eq!(expired(&parts, both, i64::MAX), Vec::<usize>::new());
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_clock_that_jumped_is_believed_after_two_readings_ten_minutes_apart() {
    for jump in [2 * HOUR_NS, -2 * HOUR_NS, 4000 * 24 * HOUR_NS] {
        let mut watch = Watch::new(Some(NOW_NS));
        assert!(watch.read(NOW_NS, Duration::ZERO));
        let at = |mono: Duration| NOW_NS + jump + nanos(mono);
        assert!(!watch.read(at(MINUTE), MINUTE), "{jump}");
        assert!(!watch.read(at(9 * MINUTE), 9 * MINUTE), "{jump}");
        assert!(watch.read(at(11 * MINUTE), 11 * MINUTE), "{jump}");
    }
}

#[test]
fn a_second_jump_starts_the_ten_minutes_anew_and_drift_does_not() {
    let mut watch = Watch::new(Some(NOW_NS));
    assert!(watch.read(NOW_NS + HOUR_NS / 2, Duration::ZERO), "half an hour is no jump");
    assert!(!watch.read(NOW_NS + 30 * HOUR_NS, MINUTE));
    assert!(!watch.read(NOW_NS, 9 * MINUTE), "it jumped back");
    assert!(!watch.read(NOW_NS + nanos(5 * MINUTE), 14 * MINUTE));
    assert!(watch.read(NOW_NS + nanos(10 * MINUTE), 19 * MINUTE));
}

#[test]
fn a_start_long_after_the_last_write_looks_like_a_jump_and_a_new_store_does_not() {
    let mut watch = Watch::new(Some(NOW_NS - 20 * HOUR_NS));
    assert!(!watch.read(NOW_NS, Duration::ZERO));
    assert!(watch.read(NOW_NS + nanos(10 * MINUTE), 10 * MINUTE));
    assert!(Watch::new(None).read(NOW_NS, Duration::ZERO));
}
