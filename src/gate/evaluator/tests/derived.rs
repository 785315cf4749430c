//! Derived gates: what they see, and when.

use super::*;

/// The value is the number of other gates whose results of this very tick are written.
pub(super) fn rows(written: &Journal, ask: &Ask) -> Vec<ResultRow> {
    let running = written.snapshot().unwrap().all_running().unwrap();
    let is_of = |run: &super::super::super::journal::OutcomeRun| {
        (run.first_tick_ns..=run.last_tick_ns).contains(&ask.window.end_ns) && run.gate != ask.gate.name
    };
    let now: std::collections::BTreeSet<_> = running.into_iter().filter(is_of).map(|run| run.gate).collect();
    vec![ResultRow { value: Some(now.len() as f64), n: Some(1), ..ResultRow::default() }]
}

fn composite() -> Gate {
    let mut gate = gate("composite", Test::Above(99.0));
    gate.source.is_derived = true;
    gate
}

fn named(name: &str) -> Gate {
    Gate { name: name.into(), ..by_service(0.9) }
}

/// Values of the derived gate by tick in seconds since the begin.
fn values(daemon: &Daemon) -> Vec<(i64, f64)> {
    let snapshot = daemon.journal().snapshot().unwrap();
    let mut runs: Vec<_> =
        snapshot.results((i64::MIN, 0), i64::MAX, 999).unwrap().into_iter().map(|(_, run)| run).collect();
    runs.extend(snapshot.all_running().unwrap());
    let own = runs.into_iter().filter(|run| run.gate == "composite");
    own.map(|run| (run.last_tick_ns / S - BEGIN_S, run.values.0)).collect()
}

#[tokio::test]
async fn a_derived_gate_sees_what_all_other_gates_gave_at_its_tick_time() {
    let slow = Group { name: "slow".into(), query_offset: Duration::from_secs(50), ..every_30s(vec![named("late")]) };
    let rare = Group { name: "rare".into(), interval: Duration::from_secs(60), ..every_30s(vec![named("rare")]) };
    // The derived gate stands first in its file, and its group closes first.
    let groups = vec![every_30s(vec![composite(), named("early")]), slow, rare];
    let mut daemon = Daemon::new(groups);
    daemon.store.take(spans("a", -60, 400, true));
    for end_s in [60, 90, 120, 150, 180] {
        daemon.until(end_s).await;
        // The newest tick that all groups have closed; the quick ones are further by now, with the same outcome.
        let t_s = (end_s - 50).div_euclid(30) * 30;
        // One gate at -30, which the slow group alone had still to close when it was new.
        assert_eq!(values(&daemon), [(t_s, (1 + 3 * (t_s / 30 + 1)) as f64)]);
    }
}

#[tokio::test]
async fn a_derived_gate_waits_for_a_group_that_is_slow_and_is_asked_about_no_tick_twice() {
    let groups = vec![every_30s(vec![named("early"), composite()])];
    let mut daemon = Daemon::new(groups);
    daemon.store.take(spans("a", -60, 900, true));
    daemon.until(80).await;
    daemon.kill();
    daemon.start();
    daemon.until(110).await;
    let ticks = |group: &str| {
        let ticks = daemon.journal().snapshot().unwrap().ticks(group).unwrap();
        ticks.into_iter().map(|(t_ns, _)| t_ns / S - BEGIN_S).collect::<Vec<_>>()
    };
    assert_eq!(ticks("gates/test.yaml;g"), [0, 30, 60, 90]);
    assert_eq!(ticks("gates/test.yaml;g;derived"), [0, 30, 60, 90]);
    assert_eq!(values(&daemon), [(90, 4.0)], "one gate at each of four ticks");
}
