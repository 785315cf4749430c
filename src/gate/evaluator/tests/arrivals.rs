//! Gates that do not wait for ticks: spans that match, traces that have settled.

use proptest::prelude::*;
use serde_json::json;

use super::super::super::arrivals::keys::tests::of;
use super::super::super::assertion::Assertion;
use super::super::super::definition::On;
use super::super::super::state::Rule;
use super::super::super::state::tests::Transcript;
use super::super::super::verdict::Input;
use super::crash::image;
use super::oracle::history;
use super::*;

const TICKS: i64 = 24;

/// What the statements of a gate with `on: ingest` give: spans that are not good match.
pub(super) fn rows(spans: &[Span], ask: &Ask) -> Vec<ResultRow> {
    let (start_ns, end_ns) = (ask.window.start_ns, ask.window.end_ns);
    let what = ask.gate.name.split_once(' ').map_or("tick", |(_, what)| what);
    let mut by_service: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    for span in spans.iter().filter(|span| span.ingest_us <= ask.cut_us && (!span.good || what == "proof")) {
        let (e_ns, came_ns) = (span.end_s * S, span.ingest_us * 1_000);
        let is_asked_for = match what {
            "arrivals" => start_ns < came_ns && came_ns <= end_ns,
            "tick" => start_ns <= e_ns,
            _ => (start_ns..end_ns).contains(&e_ns),
        };
        if is_asked_for {
            by_service.entry(span.service).or_default().push(span);
        }
    }
    let row = |(service, mut spans): (&str, Vec<&Span>)| {
        let inside = spans.iter().filter(|span| span.end_s * S < end_ns).count() as u64;
        let n = if what == "tick" || what == "proof" { inside } else { 1 };
        let key = BTreeMap::from([("service".to_owned(), service.to_owned())]);
        let mut row = ResultRow { key, value: Some(n as f64), n: Some(n), ..ResultRow::default() };
        // As the engine gives numbers beyond 2^53.
        let instant = |at: i64| json!(at.to_string());
        if what == "tick" {
            let next = spans.iter().map(|span| span.end_s * S).filter(|e_ns| *e_ns >= end_ns).min();
            row.evidence.insert("__next".to_owned(), next.map_or(json!(null), instant));
            return row;
        }
        match what {
            "ended" => spans.sort_by_key(|span| (span.end_s, span.ingest_us)),
            _ => spans.sort_by_key(|span| (span.ingest_us, span.end_s)),
        }
        row.evidence.insert("__first".to_owned(), instant(spans[0].end_s * S));
        row.evidence.insert("__arrived".to_owned(), json!(spans.iter().map(|span| span.ingest_us).min()));
        let ends = || spans.iter().map(|span| span.end_s * S);
        row.evidence.insert("__oldest".to_owned(), instant(ends().min().unwrap()));
        row.evidence.insert("__newest".to_owned(), instant(ends().max().unwrap()));
        row
    };
    by_service.into_iter().map(row).collect()
}

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

pub(super) fn errors(window_s: u64) -> Gate {
    Gate {
        on: On::Ingest(Box::new(of("SELECT service FROM spans WHERE NOT good", &["service"]))),
        by: vec!["service".into()],
        window: seconds(window_s),
        keep_firing_for: seconds(30),
        notify: Some(vec!["hook".into()]),
        ..gate("errors", Test::Is(0.0))
    }
}

/// A daemon whose spans come behind its start.
pub(super) fn daemon(gates: Vec<Gate>) -> Daemon {
    let daemon = Daemon::new(vec![every_30s(gates)]);
    let first = Span { end_s: BEGIN_S - 1_000, service: "first", good: true, ingest_us: BEGIN_S * 1_000_000 };
    daemon.store.spans.lock().unwrap().push(first);
    daemon
}

impl Daemon {
    pub(super) async fn look(&mut self) {
        let evaluator = self.evaluator.as_mut().unwrap();
        evaluator.hear().await;
        evaluator.look_now().await.unwrap();
    }

    /// Takes one span in and looks.
    pub(super) async fn comes(&mut self, at_s: i64, good: bool) {
        self.store.take([(at_s, "a", good)]);
        self.look().await;
    }

    /// Transitions without their key.
    pub(super) fn causes(&self) -> Vec<(i64, Cause)> {
        self.seen().into_iter().map(|(at, _, cause)| (at, cause)).collect()
    }
}

