//! Looks and evaluations that hang, fail or break off, and looks that would follow from themselves.

use super::super::super::watermark::Awaited;
use super::arrivals::{daemon, errors};
use super::*;

impl Store {
    fn asked(&self) -> u64 {
        self.asks.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn own_spans_are_no_reason_to_look_but_for_who_includes_them() {
    for include_own_spans in [false, true] {
        let clock = Clock::manual(BEGIN_S * S, 5);
        let store = Store { clock: Some(clock.clone()), ..Store::default() };
        let gate = Gate { include_own_spans, ..errors(60) };
        let mut daemon = Daemon::over(store, vec![every_30s(vec![gate])], clock);
        daemon.wait(5);
        daemon.comes(3, true).await;
        let before = daemon.store.asked();
        assert!(before > 0, "a source spoke");
        daemon.store.take([(4, "self", true)]);
        daemon.look().await;
        assert_eq!(daemon.store.asked() > before, include_own_spans);
        daemon.wait(1);
        daemon.comes(5, false).await;
        assert_eq!(daemon.causes(), [(5, Cause::Firing)]);
    }
}

#[tokio::test]
async fn who_hears_what_comes_does_not_look_whether_it_did() {
    for (hears, include_own_spans, expected) in [
        (false, false, (Duration::from_millis(250), Awaited::Nothing)),
        (true, false, (Duration::MAX, Awaited::Sources)),
        (true, true, (Duration::MAX, Awaited::Anybody)),
    ] {
        let clock = Clock::manual(BEGIN_S * S, 5);
        let store = Store { clock: hears.then(|| clock.clone()), ..Store::default() };
        let gate = Gate { include_own_spans, ..errors(60) };
        let mut daemon = Daemon::over(store, vec![every_30s(vec![gate])], clock);
        assert_eq!(daemon.evaluator.as_mut().unwrap().start_looks(), expected);
    }
    let mut daemon = Daemon::new(vec![every_30s(vec![by_service(0.9)])]);
    let waits_for_ticks = (Duration::MAX, Awaited::Nothing);
    assert_eq!(daemon.evaluator.as_mut().unwrap().start_looks(), waits_for_ticks);
}

#[tokio::test]
async fn a_tick_does_not_wait_for_a_look() {
    let mut daemon = daemon(vec![errors(60)]);
    daemon.wait(5);
    daemon.store.take([(3, "a", false)]);
    daemon.store.is_stuck.store(true, Ordering::Relaxed);
    daemon.evaluator.as_mut().unwrap().start_looks();
    daemon.until(60).await;
    assert_eq!(daemon.causes(), [(3, Cause::Firing)], "the tick looked itself");
    assert_eq!(daemon.last_tick_s(), 30);
    // What was given up is nothing that was found.
    daemon.store.is_stuck.store(false, Ordering::Relaxed);
    daemon.wait(30);
    daemon.comes(84, false).await;
    daemon.until(200).await;
    assert_eq!(daemon.causes(), [(3, Cause::Firing), (150, Cause::Recovering), (180, Cause::Passed)]);
}

#[tokio::test]
async fn what_came_and_could_not_be_read_is_an_error_of_the_gate() {
    let mut daemon = daemon(vec![errors(60)]);
    daemon.wait(5);
    daemon.store.take([(3, "a", true)]);
    *daemon.store.arrivals_fault.lock().unwrap() = Some(RunError::Run("broken".into()));
    daemon.until(90).await;
    daemon.evaluator.as_mut().unwrap().finish().await.unwrap();
    let errors = |daemon: &Daemon| daemon.journal().snapshot().unwrap().gates().unwrap()["errors"].errors;
    assert_eq!(errors(&daemon), 3, "ticks 0, 30 and 60");
    *daemon.store.arrivals_fault.lock().unwrap() = None;
    daemon.until(120).await;
    daemon.evaluator.as_mut().unwrap().finish().await.unwrap();
    assert_eq!(errors(&daemon), 0);
}

#[tokio::test]
async fn an_evaluation_that_breaks_off_leaves_its_tick_out_and_the_next_one_closes() {
    let mut daemon = Daemon::new(vec![every_30s(vec![by_service(0.9)])]);
    daemon.store.take(spans("a", 0, 120, true));
    daemon.store.panics.store(true, Ordering::Relaxed);
    daemon.until(50).await;
    assert_eq!((daemon.last_tick_s(), daemon.missed()), (30, 2), "of two ticks: 0 and 30");
    daemon.store.panics.store(false, Ordering::Relaxed);
    daemon.until(80).await;
    assert_eq!((daemon.last_tick_s(), daemon.missed()), (60, 2));
    assert_eq!(daemon.evaluator.as_ref().unwrap().keys().len(), 1);
}

#[tokio::test]
async fn a_look_that_breaks_off_is_followed_by_another() {
    let mut daemon = daemon(vec![errors(60)]);
    daemon.wait(5);
    daemon.store.panics.store(true, Ordering::Relaxed);
    daemon.comes(3, false).await;
    assert!(daemon.causes().is_empty());
    daemon.store.panics.store(false, Ordering::Relaxed);
    daemon.look().await;
    assert_eq!(daemon.causes(), [(3, Cause::Firing)]);
}
