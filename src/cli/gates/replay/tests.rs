//! A daemon's life, and the same played again.

use std::sync::Mutex;
use std::time::Duration;

use super::super::arrivals::Arrivals;
use super::*;
use crate::config::Config;
use crate::gate::journal::Batch;
use crate::gate::state::Cause;
use crate::gate::suite;

const S: i64 = 1_000_000_000;

const GATES: &str = r#"
groups:
  - name: g
    interval: 10s
    query_offset: 5s
    gates:
      - gate: good
        sql: SELECT service_name, avg(CAST(status_code <> 'error' AS INT)) AS value, count(*) AS n FROM spans GROUP BY 1
        by: [service_name]
        window: 30s
        pass: ">= 1"
        for: 20s
      - gate: failures
        sql: SELECT count(*) AS value FROM gate_results WHERE outcome = 'fail'
        window: 30s
        pass: "< 1"
      - gate: late
        sql: SELECT sum(late_spans) AS value FROM gate_ticks
        window: 30s
        pass: "< 1"
      - gate: missed
        sql: SELECT sum(missed) AS value FROM gate_ticks
        window: 30s
        pass: "< 1"
"#;

const SPANS: &str = r#"
gate_files: [g.yaml]
tests:
  - name: life
    spans:
      - { from: 15s, to: 6m, every: 5s, service: a, status: error }
      - { from: 2m11s, to: 2m18s, every: 1s, service: b, status: error, delay: 20s }
    transitions: []
"#;

struct Daemon {
    config: Config,
    clock: Clock,
    house: house::Spans,
    asked: house::Asked,
    groups: Vec<Group>,
    arrivals: Arrivals,
    feed: Feed,
    late_at_ns: Arc<Mutex<BTreeSet<i64>>>,
}

impl Daemon {
    /// One with the gates of the file `text`, whose ticks close by what comes, or by the clock alone.
    async fn of(text: &str, hears: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("g.yaml");
        std::fs::write(&file, text).unwrap();
        let config = sources::Args::default().load().unwrap().config;
        let groups = load_gates(&config, &[file.to_string_lossy().into_owned()]).unwrap();
        let suite = suite::read(Path::new("t.yaml"), SPANS).unwrap();
        let test = &suite.tests[0];
        let clock = Clock::manual(test.start_ns, 0);
        let house = house::Spans::fresh_as(&config, &clock, &Clock::os()).await.unwrap();
        let asked = house.ask(&config, Definitions::Empty.table(), &clock).unwrap();
        let arrivals = Arrivals::of(test).await.unwrap();
        let feed = if hears { house.feed(&config) } else { Feed::none() };
        Self { config, clock, house, asked, groups, arrivals, feed, late_at_ns: Arc::default() }
    }

    async fn open(&self) -> Evaluator {
        let (inner, late) = (self.asked.runner(), self.late_at_ns.clone());
        let runner = Runner::new(move |ask: Ask| {
            match ask.gate.name == "good" && late.lock().unwrap().contains(&ask.window.end_ns) {
                true => Box::pin(async { Err(RunError::Timeout) }),
                false => inner.run(ask),
            }
        });
        let reader = self.house.reader();
        let gates = self.groups.iter().flat_map(|group| &group.gates);
        let parts = Parts {
            questions: gates.map(|gate| (gate.name.clone(), question(gate))).collect(),
            groups: self.groups.clone(),
            default_receivers: Vec::new(),
            value_metrics: false,
            runner,
            late: Late::over(self.asked.gateway()),
            position: Position::new(move || Some(reader.view().visible_us)),
            feed: self.feed.clone(),
            journal: self.asked.journal(),
            clock: self.clock.clone(),
            metrics: Metrics::register(&prometheus::Registry::new()).unwrap(),
            concurrency: 1,
        };
        tokio::task::spawn_blocking(move || Evaluator::open(parts)).await.unwrap().unwrap()
    }

    /// Lives until `t_ns`, and looks at nothing between ticks.
    async fn live(&mut self, evaluator: &mut Evaluator, t_ns: i64) {
        self.live_looking(evaluator, t_ns, false).await;
    }

