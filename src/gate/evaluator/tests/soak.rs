//! P13: a day of keys that come and go, over a real store.
//!
//! Each key lives ten minutes, and one in four breaches all the time. What is counted is all that grows with keys: states of
//! buckets and their bytes, keys, running results and series. Resident memory is that of all tests of the process.

use prometheus::core::Collector as _;

use super::*;
use crate::gate::{Class, Config, run};
use crate::query;
use crate::query::tests::fixture;
use crate::span::{Delivery, Origin};
use crate::store::Store as SpanStore;
use crate::store::samples::store_at;

const MINUTE: Duration = Duration::from_secs(60);
const MINUTES: u64 = 24 * 60;
/// Keys that begin in a minute, and how many minutes each lives.
const BORN: u64 = 4;
const LIVES: u64 = 10;
/// By when the longest window has lost its first key, and whoever resolved is forgotten.
const STEADY_H: usize = 4;

/// What is held in memory.
#[derive(Clone, Copy, Debug)]
struct Held {
    states: i64,
    state_bytes: i64,
    keys: i64,
    running: i64,
    series: i64,
}

impl Held {
    fn by(evaluator: &Evaluator) -> Self {
        let parts = &evaluator.shared.parts;
        let count = |n: usize| i64::try_from(n).unwrap();
        let phases = ["inactive", "pending", "firing", "recovering", "resolved"];
        let gates = parts.groups.iter().flat_map(|group| &group.gates);
        let keys = gates
            .flat_map(|gate| phases.map(|phase| parts.metrics.keys.with_label_values(&[gate.name.as_str(), phase])));
        Self {
            states: parts.metrics.bucket_entries.get(),
            state_bytes: parts.metrics.bucket_bytes.get(),
            keys: keys.map(|of| of.get()).sum(),
            running: count(evaluator.keys().len()),
            series: parts.metrics.value.collect().iter().map(|family| count(family.get_metric().len())).sum(),
        }
    }

    fn all(self) -> [i64; 5] {
        [self.states, self.state_bytes, self.keys, self.running, self.series]
    }

    /// The most of each.
    fn most(of: &[Self]) -> [i64; 5] {
        of.iter().fold([0_i64; 5], |most, held| std::array::from_fn(|at| most[at].max(held.all()[at])))
    }
}

fn groups() -> Vec<Group> {
    let good = "SELECT service_name, avg(CAST(status_code <> 'error' AS INT)) AS value FROM spans GROUP BY 1";
    let middle = "SELECT service_name, median(duration_ns) AS value FROM spans GROUP BY 1";
    let of = |name: &str, sql: &str, minutes: u32, class: Class| {
        let mut gate = Gate { by: vec!["service_name".into()], class, ..gate(name, Test::AtLeast(0.9)) };
        gate.source.sql = sql.to_owned();
        gate.window = MINUTE * minutes;
        gate
    };
    let gates = vec![
        of("good", good, 5, Class::Decomposable),
        // In wide buckets.
        of("good_for_long", good, 180, Class::Decomposable),
        of("middle", middle, 5, Class::Rerun(String::new())),
    ];
    vec![Group { interval: MINUTE, query_offset: Duration::ZERO, ..every_30s(gates) }]
}

fn open(store: &SpanStore, dir: &tempfile::TempDir, clock: &Clock) -> Evaluator {
    let (groups, config) = (groups(), Config::default());
    let query = query::Config { threads: 1, ..query::Config::default() };
    let gateway = run::gateway(store.reader(), &query, &config, Vec::new(), clock.clone()).unwrap();
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let reader = store.reader();
    let parts = Parts {
        questions: BTreeMap::new(),
        default_receivers: vec![],
        value_metrics: true,
        runner: run::sharing_runner(gateway.clone(), &groups, &config, &metrics),
        groups,
        late: Late::over(gateway),
        position: Position::new(move || {
            let view = reader.view();
            view.complete.then_some(view.visible_us)
        }),
        feed: Feed::over(store.clone(), &config),
        journal: Journal::open(&dir.path().join("gates.redb")).unwrap(),
        clock: clock.clone(),
        metrics,
        concurrency: 1,
    };
    Evaluator::open(parts).unwrap()
}

/// A span of each key that lives in the minute `at`, which ends now.
fn spans(at: u64, now_ns: i64, names: &[&'static str]) -> Vec<fixture::Span> {
    let first = at.saturating_sub(LIVES - 1) * BORN;
    let span = |key: u64| fixture::Span {
        start: now_ns - S,
        duration: S,
        service: names[usize::try_from(key).unwrap()],
        status: if key.is_multiple_of(4) { "error" } else { "ok" },
        ..fixture::Span::new(u128::from(key) + 1, at * 1_000 + key - first + 1)
    };
    (first..(at + 1) * BORN).map(span).collect()
}

#[tokio::test]
#[ignore = "a day of ticks takes minutes"]
async fn what_is_held_of_keys_that_come_and_go_is_as_much_at_the_end_of_a_day_as_after_some_hours() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(BEGIN_S * S, 5);
    let store = store_at(dir.path(), clock.clone()).await;
    let mut evaluator = open(&store, &dir, &clock);
    // Of one length, so that bytes are comparable.
    let names = (0..MINUTES * BORN).map(|key| &*Box::leak(format!("service-{key:05}").into_boxed_str()));
    let names: Vec<&'static str> = names.collect();
    let mut held = Vec::new();
    for at in 0..MINUTES {
        clock.advance(MINUTE);
        let batches = vec![fixture::batch(&spans(at, clock.now_ns(), &names))];
        store.append(Delivery { batches, body: None, identity: 0, origin: Origin::Received }).await.unwrap();
        evaluator.round().await.unwrap();
        if (at + 1).is_multiple_of(60) {
            held.push(Held::by(&evaluator));
        }
        if (at + 1).is_multiple_of(120) {
            store.freeze_and_flush().await.unwrap();
        }
    }
    let metrics = &evaluator.shared.parts.metrics;
    for gate in ["good", "good_for_long", "middle"] {
        let asked = metrics.evaluation_seconds.with_label_values(&[gate]).get_sample_count();
        let missed = metrics.missed_ticks.with_label_values(&[gate, "overrun"]).get();
        assert_eq!((asked, missed), (MINUTES, 0), "{gate}");
    }
    let (early, late) = (Held::most(&held[STEADY_H..STEADY_H + 6]), Held::most(&held[held.len() - 6..]));
    println!("Sample of {} h: {:?}, of the last hours: {late:?}", STEADY_H + 6, early);
    assert!(early.iter().all(|count| *count > 0), "{held:?}");
    assert!(early.iter().zip(&late).all(|(early, late)| *late <= early + early / 20), "{held:?}");
    // Each is forgotten: those of ten minutes and a window, and who resolved a quarter of an hour later.
    assert!(late[2] < i64::try_from(BORN * 300).unwrap(), "{held:?}");
    drop(evaluator);
    store.close().await.unwrap();
}
