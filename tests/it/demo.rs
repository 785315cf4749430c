//! The loop from failing spans to repaired ones, with real processes: the demo under `kill -9`, its repair undone, and a
//! pipeline that lies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bpmn::core::Body;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use weavergen::engine::Store;

use crate::daemon::{BINARY, Daemon, block_on};

const PATIENCE: Duration = Duration::from_secs(180);

fn signal(pid: u32, signal: Signal) {
    // An error: it ended meanwhile.
    let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal);
}

/// Processes whose arguments name `dir`.
fn processes_of(dir: &Path) -> BTreeMap<u32, String> {
    let name = dir.to_str().unwrap();
    let of = |entry: fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(name).then_some((pid, line))
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(of).collect()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// `weavergen demo` in a folder; when dropped, nothing of it is left.
struct Demo {
    child: Child,
    dir: tempfile::TempDir,
}

impl Demo {
    fn start(more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let output = |name: &str| fs::File::create(dir.path().join(name)).unwrap();
        let mut command = Command::new(BINARY);
        command.args(["demo", "--data"]).arg(dir.path()).args(more).stdin(Stdio::null());
        let child = command.stdout(output("demo.out")).stderr(output("demo.err")).spawn().unwrap();
        Self { child, dir }
    }

    fn said(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        format!("{}\n{}\n{}", read("demo.out"), read("demo.err"), read("demo.log"))
    }

    /// The demo's daemon, if it runs and has bound its ports.
    fn daemon(&self) -> Option<u32> {
        let run: Value = serde_json::from_str(&fs::read_to_string(self.dir.path().join("data/run.json")).ok()?).ok()?;
        let pid = u32::try_from(run["pid"].as_u64()?).unwrap();
        processes_of(self.dir.path()).contains_key(&pid).then_some(pid)
    }

    /// Whether its daemon has replayed its log.
    fn is_ready(&self) -> bool {
        let ready = || {
            let run = fs::read_to_string(self.dir.path().join("data/run.json")).ok()?;
            let run: Value = serde_json::from_str(&run).ok()?;
            let url = format!("http://{}/ready", run["health"][0].as_str()?);
            block_on(async { reqwest::get(url).await.ok()?.error_for_status().ok() })
        };
        ready().is_some()
    }

    /// The first column of the only row, asked of the demo's daemon; None while it is away.
    fn asked(&self, sql: &str) -> Option<Value> {
        let run: Value = serde_json::from_str(&fs::read_to_string(self.dir.path().join("data/run.json")).ok()?).ok()?;
        let url = format!("http://{}/api/v1/sql", run["api"][0].as_str()?);
        let body = json!({ "sql": sql });
        let answer: Value =
            block_on(async { reqwest::Client::new().post(url).json(&body).send().await.ok()?.json().await.ok() })?;
        assert!(answer["rows"].is_array(), "{sql}: {answer}");
        Some(answer["rows"][0][0].clone())
    }

    fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = std::io::Write::write_all(&mut std::io::stdout(), self.said().as_bytes());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in processes_of(self.dir.path()).into_keys() {
            signal(pid, Signal::KILL);
        }
    }
}

/// A demo that ended well although its daemon was killed ten times, the last time when it had been up for at most `latest`
/// milliseconds; None if it ended well before that.
fn killed_ten_times(seed: u64, latest: u64) -> Option<Demo> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut moments: Vec<u64> = (0..10).map(|_| rng.next_u64() % latest).collect();
    moments.sort_unstable();
    println!("moments {moments:?} ms");
    let began = Instant::now();
    let mut demo = Demo::start(&[]);
    let mut killed = BTreeSet::new();
    let mut up = 0;
    for (before, moment) in moments.into_iter().enumerate() {
        // The demo itself kills one as well: then it is another that dies here.
        while killed.len() == before {
            wait_for("a daemon to kill", || {
                // Every other one has a chance to do something; the rest may die while it replays its log.
                demo.ended().is_some()
                    || (before % 2 == 1 || demo.is_ready()) && demo.daemon().is_some_and(|pid| !killed.contains(&pid))
            });
            if let Some(code) = demo.ended() {
                assert_eq!(code, 0, "after {before} kills");
                println!("ended before kill {} of 10", before + 1);
                return None;
            }
            std::thread::sleep(Duration::from_millis(moment - up));
            if let Some(victim) = demo.daemon().filter(|pid| killed.insert(*pid)) {
                println!("killed {victim} after {} ms", began.elapsed().as_millis());
                signal(victim, Signal::KILL);
            }
        }
        up = moment;
    }
    assert_eq!(killed.len(), 10);
    wait_for("the demo's end", || demo.ended().is_some());
    assert_eq!(demo.ended(), Some(0));
    assert_eq!(processes_of(demo.dir.path()), BTreeMap::new());
    Some(demo)
}

