//! Claims about gates that start pipelines.

use std::sync::Mutex;

use bpmn::core::OnUnknown;
use prometheus::Registry;

use super::super::job::schema::lint_registry;
use super::super::job::{Job, Outcome};
use super::super::{Config, Jobs, SourceFile};
use super::*;
use crate::gate::identity::AlertId;
use crate::gate::journal::{Batch, Journal, Occasion, StartEdit};
use crate::gate::metrics::Metrics;

/// A process with the given message start and one job that ends when the test says so.
fn process(message: &str) -> SourceFile {
    let text = format!(
        r#"<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL"
 xmlns:zeebe="http://camunda.org/schema/zeebe/1.0" targetNamespace="t"><message id="m" name="{message}"/>
<process id="repair" isExecutable="true">
<startEvent id="start"><messageEventDefinition messageRef="m"/></startEvent>
<serviceTask id="work"><extensionElements><zeebe:taskDefinition type="sql"/>
<zeebe:taskHeaders><zeebe:header key="query" value="SELECT 1"/></zeebe:taskHeaders></extensionElements></serviceTask>
<endEvent id="end"/><sequenceFlow id="f1" sourceRef="start" targetRef="work"/>
<sequenceFlow id="f2" sourceRef="work" targetRef="end"/></process></definitions>"#
    );
    SourceFile { name: "repair.bpmn".to_owned(), bytes: text.into_bytes() }
}

/// Engine, gates' journal and trigger, with jobs that wait for [`World::finish`].
struct World {
    _dir: tempfile::TempDir,
    clock: Clock,
    engine: Engine,
    journal: Journal,
    trigger: Trigger,
    metrics: Metrics,
    finish: tokio::sync::mpsc::UnboundedSender<()>,
    asked: Arc<Mutex<Vec<Vec<String>>>>,
    /// Depths of the jobs that were begun.
    depths: Arc<Mutex<Vec<u32>>>,
}

impl World {
    async fn new(message: &str, evidence: Result<Evidence, String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(1_735_689_600_000_000_000, 1);
        let (finish, ends) = tokio::sync::mpsc::unbounded_channel();
        let ends = Arc::new(tokio::sync::Mutex::new(ends));
        let depths: Arc<Mutex<Vec<u32>>> = Arc::default();
        let of_jobs = depths.clone();
        let jobs = Jobs {
            run: Arc::new(move |job: Job, _| {
                of_jobs.lock().unwrap().push(job.depth);
                let ends = ends.clone();
                Box::pin(async move {
                    ends.lock().await.recv().await;
                    Outcome::Completed(serde_json::Map::new())
                })
            }),
            render: Arc::new(|text, _| Ok(text.to_owned())),
            on_unknown: Arc::new(|_, _| OnUnknown::Retry),
            limits: BTreeMap::from([("sql".to_owned(), 4)]),
        };
        let config = Config { path: None, jobs, registry: lint_registry(Vec::new(), None) };
        let engine = Engine::open(config, clock.clone()).unwrap();
        if !message.is_empty() {
            engine.deploy(vec![process(message)], None, None).await.unwrap();
        }
        let journal = Journal::open(&dir.path().join("gates.redb")).unwrap();
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let starts = Starts::new(journal.clone(), clock.clone(), metrics.clone());
        let asked: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
        let keep = asked.clone();
        let evidences = Evidences::new(move |traces| {
            keep.lock().unwrap().push(traces);
            let evidence = evidence.clone();
            Box::pin(async move { evidence })
        });
        let trigger = Trigger::new(engine.clone(), starts, evidences, MAX_DEPTH, clock.clone());
        Self { _dir: dir, clock, engine, journal, trigger, metrics, finish, asked, depths }
    }

    async fn plain(message: &str) -> Self {
        Self::new(message, Ok(Evidence::default())).await
    }

    /// The gate `g` asks for a start of `alert` in `episode`.
    fn ask(&self, alert: u8, key: &str, episode: u64) {
        self.ask_for(Occasion::Failed, alert, key, episode);
    }