    /// Lives until `t_ns`; looks between ticks every second, or not at all.
    async fn live_looking(&mut self, evaluator: &mut Evaluator, t_ns: i64, looks: bool) {
        while self.clock.now_ns() < t_ns {
            self.clock.advance(Duration::from_secs(1));
            while let Some((_, batches)) = self.arrivals.next_until(self.clock.now_ns()).unwrap() {
                self.house.append(batches).await.unwrap();
            }
            while evaluator.round_once().await.unwrap() {}
            if looks {
                evaluator.look_at((self.clock.now_ns(), self.visible_us()), |_| true).await.unwrap();
            }
        }
    }

    fn visible_us(&self) -> i64 {
        self.house.reader().view().visible_us
    }

    /// What `play` says of its past.
    async fn replayed(&self, span: (i64, i64), gate: Option<&str>) -> Vec<String> {
        let history = History::of(&self.asked.journal().snapshot().unwrap(), span).unwrap();
        let asked = self.house.ask(&self.config, Definitions::Empty.table(), &self.clock).unwrap();
        let groups = match gate {
            Some(name) => needed(self.groups.clone(), name).unwrap(),
            None => self.groups.clone(),
        };
        let asking = Asking { groups, span, history: Some(&history), gate: gate.map(str::to_owned) };
        let mut lines = Lines::into(Vec::new());
        play(&asked, asking, &mut lines).await.unwrap();
        lines.text().lines().map(str::to_owned).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_repeats_downtimes_late_spans_timeouts_and_closures_by_hand() {
    repeats(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_repeats_ticks_that_waited_for_their_sources() {
    repeats(true).await;
}

const INGEST: &str = r#"
groups:
  - name: g
    interval: 10s
    query_offset: 5s
    gates:
      - gate: errors
        sql: SELECT service_name FROM spans WHERE status_code = 'error'
        by: [service_name]
        window: 30s
        on: ingest
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_repeats_what_fired_between_two_ticks_and_was_closed_by_hand_before_the_next() {
    let mut daemon = Daemon::of(INGEST, false).await;
    let start_ns = daemon.clock.now_ns();
    let at = |seconds: i64| start_ns + seconds * S;
    let mut evaluator = daemon.open().await;
    // Ticks close at 15 s and 25 s.
    for closed_s in [17, 22] {
        daemon.live(&mut evaluator, at(closed_s)).await;
        evaluator.look_at((daemon.clock.now_ns(), daemon.visible_us()), |_| true).await.unwrap();
        assert!(evaluator.operator().close("errors", "service_name=a", "ann", "known"), "it fired as its span came");
    }
    daemon.live(&mut evaluator, at(60)).await;
    evaluator.finish().await.unwrap();
    let rows = daemon.asked.journal().snapshot().unwrap().journal(0, usize::MAX).unwrap();
    let causes: Vec<&str> = rows.iter().map(|(_, row)| row.cause.as_str()).collect();
    assert_eq!(causes, ["firing", "manual", "firing", "manual", "firing"]);
    let live: Vec<String> = rows.iter().map(|(_, row)| line(row).to_string()).collect();
    assert_eq!(daemon.replayed((start_ns, at(55)), None).await, live);
    let Daemon { house, .. } = daemon;
    house.close().await;
}

/// Two groups that look between ticks, and whose ticks close at different seconds.
const BETWEEN: &str = r#"
groups:
  - name: traces
    interval: 10s
    query_offset: 5s
    gates:
      - gate: settled
        assert:
          by: root_service
          quiet: 1s500ms
          give_up: 20s
          checks: [ { select: span, that: ["status_code <> 'error'"] } ]
        window: 30s
        on: trace
  - name: arrivals
    interval: 10s
    query_offset: 7s
    gates:
      - gate: errors
        sql: SELECT service_name FROM spans WHERE status_code = 'error'
        by: [service_name]
        window: 30s
        on: ingest
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_repeats_traces_that_settled_and_spans_that_came_between_ticks() {
    let mut daemon = Daemon::of(BETWEEN, false).await;
    let start_ns = daemon.clock.now_ns();
    let at = |seconds: i64| start_ns + seconds * S;
    let mut evaluator = daemon.open().await;
    for (until_s, gate, key) in
        [(18, "settled", "root_service=a"), (22, "errors", "service_name=a"), (43, "settled", "root_service=a")]
    {
        daemon.live_looking(&mut evaluator, at(until_s), true).await;
        assert!(evaluator.operator().close(gate, key, "ann", "known"), "{gate} fired between ticks, by {until_s} s");
    }
    daemon.live_looking(&mut evaluator, at(230), true).await;
    evaluator.finish().await.unwrap();

    let rows = daemon.asked.journal().snapshot().unwrap().journal(0, usize::MAX).unwrap();
    let found = |gate: &str, key: &str| {
        let of = rows.iter().map(|(_, row)| row).filter(|row| row.gate == gate && row.key == key);
        let fired = of.filter(|row| row.cause == Cause::Firing && row.looked_us.is_some());
        fired.map(|row| (row.t_ns - start_ns) / S).collect::<Vec<_>>()
    };
    // The span of 15 s comes by 16 s and is quiet for long enough by 18 s; what was closed by hand fails again a second later.
    assert_eq!(found("settled", "root_service=a"), [18, 19, 44]);
    assert_eq!(found("errors", "service_name=a"), [15, 25], "what was closed begins again with the next span");
    // Those of `b` came 20 s late: by the time of their arrival the window still holds them.
    assert_eq!((found("settled", "root_service=b").len(), found("errors", "service_name=b")), (1, vec![131]));
    let live: Vec<String> = rows.iter().map(|(_, row)| line(row).to_string()).collect();
    assert_eq!(daemon.replayed((start_ns, at(224)), None).await, live);

    // A gate that is played alone says what it said among others.
    let alone: Vec<String> = live.iter().filter(|line| line.contains("\"settled\"")).cloned().collect();
    assert_eq!(daemon.replayed((start_ns, at(224)), Some("settled")).await, alone);
    let Daemon { house, .. } = daemon;
    house.close().await;
}

async fn repeats(hears: bool) {
    let mut daemon = Daemon::of(GATES, hears).await;
    let start_ns = daemon.clock.now_ns();
    let at = |seconds: i64| start_ns + seconds * S;
    daemon.late_at_ns.lock().unwrap().insert(at(170));

    let mut evaluator = daemon.open().await;
    daemon.live(&mut evaluator, at(37)).await;
    // Pending since 20 s: the time without a daemon adds nothing to `for`.
    evaluator.finish().await.unwrap();
    drop(evaluator);
    daemon.asked.journal().commit(&Batch::default(), daemon.clock.now_ns()).unwrap();
    daemon.clock.advance(Duration::from_secs(53));
    let mut evaluator = daemon.open().await;
    daemon.live(&mut evaluator, at(128)).await;
    let closed = evaluator.operator().close("good", "service_name=a", "ann", "known");
    assert!(closed, "it fired by then");
    daemon.live(&mut evaluator, at(200)).await;
    evaluator.finish().await.unwrap();

    let rows = daemon.asked.journal().snapshot().unwrap().journal(0, usize::MAX).unwrap();
    let live: Vec<String> = rows.iter().map(|(_, row)| line(row).to_string()).collect();
    let causes: Vec<&str> =
        rows.iter().filter(|(_, row)| row.gate == "good").map(|(_, row)| row.cause.as_str()).collect();
    assert!(causes.contains(&"manual") && causes.iter().filter(|cause| **cause == "firing").count() >= 2, "{causes:?}");
    let span = (start_ns, at(195));
    assert_eq!(daemon.replayed(span, None).await, live);

    // A gate that reads what others gave is not alone, though it is shown alone.
    let of_derived: Vec<String> = live.iter().filter(|line| line.contains("\"failures\"")).cloned().collect();
    assert!(!of_derived.is_empty());
    assert_eq!(daemon.replayed(span, Some("failures")).await, of_derived);
    // Spans of `b` came late: with sources, ticks waited until it was silent for long enough.
    let ticks = daemon.asked.journal().snapshot().unwrap().ticks(&evaluator.driven()[0].id).unwrap();
    let waited = |(t_ns, row): &(i64, crate::gate::journal::TickRow)| row.closed_ns > Some(t_ns + 30 * S);
    assert_eq!(ticks.iter().filter(|(t_ns, _)| *t_ns > at(140)).any(waited), hears);
    let Daemon { house, .. } = daemon;
    house.close().await;
}
