//! The README's commands, run with the built binary against a daemon of the test's own.
//!
//! Blocks of `sh` are commands alone. Blocks of `console` are a session in one folder: a line `$ …` is run as it stands,
//! and what it prints must fit the lines below it, in which `…` stands for anything. Other blocks behind a line
//! `` `path`: `` are that file.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::daemon::{BINARY, Daemon};

/// The README's shell lines, comments cut off.
fn lines() -> Vec<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    let lines = blocks.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.map(|line| line.split("  #").next().unwrap().trim().to_owned()).collect()
}

#[test]
fn every_command_of_the_readme_works() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&dir.path().join("data"));
    let api = daemon.url("api", "");
    let mut seen = Vec::new();
    for line in lines() {
        let script = match line.split_whitespace().collect::<Vec<_>>()[..] {
            // The two commands of a clean clone: CI runs the second, and the demo has a test of its own.
            ["cargo", ..] | ["tests/run.sh"] | ["export", ..] => continue,
            // Already running, on other ports.
            ["weavergen", "&"] => continue,
            ["weavergen", "sql", ..] => line.replacen("weavergen sql", &format!("{BINARY} sql --url {api}"), 1),
            ["weavergen", "store", ..] => line.replacen("weavergen", BINARY, 1) + &format!(" --url {api}"),
            ["weavergen", "loadgen", ..] => {
                line.replacen("weavergen loadgen", &format!("{BINARY} loadgen --endpoint {}", daemon.grpc()), 1)
            }
            ["weavergen", "health"] => format!("{BINARY} health --url {}", daemon.url("health", "")),
            ["curl", ..] => line.replace("http://localhost:8080", &api).replace("localhost:8080", &api),
            _ => panic!("the README has a command that no test runs: {line}"),
        };
        let output = Command::new("sh").arg("-c").arg(&script).output().unwrap();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{out}{errors}");
        assert!(!out.trim().is_empty(), "{script} printed nothing");
        seen.push(script);
    }
    assert!(seen.len() >= 6, "{seen:?}");
    assert_eq!(daemon.stop(), 0);
}

/// A step of the README's walks.
#[derive(Debug)]
enum Step {
    /// Path and text.
    File(String, String),
    /// A command and what it prints.
    Run(String, String),
}

/// The files and sessions of the README, in its order.
fn walk() -> Vec<Step> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let mut steps = Vec::new();
    let mut rest = text.lines().peekable();
    let mut before = String::new();
    while let Some(line) = rest.next() {
        let Some(kind) = line.strip_prefix("```") else {
            if !line.is_empty() {
                before = line.to_owned();
            }
            continue;
        };
        let block: Vec<&str> = rest.by_ref().take_while(|line| *line != "```").collect();
        let path = before.strip_prefix('`').and_then(|path| path.strip_suffix("`:"));
        match (kind, path) {
            ("console", _) => {
                for line in block {
                    match (line.strip_prefix("$ "), steps.last_mut()) {
                        (Some(command), _) => steps.push(Step::Run(command.to_owned(), String::new())),
                        (None, Some(Step::Run(_, out))) => *out += &format!("{line}\n"),
                        (None, _) => panic!("output without a command: {line}"),
                    }
                }
            }
            (_, Some(path)) => steps.push(Step::File(path.to_owned(), block.join("\n") + "\n")),
            _ => {}
        }
    }
    steps
}

