//! Baselines as the daemon keeps, shows and tells them.

use super::super::super::baseline::{Aggregate, Baseline};
use super::super::super::verdict::Outcome;
use super::*;

fn held() -> Gate {
    let baseline = Baseline {
        window: Duration::from_secs(90),
        offset: Duration::ZERO,
        aggregate: Aggregate::Average,
        max_drop: Some(0.25),
        max_rise: None,
        only_pass: true,
        min_samples: 3,
        given: None,
    };
    let summary = ("summary".to_owned(), "{{ value }} after {{ baseline }}".to_owned());
    Gate {
        baseline: Some(baseline),
        annotations: BTreeMap::from([summary]),
        window: Duration::from_secs(30),
        ..by_service(0.1)
    }
}

/// Three of ten are bad from second 120 on.
fn falling() -> Vec<(i64, &'static str, bool)> {
    (0..150).map(|at| (at, "a", at < 120 || at % 10 >= 3)).collect()
}

#[tokio::test]
async fn a_value_below_its_baseline_fires_and_tells_both_also_after_a_kill() {
    for killed in [false, true] {
        let mut daemon = Daemon::new(vec![every_30s(vec![held()])]);
        daemon.store.take(falling());
        // Past the latest moment at which what has no effect is written.
        daemon.until(149).await;
        if killed {
            daemon.kill();
            daemon.start();
        }
        let running = || daemon.journal().snapshot().unwrap().running("good", 1).unwrap().remove("service=a").unwrap();
        let run = running();
        assert_eq!((run.outcome, run.baseline, run.ticks.len()), (Outcome::Pass, Some(1.0), 1), "{run:?}");
        daemon.until(180).await;
        let run = daemon.journal().snapshot().unwrap().running("good", 1).unwrap().remove("service=a").unwrap();
        assert_eq!((run.outcome, run.value, run.baseline), (Outcome::Fail, Some(0.7), Some(1.0)));
        assert_eq!(daemon.outbox()[0].notice.annotations["summary"], "0.7 after 1.0");
    }
}

#[tokio::test]
async fn a_question_that_changed_has_no_past() {
    let mut daemon = Daemon::new(vec![every_30s(vec![held()])]);
    daemon.store.take(falling());
    daemon.until(149).await;
    daemon.kill();
    daemon.groups[0].gates[0].source.sql = "SELECT 2".to_owned();
    daemon.start();
    daemon.until(180).await;
    let run = daemon.journal().snapshot().unwrap().running("good", 2).unwrap().remove("service=a").unwrap();
    assert_eq!((run.outcome, run.value, run.baseline), (Outcome::Inconclusive, Some(0.7), None));
}

#[tokio::test]
async fn a_pass_that_closes_what_on_fail_opened_is_held_to_the_baseline_too() {
    let on_fail = OnFail {
        pipeline: "p".into(),
        input: BTreeMap::new(),
        on_warn: false,
        cooldown: Duration::from_secs(60),
        max_runs: 3,
        max_runs_in: Duration::from_secs(86_400),
    };
    let held = held();
    let gate = Gate {
        on_fail: Some(on_fail),
        stale_after: super::super::super::definition::StaleAfter::Never,
        window: Duration::from_secs(120),
        baseline: held.baseline.clone().map(|baseline| Baseline { max_drop: Some(0.1), ..baseline }),
        ..held
    };
    for (bad_of_ten, passes) in [(3, false), (0, true)] {
        let mut daemon = Daemon::new(vec![every_30s(vec![gate.clone()])]);
        // Ticks 30, 60 and 90 give 1, 1 and 8/9; tick 120 gives 2/3 and fires.
        daemon.store.take((0..120).map(|at| (at, "a", at < 80)));
        daemon.until(141).await;
        assert_eq!(daemon.seen().last(), Some(&(120, "service=a".to_owned(), Cause::Firing)));
        // Good spans of before come late, so the whole window is good enough at tick 150. Seven of ten since it fired are
        // enough for `pass` and too far below the baseline, which is 0.85 by now.
        daemon.store.take((10..80).flat_map(|at| vec![(at, "a", true); 20]));
        daemon.store.take((120..150).map(|at| (at, "a", at % 10 >= bad_of_ten)));
        daemon.until(171).await;
        let run = daemon.journal().snapshot().unwrap().running("good", 1).unwrap().remove("service=a").unwrap();
        assert_eq!((run.last_tick_ns / S - BEGIN_S, run.outcome), (150, Outcome::Pass));
        let passed = daemon.seen().iter().any(|(.., cause)| *cause == Cause::Passed);
        assert_eq!(passed, passes, "{bad_of_ten} of ten are bad");
    }
}

#[tokio::test]
async fn a_past_that_was_filled_in_is_looked_back_at_from_the_first_tick_on() {
    use super::super::super::journal::{OutcomeRun, PastTick};
    for filled in [false, true] {
        let mut daemon = Daemon::new(vec![every_30s(vec![held()])]);
        daemon.store.take((0..30).map(|at| (at, "a", at % 10 >= 3)));
        daemon.until(20).await;
        daemon.kill();
        if filled {
            let at = |before_s: i64| (BEGIN_S - before_s) * S;
            let run = |before_s| OutcomeRun {
                gate: "good".into(),
                generation: 1,
                group: "g".into(),
                key: "service=a".into(),
                outcome: Outcome::Inconclusive,
                first_tick_ns: at(before_s),
                last_tick_ns: at(before_s),
                evaluations: 1,
                value: Some(1.0),
                values: (1.0, 1),
                n: Some(30),
                window: super::super::super::result::Window { start_ns: at(before_s + 30), end_ns: at(before_s) },
                cut_us: 1,
                evidence: "{}".into(),
                trace_ids: Vec::new(),
                dry_run: false,
                cost_ns: 0,
                baseline: None,
                ticks: vec![PastTick { after_ms: 0, value: 1.0, passed: true }],
            };
            let journal = daemon.medium.journal().unwrap();
            assert_eq!(journal.add_past("good", (1, [0; 32]), &[run(0), run(30), run(60)]).unwrap(), 3);
        }
        daemon.start();
        daemon.until(60).await;
        let run = daemon.journal().snapshot().unwrap().running("good", 1).unwrap().remove("service=a").unwrap();
        let expected = if filled { (Outcome::Fail, Some(1.0)) } else { (Outcome::Inconclusive, None) };
        assert_eq!((run.outcome, run.baseline), expected, "filled: {filled}");
    }
}
