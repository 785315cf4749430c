//! Each row of the table of gates.md 3 that this module keeps.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::backlog::{Backlog, behind_downtime};
use super::feed::heard;
use super::sources::Sources;
use super::*;
use crate::gate::config::Config;
use crate::gate::journal::{SourceKey, SourceRow};
use crate::gate::window::{MAX_DUE, due, due_from};
use crate::query::tests::fixture::{self, NOW, Span};
use crate::span::{Delivery, Origin};
use crate::store::samples::store_at;

const S: i64 = 1_000_000_000;
const LIMITS: Limits = Limits { idle_ns: 30 * S, skew_ns: 10 * S, lag_ns: 300 * S };

fn sources() -> Sources {
    Sources::restored(LIMITS, BTreeMap::new(), 0)
}

fn named(service: &str) -> SourceKey {
    (0, service.to_owned())
}

fn ending(service: &'static str, end_s: i64) -> Span {
    Span { start: NOW + (end_s - 1) * S, duration: S, service, ..Span::new(1, 1) }
}

#[test]
fn a_source_is_as_far_as_its_latest_end_and_own_spans_are_none() {
    let own = |word: &str| ending("shop", 9).with("weavergen.origin", word);
    let mut of_resource = ending("self", 9);
    of_resource.resource.push(("weavergen.origin".to_owned(), "self".into()));
    let mut other = ending("other", 4);
    other.resource.push(("weavergen.origin".to_owned(), "elsewhere".into()));
    let spans = [
        ending("shop", 3),
        ending("shop", 1),
        own("pipeline"),
        own("self"),
        own("user").with("weavergen.origins", "self"),
        ending("pay", 2).with("k", "self"),
        of_resource,
        other,
    ];
    let found = heard(&fixture::batch(&spans), 7, NOW + 3 * S);
    let latest: BTreeMap<String, i64> = found.latest.into_iter().map(|(of, at)| (of, (at - NOW) / S)).collect();
    let want = [("other", 4), ("pay", 2), ("shop", 9)].map(|(of, at)| (of.to_owned(), at));
    assert_eq!((latest, found.position_us, found.future), (BTreeMap::from(want), 7, 2));
    let none = heard(&fixture::batch(&[own("pipeline")]), 7, NOW);
    assert_eq!((none.latest, none.future), (Vec::new(), 0));
}