    fn ask_for(&self, occasion: Occasion, alert: u8, key: &str, episode: u64) {
        let trace = "ab".repeat(16);
        let request = StartRequest {
            alert: AlertId([alert; 16]),
            episode,
            gate: "g".to_owned(),
            key: key.to_owned(),
            pipeline: "repair".to_owned(),
            // An episode ends at a later tick than it begins.
            t_ns: if occasion == Occasion::Failed { 30_000_000_000 } else { 90_000_000_000 },
            variables: format!(
                r#"{{"gate": "g", "value": 0.25, "episode": {episode}, "trace_ids": ["{trace}", "no id"]}}"#
            ),
            cooldown_ns: 0,
            max_runs: 100,
            max_runs_in_ns: 1,
            occasion,
        };
        let starts = vec![(request.alert, episode, StartEdit::Request(Box::new(request)))];
        self.journal.commit(&Batch { starts, ..Batch::default() }, self.clock.now_ns()).unwrap();
    }

    fn due(&self) -> usize {
        self.trigger.starts.due().unwrap().requests.len()
    }

    fn counted(&self, result: &str) -> u64 {
        self.metrics.pipeline_starts.with_label_values(&["g", result]).get()
    }

    fn runs(&self) -> Vec<(String, u64, RunState)> {
        let runs = self.engine.store().runs().unwrap();
        let one = |row: super::super::history::RunRow| {
            let origin = row.trigger.unwrap();
            (row.message_key.unwrap_or_default(), origin.episode, row.state)
        };
        runs.into_iter().map(|(_, row)| one(row)).collect()
    }

    /// Lets the oldest job end, and waits until its run has.
    async fn finish(&self) {
        let mut events = self.engine.subscribe();
        self.finish.send(()).unwrap();
        while !events.recv().await.unwrap().iter().any(makes_room) {}
    }
}

#[tokio::test]
async fn a_due_start_begins_one_run_with_the_gates_variables_and_is_acknowledged_with_it() {
    for message in ["weavergen.gate", "weavergen.gate.g"] {
        let mut world = World::plain(message).await;
        world.ask(1, "service=cart", 3);
        world.trigger.round().await;
        assert_eq!(world.runs(), [("g/service=cart".to_owned(), 3, RunState::Running)], "{message}");
        assert_eq!((world.due(), world.counted("started")), (0, 1));
        let run = world.engine.store().runs().unwrap()[0].0;
        let view = world.engine.store().view().unwrap();
        let variables = (&view as &dyn bpmn::core::StateView).variables(run);
        assert_eq!(variables["value"].to_json(), serde_json::json!(0.25));
        assert_eq!(world.asked.lock().unwrap()[0], ["ab".repeat(16)], "what is no id is no evidence");
        world.trigger.round().await;
        assert_eq!(world.runs().len(), 1);
    }
}

#[tokio::test]
async fn a_start_whose_key_has_an_active_run_is_busy_and_begins_when_that_run_ends() {
    let mut world = World::plain("weavergen.gate").await;
    world.ask(1, "k", 1);
    world.trigger.round().await;
    world.ask(1, "k", 2);
    world.ask(2, "other", 1);
    world.trigger.round().await;
    world.trigger.round().await;
    let running = |key: &str, episode| (key.to_owned(), episode, RunState::Running);
    assert_eq!(world.runs(), [running("g/k", 1), running("g/other", 1)], "one key does not hold up another");
    assert_eq!((world.due(), world.counted("busy")), (1, 1), "a busy start is counted once, not at every look");
    world.finish().await;
    world.trigger.round().await;
    let ended = ("g/k".to_owned(), 1, RunState::Completed);
    assert_eq!(world.runs(), [ended, running("g/other", 1), running("g/k", 2)]);
    assert_eq!((world.due(), world.counted("started")), (0, 3));
}

#[tokio::test]
async fn the_follower_offers_a_busy_start_again_by_itself() {
    let world = World::plain("weavergen.gate").await;
    let stop = CancellationToken::new();
    let (engine, finish, journal) = (world.engine.clone(), world.finish.clone(), world.journal.clone());
    world.ask(1, "k", 1);
    world.ask(1, "k", 2);
    let mut events = engine.subscribe();
    let mut changes = journal.start_changes();
    let following = tokio::spawn(world.trigger.follow(stop.clone()));
    // started, busy
    for _ in 0..2 {
        changes.changed().await.unwrap();
    }
    finish.send(()).unwrap();
    let mut created = 0;
    while created < 2 {
        let batch = events.recv().await.unwrap();
        created += batch.iter().filter(|event| matches!(event.body, Body::InstanceCreated { .. })).count();
    }
    stop.cancel();
    following.await.unwrap();
}

