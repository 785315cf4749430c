//! T1: the rows are those of a naive oracle, whatever order spans come in, however they are split, flushed and reopened.

use proptest::prelude::*;

use super::*;
use crate::learn::patterns::fold::tests::fold_literally;
use crate::learn::patterns::fold::{Row, Seen, Tick};
use crate::learn::patterns::run;
use crate::query::tests::fixture;
use crate::span::{Delivery, Origin};
use crate::store::Store as SpanStore;
use crate::store::samples::store_at;

/// On the grid of both files.
const BEGIN_S: i64 = 1_700_000_040;
const TICKS: i64 = 16;
const SERVICES: [&str; 2] = ["a", "b"];
const NAMES: [&str; 3] = ["x", "y", "z"];

/// Failing spans by operation, with the traces of the first ones; its window is implicit.
const FAILING: &str = "SELECT service_name AS service, name AS op, count(*) FILTER (WHERE status_code = 'error') AS support, \
    count(*) AS n, array_agg(trace_id ORDER BY end_time, trace_id) FILTER (WHERE status_code = 'error') AS trace_ids, \
    count(DISTINCT status_code) AS kinds FROM spans GROUP BY 1, 2 HAVING count(*) FILTER (WHERE status_code = 'error') > 0";
/// Failing spans of a service against those of the minute before; it bounds itself.
const RISING: &str = "SELECT service_name AS service, count(*) FILTER (WHERE end_time >= $window_start AND status_code = 'error') \
    AS support, count(*) FILTER (WHERE end_time >= $window_start) AS n, count(*) FILTER (WHERE end_time < $window_start AND \
    status_code = 'error') AS rest_support, count(*) FILTER (WHERE end_time < $window_start) AS rest_n FROM spans WHERE end_time \
    >= $window_start - INTERVAL '60 seconds' AND end_time < $window_end GROUP BY 1 HAVING count(*) FILTER (WHERE end_time >= \
    $window_start AND status_code = 'error') > 0";

/// A span: second of its end, service, operation, whether it failed; its place in the list is its trace.
type Given = (i64, usize, usize, bool);

fn files() -> [Pattern; 2] {
    let failing = Pattern {
        sql: FAILING.to_owned(),
        by: vec!["service".to_owned(), "op".to_owned()],
        thresholds: Thresholds { min_support: 2, min_effect: None, limit: 3 },
        expire: Duration::from_secs(90),
        ..pattern("failing", 30)
    };
    let rising = Pattern {
        sql: RISING.to_owned(),
        by: vec!["service".to_owned()],
        thresholds: Thresholds { min_support: 1, min_effect: Some(0.5), limit: 10 },
        is_explicit: true,
        ..pattern("rising", 60)
    };
    [failing, rising]
}

/// What the file finds in the window that ends at second `t_s`, by a plain scan.
fn scan(file: &str, all: &[Given], t_s: i64) -> Vec<(String, Seen)> {
    let within = |from_s: i64, to_s: i64, service: usize, op: Option<usize>| -> Vec<(i64, usize, bool)> {
        let own = all.iter().enumerate().filter(|(_, span)| (from_s..to_s).contains(&span.0) && span.1 == service);
        let own = own.filter(|(_, span)| op.is_none_or(|op| op == span.2));
        let mut own: Vec<_> = own.map(|(at, span)| (span.0, at, span.3)).collect();
        own.sort_unstable();
        own
    };
    let bad = |spans: &[(i64, usize, bool)]| spans.iter().filter(|span| span.2).count() as u64;
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut found = Vec::new();
    for (service, service_name) in SERVICES.into_iter().enumerate() {
        if file == "rising" {
            let (now, before) = (within(t_s - 60, t_s, service, None), within(t_s - 120, t_s - 60, service, None));
            let seen = Seen {
                labels: BTreeMap::from([label("service", service_name)]),
                support: bad(&now),
                n: now.len() as u64,
                rest: Some((bad(&before), before.len() as u64)),
                trace_ids: Vec::new(),
                evidence: "{}".to_owned(),
            };
            found.push((format!("service={service_name}"), seen));
            continue;
        }
        for (op, op_name) in NAMES.into_iter().enumerate() {
            let own = within(t_s - 60, t_s, service, Some(op));
            let ids = own.iter().filter(|span| span.2).take(5).map(|span| (span.1 as u128 + 1).to_be_bytes());
            let kinds = if own.iter().all(|span| span.2) { 1 } else { 2 };
            let seen = Seen {
                labels: BTreeMap::from([label("service", service_name), label("op", op_name)]),
                support: bad(&own),
                n: own.len() as u64,
                rest: None,
                trace_ids: ids.collect(),
                evidence: format!("{{\"kinds\":{kinds}}}"),
            };
            found.push((format!("op={op_name},service={service_name}"), seen));
        }
    }
    found.retain(|(_, seen)| seen.support > 0);
    found
}

