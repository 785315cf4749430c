//! Objectives over a store: what `slo` becomes gives what counting by hand gives.

use super::super::verdict::{Outcome, judge};
use super::run::{ask, only_gate, over, run};
use super::*;
use crate::query::tests::fixture::{Fill, NOW, Promotions, Span};

const S: i64 = 1_000_000_000;
/// Where the window ends, in seconds since [`NOW`].
const END_S: i64 = 60;

/// The budget is 1/10. Of an hour 2 % in 20 s is a factor of 3.6, 1 % in 40 s one of 0.9: above 36 and 9 % bad.
fn objective(more: &str) -> Gate {
    only_gate(&load_text(&format!(
        "groups: [{{name: g, gates: [{{gate: a, slo: {{objective: 90, period: 1h, total: \"kind = 'server'\", good: \
         \"status_code <> 'error'\", windows: [{{level: fail, budget_percent: 2, short: 5s, long: 20s}}, \
         {{level: warn, budget_percent: 1, short: 10s, long: 40s}}]}}, min_samples: 4{more}}}]}}]"
    )))
}

/// Value, samples and outcome of spans as (end in seconds, good), counted in whole numbers.
fn by_hand(spans: &[(i64, bool)]) -> (Option<f64>, u64, Outcome) {
    let of = |seconds: i64| {
        let inside: Vec<_> = spans.iter().filter(|(end_s, _)| (END_S - seconds..END_S).contains(end_s)).collect();
        (inside.iter().filter(|(_, good)| !good).count() as u64, inside.len() as u64)
    };
    let pairs = [(of(5), of(20), 36, Outcome::Fail), (of(10), of(40), 9, Outcome::Warn)];
    let burns = |(bad, all): (u64, u64), percent: u64| bad * 100 > all * percent;
    let quotient = |(bad, all): (u64, u64), percent: u64| match all {
        0 => 0.0,
        _ => (bad * 100) as f64 / (all * percent) as f64,
    };
    let (mut value, mut highest, mut is_thin) = (0.0_f64, None, false);
    for (short, long, percent, outcome) in pairs {
        value = value.max(quotient(short, percent).min(quotient(long, percent)));
        if burns(short, percent) && burns(long, percent) {
            match long.1 >= 4 {
                true => highest = highest.max(Some(outcome)),
                false => is_thin = true,
            }
        }
    }
    match (of(40).1, highest) {
        (0, _) => (None, 0, Outcome::NoData),
        (n, Some(outcome)) => (Some(value), n, outcome),
        (n, None) => (Some(value), n, if is_thin { Outcome::Insufficient } else { Outcome::Pass }),
    }
}

fn stored(at: usize, service: &'static str, end_s: i64, good: bool) -> Span {
    let status = if good { "ok" } else { "error" };
    let trace = u128::try_from(at).unwrap() + 1;
    Span { service, status, start: NOW + (end_s - 1) * S, duration: S, ..Span::new(trace, 1) }
}

