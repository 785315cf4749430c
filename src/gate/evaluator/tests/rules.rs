//! Rules around the state machine, one by one.

use super::super::super::definition::{Mode, Policy, StaleAfter};
use super::super::super::journal::{Missed, Status};
use super::super::super::verdict::Outcome;
use super::*;

const A: &str = "service=a";

fn outcomes(daemon: &Daemon) -> Vec<(String, Outcome, u64)> {
    let snapshot = daemon.journal().snapshot().unwrap();
    let mut runs: Vec<_> =
        snapshot.results((i64::MIN, 0), i64::MAX, 999).unwrap().into_iter().map(|(_, r)| r).collect();
    runs.extend(snapshot.all_running().unwrap());
    runs.into_iter().map(|run| (run.key, run.outcome, run.evaluations)).collect()
}

#[tokio::test]
async fn no_spans_are_never_a_pass_and_resolve_nothing() {
    let mut daemon = Daemon::new(vec![every_30s(vec![by_service(0.9)])]);
    daemon.store.take(spans("a", 0, 30, false));
    daemon.until(600).await;
    assert_eq!(daemon.seen(), [(30, A.into(), Cause::Firing)], "it fired and then all is silent");
    assert!(outcomes(&daemon).iter().all(|(_, outcome, _)| matches!(outcome, Outcome::Fail | Outcome::NoData)));
    let told: Vec<_> = daemon.told();
    assert_eq!(told, [("good".to_owned(), Status::Firing)]);
}

#[tokio::test]
async fn a_key_that_stops_sending_is_not_resolved_by_silence_with_on_fail_and_says_so_without() {
    let on_fail = OnFail {
        pipeline: "regenerate".into(),
        input: BTreeMap::new(),
        on_warn: false,
        cooldown: Duration::from_secs(3600),
        max_runs: 3,
        max_runs_in: Duration::from_secs(86_400),
    };
    let never = Gate { stale_after: StaleAfter::Never, on_fail: Some(on_fail), ..by_service(0.9) };
    for (gate, expected) in [
        (never, vec![(30, A.to_owned(), Cause::Firing)]),
        (by_service(0.9), vec![(30, A.to_owned(), Cause::Firing), (120, A.to_owned(), Cause::Stale)]),
    ] {
        let mut daemon = Daemon::new(vec![every_30s(vec![gate])]);
        daemon.store.take(spans("a", 0, 30, false));
        daemon.store.take(spans("b", 0, 600, true));
        daemon.until(400).await;
        // Its spans leave the window of a minute at tick 90, so it is missing at 90 and 120.
        assert_eq!(daemon.seen(), expected);
    }
}

#[tokio::test]
async fn an_error_holds_every_key_and_fires_a_health_alert_after_the_limit() {
    let mut daemon = Daemon::new(vec![every_30s(vec![by_service(0.9)])]);
    daemon.store.take(spans("a", 0, 600, false));
    daemon.until(60).await;
    *daemon.store.fault.lock().unwrap() = Some(RunError::Run("disk".into()));
    daemon.until(140).await;
    assert_eq!(daemon.told().len(), 1, "three errors");
    daemon.until(170).await;
    assert_eq!(daemon.told().last(), Some(&("GateError".to_owned(), Status::Firing)));
    daemon.until(250).await;
    assert_eq!(daemon.told().len(), 2, "once");
    *daemon.store.fault.lock().unwrap() = None;
    daemon.until(300).await;
    assert_eq!(daemon.told().last(), Some(&("GateError".to_owned(), Status::Resolved)));
    assert_eq!(daemon.seen(), [(30, A.to_owned(), Cause::Firing)]);
}

#[tokio::test]
async fn no_data_can_alert_and_resolves_on_the_first_tick_with_data() {
    let gate = Gate { no_data: Policy::Alert, ..by_service(0.9) };
    let mut daemon = Daemon::new(vec![every_30s(vec![gate])]);
    daemon.until(60).await;
    assert_eq!(daemon.told(), [("GateNoData".to_owned(), Status::Firing)]);
    daemon.store.take(spans("a", 30, 90, true));
    daemon.until(120).await;
    assert_eq!(daemon.told().last(), Some(&("GateNoData".to_owned(), Status::Resolved)));
    assert!(daemon.seen().is_empty());
}