struct House {
    dir: tempfile::TempDir,
    clock: Clock,
    store: SpanStore,
    mine: Miner,
    file: Journal,
    spans: usize,
    /// When the files began: at the last start before their first tick was run, for nothing was kept before that.
    begun_s: [i64; 2],
}

impl House {
    async fn new() -> Self {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(BEGIN_S * S, 5));
        let (store, mine, file) = Self::start(&dir, &clock).await;
        Self { dir, clock, store, mine, file, spans: 0, begun_s: [0; 2] }
    }

    async fn start(dir: &tempfile::TempDir, clock: &Clock) -> (SpanStore, Miner, Journal) {
        let store = store_at(&dir.path().join("data"), clock.clone()).await;
        let file = journal(dir);
        let query = query::Config { threads: 1, ..query::Config::default() };
        let gateway = run::gateway(store.reader(), &query, 256 << 20, None, Vec::new(), clock.clone()).unwrap();
        let reader = store.reader();
        let parts = Parts {
            config: Config::default(),
            path: dir.path().join("learn.redb"),
            quarantine: dir.path().to_owned(),
            patterns: files().to_vec(),
            asker: run::asker(gateway),
            progress: Progress::new(
                move || {
                    let view = reader.view();
                    view.complete.then_some(view.visible_us)
                },
                |_| true,
            ),
            engine: EngineEvents::none(),
            gates: GateFacts::none(),
            clock: clock.clone(),
            metrics: metrics(),
        };
        let mine = Miner::open(parts, file.clone()).await.unwrap();
        (store, mine, file)
    }

    async fn append(&mut self, spans: &[(usize, Given)]) {
        let span = |(number, (end_s, service, op, is_bad)): &(usize, Given)| fixture::Span {
            start: (BEGIN_S + end_s - 1) * S,
            duration: S,
            service: SERVICES[*service],
            name: NAMES[*op],
            status: if *is_bad { "error" } else { "ok" },
            ..fixture::Span::new(*number as u128 + 1, *number as u64 + 1)
        };
        self.spans += spans.len();
        let batches = vec![fixture::batch(&spans.iter().map(span).collect::<Vec<_>>())];
        self.store.append(Delivery { batches, body: None, identity: 0, origin: Origin::Received }).await.unwrap();
    }

    async fn restart(self) -> Self {
        let now_s = self.now_s();
        let Self { dir, clock, store, mine, file, spans, mut begun_s } = self;
        let ran = file.pattern_runs().unwrap();
        for (begun_s, pattern) in begun_s.iter_mut().zip(files()) {
            if ran.iter().all(|(name, ..)| *name != pattern.name) {
                *begun_s = now_s;
            }
        }
        drop((mine, file));
        store.close().await.unwrap();
        let (store, mine, file) = Self::start(&dir, &clock).await;
        Self { dir, clock, store, mine, file, spans, begun_s }
    }

    /// Ticks of the two files until the end: all that were not due yet when they began.
    fn ticks(&self) -> [usize; 2] {
        [0, 1].map(|at| {
            let every_s = i64::try_from(files()[at].every.as_secs()).unwrap();
            let offset_s = i64::try_from(Config::default().query_offset.as_secs()).unwrap();
            let last_due = (self.begun_s[at] - offset_s).div_euclid(every_s);
            usize::try_from((TICKS * 30).div_euclid(every_s) - last_due).unwrap()
        })
    }

    fn now_s(&self) -> i64 {
        self.clock.now_ns() / S - BEGIN_S
    }
}

