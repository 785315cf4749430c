//! Gates that change while an episode is open: who hears what, and what starts.

use super::super::super::definition::Mode;
use super::super::super::definition::tests::comparison;
use super::super::super::journal::{Batch, Missed, Notice, Occasion, StartEdit, StartState, Status};
use super::super::super::starts::Answer;
use super::super::super::state::Level;
use super::*;

fn pipeline(name: &str) -> OnFail {
    OnFail {
        pipeline: name.into(),
        input: BTreeMap::new(),
        on_warn: false,
        cooldown: Duration::from_secs(3600),
        max_runs: 3,
        max_runs_in: Duration::from_secs(86_400),
    }
}

/// With both effects.
fn effective(mode: Mode) -> Gate {
    Gate {
        mode,
        on_fail: Some(pipeline("repair")),
        on_resolve: Some(pipeline("thank")),
        stale_after: super::super::super::definition::StaleAfter::Never,
        ..by_service(0.9)
    }
}

impl Daemon {
    /// Ends, and begins with `gates`.
    fn reload(&mut self, gates: Vec<Gate>) {
        self.kill();
        self.groups[0].gates = gates;
        self.start();
    }

    fn told_to(&self, receiver: &str) -> Vec<Notice> {
        let rows = self.journal().snapshot().unwrap().outbox(receiver, usize::MAX).unwrap();
        rows.into_iter().map(|(_, row)| row.notice).collect()
    }

    /// Status, reason and number of each message to `receiver`.
    fn heard(&self, receiver: &str) -> Vec<(Status, String, u32)> {
        self.told_to(receiver).into_iter().map(|notice| (notice.status, notice.reason, notice.number)).collect()
    }

    /// Pipelines that are due.
    fn due(&self) -> Vec<(String, u64)> {
        let due = self.starts().due().unwrap().requests;
        due.into_iter().map(|request| (request.pipeline, request.episode)).collect()
    }
}

fn firing(reason: &str, number: u32) -> (Status, String, u32) {
    (Status::Firing, reason.to_owned(), number)
}

fn resolved(reason: &str, number: u32) -> (Status, String, u32) {
    (Status::Resolved, reason.to_owned(), number)
}

#[tokio::test]
async fn an_episode_of_a_dry_run_that_is_enforced_is_told_late_and_starts_its_pipeline() {
    let mut daemon = Daemon::new(vec![every_30s(vec![effective(Mode::DryRun)])]);
    daemon.store.take(spans("a", 0, 150, false));
    daemon.store.take(spans("a", 150, 600, true));
    daemon.until(60).await;
    assert!(daemon.heard("hook").is_empty() && daemon.due().is_empty());
    daemon.reload(vec![effective(Mode::Enforce)]);
    assert!(daemon.heard("hook").is_empty(), "not before its breach is seen again");
    daemon.until(140).await;
    let told = daemon.told_to("hook");
    let [late] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((late.status, late.reason.as_str(), late.number), (Status::Firing, "firing", 1));
    assert_eq!((late.starts_at_ns, late.ends_at_ns, late.episode), ((BEGIN_S + 30) * S, None, 1));
    assert_eq!((late.level, late.value, late.labels["level"].as_str()), (Level::Fail, Some(0.0), "fail"));
    assert_eq!(late.pipeline, Some(("repair".to_owned(), None)));
    assert_eq!(daemon.due(), [("repair".to_owned(), 1)], "once");
    let request = daemon.starts().due().unwrap().requests.remove(0);
    assert!(daemon.starts().answer(&request, &Answer::Started(7)).unwrap());
    daemon.until(400).await;
    assert_eq!(daemon.heard("hook")[1..], [resolved("passed", 2)]);
    assert_eq!(daemon.told_to("hook")[1].pipeline, Some(("repair".to_owned(), Some(7))));
    assert_eq!(daemon.due(), [("thank".to_owned(), 1)]);
    let causes: Vec<_> = daemon.seen().into_iter().map(|(.., cause)| cause).collect();
    assert_eq!(causes, [Cause::Firing, Cause::Passed], "one episode");
    assert_eq!(daemon.journal().snapshot().unwrap().episodes().unwrap()[0].2.opened_ns, (BEGIN_S + 30) * S);
}