#[tokio::test]
async fn a_dry_run_is_computed_and_recorded_and_told_to_nobody() {
    let gate = Gate { mode: Mode::DryRun, ..by_service(0.9) };
    let mut daemon = Daemon::new(vec![every_30s(vec![gate])]);
    daemon.store.take(spans("a", 0, 60, false));
    daemon.store.take(spans("a", 60, 300, true));
    daemon.until(240).await;
    let rows = daemon.rows();
    assert_eq!(rows.iter().map(|row| row.cause).collect::<Vec<_>>(), [Cause::Firing, Cause::Passed]);
    assert!(rows.iter().all(|row| row.summary == "suppressed: dry_run"));
    assert!(daemon.outbox().is_empty());
}

#[tokio::test]
async fn of_many_due_ticks_the_oldest_are_missed_and_counted() {
    let mut daemon = Daemon::new(vec![every_30s(vec![by_service(0.9)])]);
    daemon.store.take(spans("a", 0, 600, true));
    daemon.wait(30 * 10 + 20);
    daemon.round().await;
    daemon.until(360).await;
    let ticks = daemon.journal().snapshot().unwrap().ticks("gates/test.yaml;g").unwrap();
    let missed: Vec<_> = ticks.iter().filter(|(_, row)| row.cut_us.is_none()).map(|(t, _)| t / S - BEGIN_S).collect();
    // Due are 0 … 300 at 320 s; ticks begin behind the last one that was due at the start.
    assert_eq!(missed, [0, 30, 60, 90, 120, 150, 180]);
    assert!(
        ticks.iter().all(|(_, row)| row.cut_us.is_some() || row.missed.contains(&("good".into(), Missed::Overrun)))
    );
    let counted = daemon.metrics.missed_ticks.with_label_values(&["good", "overrun"]).get();
    assert_eq!(counted, 7);
}

#[tokio::test]
async fn a_tick_that_downtime_left_without_data_has_no_effect() {
    let gate = Gate { no_data: Policy::Fail, ..by_service(0.9) };
    let mut daemon = Daemon::new(vec![every_30s(vec![gate])]);
    daemon.store.take(spans("a", -60, 60, true));
    daemon.until(60).await;
    daemon.kill();
    daemon.wait(600);
    daemon.start();
    daemon.until(720).await;
    assert!(daemon.seen().is_empty(), "{:?}", daemon.seen());
    assert!(daemon.metrics.missed_ticks.with_label_values(&["good", "downtime"]).get() > 0);
    daemon.until(800).await;
    assert_eq!(daemon.seen()[0], (720, "".into(), Cause::Firing), "the first window wholly behind the downtime");
}

#[tokio::test]
async fn a_gate_that_is_removed_or_asks_something_else_resolves_what_fired() {
    for (change, cause) in [(true, Cause::Removed), (false, Cause::Superseded)] {
        let mut daemon = Daemon::new(vec![every_30s(vec![by_service(0.9)])]);
        daemon.store.take(spans("a", 0, 300, false));
        daemon.until(60).await;
        daemon.kill();
        if change {
            daemon.groups[0].gates.clear();
        } else {
            daemon.groups[0].gates[0].source.sql = "SELECT 2 AS value FROM spans".into();
        }
        daemon.start();
        daemon.until(90).await;
        let causes: Vec<_> = daemon.rows().into_iter().map(|row| (row.cause, row.episode)).collect();
        let mut expected = vec![(Cause::Firing, Some(1)), (cause, Some(1))];
        if !change {
            expected.push((Cause::Firing, Some(2)));
        }
        assert_eq!(causes, expected);
        assert_eq!(daemon.told()[1], ("good".to_owned(), Status::Resolved));
    }
}

#[tokio::test]
async fn thresholds_change_without_a_new_generation() {
    let mut daemon = Daemon::new(vec![every_30s(vec![by_service(0.9)])]);
    daemon.store.take(spans("a", 0, 300, false));
    daemon.until(60).await;
    daemon.kill();
    daemon.groups[0].gates[0].hold_for = Duration::from_secs(300);
    daemon.start();
    daemon.until(200).await;
    assert_eq!(daemon.seen(), [(30, A.to_owned(), Cause::Firing)], "a firing key never falls back to pending");
}