#[tokio::test]
async fn a_span_that_matches_fires_at_its_event_time_before_a_tick_closes_and_silence_ends_it() {
    for looks in [true, false] {
        let mut daemon = daemon(vec![errors(60)]);
        daemon.wait(7);
        daemon.store.take([(3, "a", false), (5, "a", false), (6, "b", true)]);
        if looks {
            daemon.look().await;
            assert_eq!(daemon.seen(), [(3, "service=a".to_owned(), Cause::Firing)]);
            assert_eq!(daemon.told(), [("errors".to_owned(), super::super::super::journal::Status::Firing)]);
            let notice = daemon.outbox().remove(0).notice;
            assert_eq!((notice.value, notice.n, notice.window.end_ns), (Some(1.0), Some(1), (BEGIN_S + 3) * S + 1));
            daemon.look().await;
        }
        daemon.until(200).await;
        assert_eq!(daemon.causes(), [(3, Cause::Firing), (90, Cause::Recovering), (120, Cause::Passed)], "{looks}");
        assert_eq!(daemon.outbox().len(), 2);
        let runs = daemon.journal().snapshot().unwrap().running("errors", 1).unwrap();
        assert_eq!(runs["service=a"].outcome, super::super::super::verdict::Outcome::Pass);
    }
}

#[tokio::test]
async fn a_span_that_comes_after_all_its_windows_closed_is_no_less_a_fail() {
    let mut daemon = daemon(vec![errors(60)]);
    daemon.until(200).await;
    daemon.comes(5, false).await;
    assert_eq!(daemon.causes(), [(5, Cause::Firing)]);
    daemon.until(300).await;
    assert_eq!(daemon.causes(), [(5, Cause::Firing), (210, Cause::Recovering), (240, Cause::Passed)]);
}

#[tokio::test]
async fn a_late_span_lets_a_key_relapse_that_recovers() {
    let mut daemon = daemon(vec![errors(60)]);
    daemon.wait(5);
    daemon.comes(3, false).await;
    daemon.until(115).await;
    assert_eq!(daemon.causes(), [(3, Cause::Firing), (90, Cause::Recovering)]);
    daemon.comes(50, false).await;
    daemon.until(185).await;
    let behind = [(90, Cause::Relapsed), (120, Cause::Recovering), (150, Cause::Passed)];
    assert_eq!(daemon.causes()[2..], behind, "no window that was open held it");
    assert!(daemon.rows().iter().all(|row| row.episode.is_none_or(|episode| episode == 1)));
}

#[tokio::test]
async fn a_span_ahead_of_a_tick_that_ends_the_episode_begins_the_next_whenever_it_comes() {
    for comes_s in [100, 109, 112] {
        let mut daemon = daemon(vec![errors(30)]);
        daemon.wait(5);
        daemon.comes(3, false).await;
        let mut now_s = 10;
        daemon.wait(5);
        while now_s < 240 {
            daemon.round().await;
            if now_s == comes_s {
                daemon.comes(100, false).await;
            }
            now_s += 1;
            daemon.wait(1);
        }
        let first = [(3, Cause::Firing), (60, Cause::Recovering), (90, Cause::Passed)];
        let second = [(100, Cause::Firing), (150, Cause::Recovering), (180, Cause::Passed)];
        assert_eq!(daemon.causes(), [first, second].concat(), "{comes_s}");
        let episodes: Vec<_> = daemon.outbox().iter().map(|row| row.notice.episode).collect();
        assert_eq!(episodes, [1, 1, 2, 2]);
    }
}

#[tokio::test]
async fn silence_ends_no_episode_that_a_pipeline_is_to_repair() {
    let on_fail = OnFail {
        pipeline: "repair".into(),
        input: BTreeMap::new(),
        on_warn: false,
        cooldown: seconds(3_600),
        max_runs: 3,
        max_runs_in: seconds(86_400),
    };
    let mut daemon = daemon(vec![Gate { on_fail: Some(on_fail), ..errors(60) }]);
    daemon.wait(5);
    daemon.comes(3, false).await;
    assert_eq!(daemon.starts().due().unwrap().requests.len(), 1, "it starts with the episode, before a tick");
    daemon.until(125).await;
    assert_eq!(daemon.causes(), [(3, Cause::Firing)]);
    daemon.store.take(spans("a", 130, 200, true));
    daemon.until(230).await;
    assert_eq!(daemon.causes(), [(3, Cause::Firing), (150, Cause::Recovering), (180, Cause::Passed)]);
}