#[test]
fn ten_kills_of_its_daemon_change_nothing_that_the_demo_shows() {
    // Another seed in each run; that of a run that failed is on its output.
    #[allow(clippy::disallowed_methods, reason = "a test's own knob")]
    let asked = std::env::var("DEMO_SEED").ok().and_then(|n| n.parse().ok());
    let seed: u64 = asked.unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    let began = Instant::now();
    // Of the time that its daemon is up, of which the demo needs 38 s without kills on a machine that does nothing else:
    // its own timers go on while a daemon is away, so it can end before the last of late kills. Then it starts anew, with
    // earlier ones.
    let demo =
        [34_000, 27_000, 20_000].into_iter().find_map(|latest| killed_ten_times(seed, latest)).expect("ten kills");
    println!("ended after {} ms", began.elapsed().as_millis());

    let data = demo.dir.path().join("data");
    no_effect_has_two_inputs(&data);
    let offline = "SELECT count(*), max(elements) FROM (SELECT attributes['bpmn.effect.key'], \
                   count(DISTINCT attributes['bpmn.element.key']) AS elements FROM spans \
                   WHERE attributes['bpmn.effect.key'] IS NOT NULL GROUP BY 1)";
    let output = Command::new(BINARY).args(["sql", "-o", "csv", "--data"]).arg(&data).arg(offline).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    // Two tries of checkout and one of payment: 1 + 4 + 4 + 2 and 1 + 4 + 2 jobs, each with a key of its own.
    assert_eq!(told.lines().last(), Some("18,1"), "{told}{}", String::from_utf8_lossy(&output.stderr));

    let config = demo.dir.path().join("weavergen.yaml");
    let daemon = Daemon::start_with(&data, &["--config", config.to_str().unwrap()]);
    daemon.wait_ready();
    let of_both =
        |what: &str| json!([[format!("service_name=checkout {what}")], [format!("service_name=payment {what}")]]);
    let episodes = "SELECT concat(key, ' ', CAST(episode AS VARCHAR), ' ', closed_by) FROM gate_episodes ORDER BY 1";
    assert_eq!(json!(daemon.rows(episodes)), of_both("1 passed"));
    let phases = "SELECT concat(key, ' ', to_phase) FROM gate_transitions WHERE to_phase IN ('firing', 'resolved') \
                  ORDER BY at, 1";
    let phases: Vec<_> = daemon.rows(phases).iter().map(|row| row[0].as_str().unwrap().to_owned()).collect();
    let expected = ["checkout firing", "checkout resolved", "payment firing", "payment resolved"];
    assert_eq!(phases, expected.map(|phase| format!("service_name={phase}")));
    let runs = "SELECT concat(key, ' ', process_id, ' ', state, ' ', CAST(incidents AS VARCHAR)) FROM pipeline_runs ORDER BY 1";
    assert_eq!(json!(daemon.rows(runs)), of_both("regenerate completed 0"));
    let installs = "SELECT concat(r.key, ' ', s.element_id, ' ', s.state) FROM pipeline_steps s JOIN pipeline_runs r \
                    ON r.run = s.run WHERE s.element_id = 'Install' ORDER BY 1";
    assert_eq!(json!(daemon.rows(installs)), of_both("Install completed"));
    let tries = "SELECT concat(key, ' ', variant, ' ', coalesce(outcome, 'open')) FROM feedback ORDER BY at";
    let tries: Vec<_> = daemon.rows(tries).iter().map(|row| row[0].as_str().unwrap().to_owned()).collect();
    assert_eq!(tries.len(), 3, "{tries:?}");
    assert!(tries[0].starts_with("service_name=checkout stable "), "{tries:?}");
    assert_eq!(tries[1..], ["service_name=checkout complete recovered", "service_name=payment complete recovered"]);
    assert_eq!(daemon.stop(), 0);
}

