//! Levels that rise and fall, as receivers are told of them.

use super::super::super::definition::FireAfter;
use super::super::super::definition::tests::comparison;
use super::super::super::journal::Status;
use super::super::super::state::Level;
use super::*;

/// Good enough above 0.9, a warning above 0.3; a tick judges its own 30 s.
fn stepping() -> Gate {
    Gate {
        warn: Some(comparison(Test::AtLeast(0.3))),
        step_down_after: Some(Duration::from_secs(60)),
        window: Duration::from_secs(30),
        ..by_service(0.9)
    }
}

/// Five of ten are good in `[from_s, to_s)`.
fn halves(from_s: i64, to_s: i64) -> Vec<(i64, &'static str, bool)> {
    (from_s..to_s).map(|at| (at, "a", at % 2 == 0)).collect()
}

#[tokio::test]
async fn a_level_that_fell_is_told_and_the_end_has_the_highest_level_and_the_last_labels() {
    for by_hand in [false, true] {
        let mut daemon = Daemon::new(vec![every_30s(vec![stepping()])]);
        daemon.store.take(spans("a", 0, 30, false));
        daemon.store.take(halves(30, 120));
        daemon.store.take(spans("a", 120, 150, true));
        daemon.until(if by_hand { 115 } else { 175 }).await;
        if by_hand {
            daemon.kill();
            daemon.start();
            assert!(daemon.evaluator.as_ref().unwrap().operator().close("good", "service=a", "me", "known"));
            daemon.until(125).await;
        }
        let told: Vec<_> = daemon.outbox().into_iter().map(|row| row.notice).take(3).collect();
        let shown =
            |at: usize| (told[at].status, told[at].level, told[at].labels["level"].as_str(), told[at].reason.as_str());
        assert_eq!(shown(0), (Status::Firing, Level::Fail, "fail", "firing"));
        assert_eq!(shown(1), (Status::Firing, Level::Warn, "warn", "lowered"));
        let why = if by_hand { "manual" } else { "passed" };
        assert_eq!(shown(2), (Status::Resolved, Level::Fail, "warn", why));
        let episodes = daemon.journal().snapshot().unwrap().episodes().unwrap();
        assert_eq!((episodes[0].2.level_max, episodes[0].2.closed_ns.is_some()), (Level::Fail, true));
        let lowered = daemon.seen().into_iter().find(|(.., cause)| *cause == Cause::Lowered);
        assert_eq!(lowered, Some((90, "service=a".to_owned(), Cause::Lowered)));
    }
}

#[tokio::test]
async fn a_breach_that_came_often_enough_fires_although_a_restart_lies_between() {
    let gate = Gate { fire_after: Some(FireAfter { n: 2, m: 3 }), ..stepping() };
    let mut daemon = Daemon::new(vec![every_30s(vec![gate])]);
    daemon.store.take(spans("a", 0, 30, false));
    daemon.store.take(spans("a", 30, 60, true));
    daemon.store.take(spans("a", 60, 90, false));
    daemon.until(59).await;
    assert_eq!(daemon.seen(), [(30, "service=a".to_owned(), Cause::Pending)]);
    daemon.kill();
    daemon.start();
    daemon.until(120).await;
    assert_eq!(daemon.seen().last(), Some(&(90, "service=a".to_owned(), Cause::Firing)));
}
