//! What commands end with where a pipe, a disk or a file is in the way (design.md, exit codes).

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::daemon::{BINARY, Daemon, free_ports};

/// Exit code and stderr of `weavergen ARGS` in `folder`, its stdout going to `out`.
fn ran(folder: &Path, args: &[&str], out: impl Into<Stdio>) -> (Option<i32>, String) {
    let mut command = Command::new(BINARY);
    let child = command.args(args).current_dir(folder).env("XDG_DATA_HOME", folder).stdout(out).stderr(Stdio::piped());
    let output = child.spawn().unwrap().wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A disk that is full.
fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// A pipe whose reader left.
fn left() -> std::io::PipeWriter {
    std::io::pipe().unwrap().1
}

const OFFLINE: [&[&str]; 3] = [
    &["semconv", "resolve", "--registry", "builtin:shop"],
    &["learn", "check"],
    &[
        "generate",
        "instrumentation",
        "out",
        "--registry",
        "builtin:shop",
        "--variant",
        "complete",
        "-D",
        "service=cart",
        "--diff",
    ],
];

#[test]
fn a_reader_that_left_is_no_failure_and_a_full_disk_is_74() {
    let dir = tempfile::tempdir().unwrap();
    for args in OFFLINE {
        let shown = dir.path().join("shown");
        let (code, told) = ran(dir.path(), args, File::create(&shown).unwrap());
        assert_eq!(code, Some(0), "{args:?}: {told}");
        assert!(std::fs::metadata(&shown).unwrap().len() > 0, "{args:?} says something");
        let (code, told) = ran(dir.path(), args, left());
        assert_eq!(code, Some(0), "{args:?}: {told}");
        let (code, told) = ran(dir.path(), args, full());
        assert_eq!(code, Some(74), "{args:?}: {told}");
        assert!(told.contains("cannot write stdout"), "{args:?}: {told}");
    }
    let (code, told) = ran(dir.path(), &["demo", "--data", "demo"], full());
    assert_eq!(code, Some(74), "{told}");
}

#[test]
fn a_load_keeps_its_summary_where_the_report_cannot_be_shown() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&dir.path().join("data"));
    daemon.wait_ready();
    let (grpc, health) = (daemon.grpc(), daemon.url("health", ""));
    let load = ["loadgen", "--traces", "2", "--endpoint", &grpc, "--summary", "summary.json"];
    let (code, told) = ran(dir.path(), &load, full());
    assert_eq!(code, Some(74), "{told}");
    let summary = std::fs::read_to_string(dir.path().join("summary.json")).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&summary).unwrap().is_object(), "{summary}");
    assert_eq!(ran(dir.path(), &load, left()).0, Some(0));
    assert_eq!(ran(dir.path(), &["health", "--url", &health], left()).0, Some(0));
    assert_eq!(ran(dir.path(), &["health", "--url", &health], full()).0, Some(74));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_wrong_endpoint_is_usage_and_a_folder_that_cannot_be_written_is_74() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&dir.path().join("data"));
    let grpc = daemon.grpc();
    for (args, want, why) in [
        (vec!["loadgen", "--endpoint", "https://localhost:4318"], 2, "only plain http"),
        (vec!["loadgen", "--endpoint", "localhost"], 2, "the port is missing"),
        (vec!["loadgen", "--traces", "5", "--endpoint", &grpc, "--summary", "/none/x"], 74, "--summary /none/x"),
        (vec!["demo", "--data", "/proc/x"], 74, "cannot make /proc/x"),
    ] {
        let (code, told) = ran(dir.path(), &args, Stdio::null());
        assert_eq!(code, Some(want), "{args:?}: {told}");
        assert!(told.contains(why), "{args:?}: {told}");
    }
    // The load without a place for its summary was not sent.
    assert_eq!(daemon.rows("SELECT 1 FROM spans WHERE scope_name IS NOT NULL AND service_name = 'frontend'").len(), 0);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_start_that_finds_a_damaged_file_or_cannot_write_its_own_is_74() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    assert_eq!(Daemon::start(&data).stop(), 0);
    let ports = free_ports();
    let run = ["run", "--data", data.to_str().unwrap()].into_iter().chain(ports.iter().map(String::as_str));
    let run: Vec<&str> = run.collect();
    std::fs::create_dir_all(data.join("run.json/in the way")).unwrap();
    let (code, told) = ran(dir.path(), &run, Stdio::null());
    assert_eq!(code, Some(74), "{told}");
    assert!(told.contains("cannot write") && told.contains("run.json"), "{told}");
    std::fs::remove_dir_all(data.join("run.json")).unwrap();
    std::fs::write(data.join("engine.redb"), [b'x'; 1 << 16]).unwrap();
    let (code, told) = ran(dir.path(), &run, Stdio::null());
    assert_eq!(code, Some(74), "{told}");
    assert!(told.contains("engine.redb"), "{told}");
}

#[test]
fn a_pattern_file_that_cannot_be_read_is_74_and_a_wrong_one_1() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("folder")).unwrap();
    std::fs::write(dir.path().join("wrong.sql"), "SELECT 1").unwrap();
    std::fs::write(dir.path().join("two.sql"), "SELECT 1; SELECT 2").unwrap();
    std::fs::write(dir.path().join("bytes.sql"), b"\xff").unwrap();
    for (files, want) in [
        (vec!["folder"], 74),
        (vec!["wrong.sql", "folder"], 74),
        (vec!["nowhere.sql"], 74),
        (vec!["wrong.sql"], 1),
        (vec!["two.sql"], 1),
        (vec!["bytes.sql"], 1),
    ] {
        let (code, told) = ran(dir.path(), &[vec!["learn", "check"], files.clone()].concat(), Stdio::null());
        assert_eq!(code, Some(want), "{files:?}: {told}");
        assert!(told.contains("LRN"), "{files:?}: {told}");
    }
}