#[tokio::test]
async fn an_episode_of_a_dry_run_that_is_enforced_after_its_last_breach_ends_in_silence() {
    let mut daemon = Daemon::new(vec![every_30s(vec![effective(Mode::DryRun)])]);
    daemon.store.take(spans("a", 0, 30, false));
    daemon.store.take(spans("a", 30, 600, true));
    daemon.until(60).await;
    daemon.reload(vec![Gate { window: Duration::from_secs(30), ..effective(Mode::Enforce) }]);
    daemon.until(300).await;
    assert_eq!(daemon.seen().last().unwrap().2, Cause::Passed);
    assert!(daemon.heard("hook").is_empty(), "{:?}", daemon.heard("hook"));
    assert!(daemon.due().is_empty(), "nobody was told, so nobody is thanked");
}

#[tokio::test]
async fn who_was_told_that_it_fires_hears_its_end_when_the_gate_falls_silent() {
    let plain = |mode| Gate { mode, ..by_service(0.9) };
    let mut daemon = Daemon::new(vec![every_30s(vec![plain(Mode::Enforce)])]);
    daemon.store.take(spans("a", 0, 600, false));
    daemon.until(60).await;
    daemon.reload(vec![plain(Mode::DryRun)]);
    let expected = vec![firing("firing", 0), resolved("dry_run", 1)];
    assert_eq!(daemon.heard("hook"), expected);
    let end = daemon.told_to("hook").remove(1);
    assert_eq!((end.ends_at_ns, end.level, end.episode), (Some(daemon.clock.now_ns()), Level::Fail, 1));
    assert_eq!(end.labels, daemon.told_to("hook")[0].labels, "the set that fires ends");
    daemon.until(140).await;
    daemon.reload(vec![plain(Mode::DryRun)]);
    assert_eq!(daemon.heard("hook"), expected, "once");
    assert_eq!(daemon.seen().len(), 1, "the episode is open");
    daemon.reload(vec![plain(Mode::Enforce)]);
    daemon.until(200).await;
    let again = [expected.clone(), vec![firing("firing", 2)]].concat();
    assert_eq!(daemon.heard("hook"), again, "it is told again while it fires");
    daemon.reload(vec![plain(Mode::DryRun)]);
    let silent = [again, vec![resolved("dry_run", 3)]].concat();
    assert!(daemon.evaluator.as_ref().unwrap().operator().close("good", "service=a", "ann", "noise"));
    daemon.until(260).await;
    assert_eq!(daemon.heard("hook"), silent, "row 17 of what nobody hears of any more");
    daemon.reload(Vec::new());
    assert_eq!(daemon.heard("hook"), silent, "row 18");
}

#[tokio::test]
async fn receivers_that_change_in_mid_episode_each_hear_its_begin_and_its_end() {
    let to = |receivers: &[&str]| Gate {
        warn: Some(comparison(Test::AtLeast(0.3))),
        window: Duration::from_secs(30),
        notify: Some(receivers.iter().map(|name| (*name).to_owned()).collect()),
        ..by_service(0.9)
    };
    let mut daemon = Daemon::new(vec![every_30s(vec![to(&["hook"])])]);
    daemon.store.take((0..60).map(|at| (at, "a", at % 2 == 0)));
    daemon.store.take(spans("a", 60, 90, false));
    daemon.store.take(spans("a", 90, 300, true));
    daemon.until(60).await;
    daemon.reload(vec![to(&["other"])]);
    let begin = daemon.told_to("hook");
    assert_eq!((begin.len(), daemon.told_to("other")), (1, begin), "the same transition");
    daemon.reload(vec![to(&["other"])]);
    assert_eq!(daemon.heard("other").len(), 1, "once");
    daemon.until(120).await;
    daemon.reload(vec![to(&["other", "third"])]);
    assert_eq!(daemon.heard("third"), [firing("firing", 1)], "for it, it begins");
    daemon.until(200).await;
    for receiver in ["hook", "other"] {
        let expected = [firing("firing", 0), firing("raised", 1), resolved("passed", 2)];
        assert_eq!(daemon.heard(receiver), expected, "{receiver}");
    }
    assert_eq!(daemon.heard("third")[1..], [resolved("passed", 2)]);
}

