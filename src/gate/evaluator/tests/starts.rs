//! Pipelines: P12, cooldown, busy, and what closes an episode.

use super::super::super::journal::{Occasion, StartState};
use super::super::super::starts::Answer;
use super::*;

fn repaired(window_s: u64) -> Gate {
    let on_fail = OnFail {
        pipeline: "regenerate".into(),
        input: BTreeMap::from([("service".to_owned(), "{{ labels.service }}".to_owned())]),
        on_warn: false,
        cooldown: Duration::from_secs(3600),
        max_runs: 3,
        max_runs_in: Duration::from_secs(86_400),
    };
    Gate {
        stale_after: super::super::super::definition::StaleAfter::Never,
        on_fail: Some(on_fail),
        window: Duration::from_secs(window_s),
        ..by_service(0.9)
    }
}

#[tokio::test]
async fn an_episode_asks_for_one_pipeline_with_the_variables_of_its_gate() {
    let mut daemon = Daemon::new(vec![every_30s(vec![repaired(60)])]);
    daemon.store.take(spans("a", 0, 600, false));
    daemon.until(300).await;
    let due = daemon.starts().due().unwrap();
    assert_eq!(due.requests.len(), 1);
    let request = &due.requests[0];
    assert_eq!((request.pipeline.as_str(), request.episode), ("regenerate", 1));
    let variables: serde_json::Value = serde_json::from_str(&request.variables).unwrap();
    assert_eq!(variables["gate"], "good");
    assert_eq!(variables["verdict"], "fail");
    assert_eq!(variables["value"], 0.0);
    assert_eq!(variables["labels"], serde_json::json!({ "service": "a" }));
    assert_eq!(variables["window"]["end"], "2023-11-14T00:00:30Z");
    assert_eq!((&variables["episode"], &variables["service"]), (&1.into(), &"a".into()));
    assert_eq!(variables["rows"][0]["service"], "a");
    assert!(variables["trace_ids"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn nobodys_summary_closes_an_episode() {
    let mut daemon = Daemon::new(vec![every_30s(vec![repaired(60)])]);
    daemon.store.take(spans("a", 0, 60, false));
    daemon.until(60).await;
    let starts = daemon.starts();
    let request = starts.due().unwrap().requests.remove(0);
    assert!(starts.answer(&request, &Answer::Started(42)).unwrap());
    assert!(!starts.answer(&request, &Answer::Started(42)).unwrap(), "answered");
    daemon.store.take(spans("a", 60, 1_000, false));
    daemon.until(900).await;
    assert_eq!(daemon.seen().len(), 1, "the pipeline may say what it likes");
    let episodes = daemon.journal().snapshot().unwrap().episodes().unwrap();
    assert_eq!((episodes[0].2.closed_ns, episodes[0].2.pipeline_run), (None, Some(42)));
}

#[tokio::test]
async fn only_spans_that_came_after_it_fired_close_what_a_gate_with_on_fail_opened() {
    let mut daemon = Daemon::new(vec![every_30s(vec![repaired(120)])]);
    // One tick of bad spans among good ones; they leave the window of two minutes at tick 150.
    daemon.store.take((-120..0).map(|at| (at, "a", true)));
    daemon.store.take((10..30).map(|at| (at, "a", false)));
    daemon.until(60).await;
    assert_eq!(daemon.seen()[0].2, Cause::Firing);
    // Good spans that end before it fired come late: the window passes with them, no new span does.
    daemon.store.take((-80..10).flat_map(|at| vec![(at, "a", true); 20]));
    daemon.until(110).await;
    assert_eq!(daemon.seen().len(), 1, "the window passes by old spans");
    daemon.store.take(spans("a", 100, 130, true));
    daemon.until(150).await;
    assert_eq!(daemon.seen().last(), Some(&(120, "service=a".to_owned(), Cause::Passed)));
}

#[tokio::test]
async fn a_gate_that_fails_for_days_starts_one_pipeline_and_one_that_flaps_at_most_max_runs_a_day() {
    for (flaps, most) in [(false, 1), (true, 3)] {
        let group = Group { interval: Duration::from_secs(300), ..every_30s(vec![repaired(300)]) };
        let mut daemon = Daemon::new(vec![group]);
        for tick in 0..(86_400 / 300) {
            let at = tick * 300;
            let good = flaps && tick % 4 >= 2;
            daemon.store.take(spans("a", at, at + 300, good));
        }
        let mut started = 0;
        while daemon.now_s() < 86_000 {
            daemon.wait(100);
            daemon.round().await;
            let starts = daemon.starts();
            for request in starts.due().unwrap().requests {
                assert!(starts.answer(&request, &Answer::Started(started)).unwrap());
                started += 1;
            }
        }
        let fired = daemon.seen().iter().filter(|(.., cause)| *cause == Cause::Firing).count();
        assert_eq!((started, fired > 30), (most, flaps));
    }
}

#[tokio::test]
async fn a_busy_start_stays_due_until_its_episode_ends() {
    let mut daemon = Daemon::new(vec![every_30s(vec![repaired(60)])]);
    daemon.store.take(spans("a", 0, 120, false));
    daemon.store.take(spans("a", 120, 600, true));
    daemon.until(60).await;
    let starts = daemon.starts();
    let request = starts.due().unwrap().requests.remove(0);
    assert!(starts.answer(&request, &Answer::Busy).unwrap());
    daemon.kill();
    daemon.start();
    assert_eq!(daemon.starts().due().unwrap().requests, std::slice::from_ref(&request), "after a restart too");
    daemon.until(300).await;
    assert_eq!(daemon.seen().last().unwrap().2, Cause::Passed);
    assert!(daemon.starts().due().unwrap().requests.is_empty());
    for late in [Answer::Busy, Answer::Refused("no".to_owned())] {
        assert!(!daemon.starts().answer(&request, &late).unwrap());
    }
    let row = || daemon.journal().snapshot().unwrap().start(request.alert, 1).unwrap().unwrap();
    assert_eq!((row().state, row().busy), (StartState::Lapsed, 1));
    // It began before the episode ended, and only the answer was late.
    assert!(daemon.starts().answer(&request, &Answer::Started(1)).unwrap());
    assert!(matches!(row().state, StartState::Started { run: 1, .. }));
    let episodes = daemon.journal().snapshot().unwrap().episodes().unwrap();
    assert_eq!(episodes[0].2.pipeline_run, Some(1));
}

#[tokio::test]
async fn a_start_within_the_cooldown_is_journaled_and_held_back() {
    let mut daemon = Daemon::new(vec![every_30s(vec![repaired(60)])]);
    for (from, to, good) in [(0, 60, false), (60, 240, true), (240, 9_000, false)] {
        daemon.store.take(spans("a", from, to, good));
    }
    daemon.until(60).await;
    let starts = daemon.starts();
    let first = starts.due().unwrap().requests.remove(0);
    starts.answer(&first, &Answer::Started(1)).unwrap();
    daemon.until(400).await;
    let due = starts.due().unwrap();
    assert!(due.requests.is_empty());
    assert_eq!(due.next_ns, Some((BEGIN_S + 60 + 3600) * S));
    assert_eq!(daemon.rows().last().unwrap().summary, "on_fail: regenerate suppressed: cooldown");
    daemon.until(3_660).await;
    assert_eq!(starts.due().unwrap().requests[0].episode, 2);
}

#[tokio::test]
async fn a_gate_that_gets_on_fail_while_an_episode_is_open_starts_its_pipeline_once() {
    let with = repaired(60);
    let without = Gate { on_fail: None, ..with.clone() };
    let mut daemon = Daemon::new(vec![every_30s(vec![without.clone()])]);
    for (from, to, good) in [(0, 240, false), (240, 330, true), (330, 900, false)] {
        daemon.store.take(spans("a", from, to, good));
    }
    daemon.store.take(spans("b", 0, 900, true));
    daemon.until(60).await;
    assert!(daemon.starts().due().unwrap().requests.is_empty());
    let restart = |daemon: &mut Daemon, gate: &Gate| {
        daemon.kill();
        daemon.groups[0].gates[0] = gate.clone();
        daemon.start();
    };
    restart(&mut daemon, &with);
    assert!(daemon.starts().due().unwrap().requests.is_empty(), "not before its breach is seen again");
    daemon.until(90).await;
    let due = daemon.starts().due().unwrap().requests;
    let [request] = due.as_slice() else { panic!("{due:?}") };
    assert_eq!((request.episode, request.key.as_str(), request.t_ns), (1, "service=a", (BEGIN_S + 60) * S));
    let variables: serde_json::Value = serde_json::from_str(&request.variables).unwrap();
    assert_eq!((&variables["value"], &variables["service"]), (&0.0.into(), &"a".into()));
    assert!(daemon.starts().answer(request, &Answer::Started(7)).unwrap());
    // Taken away and given again, within the same episode.
    for gate in [&without, &with] {
        restart(&mut daemon, gate);
        daemon.until(daemon.now_s() + 60).await;
        assert!(daemon.starts().due().unwrap().requests.is_empty());
    }
    assert_eq!(daemon.seen().len(), 1, "{:?}", daemon.seen());
    daemon.until(450).await;
    let causes: Vec<_> = daemon.seen().into_iter().map(|(_, _, cause)| cause).collect();
    assert_eq!(causes, [Cause::Firing, Cause::Passed, Cause::Firing]);
    assert_eq!(daemon.outbox()[1].notice.pipeline, Some(("regenerate".to_owned(), Some(7))));
    let row = daemon.journal().snapshot().unwrap().start(request.alert, 2).unwrap().unwrap();
    assert_eq!(row.state, StartState::Due, "the next episode asks by itself");
}

#[tokio::test]
async fn on_fail_comes_late_only_to_levels_it_is_for() {
    let warning = |on_warn| {
        let mut gate = Gate { warn: Some(comparison(Test::AtLeast(0.0))), ..repaired(60) };
        gate.on_fail.as_mut().unwrap().on_warn = on_warn;
        gate
    };
    let mut daemon = Daemon::new(vec![every_30s(vec![Gate { on_fail: None, ..warning(false) }])]);
    daemon.store.take(spans("a", 0, 900, false));
    daemon.until(60).await;
    for (on_warn, starts) in [(false, 0), (true, 1)] {
        daemon.kill();
        daemon.groups[0].gates[0] = warning(on_warn);
        daemon.start();
        daemon.until(daemon.now_s() + 60).await;
        assert_eq!(daemon.starts().due().unwrap().requests.len(), starts, "{on_warn}");
    }
}

/// As [`repaired`], and another pipeline once it passes again.
fn resolved(only_fail: bool, dry_run: bool) -> Gate {
    let gate = repaired(60);
    let on_resolve = OnFail {
        pipeline: "thank".into(),
        input: BTreeMap::from([("of".to_owned(), "{{ pipeline.process }} {{ pipeline.run }}".to_owned())]),
        on_warn: !only_fail,
        ..gate.on_fail.clone().unwrap()
    };
    let mode = if dry_run { super::super::super::definition::Mode::DryRun } else { gate.mode };
    Gate { on_resolve: Some(on_resolve), mode, ..gate }
}

#[tokio::test]
async fn an_episode_that_passes_asks_once_for_the_pipeline_of_its_end() {
    let mut daemon = Daemon::new(vec![every_30s(vec![resolved(true, false)])]);
    daemon.store.take(spans("a", 0, 60, false));
    daemon.store.take(spans("a", 60, 900, true));
    daemon.until(60).await;
    let starts = daemon.starts();
    let request = starts.due().unwrap().requests.remove(0);
    assert_eq!((request.pipeline.as_str(), request.occasion), ("regenerate", Occasion::Failed));
    assert!(starts.answer(&request, &Answer::Started(42)).unwrap());
    daemon.until(300).await;
    let due = daemon.starts().due().unwrap().requests;
    let [ended] = due.as_slice() else { panic!("{due:?}") };
    assert_eq!((ended.pipeline.as_str(), ended.occasion, ended.episode), ("thank", Occasion::Resolved, 1));
    let variables: serde_json::Value = serde_json::from_str(&ended.variables).unwrap();
    assert_eq!((&variables["of"], &variables["verdict"]), (&"regenerate 42".into(), &"pass".into()));
    assert_eq!(daemon.rows().last().unwrap().summary, "on_resolve: thank");
    daemon.kill();
    daemon.start();
    assert_eq!(daemon.starts().due().unwrap().requests, due, "after a restart too");
    assert!(daemon.starts().answer(ended, &Answer::Started(43)).unwrap());
    assert!(!daemon.starts().answer(ended, &Answer::Started(43)).unwrap(), "answered");
    daemon.until(900).await;
    assert!(daemon.starts().due().unwrap().requests.is_empty());
    let episodes = daemon.journal().snapshot().unwrap().episodes().unwrap();
    assert_eq!(episodes[0].2.pipeline_run, Some(42), "the run of an episode is that of on_fail");
}

#[tokio::test]
async fn what_an_end_asked_for_lapses_once_the_next_episode_begins() {
    let mut daemon = Daemon::new(vec![every_30s(vec![resolved(true, false)])]);
    for (from, to, good) in [(0, 60, false), (60, 240, true), (240, 300, false), (300, 600, true)] {
        daemon.store.take(spans("a", from, to, good));
    }
    daemon.until(60).await;
    let starts = daemon.starts();
    let failed = starts.due().unwrap().requests.remove(0);
    assert!(starts.answer(&failed, &Answer::Started(1)).unwrap());
    daemon.until(230).await;
    let of_end = || {
        let due = starts.due().unwrap().requests;
        due.into_iter().filter(|request| request.occasion == Occasion::Resolved).collect::<Vec<_>>()
    };
    let first = of_end().remove(0);
    assert_eq!(first.episode, 1, "the cooldown of on_fail is not its own");
    assert!(starts.answer(&first, &Answer::Busy).unwrap());
    daemon.until(300).await;
    assert!(of_end().is_empty());
    assert!(!starts.answer(&first, &Answer::Started(1)).unwrap(), "the next episode is open");
    daemon.until(600).await;
    let second = of_end().remove(0);
    assert_eq!(second.episode, 2);
    assert!(starts.answer(&second, &Answer::Started(2)).unwrap());
}

#[tokio::test]
async fn neither_a_warning_nor_a_key_that_goes_nor_dry_run_asks_for_it() {
    use super::super::super::definition::{StaleAfter, tests::comparison};
    let warning = |only_fail| Gate { warn: Some(comparison(Test::AtLeast(0.0))), ..resolved(only_fail, false) };
    for (gate, asked) in [(warning(true), 0), (warning(false), 1), (resolved(true, true), 0)] {
        let mut daemon = Daemon::new(vec![every_30s(vec![gate])]);
        daemon.store.take(spans("a", 0, 60, false));
        daemon.store.take(spans("a", 60, 300, true));
        daemon.until(300).await;
        assert_eq!(daemon.seen().last().unwrap().2, Cause::Passed);
        let due = daemon.starts().due().unwrap().requests;
        assert_eq!(due.iter().filter(|request| request.occasion == Occasion::Resolved).count(), asked);
    }
    let gate = Gate { stale_after: StaleAfter::Evaluations(2), ..resolved(true, false) };
    let mut daemon = Daemon::new(vec![every_30s(vec![gate])]);
    daemon.store.take(spans("a", 0, 60, false));
    daemon.store.take(spans("b", 0, 600, true));
    daemon.until(600).await;
    assert_eq!(daemon.seen().last().unwrap().2, Cause::Stale);
    assert!(daemon.starts().due().unwrap().requests.is_empty());
}
