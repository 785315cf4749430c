//! Gates with a schedule of their own beside others of their group.

use super::super::super::journal::Missed;
use super::*;
use crate::clock::cron::Cron;

/// Every five minutes; a breach must last so long.
fn scheduled() -> Gate {
    Gate {
        name: "scheduled".into(),
        cron: Cron::parse("*/5 * * * *", "UTC").ok(),
        hold_for: Duration::from_secs(300),
        ..by_service(0.9)
    }
}

#[tokio::test]
async fn a_schedule_replaces_the_grid_for_its_gate_alone() {
    let mut daemon = Daemon::new(vec![every_30s(vec![by_service(0.9), scheduled()])]);
    daemon.store.take(spans("cart", 0, 1300, false));
    daemon.until(650).await;
    let of = |daemon: &Daemon, gate: &str| -> Vec<(i64, Cause)> {
        let rows = daemon.rows().into_iter().filter(|row| row.gate == gate);
        rows.map(|row| (row.t_ns / S - BEGIN_S, row.cause)).collect()
    };
    assert_eq!(of(&daemon, "good"), [(30, Cause::Firing)]);
    assert_eq!(
        of(&daemon, "scheduled"),
        [(300, Cause::Pending), (600, Cause::Firing)],
        "Δ is the step between its ticks"
    );
    let last = |daemon: &Daemon, gate: &str| daemon.journal().snapshot().unwrap().gates().unwrap()[gate].last_tick_ns;
    assert_eq!((last(&daemon, "good") / S - BEGIN_S, last(&daemon, "scheduled") / S - BEGIN_S), (630, 600));

    // A process that starts again goes on with the schedule.
    daemon.kill();
    daemon.start();
    daemon.until(930).await;
    assert_eq!(last(&daemon, "scheduled") / S - BEGIN_S, 900);
}

#[tokio::test]
async fn ticks_of_a_schedule_that_nobody_evaluates_are_missed_one_by_one() {
    let mut daemon = Daemon::new(vec![every_30s(vec![scheduled()])]);
    daemon.store.take(spans("cart", 0, 100, true));
    daemon.until(320).await;
    // Ten ticks at once: more than four.
    daemon.wait(3000);
    daemon.round().await;
    let snapshot = daemon.journal().snapshot().unwrap();
    let ticks = snapshot.ticks("gates/test.yaml;g;cron */5 * * * * UTC").unwrap();
    let missed: Vec<i64> = ticks
        .iter()
        .filter(|(_, row)| row.missed.iter().any(|(_, why)| *why == Missed::Overrun))
        .map(|(t_ns, _)| t_ns / S - BEGIN_S)
        .collect();
    assert_eq!(missed, [600, 900, 1200, 1500, 1800, 2100]);
    let count = daemon.metrics.missed_ticks.with_label_values(&["scheduled", "overrun"]).get();
    assert_eq!(count, 6);
}

#[tokio::test]
async fn a_schedule_that_changes_is_another_question() {
    let mut daemon = Daemon::new(vec![every_30s(vec![Gate { hold_for: Duration::ZERO, ..scheduled() }])]);
    daemon.store.take(spans("cart", 0, 1300, false));
    daemon.until(330).await;
    daemon.kill();
    daemon.groups[0].gates[0].cron = Cron::parse("*/10 * * * *", "UTC").ok();
    // Texts stand for questions here.
    daemon.groups[0].gates[0].source.sql = "SELECT by another schedule".into();
    daemon.start();
    daemon.until(630).await;
    let causes: Vec<(i64, Cause)> = daemon.seen().into_iter().map(|(at, _, cause)| (at, cause)).collect();
    assert_eq!((causes[0], causes[1].1, causes[2]), ((300, Cause::Firing), Cause::Superseded, (600, Cause::Firing)));
}

#[tokio::test]
async fn a_gate_that_leaves_its_schedule_owes_no_ticks_of_the_grid() {
    let mut daemon = Daemon::new(vec![every_30s(vec![scheduled()])]);
    daemon.store.take(spans("cart", 0, 700, true));
    daemon.until(320).await;
    daemon.wait(250);
    daemon.kill();
    daemon.groups[0].gates[0].cron = None;
    daemon.groups[0].gates[0].source.sql = "SELECT at each tick of the grid".into();
    daemon.start();
    daemon.until(650).await;
    let ticks = daemon.journal().snapshot().unwrap().ticks("gates/test.yaml;g").unwrap();
    let closed: Vec<i64> = ticks.iter().map(|(t_ns, _)| t_ns / S - BEGIN_S).collect();
    assert_eq!(closed.first(), Some(&570), "those since the schedule's last one were nobody's: {closed:?}");
    assert_eq!(daemon.metrics.missed_ticks.with_label_values(&["scheduled", "overrun"]).get(), 0);
}
