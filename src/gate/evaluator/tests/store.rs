//! P1 through the whole house below: spans in a real store, flushed and reopened at any moment, asked by SQL; and a derived
//! gate over what was found.

mod provisional;

use proptest::prelude::*;

use super::super::super::state::Rule;
use super::oracle::{CLEAR, PASS, TICKS, WARN, by_key, history, oracle};
use super::*;
use crate::gate::{Class, Config, run, tables};
use crate::query;
use crate::query::tests::fixture;
use crate::span::{Delivery, Origin};
use crate::store::Store as SpanStore;
use crate::store::samples::store_at;

const SQL: &str = "SELECT service_name AS service, avg(CAST(status_code <> 'error' AS INT)) AS value, count(*) AS n \
                   FROM spans GROUP BY service_name";
/// Keys that fail at the very tick.
const FAILING: &str = "SELECT count(*) FILTER (WHERE outcome = 'fail') AS value FROM gate_results";

/// What a daemon is of, as far as gates care.
struct House {
    dir: tempfile::TempDir,
    medium: Medium,
    clock: Clock,
    groups: Vec<Group>,
    store: SpanStore,
    evaluator: Evaluator,
    journal: Journal,
    spans: u64,
}

impl House {
    async fn new(gate: Gate) -> Self {
        let mut failing = super::gate("failing", Test::AtLeast(0.0));
        failing.source.sql = FAILING.to_owned();
        failing.source.is_derived = true;
        failing.window = Duration::from_secs(30);
        let (dir, medium) = (tempfile::tempdir().unwrap(), Medium::default());
        let (clock, groups) = (Clock::manual(BEGIN_S * S, 5), vec![every_30s(vec![failing, gate])]);
        let (store, evaluator, journal) = Self::start(&dir, &medium, &clock, &groups).await;
        Self { dir, medium, clock, groups, store, evaluator, journal, spans: 0 }
    }

    async fn start(
        dir: &tempfile::TempDir,
        medium: &Medium,
        clock: &Clock,
        groups: &[Group],
    ) -> (SpanStore, Evaluator, Journal) {
        let store = store_at(dir.path(), clock.clone()).await;
        let journal = medium.journal().unwrap();
        let query = query::Config { threads: 1, ..query::Config::default() };
        let (tables, config) = (tables(Some(&journal)), Config::default());
        let gateway = run::gateway(store.reader(), &query, &config, tables, clock.clone()).unwrap();
        let reader = store.reader();
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let parts = Parts {
            questions: BTreeMap::new(),
            groups: groups.to_vec(),
            default_receivers: vec![],
            value_metrics: false,
            late: Late::over(gateway.clone()),
            runner: run::sharing_runner(gateway, groups, &config, &metrics),
            position: Position::new(move || {
                let view = reader.view();
                view.complete.then_some(view.visible_us)
            }),
            feed: Feed::none(),
            journal: journal.clone(),
            clock: clock.clone(),
            metrics,
            concurrency: 2,
        };
        (store, Evaluator::open(parts).unwrap(), journal)
    }

    fn late(&self) -> u64 {
        self.evaluator.shared.parts.metrics.late_dropped_spans.with_label_values(&["g"]).get()
    }