/// An effect key stands for one input, however often its job was started.
fn no_effect_has_two_inputs(data: &Path) {
    let store = Store::open(&data.join("engine.redb")).unwrap();
    let mut inputs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut keys = BTreeMap::new();
    let mut attempts = 0;
    for logged in store.events(1, 1_000_000).unwrap() {
        match logged.event.body {
            Body::JobCreated { job, input, .. } => {
                keys.insert(job, input.effect_key.clone());
                let content = format!("created {:?} {:?}", input.headers, input.variables);
                inputs.entry(input.effect_key).or_default().insert(content);
            }
            Body::JobActivated { job, headers, .. } => {
                attempts += 1;
                if let Some(headers) = headers {
                    inputs.entry(keys[&job].clone()).or_default().insert(format!("rendered {headers:?}"));
                }
            }
            _ => {}
        }
    }
    println!("{} effects in {attempts} attempts", inputs.len());
    assert_eq!(inputs.len(), 18, "{:?}", inputs.keys());
    for (key, inputs) in inputs {
        let of = |kind: &str| inputs.iter().filter(|content| content.starts_with(kind)).count();
        // Headers without a template are not rendered.
        assert!(of("created") == 1 && of("rendered") <= 1, "{key}: {inputs:#?}");
    }
}

#[test]
fn the_generated_file_is_what_changes_the_telemetry_without_it_the_gate_fails_again() {
    let mut demo = Demo::start(&["--keep"]);
    wait_for("the whole demo", || {
        assert_eq!(demo.ended(), None);
        demo.said().contains("It stays up until Ctrl-C")
    });
    let last = "SELECT CAST(max(episode) AS VARCHAR) FROM gate_episodes WHERE key = 'service_name=checkout'";
    assert_eq!(demo.asked(last), Some(json!("1")));
    let complete = "SELECT CAST(count(*) AS VARCHAR) FROM spans WHERE service_name = 'checkout' AND \
                    resource['weavergen.origin'] IS NULL AND end_time > now() - INTERVAL '3 seconds' AND \
                    required_present < required_total";
    assert_eq!(demo.asked(complete), Some(json!("0")), "it is repaired");

    let (file, pid_file) = ("services/checkout/instrumentation.yaml", "run/checkout.pid");
    fs::write(demo.dir.path().join(file), "service: checkout\nspans: {}\n").unwrap();
    let service: u32 = fs::read_to_string(demo.dir.path().join(pid_file)).unwrap().trim().parse().unwrap();
    assert!(processes_of(demo.dir.path())[&service].contains("--name checkout"));
    signal(service, Signal::TERM);
    wait_for("a second episode of checkout", || demo.asked(last) == Some(json!("2")));
    let firing = "SELECT count(*) FROM gate_episodes WHERE key = 'service_name=payment' AND episode > 1";
    assert_eq!(demo.asked(firing), Some(json!(0)), "payment has its file");

    // A minute after the first start the pipeline comes again. What a hand has changed it does not overwrite: that is an
    // incident, and the episode stays open.
    let runs = "SELECT CAST(max(started_at) - min(started_at) >= INTERVAL '60 seconds' AND count(*) = 2 AS INT) \
                FROM pipeline_runs WHERE key = 'service_name=checkout'";
    wait_for("a second run, after the cooldown", || demo.asked(runs) == Some(json!(1)));
    let incident = "SELECT split_part(message, ' ', 1) FROM pipeline_incidents WHERE element_id = 'Install'";
    wait_for("the incident", || demo.asked(incident) == Some(json!("WG-GEN-031")));
    let open = "SELECT count(*) FROM gate_episodes WHERE key = 'service_name=checkout' AND closed IS NULL";
    assert_eq!(demo.asked(open), Some(json!(1)));
    assert_eq!(fs::read_to_string(demo.dir.path().join(file)).unwrap(), "service: checkout\nspans: {}\n");

    signal(demo.child.id(), Signal::TERM);
    wait_for("the demo's end", || demo.ended().is_some());
    assert_eq!(demo.ended(), Some(0));
    assert_eq!(processes_of(demo.dir.path()), BTreeMap::new());
}

