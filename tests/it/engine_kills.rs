//! The engine under SIGKILL: twenty pipelines, a daemon killed at twenty random moments, and the same in peace.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::Digest as _;

use crate::daemon::{BINARY, Daemon};

const MODELS: usize = 20;
const KILLS: usize = 20;

/// A pipeline under construction: each part follows the one before.
#[derive(Default)]
struct Model {
    nodes: String,
    flows: usize,
    parts: usize,
    /// Where tokens wait for the next part.
    ends: Vec<String>,
}

impl Model {
    fn flow(&mut self, from: &str, to: &str, condition: &str) {
        self.flows += 1;
        let condition = match condition {
            "" => String::new(),
            text => format!("<conditionExpression>={text}</conditionExpression>"),
        };
        let id = self.flows;
        self.nodes +=
            &format!("<sequenceFlow id=\"f{id}\" sourceRef=\"{from}\" targetRef=\"{to}\">{condition}</sequenceFlow>");
    }

    fn enter(&mut self, to: &str) {
        for from in std::mem::take(&mut self.ends) {
            self.flow(&from, to, "");
        }
    }

    fn task(&mut self, id: &str, r#type: &str, headers: &[(&str, String)]) {
        let usual = [("idempotent", "true".to_owned()), ("retryBackoff", "PT0.1S".to_owned())];
        let usual = if r#type == "command" { usual.as_slice() } else { &usual[1..] };
        let header = |(key, value): &(&str, String)| {
            let value = value.replace('"', "&quot;").replace('>', "&gt;");
            format!("<zeebe:header key=\"{key}\" value=\"{value}\"/>")
        };
        let headers: String = headers.iter().chain(usual).map(header).collect();
        self.nodes += &format!(
            "<serviceTask id=\"{id}\"><extensionElements><zeebe:taskDefinition type=\"{type}\" retries=\"40\"/>\
             <zeebe:taskHeaders>{headers}</zeebe:taskHeaders></extensionElements></serviceTask>"
        );
    }

    fn shell(&mut self, id: &str, script: &str, more: &[(&str, String)]) {
        let script = script.replace('"', "\\\"");
        let argv = ("argv", format!("=[\"sh\", \"-c\", \"{script}\"]"));
        self.task(id, "command", &[&[argv], more].concat());
    }

    fn boundary(&mut self, id: &str, host: &str, what: &str) {
        self.nodes += &format!("<boundaryEvent id=\"{id}\" attachedToRef=\"{host}\">{what}</boundaryEvent>");
    }

    /// Adds a part of kind `kind`; what its commands do stands in `effects`.
    fn part(&mut self, kind: usize, model: usize, world: &World) {
        self.parts += 1;
        let id = format!("p{}", self.parts);
        let effects = world.dir.path().join("effects");
        let note = |what: &str| format!("echo \"$WEAVERGEN_EFFECT_KEY m{model} {what}\" >> {}", effects.display());
        self.enter(&id);
        match kind {
            0 => self.task(&id, "sql", &[("query", format!("SELECT {model} AS one")), ("single", "true".to_owned())]),
            1 => self.shell(&id, &note(&id), &[]),
            2 => {
                self.shell(&id, &format!("{}; exit 7", note(&id)), &[("exitErrors", "={\"7\": \"E7\"}".to_owned())]);
                self.boundary(&format!("{id}_caught"), &id, "<errorEventDefinition errorRef=\"e7\"/>");
                self.ends.push(format!("{id}_caught"));
            }
            3 => {
                let (high, low) = (format!("{id}_high"), format!("{id}_low"));
                self.nodes += &format!("<exclusiveGateway id=\"{id}\" default=\"f{}\"/>", self.flows + 2);
                self.flow(&id, &high, "x &gt; 9");
                self.flow(&id, &low, "");
                self.shell(&high, &note(&high), &[]);
                self.shell(&low, &note(&low), &[]);
                self.ends.extend([high, low]);
                return;
            }
            4 => {
                // Whether it begins within the second is not said, so it does nothing that could be compared.
                self.shell(&id, "exec /bin/sleep 30", &[]);
                let timer = "<timerEventDefinition><timeDuration>PT1S</timeDuration></timerEventDefinition>";
                self.boundary(&format!("{id}_late"), &id, timer);
                self.ends.push(format!("{id}_late"));
            }
            _ => {
                let headers = [
                    ("target", "instrumentation".to_owned()),
                    ("variant", "complete".to_owned()),
                    ("output", world.output(model).display().to_string()),
                    ("registry", "builtin:shop".to_owned()),
                    ("params", "={service: \"checkout\"}".to_owned()),
                    ("mode", "apply".to_owned()),
                ];
                self.task(&id, "codegen", &headers);
            }
        }
        self.ends.push(id);
    }

    fn file(mut self, model: usize) -> String {
        self.enter("end");
        format!(
            "<definitions xmlns=\"http://www.omg.org/spec/BPMN/20100524/MODEL\" \
             xmlns:zeebe=\"http://camunda.org/schema/zeebe/1.0\" targetNamespace=\"t\"><error id=\"e7\" \
             errorCode=\"E7\"/><process id=\"m{model}\" isExecutable=\"true\"><startEvent id=\"start\"/>{}<endEvent \
             id=\"end\"/></process></definitions>",
            self.nodes
        )
    }
}