#[tokio::test]
async fn receivers_that_change_while_a_gate_is_broken_each_hear_the_begin_and_the_end_of_it() {
    let to = |mode, receivers: &[&str]| Gate {
        mode,
        error_limit: Some(1),
        notify: Some(receivers.iter().map(|name| (*name).to_owned()).collect()),
        ..by_service(0.9)
    };
    let mut daemon = Daemon::new(vec![every_30s(vec![to(Mode::Enforce, &["hook"])])]);
    daemon.store.take(spans("a", 0, 600, true));
    *daemon.store.fault.lock().unwrap() = Some(RunError::Run("disk".into()));
    daemon.until(60).await;
    assert_eq!(daemon.heard("hook"), [firing("health", 0)]);
    for _ in 0..2 {
        daemon.reload(vec![to(Mode::Enforce, &["other"])]);
        assert_eq!(daemon.told_to("other"), daemon.told_to("hook"), "the same transition, once");
    }
    daemon.reload(vec![to(Mode::DryRun, &["third"])]);
    assert!(daemon.heard("third").is_empty(), "of a gate in dry_run nothing begins");
    daemon.reload(vec![to(Mode::Enforce, &["other"])]);
    *daemon.store.fault.lock().unwrap() = None;
    daemon.until(120).await;
    for receiver in ["hook", "other"] {
        assert_eq!(daemon.heard(receiver), [firing("health", 0), resolved("resolved", 1)], "{receiver}");
    }
}

#[tokio::test]
async fn a_start_that_is_due_lapses_when_its_gate_wants_it_no_more_and_is_asked_for_when_it_does_again() {
    let enforced = || effective(Mode::Enforce);
    for silent in [effective(Mode::DryRun), Gate { on_fail: None, ..enforced() }] {
        let mut daemon = Daemon::new(vec![every_30s(vec![enforced()])]);
        daemon.store.take(spans("a", 0, 600, false));
        daemon.until(60).await;
        let request = daemon.starts().due().unwrap().requests.remove(0);
        assert!(daemon.starts().answer(&request, &Answer::Busy).unwrap());
        daemon.reload(vec![enforced()]);
        assert_eq!(daemon.due(), [("repair".to_owned(), 1)]);
        daemon.reload(vec![silent]);
        assert!(daemon.due().is_empty());
        daemon.until(120).await;
        assert!(daemon.due().is_empty());
        daemon.reload(vec![enforced()]);
        daemon.until(200).await;
        assert_eq!(daemon.due(), [("repair".to_owned(), 1)], "it began nothing");
    }
}

#[tokio::test]
async fn what_an_end_asked_for_lapses_with_its_gate_its_question_or_its_mode() {
    let other = |name: &str| Gate { name: name.into(), ..effective(Mode::Enforce) };
    let mut asks_else = effective(Mode::Enforce);
    asks_else.source.sql = "SELECT 2".into();
    let without = Gate { on_resolve: None, ..effective(Mode::Enforce) };
    let changes = [vec![], vec![other("else")], vec![asks_else], vec![effective(Mode::DryRun)], vec![without]];
    for gates in changes {
        let mut daemon = Daemon::new(vec![every_30s(vec![effective(Mode::Enforce)])]);
        daemon.store.take(spans("a", 0, 60, false));
        daemon.store.take(spans("a", 60, 300, true));
        daemon.until(300).await;
        assert_eq!(daemon.due(), [("thank".to_owned(), 1)]);
        daemon.reload(vec![effective(Mode::Enforce)]);
        assert_eq!(daemon.due(), [("thank".to_owned(), 1)]);
        let request = daemon.starts().due().unwrap().requests.remove(0);
        daemon.reload(gates);
        assert!(daemon.due().is_empty());
        assert!(!daemon.starts().answer(&request, &Answer::Started(1)).unwrap());
    }
}

#[tokio::test]
async fn a_start_that_lapsed_may_be_asked_for_again_and_one_that_began_not() {
    let mut daemon = Daemon::new(vec![every_30s(vec![effective(Mode::Enforce)])]);
    daemon.store.take(spans("a", 0, 60, false));
    daemon.until(60).await;
    let request = daemon.starts().due().unwrap().requests.remove(0);
    let ask = || StartEdit::Request(Box::new(request.clone()));
    let write = |edit| {
        let starts = vec![(request.alert, 1, edit)];
        daemon.journal().commit(&Batch { starts, ..Batch::default() }, daemon.clock.now_ns()).unwrap();
        daemon.journal().snapshot().unwrap().start(request.alert, 1).unwrap().unwrap().state
    };
    assert_eq!(request.occasion, Occasion::Failed);
    assert_eq!(write(StartEdit::Lapse), StartState::Lapsed);
    assert_eq!(write(ask()), StartState::Due);
    assert!(daemon.starts().answer(&request, &Answer::Started(1)).unwrap());
    assert_eq!(write(StartEdit::Lapse), write(ask()));
    assert!(daemon.due().is_empty());
}