const LIE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<bpmn:definitions xmlns:bpmn="http://www.omg.org/spec/BPMN/20100524/MODEL" xmlns:zeebe="http://camunda.org/schema/zeebe/1.0" id="Definitions_lie" targetNamespace="http://weavergen.dev/pipelines">
  <bpmn:process id="lie" name="says that it repaired" isExecutable="true">
    <bpmn:startEvent id="Start">
      <bpmn:outgoing>toNothing</bpmn:outgoing>
      <bpmn:messageEventDefinition id="StartMessage" messageRef="Message_gate" />
    </bpmn:startEvent>
    <bpmn:serviceTask id="Nothing" name="do nothing">
      <bpmn:extensionElements>
        <zeebe:taskDefinition type="command" />
        <zeebe:taskHeaders>
          <zeebe:header key="argv" value='=["weavergen", "--version"]' />
          <zeebe:header key="idempotent" value="true" />
        </zeebe:taskHeaders>
      </bpmn:extensionElements>
      <bpmn:incoming>toNothing</bpmn:incoming>
      <bpmn:outgoing>toEnd</bpmn:outgoing>
    </bpmn:serviceTask>
    <bpmn:endEvent id="End"><bpmn:incoming>toEnd</bpmn:incoming></bpmn:endEvent>
    <bpmn:sequenceFlow id="toNothing" sourceRef="Start" targetRef="Nothing" />
    <bpmn:sequenceFlow id="toEnd" sourceRef="Nothing" targetRef="End" />
  </bpmn:process>
  <bpmn:message id="Message_gate" name="weavergen.gate" />
</bpmn:definitions>
"#;

const GATE: &str = r#"groups:
  - name: lied_to
    interval: 1s
    query_offset: 1s
    gates:
      - gate: completeness
        sql_file: ../founding/span_completeness.sql
        by: [service_name]
        window: 10s
        min_samples: 20
        pass: "> 95%"
        for: 2s
        on_fail: { pipeline: lie, cooldown: 1h }
"#;

/// A folder with a gate, a lying pipeline, and two instrumentation files of checkout.
fn stage(dir: &Path) {
    for folder in ["queries/gates", "queries/founding", "pipelines", "good", "bad"] {
        fs::create_dir_all(dir.join(folder)).unwrap();
    }
    let statement = concat!(env!("CARGO_MANIFEST_DIR"), "/queries/founding/span_completeness.sql");
    fs::copy(statement, dir.join("queries/founding/span_completeness.sql")).unwrap();
    fs::write(dir.join("queries/gates/lied_to.yaml"), GATE).unwrap();
    fs::write(dir.join("pipelines/lie.bpmn"), LIE).unwrap();
    fs::write(dir.join("bad/instrumentation.yaml"), "service: checkout\nspans: {}\n").unwrap();
    let mut generate = Command::new(BINARY);
    generate.args(["generate", "instrumentation"]).arg(dir.join("good"));
    generate.args(["--registry", "builtin:shop", "--variant", "complete", "-D", "service=checkout"]).current_dir(dir);
    assert!(generate.stdout(Stdio::null()).status().unwrap().success());
    let config = format!(
        "receivers:\n  otlp:\n    protocols:\n      grpc: {{endpoint: 127.0.0.1:0}}\n      http: {{endpoint: 127.0.0.1:0}}\n\
         exporters:\n  weavergen:\nextensions:\n  health_check: {{endpoint: 127.0.0.1:0}}\n\
         service:\n  extensions: [health_check]\n  pipelines:\n    traces: {{receivers: [otlp], exporters: [weavergen]}}\n\
         queries: {{dir: \"{0}/queries\"}}\nsemconv: {{registry: \"builtin:shop\"}}\n\
         gates: {{idle_source_after: 1s}}\n\
         engine:\n  dir: \"{0}/pipelines\"\n  jobs:\n    commands: {{weavergen: {{path: self}}}}\n",
        dir.display()
    );
    fs::write(dir.join("weavergen.yaml"), config).unwrap();
}

/// Checkout with one of its files; ended when dropped.
struct Service(Child);