#[tokio::test]
async fn its_statement_gives_for_every_service_what_counting_by_hand_gives() {
    let chance = crate::clock::Clock::manual(0, 21);
    let random = |below: u64| i64::try_from(chance.random() % below).unwrap();
    let gate = objective(", by: [service_name]");
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..60 {
        let mut spans = Vec::new();
        let mut all: BTreeMap<&str, Vec<(i64, bool)>> = BTreeMap::new();
        for service in ["cart", "mail", "pay"] {
            // Few and many spans, seldom, sometimes or often bad, in all of the window or in its last seconds.
            let (count, bad, from) = ([0, 3, 12, 60][random(4) as usize], [5, 30, 45][random(3) as usize], random(60));
            for _ in 0..count {
                let (end_s, good) = (from + random(64 - from as u64), random(100) >= bad);
                spans.push(stored(spans.len(), service, end_s, good));
                if end_s < END_S {
                    all.entry(service).or_default().push((end_s, good));
                }
            }
        }
        spans.push(Span { kind: "client", ..stored(spans.len(), "cart", 50, false) });
        let view = match round % 2 {
            0 => Fill::new().memory(&spans).view(),
            _ => Fill::new().part(&spans, &Promotions::new(), 16).await.view(),
        };
        // As the daemon asks: over the longest window.
        let asked = ask(&gate, NOW + (END_S - 40) * S, NOW + END_S * S);
        let rows = run(&over(&view), &asked).await.unwrap();
        let got: BTreeMap<String, _> = rows
            .iter()
            .map(|row| (row.key["service_name"].clone(), (row.value, row.n, judge(&gate, row, None))))
            .collect();
        for (service, spans) in &all {
            let (value, n, outcome) = by_hand(spans);
            match got.get(*service) {
                None => assert_eq!(n, 0, "{service}: {spans:?}"),
                Some((got_value, got_n, judged)) => {
                    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs();
                    let same = got_value.zip(value).is_some_and(|(a, b)| near(a, b));
                    assert!(
                        same && *got_n == Some(n),
                        "{service}: {got_value:?} {got_n:?} for {value:?} {n}: {spans:?}"
                    );
                    assert_eq!((judged.outcome, judged.clears), (outcome, outcome == Outcome::Pass), "{spans:?}");
                }
            }
            seen.insert(outcome);
        }
    }
    let every = [Outcome::Pass, Outcome::Warn, Outcome::Fail, Outcome::Insufficient];
    assert_eq!(seen, every.into());
}

#[tokio::test]
async fn a_pair_at_just_its_factor_is_not_hot_and_one_span_more_makes_it_so() {
    let gate = objective("");
    for (bad, outcome, value) in [(9, Outcome::Pass, 1.0), (10, Outcome::Warn, 10.0 / 9.0)] {
        let spans: Vec<Span> = (0..100).map(|at| stored(at, "cart", 55, at >= bad)).collect();
        let asked = ask(&gate, NOW + 20 * S, NOW + END_S * S);
        let rows = run(&over(&Fill::new().memory(&spans).view()), &asked).await.unwrap();
        assert_eq!((judge(&gate, &rows[0], None).outcome, rows[0].value), (outcome, Some(value)));
    }
}

#[tokio::test]
async fn evidence_shows_burns_totals_and_what_is_left_and_nothing_is_no_data() {
    let gate = objective("");
    let spans: Vec<Span> = (0..10).map(|at| stored(at, "cart", if at < 5 { 57 } else { 30 }, at != 0)).collect();
    let asked = ask(&gate, NOW + 20 * S, NOW + END_S * S);
    let rows = run(&over(&Fill::new().memory(&spans).view()), &asked).await.unwrap();
    let number = |column: &str| rows[0].evidence[column].as_f64().unwrap();
    assert_eq!([number("total_5s"), number("total_20s"), number("total_40s")], [5.0, 5.0, 10.0]);
    assert_eq!([number("burn_5s"), number("burn_40s")], [2.0, 1.0]);
    // A burn of 1 for 40 s of an hour.
    assert!((number("budget_left") - (1.0 - 40.0 / 3600.0)).abs() < 1e-12);
    let none = run(&over(&Fill::new().view()), &asked).await.unwrap();
    assert_eq!((none.len(), none[0].value, none[0].n), (1, None, Some(0)));
    assert_eq!(judge(&gate, &none[0], None).outcome, Outcome::NoData);
}

#[test]
fn what_an_objective_becomes_is_one_scan_bounded_by_the_window_and_a_new_question_when_it_changes() {
    let gate = objective(", by: [service_name]");
    assert_eq!(gate.window, Duration::from_secs(40));
    assert!(gate.source.explicit_window && !gate.source.is_derived);
    assert_eq!(gate.source.sql.matches("FROM spans").count(), 1, "{}", gate.source.sql);
    let other = objective(", by: [service_name], fire_after: 2 of 3");
    assert_eq!(super::super::question(&gate), super::super::question(&other));
    let started = objective(", by: [service_name], time: start");
    assert!(started.source.sql.contains("start_time >= $window_start"), "{}", started.source.sql);
    assert_ne!(super::super::question(&gate), super::super::question(&started));
}