#[tokio::test]
async fn keys_above_the_limit_are_held_and_told() {
    let mut daemon = daemon(vec![Gate { limit: 1, ..errors(60) }]);
    daemon.wait(7);
    daemon.store.take([(3, "b", false), (3, "a", false)]);
    daemon.look().await;
    assert_eq!(daemon.seen(), [(3, "service=a".to_owned(), Cause::Firing)]);
    let told = daemon.evaluator.as_ref().unwrap().overflows();
    assert_eq!(told["errors"], "1 keys above the limit of 1 were not judged");
}

#[tokio::test]
async fn what_comes_between_two_ticks_does_not_unsay_how_many_keys_the_last_one_held() {
    let mut daemon = daemon(vec![Gate { limit: 1, ..errors(60) }]);
    daemon.wait(7);
    daemon.store.take([(3, "a", false), (3, "b", false), (3, "c", false)]);
    daemon.until(55).await;
    let told = |daemon: &Daemon| daemon.evaluator.as_ref().unwrap().overflows()["errors"].clone();
    assert_eq!(told(&daemon), "2 keys above the limit of 1 were not judged");
    daemon.store.take([(50, "d", false)]);
    daemon.look().await;
    assert_eq!(told(&daemon), "2 keys above the limit of 1 were not judged");
}

#[tokio::test]
async fn what_was_closed_by_hand_stays_closed_until_another_span_comes() {
    // Also when the resolved alert is told no more while its span still matches.
    for (window_s, until_s) in [(60, 50), (3_600, 1_250)] {
        let mut daemon = daemon(vec![errors(window_s)]);
        daemon.wait(5);
        daemon.comes(3, false).await;
        assert!(daemon.evaluator.as_ref().unwrap().operator().close("errors", "service=a", "me", "known"));
        daemon.look().await;
        daemon.comes(4, true).await;
        daemon.until(until_s).await;
        let causes = |daemon: &Daemon| daemon.rows().iter().map(|row| row.cause).collect::<Vec<_>>();
        assert_eq!(causes(&daemon), [Cause::Firing, Cause::Manual], "a tick is about the same span");
        daemon.comes(until_s, false).await;
        assert_eq!(causes(&daemon), [Cause::Firing, Cause::Manual, Cause::Firing]);
    }
}

#[tokio::test]
async fn keys_that_are_only_remembered_do_not_count_against_the_limit() {
    let mut daemon = daemon(vec![Gate { limit: 1, ..errors(30) }]);
    daemon.wait(5);
    daemon.store.take([(3, "b", false)]);
    daemon.look().await;
    daemon.until(155).await;
    daemon.comes(152, false).await;
    daemon.until(205).await;
    let of = |service: &str, at: i64, cause| (at, format!("service={service}"), cause);
    let b = [(3, Cause::Firing), (60, Cause::Recovering), (90, Cause::Passed)].map(|(at, cause)| of("b", at, cause));
    assert_eq!(daemon.seen(), [b.as_slice(), &[of("a", 152, Cause::Firing)]].concat());
    assert!(daemon.evaluator.as_ref().unwrap().overflows().is_empty());
}

#[tokio::test]
async fn what_comes_above_the_limit_of_a_key_whose_episode_is_over_is_told_by_the_first_tick_with_room() {
    for restarts in [false, true] {
        let mut daemon = daemon(vec![Gate { limit: 1, ..errors(60) }]);
        daemon.wait(5);
        daemon.store.take([(3, "b", false)]);
        daemon.look().await;
        daemon.until(155).await;
        daemon.store.take([(152, "a", false)]);
        daemon.look().await;
        daemon.until(195).await;
        daemon.store.take([(190, "b", false)]);
        daemon.look().await;
        let told = daemon.evaluator.as_ref().unwrap().overflows();
        assert_eq!(told["errors"], "1 keys above the limit of 1 were not judged");
        if restarts {
            daemon.kill();
            daemon.start();
        }
        daemon.until(400).await;
        let of = |service: &str, at: i64, cause| (at, format!("service={service}"), cause);
        let expected = [
            of("b", 3, Cause::Firing),
            of("b", 90, Cause::Recovering),
            of("b", 120, Cause::Passed),
            of("a", 152, Cause::Firing),
            // At 210 both match and one is judged; at 240 there is room.
            of("b", 240, Cause::Firing),
            of("a", 270, Cause::Recovering),
            of("a", 300, Cause::Passed),
            of("b", 330, Cause::Recovering),
            of("b", 360, Cause::Passed),
        ];
        assert_eq!(daemon.seen(), expected, "{restarts}");
        let episodes: Vec<_> = daemon.rows().iter().filter_map(|row| row.episode).collect();
        assert_eq!(episodes, [1, 1, 1, 1, 2, 1, 1, 2, 2]);
    }
}