impl Service {
    fn start(daemon: &Daemon, dir: &Path, kind: &str, more: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        command.args(["demo-service", "--name", "checkout", "--endpoint", &daemon.grpc(), "--instrumentation"]);
        command.arg(dir.join(kind).join("instrumentation.yaml")).args(more);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_pipeline_that_lies_closes_nothing_nor_do_its_spans_nor_silence() {
    let dir = tempfile::tempdir().unwrap();
    stage(dir.path());
    let config = dir.path().join("weavergen.yaml");
    let daemon = Daemon::start_with(&dir.path().join("data"), &["--config", config.to_str().unwrap()]);
    daemon.wait_ready();
    let episodes = || {
        let sql = "SELECT concat(key, ' ', CAST(episode AS VARCHAR), ' ', coalesce(closed_by, 'open')) FROM gate_episodes \
                   WHERE gate = 'completeness' ORDER BY 1";
        json!(daemon.rows(sql))
    };
    let open = json!([["service_name=checkout 1 open"]]);
    let runs = || json!(daemon.rows("SELECT CAST(episode AS INT) FROM pipeline_runs"));
    let still = |what: &str, expected: &Value, seconds: u64| {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(seconds) {
            assert_eq!(&episodes(), expected, "{what}");
            assert_eq!(runs(), json!([[1]]), "{what}: started once");
            std::thread::sleep(Duration::from_millis(500));
        }
    };

    let failing = Service::start(&daemon, dir.path(), "bad", &[]);
    let completed = "SELECT 1 FROM pipeline_runs WHERE process_id = 'lie' AND state = 'completed'";
    wait_for("the lie is told", || daemon.rows(completed).len() == 1);
    still("the pipeline completed, the spans did not change", &open, 5);
    let shown = "SELECT CAST(e.pipeline_run = r.run AS INT), s.phase FROM gate_episodes e, pipeline_runs r, gate_state s \
                 WHERE s.key = e.key AND s.gate = 'completeness' AND e.gate = s.gate";
    assert_eq!(json!(daemon.rows(shown)), json!([[1, "firing"]]), "who looks sees both");
    let fired_by = "SELECT DISTINCT e.attributes['gate'] FROM span_links l JOIN spans e \
                    ON e.trace_id = l.linked_trace_id AND e.span_id = l.linked_span_id \
                    WHERE l.service_name = 'weavergen' AND e.name = 'gate/evaluate'";
    wait_for("the start links to the evaluation that fired", || {
        json!(daemon.rows(fired_by)) == json!([["completeness"]])
    });
    drop(failing);

    // The failing spans leave the window; then the spans of a run are all that there is, and they are complete.
    still("the window empties", &open, 12);
    let sandbox = ["--traces", "40", "--resource", "weavergen.origin=pipeline", "--resource", "weavergen.run=1"];
    assert!(Service::start(&daemon, dir.path(), "good", &sandbox).0.wait().unwrap().success());
    let proof = "SELECT CAST(count(*) >= 20 AS INT), CAST(sum(required_present) = sum(required_total) AS INT) FROM spans \
                 WHERE resource['weavergen.run'] = '1' AND semconv_type IS NOT NULL";
    assert_eq!(json!(daemon.rows(proof)), json!([[1, 1]]), "the gate would pass on them");
    still("spans of the run alone", &open, 6);
    let judged = "SELECT DISTINCT outcome FROM gate_results WHERE gate = 'completeness' AND outcome = 'pass'";
    assert_eq!(json!(daemon.rows(judged)), json!([]), "no data, and no spans of a pipeline, are a pass");

    // What does close it: new spans of the service that pass.
    let good = Service::start(&daemon, dir.path(), "good", &[]);
    let passed = json!([["service_name=checkout 1 passed"]]);
    wait_for("new spans that pass", || episodes() == passed);
    assert!(!daemon.rows("SELECT 1 FROM gate_results WHERE gate = 'completeness' AND outcome = 'pass'").is_empty());

    // A second episode within the cooldown: it shows, and no second run comes of it.
    drop(good);
    let _failing = Service::start(&daemon, dir.path(), "bad", &[]);
    let again = json!([["service_name=checkout 1 passed"], ["service_name=checkout 2 open"]]);
    wait_for("a second episode", || episodes() == again);
    still("the cooldown", &again, 6);
    assert_eq!(daemon.stop(), 0);
}
