//! A daemon of the built binary in a folder of its own, for tests that need a real process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub const BINARY: &str = env!("CARGO_BIN_EXE_weavergen");

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    pub data: PathBuf,
    run: Value,
}

/// Flags that put every endpoint on a free port.
pub fn free_ports() -> Vec<String> {
    [
        "receivers::otlp::protocols::grpc::endpoint=localhost:0",
        "receivers::otlp::protocols::http::endpoint=localhost:0",
        "web::endpoint=localhost:0",
        "extensions::health_check::endpoint=localhost:0",
        "service::telemetry::metrics::readers=[{pull: {exporter: {prometheus: {port: 0}}}}]",
    ]
    .iter()
    .map(|set| format!("--set={set}"))
    .collect()
}

impl Daemon {
    pub fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    pub fn start_with(data: &Path, more: &[&str]) -> Self {
        Self::start_in(Path::new("."), data, more)
    }

    /// A daemon whose working folder is `folder`; `data` is absolute.
    pub fn start_in(folder: &Path, data: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        command.current_dir(folder);
        Self::start_by(command, data, more)
    }

    /// A daemon that is in the control group `cgroup` from its first instruction.
    pub fn start_held(cgroup: &Path, data: &Path, more: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]).arg(cgroup).arg(BINARY);
        Self::start_by(command, data, more)
    }

    /// `command` takes the daemon's arguments and becomes it.
    fn start_by(mut command: Command, data: &Path, more: &[&str]) -> Self {
        let run_file = data.join("run.json");
        let _ = std::fs::remove_file(&run_file);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(data.with_extension("log")).unwrap();
        let child = command
            .arg("run")
            .args(free_ports())
            .args(more)
            .arg("--data")
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let began = Instant::now();
        let run = loop {
            if let Ok(text) = std::fs::read_to_string(&run_file)
                && let Ok(run) = serde_json::from_str(&text)
            {
                break run;
            }
            let log = || std::fs::read_to_string(data.with_extension("log")).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(60), "the daemon did not start:\n{}", log());
            std::thread::sleep(Duration::from_millis(10));
        };
        Self { child, data: data.to_owned(), run }
    }

    fn address(&self, path: &str) -> String {
        self.run
            .pointer(path)
            .and_then(|a| a[0].as_str())
            .unwrap_or_else(|| panic!("{path} in {}", self.run))
            .to_owned()
    }

    pub fn grpc(&self) -> String {
        format!("http://{}", self.address("/receivers/otlp/grpc"))
    }

    pub fn http(&self) -> String {
        format!("http://{}", self.address("/receivers/otlp/http"))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn url(&self, what: &str, path: &str) -> String {
        format!("http://{}{path}", self.address(&format!("/{what}")))
    }

    /// Waits until replay has ended: answers before that are flagged incomplete.
    pub fn wait_ready(&self) {
        let ready = self.url("health", "/ready");
        for _ in 0..600 {
            if block_on(async { reqwest::get(&ready).await.unwrap().status().as_u16() }) == 200 {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("replay did not end in 30 s");
    }

    /// SIGKILL, as the kernel does it.
    pub fn kill(mut self) -> PathBuf {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.data.clone()
    }

    /// SIGTERM; the exit code.
    pub fn stop(mut self) -> i32 {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Status and body of `POST /api/v1/sql`.
    pub fn ask(&self, sql: &str) -> (u16, Value) {
        let url = self.url("api", "/api/v1/sql");
        let body = serde_json::json!({ "sql": sql }).to_string();
        block_on(async move {
            let client = reqwest::Client::new();
            let request = client.post(url).header("content-type", "application/json").body(body);
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
        })
    }

    /// The rows of a statement that must succeed.
    pub fn rows(&self, sql: &str) -> Vec<Value> {
        let (status, answer) = self.ask(sql);
        assert_eq!(status, 200, "{sql}: {answer}");
        answer["rows"].as_array().unwrap().clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
