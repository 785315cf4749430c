//! `weavergen pipeline` against a daemon of the test's own: files in force, runs, their tables, a kill.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::daemon::{BINARY, Daemon};

/// A process `p` with one statement; `mark` makes another version of it.
fn file(mark: &str) -> String {
    format!(
        r#"<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL"
 xmlns:zeebe="http://camunda.org/schema/zeebe/1.0" targetNamespace="t">
<process id="p" isExecutable="true"><startEvent id="start"/>
<serviceTask id="ask"><extensionElements><zeebe:taskDefinition type="sql"/>
<zeebe:taskHeaders><zeebe:header key="query" value="SELECT 1 AS one"/><zeebe:header key="single" value="true"/>
</zeebe:taskHeaders></extensionElements></serviceTask><endEvent id="{mark}"/>
<sequenceFlow id="f1" sourceRef="start" targetRef="ask"/><sequenceFlow id="f2" sourceRef="ask" targetRef="{mark}"/>
</process></definitions>"#
    )
}

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("pipelines")).unwrap();
        Self { dir }
    }

    fn write(&self, text: &str) {
        std::fs::write(self.dir.path().join("pipelines/p.bpmn"), text).unwrap();
    }

    fn daemon(&self) -> Daemon {
        let set = format!("--set=engine.dir={}", self.dir.path().join("pipelines").display());
        Daemon::start_with(&self.dir.path().join("data"), &[&set])
    }

    fn pipeline(&self, args: &[&str]) -> (i32, String) {
        let data = self.dir.path().join("data");
        let output = Command::new(BINARY).arg("pipeline").args(args).arg("--data").arg(data).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), text)
    }

    /// The version of `p` that starts now.
    fn version(&self) -> u64 {
        let (code, text) = self.pipeline(&["run", "p", "--wait", "--format", "json"]);
        assert_eq!(code, 0, "{text}");
        let run: Value = serde_json::from_str(&text).unwrap();
        let (_, text) = self.pipeline(&["show", &run["run"].to_string(), "--format", "json"]);
        let shown: Value = serde_json::from_str(&text).unwrap();
        shown["run"]["version"].as_u64().unwrap()
    }

    fn version_becomes(&self, version: u64) {
        let began = Instant::now();
        while self.version() != version {
            assert!(began.elapsed() < Duration::from_secs(20), "version {version} never came into force");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

#[test]
fn a_file_of_the_folder_runs_and_its_run_is_listed_shown_and_drawn() {
    let world = World::new();
    world.write(&file("end"));
    let daemon = world.daemon();
    let (code, text) = world.pipeline(&["run", "p", "--wait"]);
    assert_eq!(code, 0, "{text}");
    let (key, state) = text.trim().split_once(' ').unwrap();
    assert_eq!(state, "completed");
    let (_, text) = world.pipeline(&["list", "--format", "json", "--process", "p", "--since", "1h"]);
    let listed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&listed["runs"][0]["run"].to_string(), &listed["runs"][0]["state"]),
        (&key.to_owned(), &json!("completed"))
    );
    // Without a terminal it is a row a line, as of `gates list`.
    let (_, text) = world.pipeline(&["list"]);
    let row: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((row["run"].to_string(), &row["process_id"]), (key.to_owned(), &json!("p")));
    let (_, text) = world.pipeline(&["show", key, "--format", "json"]);
    let shown: Value = serde_json::from_str(&text).unwrap();
    let steps = shown["steps"].as_array().unwrap().iter().map(|step| step["element_id"].as_str().unwrap());
    assert_eq!(steps.collect::<Vec<_>>(), ["start", "ask", "end"]);
    let (code, text) = world.pipeline(&["export", key, "--mermaid"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("flowchart LR") && text.contains("class n_ask,n_end,n_start done"), "{text}");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_changed_file_comes_into_force_and_a_broken_one_does_not() {
    let world = World::new();
    world.write(&file("end"));
    let daemon = world.daemon();
    assert_eq!(world.version(), 1);
    world.write(&file("other"));
    world.version_becomes(2);
    world.write(&file("end").replace("targetRef=\"ask\"", "targetRef=\"gone\""));
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(world.version(), 2);
    let log = std::fs::read_to_string(world.dir.path().join("data").with_extension("log")).unwrap();
    assert!(log.contains("dangling-ref"), "{log}");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn runs_and_keys_outlive_a_kill() {
    let world = World::new();
    world.write(&file("end"));
    let daemon = world.daemon();
    let start = || {
        let (code, text) = world.pipeline(&["run", "p", "--key", "k", "--wait"]);
        assert_eq!(code, 0, "{text}");
        text
    };
    let before = start();
    // Dropping a daemon kills it.
    drop(daemon);
    let (code, text) = world.pipeline(&["list"]);
    assert_eq!(code, 69, "{text}");
    let daemon = world.daemon();
    assert_eq!(start(), before);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn deploy_over_http_is_all_or_nothing() {
    let world = World::new();
    let daemon = world.daemon();
    let at = |name: &str| world.dir.path().join(name).display().to_string();
    let write = |name: &str, text: String| std::fs::write(Path::new(&at(name)), text).unwrap();
    write("good.bpmn", file("end"));
    write("bad.bpmn", file("end").replace("\"p\"", "\"q\"").replace("targetRef=\"ask\"", "targetRef=\"gone\""));
    let (code, text) = world.pipeline(&["deploy", &at("good.bpmn"), &at("bad.bpmn")]);
    assert_eq!(code, 78, "{text}");
    assert!(text.contains("bad.bpmn:") && text.contains("dangling-ref"), "{text}");
    assert_eq!(world.pipeline(&["run", "p"]).0, 1);
    let (code, text) = world.pipeline(&["deploy", &at("good.bpmn")]);
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("p 1 ") && text.trim_end().ends_with(" new"), "{text}");
    assert_eq!(world.version(), 1);
    assert_eq!(daemon.stop(), 0);
}
