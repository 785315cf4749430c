//! Ticks that close by what sources send: P7, P8, P11, restarts.

use proptest::prelude::*;

use super::super::super::config::Config;
use super::super::super::definition::Policy;
use super::super::super::journal::Missed;
use super::super::super::watermark::{Heard, Limits};
use super::*;

const IDLE_S: i64 = 30;
const SKEW_S: i64 = 10;
const LAG_S: i64 = 300;
/// Of every group here.
const OFFSET_S: i64 = 20;

/// A span that comes, as [`Store::take`] has it.
type Coming = (i64, &'static str, bool);

impl Store {
    /// By it ticks close, if the store has a clock.
    pub(super) fn feed(&self) -> Feed {
        if self.clock.is_none() {
            return Feed::none();
        }
        let (store, limits) = (self.clone(), Limits::of(&Config::default()));
        Feed::new(limits, move |after_us| {
            let spans = store.spans.lock().unwrap();
            let heard = |span: &Span| Heard {
                position_us: span.ingest_us,
                latest: match span.service {
                    "self" => Vec::new(),
                    service => vec![(service.to_owned(), span.end_s * S)],
                },
                future: u64::from(span.end_s * S > limits.latest_ns(span.ingest_us)),
            };
            let came: Vec<Heard> = spans.iter().filter(|span| span.ingest_us > after_us).map(heard).collect();
            Box::pin(async move { Ok(came) })
        })
    }
}

fn daemon(groups: Vec<Group>) -> Daemon {
    let clock = Clock::manual(BEGIN_S * S, 5);
    Daemon::over(Store { clock: Some(clock.clone()), ..Store::default() }, groups, clock)
}

impl Daemon {
    /// A second at a time until `end_s`; `comes` are the spans that come at each.
    async fn live(&mut self, end_s: i64, mut comes: impl FnMut(i64) -> Vec<Coming>) {
        while self.now_s() < end_s {
            self.wait(1);
            let spans = comes(self.now_s());
            if !spans.is_empty() {
                self.store.take(spans);
            }
            self.round().await;
        }
    }

    pub(super) fn last_tick_s(&self) -> i64 {
        self.evaluator.as_ref().unwrap().shared.book().last_tick_ns(0) / S - BEGIN_S
    }

    fn late(&self) -> u64 {
        self.metrics.late_dropped_spans.with_label_values(&["g"]).get()
    }

    pub(super) fn missed(&self) -> u64 {
        self.metrics.missed_ticks.with_label_values(&["good", Missed::Overrun.as_str()]).get()
    }
}

#[test]
fn the_limits_of_these_tests_are_the_defaults() {
    let limits = Limits { idle_ns: IDLE_S * S, skew_ns: SKEW_S * S, lag_ns: LAG_S * S };
    assert_eq!(Limits::of(&Config::default()), limits);
}

#[tokio::test]
async fn with_spans_in_real_time_a_tick_closes_an_offset_behind_it() {
    let mut daemon = daemon(vec![every_30s(vec![by_service(0.9)])]);
    daemon.live(49, |now_s| vec![(now_s, "a", true), (now_s - 1, "b", true)]).await;
    assert_eq!(daemon.last_tick_s(), 0);
    daemon.live(51, |now_s| vec![(now_s, "a", true), (now_s - 1, "b", true)]).await;
    assert_eq!(daemon.last_tick_s(), 30, "the slower source has come to 50 s");
    assert!((daemon.metrics.watermark_seconds.get() - (BEGIN_S + 50) as f64).abs() < 1e-3);
}

#[tokio::test]
async fn without_a_source_ticks_close_by_the_clock_and_no_data_is_told() {
    let gate = Gate { no_data: Policy::Fail, ..by_service(0.9) };
    let mut daemon = daemon(vec![every_30s(vec![gate])]);
    daemon.live(30 + OFFSET_S + IDLE_S - 1, |_| Vec::new()).await;
    assert_eq!(daemon.last_tick_s(), 0);
    daemon.live(30 + OFFSET_S + IDLE_S, |_| Vec::new()).await;
    assert_eq!((daemon.last_tick_s(), daemon.seen().len()), (30, 1), "{:?}", daemon.seen());
}

#[tokio::test]
async fn a_window_waits_for_a_source_that_comes_late_and_is_judged_with_it() {
    let mut daemon = daemon(vec![every_30s(vec![by_service(0.9)])]);
    // `a` sends every 29 s what it gathered, and is bad: no tick closed by the clock would see all of it.
    let comes = |now_s: i64| {
        let mut spans = vec![(now_s, "b", true)];
        if now_s % 29 == 0 {
            spans.extend((now_s - 29..now_s).map(|at| (at, "a", at % 2 == 0)));
        }
        spans
    };
    daemon.live(400, comes).await;
    assert_eq!((daemon.late(), daemon.missed()), (0, 0));
    assert_eq!(daemon.seen(), [(30, "service=a".to_owned(), Cause::Firing)]);
}

#[tokio::test]
async fn ticks_that_waited_for_a_silent_source_are_no_overrun() {
    let group = Group { interval: Duration::from_secs(1), ..every_30s(vec![by_service(0.9)]) };
    let mut daemon = daemon(vec![group]);
    // `b` goes silent at 40 s.
    let comes = |now_s: i64| -> Vec<Coming> {
        let all = [(now_s, "a", true), (now_s, "b", true)];
        all.into_iter().filter(|(_, service, _)| now_s <= 40 || *service == "a").collect()
    };
    daemon.live(100, comes).await;
    assert_eq!((daemon.last_tick_s(), daemon.missed()), (80, 0));
    // Nobody looked for a minute, while spans came: that is one.
    daemon.wait(60);
    daemon.store.take([(160, "a", true)]);
    daemon.round().await;
    assert_eq!((daemon.last_tick_s(), daemon.missed()), (140, 56));
}

#[tokio::test]
async fn what_ends_in_the_future_is_clipped_and_counted() {
    let mut daemon = daemon(vec![every_30s(vec![by_service(0.9)])]);
    daemon.live(1, |_| vec![(5_000, "a", true), (1 + SKEW_S, "a", true)]).await;
    assert_eq!(daemon.metrics.future_spans.get(), 1);
    assert_eq!(daemon.metrics.watermark_seconds.get() as i64, BEGIN_S + 1 + SKEW_S);
}

#[tokio::test]
async fn known_sources_are_waited_for_after_a_restart() {
    let mut daemon = daemon(vec![every_30s(vec![by_service(0.9)])]);
    daemon.live(60, |now_s| vec![(now_s, "a", true), (now_s, "b", now_s < 30)]).await;
    assert_eq!(daemon.last_tick_s(), 30);
    daemon.kill();
    // What came behind the last commit is heard again: both were at 60 s when the process died.
    daemon.start();
    daemon.round().await;
    assert_eq!(daemon.metrics.watermark_seconds.get() as i64, BEGIN_S + 60);
    // A minute later, only `a` is back at once.
    daemon.kill();
    daemon.wait(60);
    daemon.start();
    let comes = |now_s: i64| -> Vec<Coming> {
        let all = [(now_s, "a", true), (now_s - 80, "b", false)];
        all.into_iter().filter(|(_, service, _)| now_s == 140 || *service == "a").collect()
    };
    daemon.live(139, comes).await;
    assert_eq!(daemon.metrics.watermark_seconds.get() as i64, BEGIN_S + 60, "`b` may have kept what it could not send");
    daemon.live(140, comes).await;
    assert_eq!(daemon.late(), 0);
    // Whoever never comes back is not waited for longer.
    daemon.kill();
    daemon.start();
    daemon.live(142 + IDLE_S, |now_s| vec![(now_s, "a", true)]).await;
    assert_eq!(daemon.metrics.watermark_seconds.get() as i64, BEGIN_S + 142 + IDLE_S);
    assert_eq!((daemon.late(), daemon.missed()), (0, 0));
}

#[tokio::test]
async fn a_group_that_is_new_lets_no_tick_of_another_close_sooner() {
    let mut daemon = daemon(vec![every_30s(vec![by_service(0.9)])]);
    let comes = |now_s: i64| vec![(now_s, "a", true), (now_s - 100, "b", true)];
    daemon.live(200, comes).await;
    assert_eq!(daemon.last_tick_s(), 60);
    daemon.kill();
    let fresh = Gate { name: "new".into(), ..by_service(0.9) };
    daemon.groups.push(Group { name: "new".into(), ..every_30s(vec![fresh]) });
    daemon.start();
    daemon.live(201, comes).await;
    let m_s = daemon.metrics.watermark_seconds.get() as i64 - BEGIN_S;
    assert_eq!((m_s, daemon.last_tick_s(), daemon.late()), (101, 60, 0));
}

#[tokio::test]
async fn ticks_of_a_long_time_without_a_daemon_are_left_out_when_a_source_goes_on() {
    let group = Group { interval: Duration::from_secs(1), ..every_30s(vec![by_service(0.9)]) };
    let mut daemon = daemon(vec![group]);
    daemon.live(60, |now_s| vec![(now_s, "a", true)]).await;
    daemon.evaluator.as_mut().unwrap().finish().await.unwrap();
    daemon.kill();
    daemon.wait(400);
    daemon.start();
    daemon.round().await;
    let m_s = daemon.metrics.watermark_seconds.get() as i64 - BEGIN_S;
    assert_eq!(m_s, 60, "`a` is waited for, though it was silent for longer than it may lag");
    daemon.live(461, |now_s| vec![(now_s, "a", true)]).await;
    assert_eq!(daemon.last_tick_s(), 441);
    // Those up to the last sign of life are evaluated, and the newest four.
    assert!((360..=385).contains(&daemon.missed()), "{}", daemon.missed());
}

#[tokio::test]
async fn killed_at_any_write_m_is_where_it_was_as_soon_as_the_process_is_back() {
    let comes = |now_s: i64| vec![(now_s - now_s % 7, "a", now_s % 3 > 0), (now_s - now_s % 5, "b", true)];
    let mut unharmed = daemon(vec![every_30s(vec![by_service(0.9)])]);
    unharmed.live(120, comes).await;
    for write in 0..12 {
        let mut daemon = daemon(vec![every_30s(vec![by_service(0.9)])]);
        daemon.live(40 + 5 * write, comes).await;
        daemon.wait(1);
        let now_s = daemon.now_s();
        daemon.store.take(comes(now_s));
        // Alive at this very moment: a kill now is no downtime.
        daemon.journal().commit(&Batch::default(), daemon.clock.now_ns()).unwrap();
        daemon.medium.die_at(daemon.medium.changes() + u64::try_from(write).unwrap());
        let _ = daemon.evaluator.as_mut().unwrap().round().await;
        daemon.kill();
        daemon.medium.revive(write % 2 == 0);
        daemon.metrics.watermark_seconds.set(0.0);
        daemon.start();
        daemon.round().await;
        let m_s = daemon.metrics.watermark_seconds.get() as i64 - BEGIN_S;
        assert_eq!(m_s, now_s - (now_s % 7).max(now_s % 5), "write {write}");
        daemon.live(120, comes).await;
        assert_eq!(daemon.seen(), unharmed.seen(), "write {write}");
    }
}

/// A span of `service` that ended at a time and came some seconds later.
type Sent = (i64, &'static str, i64);

fn sent() -> impl Strategy<Value = Vec<Sent>> {
    let of =
        |service: &'static str| (0_i64..400, 0_i64..200).prop_map(move |(end_s, after_s)| (end_s, service, after_s));
    prop::collection::vec(prop_oneof![of("a"), of("b"), of("c")], 1..120)
}

/// A daemon to which `sent` came, and when each of its ticks closed.
async fn played(sent: &[Sent], restart_s: Option<i64>) -> (Daemon, BTreeMap<i64, i64>) {
    let gate = Gate { window: Duration::from_secs(60), ..by_service(0.0) };
    let mut daemon = daemon(vec![every_30s(vec![gate])]);
    let mut closed = BTreeMap::new();
    while daemon.now_s() < 700 {
        let before_s = daemon.last_tick_s();
        if restart_s == Some(daemon.now_s()) {
            daemon.evaluator.as_mut().unwrap().finish().await.unwrap();
            daemon.kill();
            daemon.start();
        }
        let end_s = daemon.now_s() + 1;
        let comes = |now_s: i64| -> Vec<Coming> {
            let came = sent.iter().filter(|(end_s, _, after_s)| end_s + after_s == now_s);
            came.map(|(end_s, service, _)| (*end_s, *service, true)).collect()
        };
        daemon.live(end_s, comes).await;
        closed.extend((before_s + 30..=daemon.last_tick_s()).step_by(30).map(|t_s| (t_s, end_s)));
    }
    (daemon, closed)
}

/// Verdicts of all keys that pass, which is each that has spans.
async fn judged(daemon: &mut Daemon) -> u64 {
    daemon.evaluator.as_mut().unwrap().finish().await.unwrap();
    let snapshot = daemon.journal().snapshot().unwrap();
    let runs = snapshot.results((i64::MIN, 0), i64::MAX, usize::MAX).unwrap();
    let runs = runs.into_iter().map(|(_, run)| run).chain(snapshot.all_running().unwrap());
    runs.filter(|run| run.outcome == super::super::super::verdict::Outcome::Pass).map(|run| run.evaluations).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// P7.
    #[test]
    fn late_spans_are_counted_once_and_change_only_windows_that_are_open(
        sent in sent(), restart_s in prop::option::of(50_i64..500),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (mut daemon, closed) = runtime.block_on(played(&sent, restart_s));
        // Those that came behind the second in which a tick behind their end closed; they are counted when the next closes.
        let last_at = *closed.values().max().unwrap();
        let is_late = |(end, _, after): &&Sent| {
            let came = end + after;
            came <= last_at && closed.iter().any(|(t, at)| end < t && *at < came)
        };
        prop_assert_eq!(daemon.late(), sent.iter().filter(is_late).count() as u64);
        // A key has a verdict at a tick if spans of its window had come when it closed.
        let mut with_spans = 0;
        for (t, at) in &closed {
            let of = |service: &str| {
                let in_time = |(end, _, after): &&Sent| (t - 60..*t).contains(end) && end + after <= *at;
                sent.iter().filter(in_time).any(|(_, s, _)| *s == service)
            };
            with_spans += ["a", "b", "c"].into_iter().filter(|service| of(service)).count() as u64;
        }
        prop_assert_eq!(runtime.block_on(judged(&mut daemon)), with_spans);
        prop_assert_eq!(daemon.missed(), 0);
    }

    /// P8.
    #[test]
    fn no_source_holds_a_tick_for_longer_than_it_may(
        silent_s in 1_i64..200, lag_s in 0_i64..4_000, future_s in 0_i64..100_000, restart_s in prop::option::of(50_i64..300),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let group = Group { interval: Duration::from_secs(10), ..every_30s(vec![by_service(0.0)]) };
            let mut daemon = daemon(vec![group]);
            let mut last_m = f64::MIN;
            while daemon.now_s() < 500 {
                if restart_s == Some(daemon.now_s()) {
                    daemon.kill();
                    daemon.start();
                    last_m = f64::MIN;
                }
                let end_s = daemon.now_s() + 1;
                daemon.live(end_s, |now_s| {
                    let mut spans = vec![(now_s, "steady", true), (now_s - lag_s, "lags", true)];
                    spans.push((now_s + future_s, "ahead", true));
                    if now_s <= silent_s {
                        spans.push((now_s, "silent", true));
                    }
                    spans
                }).await;
                let (now_s, m) = (daemon.now_s(), daemon.metrics.watermark_seconds.get());
                assert!(m >= last_m, "M goes back");
                last_m = m;
                // Who lags farther than it may holds nobody back; who fell silent does for so long, and so again after a
                // restart, at which M begins at the last tick.
                let held_s = if lag_s > LAG_S { 0 } else { lag_s };
                let idle_s = IDLE_S + 1 + restart_s.map_or(0, |_| IDLE_S + 11);
                let soonest_s = now_s - OFFSET_S;
                let latest_s = (soonest_s - held_s - idle_s).div_euclid(10) * 10;
                let tick_s = daemon.last_tick_s();
                assert!(latest_s <= tick_s && tick_s <= soonest_s.max(0), "{tick_s} at {now_s}");
            }
            assert_eq!(daemon.missed(), 0);
        });
    }
}