#[tokio::test]
async fn a_lost_acknowledgement_does_not_begin_a_second_run() {
    let mut world = World::plain("weavergen.gate").await;
    world.ask(1, "k", 1);
    let request = world.trigger.starts.due().unwrap().requests.remove(0);
    let id = id_of(&request);
    let evidence = Evidence::default();
    // The message is published, and the process dies before it tells the gates.
    world.trigger.publish("weavergen.gate", &id, &request, &Variables::new(), &evidence).await.unwrap();
    assert_eq!(world.due(), 1);
    // Also after the engine has forgotten the message id.
    world.clock.advance(Duration::from_secs(25 * 3600));
    world.trigger.round().await;
    assert_eq!((world.runs().len(), world.due(), world.counted("started")), (1, 0, 1));
}

#[tokio::test]
async fn the_end_of_an_episode_begins_a_run_of_its_own_also_of_the_same_process() {
    let mut world = World::plain("weavergen.gate").await;
    world.ask(1, "k", 1);
    world.trigger.round().await;
    world.finish().await;
    world.ask_for(Occasion::Resolved, 1, "k", 1);
    world.trigger.round().await;
    let of = |state| ("g/k".to_owned(), 1, state);
    assert_eq!(world.runs(), [of(RunState::Completed), of(RunState::Running)]);
    assert_eq!((world.due(), world.counted("started")), (0, 2));

    // Its acknowledgement may be lost as well.
    let mut world = World::plain("weavergen.gate").await;
    world.ask_for(Occasion::Resolved, 1, "k", 1);
    let request = world.trigger.starts.due().unwrap().requests.remove(0);
    let id = id_of(&request);
    world.trigger.publish("weavergen.gate", &id, &request, &Variables::new(), &Evidence::default()).await.unwrap();
    world.trigger.round().await;
    assert_eq!((world.runs().len(), world.due(), world.counted("started")), (1, 0, 1));
}

#[tokio::test]
async fn a_run_of_on_fail_that_was_lost_until_the_episode_ended_does_not_stand_for_that_of_on_resolve() {
    let mut world = World::plain("weavergen.gate").await;
    world.ask(1, "k", 1);
    let failed = world.trigger.starts.due().unwrap().requests.remove(0);
    let id = id_of(&failed);
    // The run begins and ends, the process dies before it tells the gates, and the episode ends.
    world.trigger.publish("weavergen.gate", &id, &failed, &Variables::new(), &Evidence::default()).await.unwrap();
    world.finish().await;
    let starts = vec![(failed.alert, 1, StartEdit::Lapse)];
    world.journal.commit(&Batch { starts, ..Batch::default() }, world.clock.now_ns()).unwrap();
    world.ask_for(Occasion::Resolved, 1, "k", 1);
    world.trigger.round().await;
    let of = |state| ("g/k".to_owned(), 1, state);
    assert_eq!(world.runs(), [of(RunState::Completed), of(RunState::Running)]);
    assert_eq!((world.due(), world.counted("started")), (0, 2), "both are known now");
    let began = world.journal.snapshot().unwrap().began(Occasion::Failed, failed.alert).unwrap();
    assert_eq!(began.len(), 1, "the first counts for `cooldown` and `max_runs`");
}

#[tokio::test]
async fn a_start_that_is_asked_for_again_at_a_later_tick_finds_the_run_that_was_lost_before() {
    let mut world = World::plain("weavergen.gate").await;
    world.ask(1, "k", 1);
    let request = world.trigger.starts.due().unwrap().requests.remove(0);
    let before = StartRequest { t_ns: 10_000_000_000, ..request.clone() };
    let (id, evidence) = (id_of(&request), Evidence::default());
    world.trigger.publish("weavergen.gate", &id, &before, &Variables::new(), &evidence).await.unwrap();
    world.trigger.round().await;
    assert_eq!((world.runs().len(), world.due(), world.counted("started")), (1, 0, 1));
}