struct World {
    dir: tempfile::TempDir,
    set: Vec<String>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("pipelines")).unwrap();
        (0..MODELS).for_each(|model| std::fs::create_dir_all(at(&format!("root/out{model}"))).unwrap());
        let shell = std::fs::read("/bin/sh").unwrap();
        let sha256: String = sha2::Sha256::digest(&shell).iter().map(|b| format!("{b:02x}")).collect();
        let set = vec![
            format!("--set=engine.dir={}", at("pipelines").display()),
            format!("--set=engine.jobs.roots=[{}]", at("root").display()),
            "--set=engine.jobs.concurrency={command: 32}".to_owned(),
            format!("--set=engine.jobs.commands={{sh: {{path: /bin/sh, sha256: {sha256}}}}}"),
        ];
        let world = Self { dir, set };
        for model in 0..MODELS {
            let mut drawn = Model { ends: vec!["start".to_owned()], ..Model::default() };
            for kind in [model % 6, (model / 6 + model + 1) % 6, (model * 5 + 3) % 6] {
                drawn.part(kind, model, &world);
            }
            let file = world.dir.path().join(format!("pipelines/m{model}.bpmn"));
            std::fs::write(file, drawn.file(model)).unwrap();
        }
        world
    }

    fn output(&self, model: usize) -> PathBuf {
        self.dir.path().join(format!("root/out{model}"))
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn daemon(&self) -> Daemon {
        let set: Vec<&str> = self.set.iter().map(String::as_str).collect();
        Daemon::start_with(&self.data(), &set)
    }

    /// Starts each pipeline once, asking again as long as nobody answers.
    fn start_all(data: PathBuf) {
        let began = Instant::now();
        for model in 0..MODELS {
            loop {
                let (process, key) = (format!("m{model}"), format!("k{model}"));
                let set = format!("x={model}");
                let args = ["pipeline", "run", &process, "--set", &set, "--key", &key, "--data"];
                let output = Command::new(BINARY).args(args).arg(&data).output().unwrap();
                if output.status.success() {
                    break;
                }
                let told = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(began.elapsed() < Duration::from_secs(300), "{told}");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    /// Waits until all runs ended well, then everything that can be compared: steps in the order of their runs, and what
    /// commands did, by effect key.
    fn told(&self, daemon: &Daemon) -> Told {
        daemon.wait_ready();
        let began = Instant::now();
        let number = |sql: &str| daemon.rows(sql)[0][0].as_u64().unwrap();
        while number("SELECT count(*) FROM pipeline_runs WHERE state = 'completed'") < MODELS as u64 {
            let left =
                || daemon.rows("SELECT process_id, state, incidents FROM pipeline_runs WHERE state <> 'completed'");
            assert!(began.elapsed() < Duration::from_secs(180), "{:?}", left());
            std::thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(
            number("SELECT count(*) FROM pipeline_runs"),
            MODELS as u64,
            "a repeated start begins no second run"
        );
        let steps = "SELECT process_id, element_id, state FROM pipeline_steps ORDER BY process_id, run, element_key";
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let steps: Vec<[String; 3]> =
            daemon.rows(steps).iter().map(|row| [text(&row[0]), text(&row[1]), text(&row[2])]).collect();
        let runs = "SELECT count(DISTINCT span_id) FROM spans WHERE name LIKE 'RUN m%'";
        while number(runs) < MODELS as u64 {
            assert!(began.elapsed() < Duration::from_secs(240), "spans of runs are missing");
            std::thread::sleep(Duration::from_millis(200));
        }
        let spans = "SELECT count(*), count(DISTINCT span_id), count(*) FILTER (WHERE attributes['bpmn.element.id'] IS NOT \
                     NULL AND attributes['bpmn.effect.key'] IS NULL) FROM spans WHERE resource['weavergen.origin'] = 'pipeline'";
        let spans = &daemon.rows(spans)[0];
        assert_eq!(spans[0], spans[1], "each span is stored once");
        assert_eq!(spans[2].as_u64(), Some(steps.len() as u64), "a span a step");
        let effects = std::fs::read_to_string(self.dir.path().join("effects")).unwrap();
        let mut inputs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in effects.lines() {
            let (key, input) = line.split_once(' ').unwrap();
            inputs.entry(key.to_owned()).or_default().insert(input.to_owned());
        }
        assert!(inputs.values().all(|inputs| inputs.len() == 1), "no effect key with two inputs: {inputs:?}");
        let mut effects: Vec<String> = inputs.into_values().flatten().collect();
        effects.sort();
        let files = (0..MODELS).map(|model| std::fs::read(self.output(model).join("instrumentation.yaml")).ok());
        let attempts = number("SELECT sum(attempts) FROM pipeline_steps");
        Told { steps, effects, files: files.collect(), attempts }
    }
}

struct Told {
    steps: Vec<[String; 3]>,
    effects: Vec<String>,
    files: Vec<Option<Vec<u8>>>,
    attempts: u64,
}

#[test]
fn twenty_pipelines_end_as_in_peace_whenever_their_daemon_is_killed() {
    let peace = World::new();
    let daemon = peace.daemon();
    World::start_all(peace.data());
    let wanted = peace.told(&daemon);
    assert_eq!(daemon.stop(), 0);
    assert!(wanted.files.iter().flatten().count() > 2 && wanted.steps.len() > 100, "{}", wanted.steps.len());

    let war = World::new();
    let mut daemon = war.daemon();
    let client = std::thread::spawn({
        let data = war.data();
        move || World::start_all(data)
    });
    let mut chance = 7_u64;
    for _ in 0..KILLS {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(50 + (chance >> 33) % 450));
        daemon.kill();
        daemon = war.daemon();
    }
    client.join().unwrap();
    let told = war.told(&daemon);
    assert_eq!(daemon.stop(), 0);
    assert!(told.attempts > wanted.attempts, "some attempt was cut off: {} {}", told.attempts, wanted.attempts);
    assert_eq!(told.steps, wanted.steps);
    assert_eq!(told.effects, wanted.effects, "an effect per job, whatever was repeated");
    assert_eq!(told.files, wanted.files);
}