#[tokio::test]
async fn an_operator_closes_an_episode_and_the_next_breach_is_another_one() {
    let mut daemon = Daemon::new(vec![every_30s(vec![by_service(0.9)])]);
    daemon.store.take(spans("a", 0, 300, false));
    daemon.until(60).await;
    let operator = daemon.evaluator.as_ref().unwrap().operator();
    assert!(!operator.close("good", "service=b", "ann", "noise"));
    assert!(operator.close("good", A, "ann", "noise"));
    assert!(!operator.close("good", A, "ann", "noise"));
    daemon.until(90).await;
    let rows = daemon.rows();
    assert_eq!(
        (rows[1].cause, rows[1].actor.as_deref(), rows[1].summary.as_str()),
        (Cause::Manual, Some("ann"), "noise")
    );
    assert_eq!((rows[2].cause, rows[2].episode), (Cause::Firing, Some(2)));
}

#[tokio::test]
async fn over_the_limit_the_worst_keys_are_judged_and_it_is_told() {
    let gate = Gate { limit: 1, ..by_service(0.9) };
    let mut daemon = Daemon::new(vec![every_30s(vec![gate])]);
    daemon.store.take(spans("a", 0, 90, true));
    daemon.store.take(spans("b", 0, 90, false));
    daemon.until(60).await;
    assert_eq!(daemon.seen(), [(30, "service=b".to_owned(), Cause::Firing)]);
    assert_eq!(daemon.told()[0], ("GateOverflow".to_owned(), Status::Firing));
}

#[tokio::test]
async fn over_the_limit_the_number_of_keys_is_that_of_the_last_tick() {
    let mut daemon = Daemon::new(vec![every_30s(vec![Gate { limit: 1, ..by_service(0.9) }])]);
    for (service, from_s) in [("a", 0), ("b", 0), ("c", 60)] {
        daemon.store.take(spans(service, from_s, 200, true));
    }
    let told = |daemon: &Daemon| daemon.evaluator.as_ref().unwrap().overflows()["good"].clone();
    daemon.until(60).await;
    assert_eq!(told(&daemon), "1 keys above the limit of 1 were not judged");
    daemon.until(130).await;
    assert_eq!(told(&daemon), "2 keys above the limit of 1 were not judged");
    daemon.kill();
    daemon.start();
    assert_eq!(told(&daemon), "2 keys above the limit of 1 were not judged", "which is written");
    assert_eq!(daemon.told(), [("GateOverflow".to_owned(), Status::Firing)], "and no transition");
}

#[tokio::test]
async fn no_tick_closes_before_the_replay_has_ended() {
    let mut daemon = Daemon::new(vec![every_30s(vec![by_service(0.9)])]);
    daemon.store.take(spans("a", 0, 90, false));
    let replayed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = replayed.clone();
    let evaluator = daemon.evaluator.as_mut().unwrap();
    let shared = Arc::get_mut(&mut evaluator.shared).unwrap();
    shared.parts.position = Position::new(move || flag.load(std::sync::atomic::Ordering::Relaxed).then_some(9));
    daemon.until(80).await;
    assert!(daemon.seen().is_empty());
    replayed.store(true, std::sync::atomic::Ordering::Relaxed);
    daemon.round().await;
    assert_eq!(daemon.seen(), [(30, A.to_owned(), Cause::Firing)]);
}

#[tokio::test]
async fn results_are_runs_of_equal_outcomes() {
    let mut daemon = Daemon::new(vec![every_30s(vec![by_service(0.9)])]);
    daemon.store.take(spans("a", 0, 900, true));
    daemon.until(650).await;
    let runs = outcomes(&daemon);
    // Ticks 0 (nothing yet), then 30 … 630: runs of ten ticks, the last one is still growing.
    assert_eq!(runs.iter().filter(|(key, ..)| key == A).map(|(.., n)| *n).collect::<Vec<_>>(), [10, 10, 1]);
}