#[tokio::test]
async fn evidence_that_a_pipeline_made_starts_none_and_is_counted() {
    let mut world = World::new("weavergen.gate", Ok(Evidence { depth: 1, spans: Vec::new() })).await;
    world.ask(1, "k", 1);
    world.trigger.round().await;
    assert_eq!((world.runs().len(), world.due(), world.counted("refused")), (0, 0, 1));
}

#[tokio::test]
async fn what_a_run_starts_is_one_deeper_than_what_started_the_run() {
    for (evidence, of_jobs) in [(0, 1), (2, 3)] {
        let mut world = World::new("weavergen.gate", Ok(Evidence { depth: evidence, spans: Vec::new() })).await;
        world.trigger.max_depth = 3;
        world.ask(1, "k", 1);
        world.trigger.round().await;
        let runs = world.engine.store().runs().unwrap();
        assert_eq!(runs.iter().map(|(_, row)| row.depth).collect::<Vec<_>>(), [evidence]);
        let until = tokio::time::Instant::now() + Duration::from_secs(20);
        while world.depths.lock().unwrap().is_empty() {
            assert!(tokio::time::Instant::now() < until, "the job does not begin");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(*world.depths.lock().unwrap(), [of_jobs]);
    }
}

#[tokio::test]
async fn evidence_that_cannot_be_read_leaves_the_start_due() {
    let mut world = World::new("weavergen.gate", Err("busy".to_owned())).await;
    world.ask(1, "k", 1);
    assert_eq!(world.trigger.round().await, AGAIN);
    assert_eq!((world.runs().len(), world.due()), (0, 1));
}

#[tokio::test]
async fn a_process_without_such_a_start_is_refused_and_one_that_is_not_there_waits() {
    let mut world = World::plain("another.message").await;
    world.ask(1, "k", 1);
    world.trigger.round().await;
    assert_eq!((world.due(), world.counted("refused")), (0, 1));
    let mut world = World::plain("").await;
    world.ask(1, "k", 1);
    world.trigger.round().await;
    assert_eq!((world.due(), world.counted("refused")), (1, 0));
    world.engine.deploy(vec![process("weavergen.gate.g")], None, None).await.unwrap();
    world.trigger.round().await;
    assert_eq!((world.due(), world.runs().len()), (0, 1));
}

mod evidence {
    use super::*;
    use crate::query::tests::fixture::{self, Span};

    async fn of(spans: &[Span], traces: &[u128]) -> Evidence {
        let gateway = fixture::gateway(spans, crate::query::Config { threads: 2, ..Default::default() });
        let traces: Vec<String> = traces.iter().map(|trace| format!("{trace:032x}")).collect();
        look_up(&gateway, &traces).await.unwrap()
    }

    #[tokio::test]
    async fn its_depth_is_the_greatest_among_all_spans_of_its_traces() {
        let spans = [
            Span::new(1, 1),
            Span::new(1, 2).with("weavergen.depth", "1"),
            Span::new(2, 3).with("weavergen.depth", "3"),
            Span::new(3, 4).with("weavergen.depth", "no number"),
        ];
        assert_eq!(of(&spans, &[1]).await.depth, 1);
        assert_eq!(of(&spans, &[1, 2]).await.depth, 3);
        assert_eq!(of(&spans, &[3]).await.depth, 0);
        assert_eq!(of(&spans, &[9]).await, Evidence::default(), "a trace that is gone is no evidence of a loop");
        assert_eq!(of(&spans, &[]).await, Evidence::default());
    }

    #[tokio::test]
    async fn a_trace_that_a_pipeline_is_in_has_depth_1_without_any_baggage() {
        let mut made = Span::new(1, 2);
        made.resource.push(("weavergen.origin".to_owned(), "pipeline".into()));
        assert_eq!(of(&[Span::new(1, 1), made], &[1]).await.depth, 1);
    }

    #[tokio::test]
    async fn its_links_are_the_first_spans_of_its_traces() {
        let mut late = Span::new(1, 1);
        late.start += 10;
        let links = of(&[late, Span::new(1, 2), Span::new(2, 3)], &[1, 2]).await.spans;
        let link = |trace: u128, span: u64| (format!("{trace:032x}"), format!("{span:016x}"));
        assert_eq!(links, [link(1, 2), link(2, 3)]);
    }
}
