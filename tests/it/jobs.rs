//! Commands of pipelines as processes: the allow-list, the sandbox, and every way in which a command can misbehave.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use sha2::Digest as _;
use tokio_util::sync::CancellationToken;
use weavergen::engine::job::command::{Command, Settings};
use weavergen::engine::job::config::Executable;
use weavergen::engine::job::{Job, Outcome};

/// A handler that may run `/bin/sh` as `sh`, this binary as `me`, and a script of ours as `script`.
struct Bench {
    command: Command,
    dir: tempfile::TempDir,
}

fn file(path: &Path) -> Executable {
    let bytes = std::fs::read(path).unwrap();
    let sha256 = sha2::Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    Executable::File { path: path.to_owned(), sha256 }
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        std::fs::write(&script, "#!/bin/sh\nfor a in \"$@\"; do printf '%s\\n' \"$a\"; done\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let commands = BTreeMap::from([
            ("sh".to_owned(), file(Path::new("/bin/sh"))),
            ("script".to_owned(), file(&script)),
            ("me".to_owned(), Executable::This),
            ("gone".to_owned(), Executable::File { path: "/nowhere/at/all".into(), sha256: "0".repeat(64) }),
        ]);
        let settings = Settings {
            commands,
            roots: vec![dir.path().join("root")],
            binary: PathBuf::from(env!("CARGO_BIN_EXE_weavergen")),
            tmp: dir.path().join("tmp"),
            otlp_endpoint: Some("http://127.0.0.1:4317".to_owned()),
        };
        std::fs::create_dir(dir.path().join("root")).unwrap();
        Self { command: Command::new(settings).unwrap(), dir }
    }

    async fn run(&self, headers: Value) -> Outcome {
        self.run_for(headers, Duration::from_secs(60)).await
    }

    async fn run_for(&self, headers: Value, timeout: Duration) -> Outcome {
        self.command.run(job(headers, timeout), CancellationToken::new()).await
    }

    async fn shell(&self, script: &str) -> Map<String, Value> {
        completed(self.run(json!({"argv": ["sh", "-c", script]})).await)
    }
}

fn job(headers: Value, timeout: Duration) -> Job {
    Job {
        r#type: "command".into(),
        key: 7,
        run: 42,
        process: "p".into(),
        element: "e".into(),
        element_key: 6,
        attempt: 2,
        effect_key: "abcdefghijklmnopqrstuvwxyz".into(),
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        depth: 3,
        headers: headers.as_object().unwrap().clone().into_iter().collect(),
        variables: Map::new(),
        since_ms: 0,
        first_activated_ms: 0,
        timeout,
    }
}

fn completed(outcome: Outcome) -> Map<String, Value> {
    match outcome {
        Outcome::Completed(result) => result,
        other => panic!("{other:?}"),
    }
}

fn failed(outcome: Outcome) -> (String, bool) {
    match outcome {
        Outcome::Failed { message, retryable, .. } => (message, retryable),
        other => panic!("{other:?}"),
    }
}

/// Whether the process is there and not a zombie.
fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