#[tokio::test]
async fn what_comes_above_the_limit_is_not_told_by_a_tick_before_it_whose_spans_were_told() {
    for restarts in [false, true] {
        let mut daemon = daemon(vec![Gate { limit: 1, ..errors(60) }]);
        daemon.wait(5);
        daemon.comes(3, false).await;
        assert!(daemon.evaluator.as_ref().unwrap().operator().close("errors", "service=a", "me", "known"));
        daemon.store.take([(4, "b", false)]);
        daemon.look().await;
        daemon.wait(30);
        daemon.comes(33, false).await;
        if restarts {
            daemon.kill();
            daemon.start();
        }
        let of = |service: &str, at: i64, cause| (at, format!("service={service}"), cause);
        let first = [of("a", 3, Cause::Firing), of("a", 5, Cause::Manual), of("b", 4, Cause::Firing)];
        // The tick at 30 closes, in whose window only the span lies that was closed.
        daemon.until(65).await;
        assert_eq!(daemon.seen(), first, "{restarts}");
        // That at 60 holds the other one too, and more of `a` match than of `b`.
        daemon.until(95).await;
        assert_eq!(daemon.seen()[3..], [of("a", 60, Cause::Firing)], "{restarts}");
    }
}

#[tokio::test]
async fn what_comes_above_the_limit_behind_all_windows_lets_no_tick_tell_again_what_was_told() {
    let mut daemon = daemon(vec![Gate { limit: 1, ..errors(120) }]);
    daemon.until(205).await;
    daemon.comes(200, false).await;
    assert!(daemon.evaluator.as_ref().unwrap().operator().close("errors", "service=a", "me", "known"));
    daemon.store.take([(201, "b", false)]);
    daemon.look().await;
    daemon.comes(10, false).await;
    let told = daemon.evaluator.as_ref().unwrap().overflows();
    assert_eq!(told["errors"], "1 keys above the limit of 1 were not judged", "it is counted");
    let of = |service: &str, at: i64, cause| (at, format!("service={service}"), cause);
    let first = [of("a", 200, Cause::Firing), of("a", 210, Cause::Manual), of("b", 201, Cause::Firing)];
    // All that the windows of these ticks hold of `a` is the span that was closed.
    daemon.until(300).await;
    assert_eq!(daemon.seen(), first);
    daemon.comes(250, false).await;
    daemon.until(325).await;
    assert_eq!(daemon.seen()[3..], [of("a", 300, Cause::Firing)], "and more of `a` match than of `b`");
}

#[tokio::test]
async fn a_key_that_was_closed_by_hand_takes_no_place_while_its_spans_match() {
    let mut daemon = daemon(vec![Gate { limit: 1, ..errors(3_600) }]);
    daemon.wait(5);
    daemon.comes(3, false).await;
    assert!(daemon.evaluator.as_ref().unwrap().operator().close("errors", "service=a", "me", "known"));
    daemon.store.take([(4, "b", false)]);
    daemon.look().await;
    daemon.until(60).await;
    assert!(daemon.evaluator.as_ref().unwrap().overflows().is_empty());
    let runs = daemon.journal().snapshot().unwrap().running("errors", 1).unwrap();
    assert_eq!(runs["service=b"].outcome, super::super::super::verdict::Outcome::Fail, "it is the one that is judged");
}

