//! Schedules by hand, and against a walk over all minutes.

use super::*;

fn ns(text: &str) -> i64 {
    nanos(text.parse().unwrap()).unwrap()
}

fn shown(ns: i64) -> String {
    instant(ns).unwrap().to_string()
}

/// The instants from `from` on, `count` of them, each also found backwards.
fn following(text: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
    let cron = Cron::parse(text, zone).unwrap();
    let first = cron.next(ns(from) - 1);
    let all: Vec<i64> = std::iter::successors(Some(first), |at| Some(cron.next(*at))).take(count + 1).collect();
    for pair in all.windows(2) {
        assert_eq!(cron.previous(pair[1]), pair[0], "before {}", shown(pair[1]));
        assert_eq!(cron.previous(pair[0] + 1), pair[0], "just behind {}", shown(pair[0]));
    }
    all[..count].iter().map(|at| shown(*at)).collect()
}

#[test]
fn fields_choose_minutes_hours_days_and_names_count_from_the_first() {
    let of = |text: &str, count| following(text, "UTC", "2026-01-01T00:00:00Z", count);
    assert_eq!(of("*/20 9 * * *", 3), ["2026-01-01T09:00:00Z", "2026-01-01T09:20:00Z", "2026-01-01T09:40:00Z"]);
    assert_eq!(of("0 0 1,15 FEB-mar *", 3), ["2026-02-01T00:00:00Z", "2026-02-15T00:00:00Z", "2026-03-01T00:00:00Z"]);
    assert_eq!(
        of("30 8-18/5 * * MON-FRI", 3),
        ["2026-01-01T08:30:00Z", "2026-01-01T13:30:00Z", "2026-01-01T18:30:00Z"]
    );
    assert_eq!(of("0 0 * * 7", 2), of("0 0 * * 0", 2));
    assert_eq!(of("0 0 * * 5-7", 3), ["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z"]);
    assert_eq!(of("0 12 13 * 5", 2), ["2026-01-02T12:00:00Z", "2026-01-09T12:00:00Z"], "one of both days is enough");
    assert_eq!(of("0 0 29 2 *", 2), ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]);
    assert_eq!(following("* * * * *", "UTC", "2026-01-01T00:00:00.5Z", 1), ["2026-01-01T00:01:00Z"]);
}

#[test]
fn a_local_time_that_does_not_exist_comes_as_far_behind_the_change() {
    // 2026-03-29: 02:00 becomes 03:00 in Berlin, at 01:00 UTC.
    let of = |text: &str, count| following(text, "Europe/Berlin", "2026-03-28T12:00:00Z", count);
    assert_eq!(of("30 2 * * *", 2), ["2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"], "03:30, then 02:30 as ever");
    assert_eq!(
        of("30 2,3 * * *", 3),
        ["2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z", "2026-03-30T01:30:00Z"],
        "both are one instant on that day"
    );
    let quarters = following("*/15 * * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", 5);
    assert_eq!(quarters[1..4], ["2026-03-29T00:45:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:15:00Z"]);
}

