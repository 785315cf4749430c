//! What may share states (gates.md 8): it is known when a gate is loaded, what may not says why, and who checks hears of it
//! once. What sharing gives is for `buckets`.

use super::super::Config;
use super::super::definition::Class;
use super::super::plan::Planner;
use super::buckets::{SHARED, groups_in, groups_of, sharing, text_of, unshared};
use super::{load_text_as, said};

#[test]
fn what_may_share_is_known_when_it_is_loaded_and_what_may_not_says_why() {
    for group in groups_of(SHARED) {
        for gate in group.gates {
            assert_eq!(gate.class, Class::Decomposable, "{}", gate.source.sql);
        }
    }
    let count = "SELECT count(*) AS value FROM spans";
    for (sql, more, why) in [
        (count, "window: 1m", None),
        (count, "window: 2h", None),
        (count, "window: 3h", None),
        (count, "window: 30d", None),
        (count, "window: 65s", Some("its window is no multiple of `gates.bucket`, 10s")),
        ("SELECT count(DISTINCT name) AS value FROM spans", "window: 1m", Some("`count` is asked for DISTINCT values")),
        ("SELECT median(duration_ns) AS value FROM spans", "window: 1m", Some("states of `median` are not merged")),
        ("SELECT count(*) AS value FROM traces", "window: 1m", Some("")),
        (
            "SELECT count(*) AS value FROM spans a JOIN spans b ON a.span_id = b.parent_span_id",
            "window: 1m",
            Some("it joins"),
        ),
        (
            "SELECT name, count(*) AS value FROM spans GROUP BY 1 ORDER BY 2 LIMIT 3",
            "window: 1m, by: [name]",
            Some("it has a LIMIT"),
        ),
        (
            "SELECT max(n) AS value FROM (SELECT count(*) AS n FROM spans GROUP BY name)",
            "window: 1m",
            Some("it aggregates what it has aggregated"),
        ),
        (
            "SELECT count(*) AS value FROM spans WHERE end_time >= $window_start AND end_time < $window_end",
            "window: 1m",
            Some("it bounds its own window"),
        ),
        (
            "SELECT count(*) AS value FROM spans WHERE duration_ns > (SELECT avg(duration_ns) FROM spans)",
            "window: 1m",
            Some("it asks more than one row at a time"),
        ),
        ("SELECT 1 AS value", "window: 1m", Some("")),
    ] {
        let gate = groups_of(&[(sql, more)]).remove(0).gates.remove(0);
        match (&gate.class, why) {
            (Class::Decomposable, None) => {}
            (Class::Rerun(said), Some(why)) if why.is_empty() || said == why => {}
            other => panic!("{sql} {more}: {other:?}"),
        }
    }
}

#[test]
fn without_a_width_of_buckets_nothing_is_shared() {
    let class = |sql: &str| groups_in(unshared(), &[(sql, "window: 1m")]).remove(0).gates.remove(0).class;
    assert_eq!(class("SELECT count(*) AS value FROM spans"), Class::Rerun("`gates.bucket` is 0".to_owned()));
    let distinct = class("SELECT count(DISTINCT name) AS value FROM spans");
    assert_eq!(distinct, Class::Rerun("`count` is asked for DISTINCT values".to_owned()), "whatever the width");
}

#[test]
fn who_checks_hears_once_why_a_gate_shares_nothing_where_gates_share() {
    let notes = |config: Config, gates: &[(&str, &str)]| {
        let loaded = load_text_as(&text_of(gates), &Planner::default(), config);
        assert!(!said(&loaded).contains("W01"), "a daemon does not warn of it");
        loaded.notes.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let shared = ("SELECT count(*) AS value FROM spans", "window: 1m");
    let distinct = ("SELECT count(DISTINCT name) AS value FROM spans", "window: 1m");
    let told = notes(sharing(), &[shared, distinct]);
    let why = "gate g1: it falls to class re-run (`count` is asked for DISTINCT values); ";
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("WG-GATE-W01 ") && told[0].contains(why), "{told:?}");
    assert!(notes(unshared(), &[distinct]).is_empty(), "nobody shares");
    assert!(notes(sharing(), &[(shared.0, "window: 65s")]).is_empty(), "W06 says it");
}

#[test]
fn times_that_do_not_fit_to_the_buckets_are_warned_of_where_gates_share() {
    let told = |config: Config, more: &str| {
        let text = text_of(&[("SELECT count(*) AS value FROM spans", more)]);
        said(&load_text_as(&text, &Planner::default(), config))
    };
    let warned = told(sharing(), "window: 65s");
    assert!(warned.starts_with("WG-GATE-W06 f.yaml:1:"), "{warned}");
    assert!(
        warned.contains("gate g0: its window is no multiple of `gates.bucket`, 10s: it shares nothing"),
        "{warned}"
    );
    assert!(!told(sharing(), "window: 60s").contains("W06") && !told(unshared(), "window: 65s").contains("W06"));
}