/// Whether `out` is `pattern`, in which `…` stands for anything.
fn fits(pattern: &str, out: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| out.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Runs `line` in `folder` as a user with `weavergen` in PATH and an own data folder does.
fn shell(folder: &Path, home: &Path, line: &str) -> (bool, String) {
    let path = Path::new(BINARY).parent().unwrap().display();
    let output = Command::new("sh")
        .args(["-c", &format!("PATH='{path}':\"$PATH\"; ({line}) 2>&1")])
        .current_dir(folder)
        .env("XDG_DATA_HOME", home)
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_walks_of_the_readme_print_what_it_shows() {
    assert!(fits("a…c\n…", "abc\nd\n") && fits("a\n", "a\n") && !fits("a…c\n", "abc\nd\n") && !fits("a", "ab"));
    let dir = tempfile::tempdir().unwrap();
    let (folder, home) = (dir.path().join("watch"), dir.path().join("home"));
    let data = home.join("weavergen");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::create_dir_all(&home).unwrap();
    let mut daemon: Option<Daemon> = None;
    let mut ran: BTreeMap<String, usize> = BTreeMap::new();
    for step in walk() {
        let (line, want) = match step {
            Step::File(path, text) => {
                let path = folder.join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
                continue;
            }
            Step::Run(line, want) => (line, want),
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        *ran.entry(words.iter().take(2).copied().collect::<Vec<_>>().join(" ")).or_default() += 1;
        if words[0] == "weavergen" && words.last() == Some(&"&") {
            // As it stands, but on free ports; the one before it ends first.
            if let Some(daemon) = daemon.take() {
                assert_eq!(daemon.stop(), 0);
            }
            let started = Daemon::start_in(&folder, &data, &words[1..words.len() - 1]);
            started.wait_ready();
            daemon = Some(started);
            continue;
        }
        let script = match &daemon {
            Some(daemon) => line.replace("loadgen ", &format!("loadgen --endpoint {} ", daemon.grpc())),
            None => line.clone(),
        };
        // A gate judges at its next tick: the reader looks again, and so does the test, if looking changes nothing.
        let looks = ["sql", "gates", "show", "list"].iter().any(|word| words.iter().take(3).any(|w| w == word));
        let began = Instant::now();
        loop {
            let (is_good, out) = shell(&folder, &home, &script);
            if is_good && fits(&want, &out) {
                break;
            }
            assert!(looks && began.elapsed() < Duration::from_secs(60), "$ {script}\n{out}\nwanted\n{want}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }
    for command in ["weavergen gates", "weavergen pipeline", "weavergen sql", "weavergen loadgen", "weavergen validate"]
    {
        assert!(ran.contains_key(command), "{command} is not in the walks: {ran:?}");
    }
    assert_eq!(daemon.unwrap().stop(), 0);
}

#[test]
fn the_demo_ends_well() {
    let mut demo = Command::new(BINARY);
    // Nothing of it leaves this machine: a proxy, here one that is not there, is asked for nothing.
    demo.args(["demo", "--seed", "7"])
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env_remove("NO_PROXY")
        .env_remove("no_proxy");
    let output = demo.output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{out}{}", String::from_utf8_lossy(&output.stderr));
    // The demo itself fails if a span is lost, a notice comes twice or a service is not repaired.
    let line = out.lines().find(|line| line.contains(" acknowledged, ")).unwrap_or_else(|| panic!("{out}"));
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(numbers[0] > 0 && numbers[1] >= numbers[0], "{line}");
    for (told, times) in [("the webhook was told once: firing", 2), ("the webhook was told once: resolved", 2)] {
        assert_eq!(out.matches(told).count(), times, "{told}\n{out}");
    }
    assert!(out.contains("Both services were repaired by what their spans said."), "{out}");
}

#[test]
fn a_gate_and_a_run_that_are_not_there_are_told_with_the_next_move() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&dir.path().join("data"));
    let api = daemon.url("api", "");
    for (args, want) in [
        (["gates", "show", "nope"], "there is no gate `nope`; `weavergen gates list` lists them"),
        (["pipeline", "show", "999"], "there is no run 999; `weavergen pipeline list` lists them"),
        (["pipeline", "run", "nope"], "`weavergen sql \"SELECT process_id, version FROM pipeline_definitions\"` lists"),
        // Its only start waits for a gate's message.
        (["pipeline", "run", "regenerate"], "name one of [\"GateFailed\"]; give it with --start"),
    ] {
        let output = Command::new(BINARY).args(args).args(["--url", &api]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{args:?}: {told}");
        assert!(told.contains(want), "{args:?}: {told}");
    }
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_second_daemon_on_the_folder_and_a_taken_port_are_told_with_69() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let daemon = Daemon::start(&data);
    let run = |more: &[&str]| {
        let output = Command::new(BINARY).arg("run").args(crate::daemon::free_ports()).args(more).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = run(&["--data", data.to_str().unwrap()]);
    assert_eq!(code, Some(69), "{text}");
    assert!(text.contains(&daemon.pid().to_string()), "it names the holder: {text}");
    let taken = daemon.grpc().trim_start_matches("http://").to_owned();
    let other = dir.path().join("other");
    let endpoint = format!("--set=receivers::otlp::protocols::grpc::endpoint={taken}");
    let (code, text) = run(&["--data", other.to_str().unwrap(), &endpoint]);
    assert_eq!(code, Some(69), "{text}");
    assert!(text.contains(&taken) && text.contains("--set"), "{text}");
    let (code, text) = run(&["--data", "/proc/nowhere"]);
    assert_eq!(code, Some(74), "{text}");
}
