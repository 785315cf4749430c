//! What is read while gates are judged, and closing by hand.

use prometheus::core::Collector as _;
use prometheus::{Encoder as _, TextEncoder};

use super::super::super::alerts::Alerts;
use super::super::super::definition::{Mode, StaleAfter};
use super::*;

const A: &str = "service=a";

fn series(daemon: &Daemon) -> Vec<String> {
    let families = daemon.metrics.value.collect();
    let metrics = families.iter().flat_map(prometheus::proto::MetricFamily::get_metric);
    let key = |metric: &prometheus::proto::Metric| {
        let labels = metric.get_label().iter();
        labels.filter(|label| label.name() == "key").map(|label| label.value().to_owned()).collect::<String>()
    };
    let mut keys: Vec<String> = metrics.map(key).collect();
    keys.sort();
    keys
}

#[tokio::test]
async fn series_of_values_are_those_of_the_last_tick_so_never_more_than_the_limit() {
    let gate = Gate { limit: 2, stale_after: StaleAfter::Never, ..by_service(0.9) };
    let mut daemon = Daemon::new(vec![every_30s(vec![gate])]);
    let services = [("a", 0), ("b", 0), ("c", 120), ("d", 120), ("e", 120)];
    for (service, from_s) in services {
        daemon.store.take(spans(service, from_s, from_s + 60, false));
    }
    daemon.until(60).await;
    assert_eq!(series(&daemon), [A, "service=b"]);
    *daemon.store.fault.lock().unwrap() = Some(RunError::Timeout);
    daemon.until(90).await;
    assert_eq!(series(&daemon), [A, "service=b"], "an error says nothing of values");
    *daemon.store.fault.lock().unwrap() = None;
    daemon.until(180).await;
    assert_eq!(series(&daemon), ["service=c", "service=d"], "a and b are known forever, and have no value now");
    daemon.until(330).await;
    assert_eq!(series(&daemon), Vec::<String>::new(), "no data is no value");
}

#[tokio::test]
async fn nothing_is_shown_before_it_is_written() {
    let mut daemon = Daemon::new(vec![every_30s(vec![by_service(0.9)])]);
    let live = daemon.evaluator.as_ref().unwrap().live();
    daemon.store.take(spans("a", 0, 30, false));
    daemon.until(40).await;
    assert_eq!(live.now("good").unwrap().state(), "inactive");
    daemon.medium.die_at(daemon.medium.changes());
    daemon.wait(10);
    assert!(daemon.evaluator.as_mut().unwrap().round().await.is_err());
    assert_eq!(live.now("good").unwrap().state(), "inactive", "a kill would take it back");
    drop(live);
    daemon.kill();
    daemon.medium.revive(false);
    daemon.start();
    let live = daemon.evaluator.as_ref().unwrap().live();
    daemon.round().await;
    let now = live.now("good").unwrap();
    assert_eq!((now.state(), now.active.len(), now.active[0].key.as_str()), ("firing", 1, A));
    assert_eq!((now.generation, now.evaluated_ns), (1, Some(daemon.clock.now_ns())));
}

#[tokio::test]
async fn a_close_that_cannot_be_written_is_told_and_forgotten() {
    let mut daemon = Daemon::new(vec![every_30s(vec![by_service(0.9)])]);
    daemon.store.take(spans("a", 0, 30, false));
    daemon.until(60).await;
    let evaluator = daemon.evaluator.take().unwrap();
    let live = evaluator.live();
    let stop = CancellationToken::new();
    daemon.medium.die_at(daemon.medium.changes());
    let running = tokio::spawn(evaluator.run(stop.clone()));
    assert_eq!(live.close("good", A, "ann", "noise").await, Err(CloseError::Lost));
    assert_eq!(live.now("good").unwrap().state(), "firing");
    stop.cancel();
    running.await.unwrap();
    assert_eq!(live.close("good", A, "ann", "noise").await, Err(CloseError::Stopping));
    drop(live);
    daemon.kill();
    daemon.medium.revive(false);
    daemon.start();
    assert_eq!(daemon.seen(), [(30, A.to_owned(), Cause::Firing)]);
}