async fn gone(pid: &str) {
    for _ in 0..100 {
        if !lives(pid) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("process {pid} still lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_named_by_path_and_hash_runs() {
    let bench = Bench::new();
    let (text, retryable) = failed(bench.run(json!({"argv": ["/bin/sh", "-c", "true"]})).await);
    assert!(!retryable && text.contains("`/bin/sh` is not in `engine.jobs.commands`; it names `gone`, `me`"), "{text}");
    let (text, retryable) = failed(bench.run(json!({"argv": ["gone"]})).await);
    assert!(!retryable && text.contains("cannot be read"), "{text}");
    let script = bench.dir.path().join("script");
    std::fs::write(&script, "#!/bin/sh\ntouch /tmp/pwned\n").unwrap();
    let (text, retryable) = failed(bench.run(json!({"argv": ["script"]})).await);
    assert!(!retryable && text.contains("has sha256 ") && text.contains(" is allowed"), "{text}");
    for (headers, want) in [
        (json!({"argv": []}), "is empty"),
        (json!({"argv": ["sh", {"a": 1}]}), "item 2 is neither"),
        (json!({"argv": ["sh", "a\u{0}b"]}), "NUL"),
        (json!({"argv": ["sh"], "env": {"A=B": "c"}}), "no name of a variable"),
        (json!({"argv": ["sh"], "exitOk": 256}), "no exit code"),
        (json!({"argv": ["sh"], "cwd": "/etc"}), "below no folder of `engine.jobs.roots`"),
        (json!({"argv": ["sh"], "shell": true}), "no header `shell`"),
    ] {
        let (text, retryable) = failed(bench.run(headers).await);
        assert!(!retryable && text.contains(want), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_arrive_byte_for_byte() {
    let bench = Bench::new();
    let hostile = ["; rm -rf /", "$(id)", "`id`", "a b", "*", "'", "\"", "--", "-e", "é\n", ""];
    let argv: Vec<_> = std::iter::once("script").chain(hostile).collect();
    let result = completed(bench.run(json!({"argv": argv})).await);
    let want: String = hostile.iter().map(|a| format!("{a}\n")).collect();
    assert_eq!(result["stdout"], want);
    let version = completed(bench.run(json!({"argv": ["me", "--version"]})).await);
    assert!(version["stdout"].as_str().unwrap().starts_with("weavergen "));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_ours_alone_and_the_folder_empty() {
    let bench = Bench::new();
    let env = json!({"argv": ["sh", "-c", "/usr/bin/env; pwd; ls -A | wc -l"], "env": {"MINE": 1, "TRACEPARENT": "t"}, "stdout": "lines"});
    let result = completed(bench.run(env).await);
    let mut lines: Vec<_> =
        result["stdout"].as_array().unwrap().iter().map(|l| l.as_str().unwrap().to_owned()).collect();
    let (count, folder) = (lines.pop().unwrap(), lines.pop().unwrap());
    assert_eq!(count.trim(), "0");
    assert!(folder.ends_with("tmp/job-7-2"), "{folder}");
    assert!(!Path::new(&folder).exists(), "the folder goes with the attempt");
    // the shell itself sets these
    lines.retain(|line| !["PWD=", "SHLVL=", "_=", "OLDPWD="].iter().any(|own| line.starts_with(own)));
    lines.sort();
    assert_eq!(
        lines,
        [
            "BAGGAGE=weavergen.depth=3",
            "MINE=1",
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317",
            "OTEL_RESOURCE_ATTRIBUTES=weavergen.origin=pipeline,weavergen.run=42",
            "TRACEPARENT=t",
            "WEAVERGEN_ATTEMPT=2",
            "WEAVERGEN_EFFECT_KEY=abcdefghijklmnopqrstuvwxyz",
            "WEAVERGEN_INSTANCE=42",
        ]
    );
    let root = bench.dir.path().join("root");
    let there = completed(bench.run(json!({"argv": ["sh", "-c", "pwd"], "cwd": root})).await);
    assert_eq!(there["stdout"].as_str().unwrap().trim(), root.canonicalize().unwrap().to_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn input_goes_in_and_output_comes_out_in_the_form_asked_for() {
    let bench = Bench::new();
    let run = |stdin: Value, stdout: &str| {
        bench.run(json!({"argv": ["sh", "-c", "cat; echo noise >&2"], "stdin": stdin, "stdout": stdout}))
    };
    let text = completed(run(json!("a\nb\n"), "text").await);
    assert_eq!(
        (&text["stdout"], &text["exitCode"], &text["stderrTail"], &text["truncated"]),
        (&json!("a\nb\n"), &json!(0), &json!("noise\n"), &json!(false))
    );
    assert!(text["durationMs"].is_u64());
    assert_eq!(completed(run(json!("a\nb\n"), "lines").await)["stdout"], json!(["a", "b"]));
    assert_eq!(completed(run(json!({"x": [1]}), "json").await)["stdout"], json!({"x": [1]}));
    assert_eq!(completed(run(json!("a"), "none").await)["stdout"], Value::Null);
    let (text, retryable) = failed(run(json!("{"), "json").await);
    assert!(!retryable && text.contains("no JSON"), "{text}");
    // a command that never reads must not hold the attempt up
    let big = "x".repeat(4 << 20);
    completed(bench.run(json!({"argv": ["sh", "-c", "exit 0"], "stdin": big})).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_and_signals_become_outcomes() {
    let bench = Bench::new();
    let exit = |code: i32| json!({"argv": ["sh", "-c", format!("echo why >&2; echo out; exit {code}")], "exitOk": [0, 4], "exitErrors": {"3": "TOO_BAD"}});
    assert_eq!(completed(bench.run(exit(4)).await)["exitCode"], 4);
    assert_eq!(failed(bench.run(exit(9)).await), ("command `sh` ended with exit code 9: why".to_owned(), true));
    match bench.run(exit(3)).await {
        Outcome::Error { code, message, variables } => {
            assert_eq!((code.as_str(), &variables["stdout"]), ("TOO_BAD", &json!("out\n")));
            assert!(message.contains("exit code 3: why"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(
        failed(bench.run(json!({"argv": ["sh", "-c", "kill -SEGV $$"]})).await),
        ("command `sh` was ended by signal 11".to_owned(), true)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_read_and_thrown_away() {
    let bench = Bench::new();
    let flood = json!({"argv": ["sh", "-c", "head -c 50000000 /dev/zero; head -c 50000000 /dev/zero >&2; echo end >&2"], "maxOutput": "1KiB"});
    let result = completed(bench.run(flood).await);
    assert_eq!(result["stdout"].as_str().unwrap().len(), 1024);
    assert_eq!(result["truncated"], true);
    let tail = result["stderrTail"].as_str().unwrap();
    assert!(tail.len() <= 8 << 10 && tail.ends_with("end\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_is_ended_first_kindly_then_not() {
    let bench = Bench::new();
    let began = Instant::now();
    let kind =
        bench.run_for(json!({"argv": ["sh", "-c", "echo $$ >&2; exec sleep 600"]}), Duration::from_millis(300)).await;
    let (text, retryable) = failed(kind);
    assert!(retryable && text.contains("was ended after 0.3 s") && began.elapsed() < Duration::from_secs(3), "{text}");
    gone(text.rsplit(' ').next().unwrap()).await;

    let began = Instant::now();
    let stubborn = "trap '' TERM; echo $$ >&2; while :; do sleep 1; done";
    let (text, _) = failed(bench.run_for(json!({"argv": ["sh", "-c", stubborn]}), Duration::from_millis(300)).await);
    assert!((5..9).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    gone(text.rsplit(' ').next().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_takes_its_command_along() {
    let bench = Bench::new();
    let pid_file = bench.dir.path().join("root/pid");
    let script = format!("echo $$ > {}; exec sleep 600", pid_file.display());
    let cancel = CancellationToken::new();
    let running = tokio::spawn({
        let (command, cancel) = (bench.command.clone(), cancel.clone());
        let job = job(json!({"argv": ["sh", "-c", script]}), Duration::from_secs(60));
        async move { command.run(job, cancel).await }
    });
    let pid = loop {
        match std::fs::read_to_string(&pid_file) {
            Ok(pid) if pid.ends_with('\n') => break pid.trim().to_owned(),
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    assert!(lives(&pid));
    cancel.cancel();
    let (text, retryable) = failed(running.await.unwrap());
    assert!(!retryable && text.contains("cancelled"), "{text}");
    gone(&pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grandchild_that_ignores_term_and_holds_the_pipes_does_not_stay() {
    let bench = Bench::new();
    let began = Instant::now();
    let result = bench.shell("(trap '' TERM HUP; while :; do sleep 1; done) & echo $!").await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    gone(result["stdout"].as_str().unwrap().trim()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_attempt_leaves_nothing() {
    let bench = Bench::new();
    let pid_file = bench.dir.path().join("root/pid");
    let script = format!("echo $$ > {}; exec sleep 600", pid_file.display());
    let job = job(json!({"argv": ["sh", "-c", script]}), Duration::from_secs(60));
    let _ = tokio::time::timeout(Duration::from_millis(700), bench.command.run(job, CancellationToken::new())).await;
    let pid = std::fs::read_to_string(&pid_file).unwrap().trim().to_owned();
    gone(&pid).await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_command_dies_with_the_thread_that_started_it() {
    let bench = Bench::new();
    let pid_file = bench.dir.path().join("root/pid");
    let script = format!("echo $$ > {}; exec sleep 600", pid_file.display());
    // the sandbox, started by a thread that ends at once
    let child = std::thread::spawn(move || {
        let parent = std::process::id().to_string();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_weavergen"));
        let child = command.args(["__sandbox", &parent, "--", "/bin/sh", "-c", &script]).spawn().unwrap();
        while !std::fs::read_to_string(&pid_file).is_ok_and(|pid| pid.ends_with('\n')) {
            std::thread::sleep(Duration::from_millis(10));
        }
        child
    });
    let mut child = tokio::task::spawn_blocking(move || child.join().unwrap()).await.unwrap();
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    // a sandbox whose starter is not its parent any more does not start anything
    let orphan = std::process::Command::new(env!("CARGO_BIN_EXE_weavergen"))
        .args(["__sandbox", "1", "--", "/bin/echo", "x"])
        .output();
    let orphan = orphan.unwrap();
    assert_eq!((orphan.status.code(), orphan.stdout.as_slice()), (Some(69), &b""[..]));
}