/// Every committed tick again over all spans, folded by the letter of 3.4.
fn oracle(file: &Pattern, all: &[Given], journal: &Journal) -> (usize, Vec<(String, Row)>) {
    let mut known = Vec::new();
    let mut ticks = 0;
    for (_, t_ns, run) in journal.pattern_runs().unwrap().into_iter().filter(|(name, ..)| *name == file.name) {
        assert_eq!((run.state.as_str(), run.error), ("done", None));
        let tick = Tick {
            t_ns,
            window_start_ns: t_ns - 60 * S,
            cut_us: run.cut_us.unwrap(),
            expire_ns: i64::try_from(file.expire.as_nanos()).unwrap(),
        };
        fold_literally(&mut known, &scan(&file.name, all, t_ns / S - BEGIN_S), file.thresholds, tick);
        ticks += 1;
    }
    (ticks, known.into_iter().map(|row| (file.name.clone(), row)).collect())
}

proptest! {
    // Each one asks some thirty statements of a real store.
    #![proptest_config(ProptestConfig { cases: 2, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn learned_patterns_are_a_naive_oracles_whatever_order_spans_come_in(
        all in prop::collection::vec((0..TICKS * 30, 0..SERVICES.len(), 0..NAMES.len(), prop::bool::weighted(0.4)), 60..160),
        delays in prop::collection::vec(0_i64..20, 160),
        pauses in prop::collection::vec(5_u64..40, 100),
        acts in prop::collection::vec(0_u8..12, 100),
        cuts in prop::collection::vec(1_usize..30, 100),
    ) {
        let mut arrivals: Vec<_> =
            all.iter().enumerate().zip(&delays).map(|(span, delay)| (span.1.0 + delay, (span.0, *span.1))).collect();
        arrivals.sort_by_key(|(at, _)| *at);
        let house = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let mut house = House::new().await;
            let (mut left, mut cuts) = (arrivals.as_slice(), cuts.iter().cycle());
            for (pause, act) in pauses.iter().cycle().zip(acts.iter().cycle()) {
                loop {
                    let due = left.iter().position(|(at, _)| *at > house.now_s()).unwrap_or(left.len());
                    let (now, rest) = left.split_at(due.min(*cuts.next().unwrap()));
                    if now.is_empty() {
                        break;
                    }
                    house.append(&now.iter().map(|(_, span)| *span).collect::<Vec<_>>()).await;
                    left = rest;
                }
                match act {
                    0 | 1 => house.store.freeze_and_flush().await.unwrap(),
                    2 => house = house.restart().await,
                    _ => {}
                }
                while house.mine.turn().await.unwrap().is_zero() {}
                if house.now_s() >= TICKS * 30 + 20 {
                    break;
                }
                let left_s = u64::try_from(TICKS * 30 + 20 - house.now_s()).unwrap();
                house.clock.advance(Duration::from_secs((*pause).min(left_s)));
            }
            house
        });
        prop_assert_eq!(house.spans, all.len());
        let [failing, rising] = files().map(|file| oracle(&file, &all, &house.file));
        prop_assert_eq!([failing.0, rising.0], house.ticks());
        prop_assert_eq!(house.file.pattern_rows().unwrap(), [failing.1, rising.1].concat());
    }
}
