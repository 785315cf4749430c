//! The README's commands, run with the built binary against a daemon of the test's own.

use std::process::Command;

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
            ["weavergen"] => continue,
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