#[test]
fn a_local_time_that_exists_twice_is_meant_once_unless_every_hour_is() {
    // 2026-10-25: 03:00 becomes 02:00 in Berlin, at 01:00 UTC.
    let of = |text: &str, count| following(text, "Europe/Berlin", "2026-10-24T12:00:00Z", count);
    assert_eq!(of("30 2 * * *", 2), ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"], "the first of both");
    let hours = following("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 3);
    assert_eq!(
        hours,
        ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"],
        "02:30 twice, then 03:30"
    );
}

#[test]
fn a_day_that_a_zone_left_out_is_not_lost() {
    // Samoa had no 2011-12-30.
    let days = following("0 9 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", 3);
    assert_eq!(days, ["2011-12-29T19:00:00Z", "2011-12-30T19:00:00Z", "2011-12-31T19:00:00Z"]);
}

#[test]
fn what_is_no_schedule_is_refused_with_its_field() {
    for (text, why) in [
        ("* * * *", "it has 4 fields, five are expected: minute hour day month weekday"),
        ("@daily", "it has 1 fields, five are expected: minute hour day month weekday"),
        ("60 * * * *", "minute `60`: 60 is not from 0 to 59"),
        ("0 5-3 * * *", "hour `5-3`: `5-3` ends before it begins"),
        ("0 0 L * *", "day `L`: `L` is no value"),
        ("0 0 * foo *", "month `foo`: `foo` is no value"),
        ("*/0 * * * *", "minute `*/0`: `0` is no step"),
        ("5/10 * * * *", "minute `5/10`: a step stands behind `*` or a range"),
        ("0,, * * * *", "minute `0,,`: a value is missing"),
        ("0 0 30 2 *", "no month of it has such a day"),
    ] {
        assert_eq!(Cron::parse(text, "UTC"), Err(Fault::Fields(why.to_owned())), "{text}");
    }
    let zone = Cron::parse("* * * * *", "Mars/Phobos");
    assert_eq!(zone, Err(Fault::Zone("there is no time zone `Mars/Phobos`".to_owned())));
}

#[test]
fn time_ends_without_a_panic() {
    let cron = Cron::parse("0 0 1 1 *", "America/New_York").unwrap();
    assert_eq!(cron.next(i64::MAX), i64::MAX);
    assert_eq!(cron.previous(i64::MIN), i64::MIN);
    assert!(cron.next(i64::MIN) > i64::MIN && cron.previous(i64::MAX) < i64::MAX);
}

#[test]
fn an_hour_that_is_repeated_is_left_behind() {
    let cron = Cron::parse("5,55 */2 * * *", "Europe/Berlin").unwrap();
    let instants: Vec<i64> =
        std::iter::successors(Some(ns("2026-10-25T00:00:00Z")), |at| Some(cron.next(*at))).take(7).collect();
    let expected = ["00:00", "00:05", "00:55", "01:05", "01:55", "03:05", "03:55"];
    assert_eq!(instants, expected.map(|time| ns(&format!("2026-10-25T{time}:00Z"))));
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(1024))]
    #[test]
    fn what_lies_between_is_what_a_walk_over_all_minutes_finds(
        minute in proptest::sample::select(vec!["*/15", "0", "30", "5,55"]),
        hour in proptest::sample::select(vec!["*", "*/2", "1", "2", "3", "1-3"]),
        day in proptest::sample::select(vec!["*", "1-10", "25,29"]),
        weekday in proptest::sample::select(vec!["*", "0", "1-5"]),
        zone in proptest::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
        // Hours around changes of 2026.
        begin in proptest::sample::select(vec!["2026-03-07", "2026-03-28", "2026-04-04", "2026-10-03", "2026-10-24", "2026-10-31", "2026-06-01"]),
        hours in 0_i64..40,
    ) {
        let cron = Cron::parse(&format!("{minute} {hour} {day} * {weekday}"), zone).unwrap();
        let zone = TimeZone::get(zone).unwrap();
        let from = ns(&format!("{begin}T00:00:00Z")) + hours * 3_600_000_000_000;
        let minute_ns = 60_000_000_000;
        let until = from + 30 * 60 * minute_ns;
        // An instant is one of the schedule if a local time of it means it.
        let mut wanted = std::collections::BTreeSet::new();
        for date in -3..5 {
            let date = zone.to_datetime(instant(from).unwrap()).date().checked_add(date.days()).unwrap();
            wanted.extend(cron.0.instants(date).into_iter().filter_map(nanos).filter(|at| *at > from && *at <= until));
        }
        let found = std::iter::successors(Some(cron.next(from)), |at| Some(cron.next(*at)));
        let found: std::collections::BTreeSet<i64> = found.take_while(|at| *at <= until).collect();
        proptest::prop_assert_eq!(&found, &wanted);
        let back = std::iter::successors(Some(cron.previous(until + 1)), |at| Some(cron.previous(*at)));
        let back: std::collections::BTreeSet<i64> = back.take_while(|at| *at > from).collect();
        proptest::prop_assert_eq!(&back, &wanted);
    }
}