#[tokio::test]
async fn what_came_to_a_store_is_heard_once_from_memory_and_from_parts() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW, 1);
    let store = store_at(dir.path(), clock.clone()).await;
    let append = async |service: &'static str, end_s: i64| {
        let batches = vec![fixture::batch(&[ending(service, end_s)])];
        store.append(Delivery { batches, body: None, identity: 0, origin: Origin::Received }).await.unwrap();
    };
    append("a", 1).await;
    store.freeze_and_flush().await.unwrap();
    append("b", 2).await;
    let feed = Feed::over(store.clone(), &Config::default());
    let hear = feed.hear.clone().unwrap();
    let mut came: Vec<Heard> = Vec::new();
    loop {
        let next = hear(came.last().map_or(i64::MIN, |last| last.position_us)).await.unwrap();
        if next.is_empty() {
            break;
        }
        came.extend(next);
    }
    let latest = |heard: &[Heard]| -> Vec<(String, i64)> {
        heard.iter().flat_map(|heard| heard.latest.clone()).map(|(of, at)| (of, (at - NOW) / S)).collect()
    };
    assert_eq!(latest(&came), [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    append("c", 30).await;
    let again = hear(came[0].position_us).await.unwrap();
    assert_eq!(latest(&again), [("b".to_owned(), 2), ("c".to_owned(), 30)], "for who goes back");
    assert_eq!(again[1].future, 1);
}

#[test]
fn the_frontier_is_that_of_the_slowest_active_source_or_of_the_clock() {
    let mut sources = sources();
    let at = |sources: &Sources, now_s: i64| sources.frontier_ns(now_s * S) / S;
    assert_eq!(at(&sources, 1_000), 970, "there is none");
    sources.hear("a".into(), 990 * S, 1_000 * S);
    sources.hear("b".into(), 960 * S, 1_010 * S);
    assert_eq!(at(&sources, 1_010), 960);
    sources.hear("b".into(), 950 * S, 1_011 * S);
    assert_eq!(at(&sources, 1_030), 960, "a span before the latest changes nothing");
    sources.hear("a".into(), 995 * S, 1_015 * S);
    assert_eq!((at(&sources, 1_041), at(&sources, 1_042)), (960, 995), "30 s of silence");
    assert_eq!((at(&sources, 1_045), at(&sources, 1_046)), (995, 1_016), "none is active");
}

#[test]
fn a_source_that_lags_farther_than_it_may_holds_nobody_back_and_is_counted() {
    let mut sources = sources();
    sources.hear("a".into(), 1_000 * S, 1_000 * S);
    sources.hear("late".into(), 700 * S, 1_000 * S);
    assert_eq!((sources.frontier_ns(1_000 * S), sources.lagging(1_000 * S)), (700 * S, 0));
    sources.hear("late".into(), 700 * S, 1_001 * S);
    assert_eq!((sources.frontier_ns(1_001 * S), sources.lagging(1_001 * S)), (1_000 * S, 1));
    assert_eq!(sources.lagging(1_032 * S), 0, "and silent it does not even come late");
}

#[test]
fn sources_above_the_limit_share_classes_and_a_place_that_is_free_is_given_away() {
    let mut sources = sources().with_most(2);
    for (service, latest_s) in [("a", 10), ("b", 20), ("c", 5), ("d", 30), ("c", 7)] {
        sources.hear(service.into(), latest_s * S, 30 * S);
    }
    let kept = sources.take_unwritten();
    let by_name: Vec<&SourceKey> = kept.keys().filter(|(class, _)| *class == 0).collect();
    assert_eq!(by_name, [&named("a"), &named("b")]);
    let classes: Vec<_> = kept.iter().filter(|((class, _), _)| *class > 0).collect();
    assert!(
        (1..=2).contains(&classes.len()) && classes.iter().all(|((class, name), _)| *class <= 1_024 && name.is_empty())
    );
    assert_eq!(sources.frontier_ns(30 * S), if classes.len() == 2 { 7 * S } else { 10 * S });

    // `a` goes on, `b` has not been seen for a day.
    let day_s = 86_400;
    sources.hear("a".into(), 90 * S, 90 * S);
    sources.hear("e".into(), (day_s + 80) * S, (day_s + 80) * S);
    let kept = sources.take_unwritten();
    assert_eq!((kept[&named("b")], kept[&named("a")].is_some(), kept[&named("e")].is_some()), (None, true, true));
}

#[test]
fn a_name_that_is_too_long_is_not_kept() {
    let mut sources = sources();
    sources.hear("x".repeat(256), 10 * S, 30 * S);
    sources.hear("y".repeat(257), 5 * S, 30 * S);
    assert_eq!(sources.frontier_ns(30 * S), 5 * S);
    let kept: Vec<(bool, usize)> =
        sources.take_unwritten().into_keys().map(|(class, name)| (class > 0, name.len())).collect();
    assert_eq!(kept, [(false, 256), (true, 0)]);
}

#[test]
fn a_known_source_is_waited_for_after_any_time_without_a_daemon_and_forgotten_as_if_there_was_none() {
    let row = SourceRow { latest_ns: 10 * S, seen_ns: 11 * S };
    let day_s = 86_400;
    let restored = |now_s: i64| Sources::restored(LIMITS, BTreeMap::from([(named("a"), row)]), now_s * S);
    let sources = restored(1_000);
    assert_eq!((sources.frontier_ns(1_030 * S), sources.frontier_ns(1_031 * S)), (10 * S, 1_001 * S));
    assert_eq!(sources.lagging(1_000 * S), 0);
    let mut sources = restored(day_s).with_most(1);
    sources.hear("b".into(), (day_s + 20) * S, (day_s + 20) * S);
    let kept = sources.take_unwritten();
    assert_eq!((kept[&named("a")], kept[&named("b")].is_some()), (None, true), "it was silent for a day");
}

#[tokio::test]
async fn what_cannot_be_read_is_asked_for_again_and_nobody_waits_for_it_without_end() {
    let clock = Clock::manual(NOW, 1);
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let fails = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let hearing = move |after_us: i64| -> Hearing {
        let failed = fails.swap(false, std::sync::atomic::Ordering::Relaxed);
        let position_us = NOW / 1_000 + 5;
        let one = Heard { position_us, latest: vec![("a".to_owned(), NOW - 7 * S)], future: 0 };
        let came = if after_us < position_us { vec![one] } else { Vec::new() };
        Box::pin(async move { if failed { Err("for a moment".to_owned()) } else { Ok(came) } })
    };
    let mut watermark = Watermark::open(Feed::new(LIMITS, hearing), 0, SourcesKept::default(), NOW);
    watermark.hear(|| true, &clock, &metrics).await;
    assert_eq!(watermark.advance(NOW, &metrics), Some(NOW - 7 * S));
    assert_eq!(watermark.spoken_us(), Some(NOW / 1_000 + 5));

    let silent = Feed::new(LIMITS, |_| Box::pin(std::future::pending()));
    let mut watermark = Watermark::open(silent, 0, SourcesKept::default(), NOW);
    watermark.patience = Duration::from_millis(1);
    watermark.hear(|| true, &clock, &metrics).await;
    assert_eq!(watermark.advance(NOW, &metrics), Some(NOW - 30 * S));
}

#[tokio::test]
async fn a_rest_ends_with_what_is_awaited_and_with_nothing_else_that_comes() {
    let clock = Clock::manual(NOW, 1);
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let came: std::sync::Arc<std::sync::Mutex<Vec<Heard>>> = std::sync::Arc::default();
    let comes = |source: bool| {
        let mut came = came.lock().unwrap();
        let position_us = NOW / 1_000 + 1 + i64::try_from(came.len()).unwrap();
        let latest = if source { vec![("a".to_owned(), NOW)] } else { Vec::new() };
        came.push(Heard { position_us, latest, future: 0 });
    };
    let heard = came.clone();
    let hearing = move |after_us: i64| -> Hearing {
        let heard = heard.lock().unwrap();
        let behind: Vec<Heard> = heard.iter().filter(|one| one.position_us > after_us).cloned().collect();
        Box::pin(async move { Ok(behind) })
    };
    let mut watermark = Watermark::open(Feed::new(LIMITS, hearing), 0, SourcesKept::default(), NOW);
    let (short, long) = (Duration::from_millis(200), Duration::from_secs(60));
    for (awaited, source, is_news) in [
        (Awaited::Nothing, true, false),
        (Awaited::Sources, false, false),
        (Awaited::Sources, true, true),
        (Awaited::Anybody, false, true),
        (Awaited::Anybody, true, true),
    ] {
        watermark.hear(|| true, &clock, &metrics).await;
        comes(source);
        let begun = Instant::now();
        let until = (if is_news { long } else { short }, i64::MAX, awaited);
        watermark.rest(until, || true, &clock, &metrics).await;
        let rested = begun.elapsed();
        assert!(if is_news { rested < long } else { rested >= short }, "{awaited:?} {source}: {rested:?}");
    }
}

#[test]
fn what_changed_is_written_once_and_again_if_that_failed() {
    let mut sources = sources();
    sources.hear("a".into(), 10 * S, 11 * S);
    let row = |latest_s: i64, seen_s: i64| Some(SourceRow { latest_ns: latest_s * S, seen_ns: seen_s * S });
    assert_eq!(sources.take_unwritten(), BTreeMap::from([(named("a"), row(10, 11))]));
    assert_eq!(sources.take_unwritten(), BTreeMap::new());
    sources.write_again();
    let rows = sources.take_unwritten();
    assert_eq!(rows, BTreeMap::from([(named("a"), row(10, 11))]));

    // Known ones count as seen when the process begins.
    let rows = rows.into_iter().map(|(key, row)| (key, row.unwrap())).collect();
    let mut sources = Sources::restored(LIMITS, rows, 200 * S);
    assert_eq!((sources.frontier_ns(230 * S), sources.frontier_ns(231 * S)), (10 * S, 201 * S));
    assert_eq!(sources.take_unwritten(), BTreeMap::new());
}

#[test]
fn ticks_that_m_passes_at_once_are_no_overrun_and_those_that_nobody_closed_are() {
    let grid = Grid::every(S, 0);
    let mut backlog = Backlog::default();
    let mut kept = |last_s: i64, m_s: i64, now_s: i64| backlog.kept_ns(&grid, last_s * S, m_s * S, now_s * S) / S;
    assert_eq!(kept(5, 5, 5), i64::MAX / S);
    assert_eq!(kept(5, 5, 60), i64::MAX / S, "M stands still");
    // M goes on after a minute: all that it passes is kept, as long as it is closed in time.
    assert_eq!(kept(5, 61, 61), 6);
    assert_eq!(kept(6, 63, 63), 7);
    // It came 55 s farther than the clock, so they may take as long, though four later ones are due.
    assert_eq!((kept(7, 65, 65), kept(40, 110, 110)), (8, 41));
    assert_eq!(kept(41, 117, 117), 114);
}

#[test]
fn nobody_was_to_close_the_ticks_of_a_time_without_a_daemon() {
    let grid = Grid::every(S, 0);
    let kept = |kept_s: i64, resumed_s: i64| behind_downtime(&grid, kept_s * S, (resumed_s * S, 90 * S)) / S;
    assert_eq!([kept(5, 10), kept(10, 10), kept(11, 10), kept(90, 10), kept(91, 10)], [5, 10, 91, 91, 91]);
    assert_eq!(kept(11, 0), 11, "it is the first start");
}

proptest! {
    #[test]
    fn by_the_clock_the_newest_four_are_kept(
        interval in 1_i64..40, offset in 0_i64..60,
        looks in prop::collection::vec((0_i64..300, any::<bool>()), 1..60),
    ) {
        let grid = Grid::every(interval, offset);
        let (mut backlog, mut now, mut last) = (Backlog::default(), 1_000, grid.last_due(1_000));
        for (wait, closes) in looks {
            now += wait;
            let kept = backlog.kept_ns(&grid, last, now, now);
            let found = due_from(&grid, last, now, i64::MIN, kept);
            prop_assert_eq!(&found, &due(&grid, last, now, i64::MIN));
            let Some(found) = found else { continue };
            prop_assert!(grid.count(found.next_ns, grid.last_due(now)) <= MAX_DUE);
            if closes {
                last = found.next_ns;
            }
        }
    }

    #[test]
    fn the_instant_at_which_m_is_reached_is_the_first(
        all in prop::collection::vec((0_i64..400, 300_i64..360), 0..6), m in 250_i64..450,
    ) {
        let mut sources = sources();
        for (at, (latest, seen)) in all.into_iter().enumerate() {
            sources.hear(format!("s{at}"), latest * S, seen * S);
        }
        let now = 360;
        let found = sources.reaches_ns(m * S, now * S);
        // Instants between seconds are those at which a source goes idle.
        let second = (now..1_000).find(|at| sources.frontier_ns(at * S) >= m * S).unwrap();
        prop_assert!(sources.frontier_ns(found) >= m * S);
        prop_assert!(found <= second * S && (found > (second - 1) * S || second == now), "{} {}", found, second);
    }
}