#[tokio::test]
async fn of_very_many_missed_ticks_all_are_counted_and_the_newest_written() {
    let group = Group { interval: Duration::from_secs(1), ..every_30s(vec![by_service(0.9)]) };
    let mut daemon = Daemon::new(vec![group]);
    daemon.until(60).await;
    let before = daemon.metrics.missed_ticks.with_label_values(&["good", "overrun"]).get();
    daemon.kill();
    daemon.wait(30_000);
    daemon.start();
    daemon.round().await;
    let counted = daemon.metrics.missed_ticks.with_label_values(&["good", "overrun"]).get() - before;
    assert!((29_900..30_000).contains(&counted), "{counted}");
    daemon.until(daemon.now_s() + 10).await;
    let ticks = daemon.journal().snapshot().unwrap().ticks("gates/test.yaml;g").unwrap();
    // At 30,060 s the tick 30,040 was the last one due, and four are kept.
    let written = ticks.iter().map(|(t, row)| (t / S - BEGIN_S, row)).filter(|(t, _)| (61..=30_040).contains(t));
    let (missed, judged): (Vec<_>, Vec<_>) = written.partition(|(_, row)| row.cut_us.is_none());
    assert_eq!((missed.len(), missed[0].0, missed[9_999].0), (10_000, 20_037, 30_036));
    assert!(missed[0].1.missed.contains(&("good".to_owned(), Missed::Overrun)));
    assert_eq!(judged.iter().map(|(t, _)| *t).collect::<Vec<_>>(), [30_037, 30_038, 30_039, 30_040]);
}

#[tokio::test]
async fn a_floor_that_rose_while_the_gate_ran_stays_and_counts() {
    let mut daemon = Daemon::new(vec![every_30s(vec![by_service(0.9)])]);
    daemon.store.take(spans("a", 0, 300, true));
    daemon.until(60).await;
    // As the removal of old episodes does.
    let row = daemon.journal().snapshot().unwrap().gate("good").unwrap().unwrap();
    let gates = BTreeMap::from([("good".to_owned(), super::super::super::journal::GateRow { floor: 41, ..row })]);
    daemon.journal().commit(&Batch { gates, ..Batch::default() }, daemon.clock.now_ns()).unwrap();
    daemon.until(120).await;
    daemon.store.take(spans("b", 100, 200, false));
    daemon.until(160).await;
    let row = daemon.rows().pop().unwrap();
    assert_eq!((row.key.as_str(), row.cause, row.episode), ("service=b", Cause::Firing, Some(42)));
    assert_eq!(daemon.journal().snapshot().unwrap().gate("good").unwrap().unwrap().floor, 41);
}

#[tokio::test]
async fn labels_that_change_in_mid_episode_are_told_at_once_under_the_same_episode() {
    let of = |team: &str, severity: &str| Gate {
        labels: BTreeMap::from([("team".to_owned(), team.to_owned())]),
        severity: super::super::super::definition::Severities { warn: "warning".to_owned(), fail: severity.to_owned() },
        ..by_service(0.9)
    };
    let mut daemon = Daemon::new(vec![every_30s(vec![of("shop", "critical")])]);
    daemon.store.take(spans("a", 0, 150, false));
    daemon.store.take(spans("a", 150, 600, true));
    daemon.until(60).await;
    daemon.reload(vec![of("shop", "critical")]);
    assert_eq!(daemon.heard("hook"), [firing("firing", 0)], "nothing changed");
    daemon.reload(vec![of("till", "page")]);
    let told = daemon.told_to("hook");
    assert_eq!(daemon.heard("hook")[1..], [firing("relabelled", 1)]);
    let of_label = |notice: &Notice, name: &str| notice.labels[name].clone();
    assert_eq!((of_label(&told[1], "team"), of_label(&told[1], "severity")), ("till".to_owned(), "page".to_owned()));
    let same = |notice: &Notice| (notice.alert, notice.episode, notice.starts_at_ns, notice.value);
    assert_eq!(same(&told[1]), same(&told[0]));
    // The name of the group is a label too.
    daemon.kill();
    daemon.groups[0].name = "other".into();
    daemon.start();
    daemon.reload(vec![of("till", "page")]);
    assert_eq!(daemon.heard("hook")[2..], [firing("relabelled", 2)], "once");
    assert_eq!(of_label(&daemon.told_to("hook")[2], "gate_group"), "other");
    daemon.until(300).await;
    assert_eq!(daemon.heard("hook")[3..], [resolved("passed", 3)]);
    let state = &daemon.journal().snapshot().unwrap().keys("good", 1).unwrap()["service=a"].state;
    assert_eq!((state.episode, daemon.rows().len()), (1, 2), "the episode was never another");
}