#[tokio::test]
async fn no_match_while_the_daemon_did_not_run_is_no_silence() {
    let mut daemon = daemon(vec![errors(60)]);
    daemon.wait(5);
    daemon.comes(3, false).await;
    daemon.wait(5);
    daemon.until(50).await;
    daemon.journal().commit(&Batch::default(), daemon.clock.now_ns()).unwrap();
    daemon.kill();
    daemon.wait(60);
    daemon.start();
    daemon.until(250).await;
    assert_eq!(daemon.causes(), [(3, Cause::Firing), (180, Cause::Recovering), (210, Cause::Passed)]);
}

#[tokio::test]
async fn a_breach_that_has_to_last_is_told_by_ticks_alone() {
    let mut daemon = daemon(vec![Gate { hold_for: seconds(30), ..errors(60) }]);
    daemon.wait(5);
    daemon.comes(3, false).await;
    assert!(daemon.causes().is_empty());
    daemon.wait(5);
    daemon.until(90).await;
    assert_eq!(daemon.causes(), [(30, Cause::Pending), (60, Cause::Firing)]);
}

/// Matching spans in the order of their event times, ticks between them.
fn oracle(all: &[(i64, &'static str, bool)], window_s: i64, rule: Rule) -> Vec<(Option<i64>, String, Cause)> {
    let mut found = Vec::new();
    for service in ["a", "b"] {
        let ends: Vec<i64> = all.iter().filter(|(_, s, good)| *s == service && !good).map(|(at, ..)| *at).collect();
        let mut machine = Transcript::new(rule);
        let mut tell = |at_s: i64, causes: Vec<Cause>| {
            // Which of several spans came first is no matter of event time.
            let at = |cause: Cause| (cause != Cause::Firing).then_some(at_s);
            found.extend(causes.into_iter().map(|cause| (at(cause), format!("service={service}"), cause)));
        };
        for t_s in (0..=TICKS).map(|tick| tick * 30) {
            let fresh = ends.iter().filter(|at| (t_s - 30..t_s).contains(*at)).min();
            if let Some(at_s) = fresh.filter(|_| !machine.phase.is_open()) {
                tell(*at_s, machine.step(BEGIN_S + at_s, Input::Fail));
            }
            let matches = ends.iter().any(|at| (t_s - window_s..t_s).contains(at));
            let x = if matches { Input::Fail } else { Input::Clear };
            tell(t_s, machine.step(BEGIN_S + t_s, x));
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn any_order_and_split_of_arrival_within_the_offset_gives_the_same_episodes(
        all in history(),
        delays in prop::collection::vec(0_i64..20, 400),
        pauses in prop::collection::vec(1_u64..30, 400),
        looks in prop::collection::vec(any::<bool>(), 100),
        splits in prop::collection::vec(1_usize..6, 100),
        window_s in prop::sample::select(vec![30_i64, 60]),
        keep_s in prop::sample::select(vec![30_i64, 60]),
    ) {
        let all: Vec<_> = all.into_iter().filter(|(at, ..)| *at >= 0).collect();
        let keep_firing_for = seconds(u64::try_from(keep_s).unwrap());
        let gate = Gate { keep_firing_for, ..errors(u64::try_from(window_s).unwrap()) };
        let mut arrivals: Vec<_> =
            all.iter().zip(delays.iter().cycle()).map(|(span, delay)| (span.0 + delay, *span)).collect();
        arrivals.sort_by_key(|(at, _)| *at);
        let mut daemon = daemon(vec![gate]);
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let mut left = arrivals.into_iter().peekable();
            let mut splits = splits.iter().cycle();
            for (pause, looks) in pauses.iter().cycle().zip(looks.iter().cycle()) {
                while left.peek().is_some_and(|(at, _)| *at <= daemon.now_s()) {
                    let mut batch = Vec::new();
                    for _ in 0..*splits.next().unwrap() {
                        batch.extend(left.next_if(|(at, _)| *at <= daemon.now_s()).map(|(_, span)| span));
                    }
                    daemon.store.take(batch);
                    if *looks {
                        daemon.look().await;
                    }
                }
                daemon.round().await;
                if daemon.now_s() >= TICKS * 30 + 20 {
                    break;
                }
                let left_s = u64::try_from(TICKS * 30 + 20 - daemon.now_s()).unwrap();
                daemon.wait((*pause).min(left_s));
            }
        });
        let rule = Rule { interval_ns: 30 * S, keep_firing_for_ns: keep_s * S, ..Rule::default() };
        let mut seen: Vec<_> = daemon.seen().into_iter().map(|(at, key, cause)| {
            ((cause != Cause::Firing).then_some(at), key, cause)
        }).collect();
        // What one key does has an order, and no other.
        seen.sort_by(|a, b| a.1.cmp(&b.1));
        prop_assert_eq!(seen, oracle(&all, window_s, rule));
    }
}

async fn turn(daemon: &mut Daemon) -> Result<(), Error> {
    let evaluator = daemon.evaluator.as_mut().unwrap();
    evaluator.look_now().await?;
    evaluator.round().await
}

/// One run; in round `kill.0`, the `kill.1`-th write fails and the process dies.
async fn run(kill: Option<(i64, u64)>, power_cut: bool) -> (Daemon, Vec<u64>) {
    let mut daemon = daemon(vec![errors(30), Gate { name: "longer".into(), ..errors(60) }]);
    let bad = [3, 8, 97, 101, 103, 190];
    let mut all: Vec<_> = bad.into_iter().map(|at| (at, "a", false)).collect();
    all.extend(spans("b", 0, 60, false));
    all.extend(spans("b", 60, 300, true));
    all.sort_by_key(|(at, ..)| *at);
    let mut left = all.into_iter().peekable();
    let mut writes = Vec::new();
    for round in 0..30 {
        daemon.wait(10);
        while left.peek().is_some_and(|(at, ..)| *at < daemon.now_s()) {
            daemon.store.take([left.next().unwrap()]);
        }
        // Alive at this very moment: a kill now is no downtime.
        daemon.journal().commit(&Batch::default(), daemon.clock.now_ns()).unwrap();
        let before = daemon.medium.changes();
        if let Some((_, write)) = kill.filter(|(at, _)| *at == round) {
            daemon.medium.die_at(before + write);
            let _ = turn(&mut daemon).await;
            daemon.kill();
            daemon.medium.revive(power_cut);
            daemon.start();
        }
        turn(&mut daemon).await.unwrap();
        writes.push(daemon.medium.changes() - before);
    }
    (daemon, writes)
}

#[tokio::test]
async fn killed_at_any_write_a_gate_over_arrivals_tells_what_it_would_have_told() {
    let (unharmed, writes) = run(None, false).await;
    let expected = image(&unharmed);
    assert!(expected.1.len() >= 8, "{expected:#?}");
    for (round, writes) in (0..).zip(&writes) {
        for write in 0..*writes {
            let power_cut = (round + write as i64) % 2 == 0;
            let (daemon, _) = run(Some((round, write)), power_cut).await;
            assert_eq!(image(&daemon), expected, "round {round}, write {write}, power cut {power_cut}");
        }
    }
}

/// A gate over traces, which here are spans.
fn settling(more: Gate) -> Gate {
    let (quiet, give_up) = (seconds(10), seconds(300));
    let assertion = Assertion { by: None, wait_for: Vec::new(), is_complete: true, quiet, give_up, checks: Vec::new() };
    Gate { on: On::Trace, assertion: Some(assertion), ..more }
}

#[tokio::test]
async fn traces_that_fail_fire_when_they_have_settled_and_a_tick_before_does_not_end_it() {
    let mut daemon = daemon(vec![settling(by_service(1.0))]);
    daemon.store.take([(-5, "a", true)]);
    daemon.wait(7);
    daemon.look().await;
    assert!(daemon.causes().is_empty(), "what passes waits for its tick");
    daemon.comes(3, false).await;
    assert_eq!(daemon.causes(), [(7, Cause::Firing)]);
    daemon.look().await;
    daemon.store.take(spans("a", 30, 100, true));
    daemon.until(120).await;
    assert_eq!(daemon.causes(), [(7, Cause::Firing), (90, Cause::Passed)]);
}

#[tokio::test]
async fn a_share_of_traces_that_has_to_last_waits_for_ticks() {
    let mut daemon = daemon(vec![settling(Gate { hold_for: seconds(30), ..by_service(1.0) })]);
    daemon.wait(7);
    daemon.comes(3, false).await;
    assert!(daemon.causes().is_empty());
    daemon.wait(3);
    daemon.until(90).await;
    assert_eq!(daemon.causes(), [(30, Cause::Pending), (60, Cause::Firing)]);
}