    async fn append(&mut self, spans: &[(i64, &'static str, bool)]) {
        let span = |(at, &(end_s, service, good)): (u64, &(i64, &'static str, bool))| fixture::Span {
            start: (BEGIN_S + end_s - 1) * S,
            duration: S,
            service,
            status: if good { "ok" } else { "error" },
            ..fixture::Span::new(u128::from(self.spans + at) + 1, self.spans + at + 1)
        };
        let spans: Vec<_> = (0..).zip(spans).map(span).collect();
        self.spans += spans.len() as u64;
        let batches = vec![fixture::batch(&spans)];
        self.store.append(Delivery { batches, body: None, identity: 0, origin: Origin::Received }).await.unwrap();
    }

    /// Stops and starts both at this very moment, which is no downtime.
    async fn restart(self) -> Self {
        self.journal.commit(&Batch::default(), self.clock.now_ns()).unwrap();
        let Self { dir, medium, clock, groups, store, evaluator, journal, spans } = self;
        drop((evaluator, journal));
        store.close().await.unwrap();
        let (store, evaluator, journal) = Self::start(&dir, &medium, &clock, &groups).await;
        Self { dir, medium, clock, groups, store, evaluator, journal, spans }
    }

    fn now_s(&self) -> i64 {
        self.clock.now_ns() / S - BEGIN_S
    }

    fn seen(&self) -> Vec<(i64, String, Cause)> {
        let rows = self.journal.snapshot().unwrap().journal(0, usize::MAX).unwrap();
        rows.into_iter().map(|(_, row)| (row.t_ns / S - BEGIN_S, row.key, row.cause)).collect()
    }

    /// Of the derived gate: evaluations, and the sum of its values.
    fn failing(&self) -> (u64, f64) {
        let snapshot = self.journal.snapshot().unwrap();
        let mut runs: Vec<_> =
            snapshot.results((i64::MIN, 0), i64::MAX, 9_999).unwrap().into_iter().map(|(_, run)| run).collect();
        runs.extend(snapshot.all_running().unwrap());
        let own = runs.into_iter().filter(|run| run.gate == "failing");
        own.fold((0, 0.0), |(n, sum), run| (n + run.evaluations, sum + run.values.0))
    }
}

#[tokio::test]
async fn spans_that_come_after_their_window_closed_are_counted_once_and_change_only_open_windows() {
    let mut gate = Gate { window: Duration::from_secs(120), ..by_service(0.9) };
    gate.source.sql = SQL.to_owned();
    let mut house = House::new(gate).await;
    let at = |seconds: &[i64]| seconds.iter().map(|at| (*at, "a", true)).collect::<Vec<_>>();
    house.append(&at(&[5, 25])).await;
    for (now_s, late) in [(50, vec![]), (80, vec![1, 2, 29, 30]), (110, vec![3]), (140, vec![89, 91])] {
        house.clock.advance(Duration::from_secs(u64::try_from(now_s - house.now_s()).unwrap()));
        if !late.is_empty() {
            house.append(&at(&late)).await;
        }
        if now_s == 110 {
            house.store.freeze_and_flush().await.unwrap();
            house = house.restart().await;
        }
        house.evaluator.round().await.unwrap();
    }
    // Before tick 30 came 3 of the first four; the counter began anew at the restart: 3, and 89 for tick 90.
    assert_eq!(house.late(), 2);
    house.evaluator.write(true).await.unwrap();
    let ticks = house.journal.snapshot().unwrap().ticks_between(None, (i64::MIN, i64::MAX), 99).unwrap();
    assert_eq!(
        ticks.iter().filter_map(|(.., row)| row.late).sum::<u64>(),
        5,
        "the journal keeps what a counter forgets"
    );
    let ticks = house.journal.snapshot().unwrap().all_running().unwrap();
    let n: Vec<_> = ticks.iter().filter(|run| run.gate == "good" && run.key == "service=a").map(|run| run.n).collect();
    assert_eq!(n, [Some(9)], "the window of two minutes holds all of them");
}

#[tokio::test]
async fn a_key_that_fails_shows_its_newest_traces_and_one_that_passes_none() {
    let mut gate = Gate { by: vec!["service_name".into()], ..by_service(0.9) };
    gate.source.sql = SQL.replace(" AS service,", ",");
    gate.exemplars = Some("status_code = 'error'".to_owned());
    let mut house = House::new(gate).await;
    // Traces 1 to 9 of a, of which 3 is good, then one of b; none of them fails after the window.
    let spans: Vec<_> = (1..10).map(|at| (at, "a", at == 3)).chain([(10, "b", true), (31, "a", false)]).collect();
    house.append(&spans).await;
    house.clock.advance(Duration::from_secs(50));
    house.evaluator.round().await.unwrap();
    house.evaluator.write(true).await.unwrap();
    let runs = house.journal.snapshot().unwrap().running("good", 1).unwrap();
    let traces = |key: &str| runs[key].trace_ids.iter().map(|id| id[15]).collect::<Vec<_>>();
    assert_eq!(traces("service_name=a"), [9, 8, 7, 6, 5]);
    assert_eq!(traces("service_name=b"), [0_u8; 0]);
}

/// Keys that fail, over all ticks.
fn failing(all: &[(i64, &'static str, bool)], window_s: i64) -> f64 {
    let at = |t_s: i64, service: &str| {
        let own: Vec<_> = all.iter().filter(|(at, s, _)| *s == service && (t_s - window_s..t_s).contains(at)).collect();
        let good = own.iter().filter(|(.., good)| *good).count();
        own.len() >= 3 && (good as f64) < WARN * own.len() as f64
    };
    (0..=TICKS).flat_map(|tick| ["a", "b"].map(|service| at(tick * 30, service))).filter(|fails| *fails).count() as f64
}

proptest! {
    // Each one asks a hundred questions by SQL.
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn a_real_store_flushed_and_reopened_at_any_moment_gives_the_oracles_episodes(
        all in history(),
        delays in prop::collection::vec(0_i64..20, 400),
        pauses in prop::collection::vec(5_u64..40, 100),
        acts in prop::collection::vec(0_u8..12, 100),
        cuts in prop::collection::vec(1_usize..30, 100),
        hold_s in prop::sample::select(vec![0_i64, 30, 60]),
        keep_s in prop::sample::select(vec![0_i64, 30]),
        shares in any::<bool>(),
    ) {
        let seconds = |s: i64| Duration::from_secs(u64::try_from(s).unwrap());
        let mut gate = Gate {
            warn: Some(comparison(Test::AtLeast(WARN))),
            clear: comparison(Test::AtLeast(CLEAR)),
            min_samples: 3,
            hold_for: seconds(hold_s),
            keep_firing_for: seconds(keep_s),
            // By its SQL, or out of states of buckets.
            class: if shares { Class::Decomposable } else { Class::Rerun(String::new()) },
            ..by_service(PASS)
        };
        gate.source.sql = SQL.to_owned();
        let mut arrivals: Vec<_> =
            all.iter().zip(delays.iter().cycle()).map(|(span, delay)| (span.0 + delay, *span)).collect();
        arrivals.sort_by_key(|(at, _)| *at);
        let house = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let mut house = House::new(gate).await;
            let (mut left, mut cuts) = (arrivals.as_slice(), cuts.iter().cycle());
            for (pause, act) in pauses.iter().cycle().zip(acts.iter().cycle()) {
                while let Some(here) = left.iter().position(|(at, _)| *at > house.now_s()).or(Some(left.len())).filter(|n| *n > 0) {
                    let (now, rest) = left.split_at(here.min(*cuts.next().unwrap()));
                    house.append(&now.iter().map(|(_, span)| *span).collect::<Vec<_>>()).await;
                    left = rest;
                }
                match act {
                    0 | 1 => house.store.freeze_and_flush().await.unwrap(),
                    2 => house = house.restart().await,
                    _ => {}
                }
                house.evaluator.round().await.unwrap();
                if house.now_s() >= TICKS * 30 + 20 {
                    break;
                }
                let left_s = u64::try_from(TICKS * 30 + 20 - house.now_s()).unwrap();
                house.clock.advance(Duration::from_secs((*pause).min(left_s)));
            }
            house.evaluator.write(true).await.unwrap();
            house
        });
        let rule = Rule {
            interval_ns: 30 * S, hold_for_ns: hold_s * S, keep_firing_for_ns: keep_s * S, ..Rule::default()
        };
        prop_assert_eq!(by_key(house.seen()), by_key(oracle(&all, 60, rule, TICKS)));
        prop_assert_eq!(house.failing(), (u64::try_from(TICKS).unwrap() + 1, failing(&all, 60)));
    }
}