#[tokio::test]
async fn a_close_that_is_answered_outlives_a_power_cut() {
    let mut daemon = Daemon::new(vec![every_30s(vec![by_service(0.9)])]);
    daemon.store.take(spans("a", 0, 30, false));
    daemon.until(60).await;
    let evaluator = daemon.evaluator.take().unwrap();
    let live = evaluator.live();
    let running = tokio::spawn(evaluator.run(CancellationToken::new()));
    let closed = live.close("good", A, "ann", "noise").await.unwrap();
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    assert_eq!((closed.episode, live.now("good").unwrap().state()), (1, "inactive"));
    let unknown = live.close("god", A, "ann", "noise").await.unwrap_err();
    assert_eq!(unknown.hint(), "did you mean `good`?");
    drop(live);
    daemon.kill();
    daemon.medium.revive(true);
    daemon.start();
    let causes: Vec<Cause> = daemon.rows().into_iter().map(|row| row.cause).collect();
    assert_eq!(causes, [Cause::Firing, Cause::Manual]);
    let told: Vec<_> = daemon.outbox().into_iter().map(|row| (row.notice.status, row.notice.reason)).collect();
    let [(_, first), (_, last)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((first.as_str(), last.as_str()), ("firing", "manual"), "receivers are told that it ended");
}

#[tokio::test]
async fn a_line_to_one_address_of_a_receiver_that_fails_is_a_health_alert_too() {
    use super::super::super::health::{Condition, HealthKind};
    use super::super::super::journal::HealthRow;
    let daemon = Daemon::new(vec![every_30s(vec![by_service(0.9)])]);
    let live = daemon.evaluator.as_ref().unwrap().live();
    let turn = |about: &str, before: Option<&HealthRow>, holds| {
        let condition = Condition {
            kind: HealthKind::DeliveryFailing,
            about,
            key: &BTreeMap::new(),
            receivers: &[],
            summary: String::new(),
            t_ns: 0,
        };
        let (row, _) = condition.turn(before, holds).unwrap();
        let health = [(condition.alert(), row.clone())].into();
        daemon.journal().commit(&Batch { health, ..Batch::default() }, 0).unwrap();
        row
    };
    let about = || {
        let all = live.health().unwrap().into_iter();
        let mut names: Vec<String> = all.map(|notice| notice.labels["receiver"].clone()).collect();
        names.sort();
        names
    };
    let row = turn("am@localhost:9093", None, true);
    turn("hook", None, true);
    assert_eq!(about(), ["am@localhost:9093", "hook"]);
    turn("am@localhost:9093", Some(&row), false);
    assert_eq!(about(), ["hook"]);
}

#[tokio::test]
async fn alerts_are_series_of_the_worst_keys_and_of_health() {
    let gate = Gate { limit: 2, error_limit: Some(1), stale_after: StaleAfter::Never, ..by_service(0.9) };
    let mut silent = Gate { name: "silent".into(), mode: Mode::DryRun, ..by_service(0.9) };
    silent.line = 2;
    let mut daemon = Daemon::new(vec![every_30s(vec![gate, silent])]);
    let live = daemon.evaluator.as_ref().unwrap().live();
    let registry = Registry::new();
    Alerts::register(&registry, live).unwrap();
    let scrape = || {
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        text.lines().filter(|line| line.starts_with("ALERTS")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(scrape(), Vec::<String>::new());
    for (service, from_s) in [("a", 0), ("b", 0), ("c", 120)] {
        daemon.store.take(spans(service, from_s, from_s + 60, false));
    }
    daemon.until(180).await;
    *daemon.store.fault.lock().unwrap() = Some(RunError::Timeout);
    daemon.until(210).await;
    let labels = |service: &str, state: &str| {
        format!(
            "{{alertname=\"good\",{state}gate_group=\"g\",level=\"fail\",service=\"{service}\",severity=\"critical\"}}"
        )
    };
    let (firing, begin) = ("alertstate=\"firing\",", BEGIN_S + 30);
    let health =
        |state: &str| format!("{{alertname=\"GateError\",{state}gate=\"good\",level=\"warn\",severity=\"warning\"}}");
    let shown = scrape();
    for expected in [
        format!("ALERTS{} 1", labels("a", firing)),
        format!("ALERTS{} 1", labels("b", firing)),
        format!("ALERTS_FOR_STATE{} {begin}", labels("a", "")),
        format!("ALERTS_FOR_STATE{} {begin}", labels("b", "")),
        format!("ALERTS{} 1", health(firing)),
        format!("ALERTS_FOR_STATE{} {}", health(""), BEGIN_S + 180),
    ] {
        assert!(shown.contains(&expected), "{expected}\n{}", shown.join("\n"));
    }
    assert_eq!(shown.len(), 6, "c fires too, above the limit: {}", shown.join("\n"));
}
