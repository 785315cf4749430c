//! Parts in a bucket: a daemon on an S3 server of others (storage.md 13).
//!
//! moto's server comes with `tests/run.sh`; the ignored tests are the same on versitygw, which `tests/interop.sh` makes.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::daemon::{BINARY, Daemon};
use crate::given::installed;

const BUCKET: &str = "spans";
const ALL: &str = "SELECT hex(trace_id), hex(span_id), service_name, name, start_time, duration_ns, attributes, resource \
                   FROM spans ORDER BY 1, 2";

/// A server with the bucket; it ends when dropped.
struct Server {
    child: Child,
    endpoint: String,
    /// Where versitygw keeps the objects; it holds them after the server, too.
    _folder: Option<tempfile::TempDir>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn moto(variables: &[(&str, &str)]) -> Option<Self> {
        let python = installed("s3", "WEAVERGEN_TEST_PYTHON")?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/s3.py");
        let mut child = Command::new(python)
            .args([script, BUCKET])
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let endpoint = format!("http://127.0.0.1:{}", port.trim());
        Some(Self { child, endpoint, _folder: None })
    }

    fn versitygw() -> Option<Self> {
        let binary = installed("s3", "WEAVERGEN_TEST_VERSITYGW")?;
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(binary)
            .args(["--port", &format!("127.0.0.1:{port}"), "posix", folder.path().to_str().unwrap()])
            .envs([("ROOT_ACCESS_KEY", "testuser1"), ("ROOT_SECRET_KEY", "testsecret1")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(30), "versitygw did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { child, endpoint: format!("http://127.0.0.1:{port}"), _folder: Some(folder) })
    }

    /// Flags that put the parts into `bucket`, below `prod`.
    fn flags(&self, bucket: &str) -> Vec<String> {
        let option = |key: &str, value: &str| format!("--set=storage::object_store::options::{key}={value}");
        vec![
            format!("--set=storage::object_store::url=s3://{bucket}/prod"),
            option("endpoint", &self.endpoint),
            option("allow_http", "true"),
            option("region", "us-east-1"),
            option("access_key_id", "testuser1"),
            option("secret_access_key", "testsecret1"),
            option("timeout", "5s"),
        ]
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap(), signal).unwrap();
    }
}

/// A daemon that writes no spans of its own and flushes only when asked.
fn daemon(data: &Path, more: &[String]) -> Daemon {
    let own = ["--set=service::telemetry::traces::level=none", "--set=storage::memtable::flush_after=10m"];
    let flags: Vec<&str> = own.into_iter().chain(more.iter().map(String::as_str)).collect();
    Daemon::start_with(data, &flags)
}

/// Exit code, stdout and stderr of `weavergen` with `args`.
fn ran(args: &[&str], more: &[String]) -> (i32, String, String) {
    let output = Command::new(BINARY).args(args).args(more).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn load(daemon: &Daemon, seed: u32) {
    let (code, out, err) =
        ran(&["loadgen", "--traces", "40", "--seed", &seed.to_string(), "--endpoint", &daemon.grpc()], &[]);
    assert_eq!(code, 0, "{out}{err}");
}

/// Exit code and text of `store flush`.
fn flush(daemon: &Daemon) -> (i32, String) {
    let (code, out, err) = ran(&["store", "flush", "--url", &daemon.url("api", "")], &[]);
    (code, out + &err)
}

fn flushed(daemon: &Daemon) {
    let (code, text) = flush(daemon);
    assert_eq!(code, 0, "{text}");
}

/// A start that must fail.
fn refused(data: &Path, more: &[String]) -> (i32, String) {
    let args = ["run", "--data", data.to_str().unwrap()];
    let more: Vec<String> = crate::daemon::free_ports().into_iter().chain(more.iter().cloned()).collect();
    let (code, _, err) = ran(&args, &more);
    (code, err)
}

fn log(data: &Path) -> String {
    std::fs::read_to_string(data.with_extension("log")).unwrap()
}

fn spans_in_a_bucket(server: &Server) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let flags = server.flags(BUCKET);
    let running = daemon(&data, &flags);
    load(&running, 1);
    flushed(&running);
    load(&running, 2);
    let rows = running.rows(ALL);
    assert!(rows.len() >= 160, "{}", rows.len());
    running.kill();
    assert!(!data.join("spans").exists() && !data.join("manifest").exists(), "the parts are in the bucket");

    let running = daemon(&data, &flags);
    running.wait_ready();
    assert_eq!(running.rows(ALL), rows, "after kill -9");
    flushed(&running);
    assert_eq!(running.rows(ALL), rows, "from parts");
    let of = |columns: &str| running.rows(&format!("SELECT {columns} FROM system.parts"));
    assert_eq!(of("sum(rows)")[0][0], rows.len());
    assert_eq!(running.rows("SELECT count(*) FROM system.damage WHERE severity = 'damage'")[0][0], 0);
    let parts = of("count(*)")[0][0].clone();
    assert_eq!(running.stop(), 0, "{}", log(&data));

    // Without the daemon: with its configuration, and a clear refusal without.
    let folder = data.to_str().unwrap();
    let (code, out, err) = ran(&["sql", "-o", "ndjson", "--data", folder, "SELECT count(*) AS n FROM spans"], &flags);
    assert_eq!(code, 0, "{err}");
    let first: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!(first["n"], rows.len());
    let (code, out, err) = ran(&["store", "ls", "-o", "ndjson", "--data", folder], &flags);
    assert_eq!(
        (code, out.matches(r#""kind":"part""#).count()),
        (0, usize::try_from(parts.as_u64().unwrap()).unwrap()),
        "{err}"
    );
    let (code, out, err) = ran(&["store", "verify", "--deep", "--data", folder], &flags);
    assert_eq!(code, 0, "{out}{err}");
    for command in [&["sql", "SELECT 1"][..], &["store", "stats"], &["store", "verify"]] {
        let (code, _, err) = ran(&[command, &["--data", folder]].concat(), &[]);
        assert_eq!(code, 78, "{command:?}: {err}");
        assert!(err.contains("s3://spans/prod") && err.contains("--config FILE"), "{command:?}: {err}");
    }
    let (code, err) = refused(&data, &[]);
    assert!(code == 78 && err.contains("storage.object_store.url: s3://spans/prod"), "{code} {err}");
}

/// Two daemons with data folders of their own begin at once: one becomes the writer after the other, and what each was
/// told to be in parts is there.
fn raced_starts(server: &Server, rounds: usize) {
    for round in 0..rounds {
        let dir = tempfile::tempdir().unwrap();
        let flags = server.flags(BUCKET);
        let folders: [PathBuf; 2] = [dir.path().join("a"), dir.path().join("b")];
        let ran: Vec<(usize, bool, String)> = std::thread::scope(|scope| {
            let start = |folder: &PathBuf, seed: usize| {
                let (folder, flags) = (folder.clone(), flags.clone());
                scope.spawn(move || {
                    let running = daemon(&folder, &flags);
                    load(&running, u32::try_from(100 * (round + 1) + seed).unwrap());
                    let n = running.rows("SELECT count(*) FROM spans")[0][0].as_u64().unwrap();
                    let (code, text) = flush(&running);
                    running.kill();
                    (usize::try_from(n).unwrap(), code == 0, text)
                })
            };
            let threads = [start(&folders[0], 1), start(&folders[1], 2)];
            threads.map(|thread| thread.join().unwrap()).into()
        });
        assert!(ran.iter().any(|(_, flushed, _)| *flushed), "round {round}: {ran:?}");
        for (_, flushed, text) in &ran {
            assert!(*flushed || text.contains("was taken over"), "round {round}: {text}");
        }
        // Each in its turn puts in what its log has kept; then all is there, once.
        for folder in folders {
            let running = daemon(&folder, &flags);
            running.wait_ready();
            flushed(&running);
            let counts = running.rows("SELECT count(*), count(DISTINCT hex(trace_id) || hex(span_id)) FROM spans");
            assert_eq!(counts[0][0], counts[0][1], "round {round}: a row is there twice");
            running.kill();
        }
        let running = daemon(&dir.path().join("c"), &flags);
        let found = running.rows("SELECT count(DISTINCT hex(trace_id)) FROM spans")[0][0].as_u64().unwrap();
        assert_eq!(found, 80 * (round as u64 + 1), "round {round}");
        running.kill();
    }
}

#[test]
fn spans_in_a_bucket_survive_a_kill_and_give_the_same_answers_with_and_without_the_daemon() {
    let Some(server) = Server::moto(&[]) else { return };
    spans_in_a_bucket(&server);
}

#[test]
fn of_two_daemons_that_start_at_once_each_keeps_what_it_acknowledged() {
    let Some(server) = Server::moto(&[]) else { return };
    raced_starts(&server, 1);
}

#[test]
fn a_bucket_that_is_absent_denied_or_unreachable_is_told_with_the_next_move_and_nothing_is_kept() {
    let Some(server) = Server::moto(&[]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (code, err) = refused(&data, &server.flags("absent"));
    assert!(code == 78 && err.contains("s3://absent/prod: there is no such bucket"), "{code} {err}");
    let flags = server.flags(BUCKET);
    drop(server);
    let (code, err) = refused(&data, &flags);
    assert!(code == 69 && err.contains("s3://spans/prod cannot be reached"), "{code} {err}");
    let Some(strict) = Server::moto(&[("INITIAL_NO_AUTH_ACTION_COUNT", "1")]) else { return };
    let (code, err) = refused(&data, &strict.flags(BUCKET));
    assert!(code == 78 && err.contains("access is denied") && err.contains("AWS_ACCESS_KEY_ID"), "{code} {err}");
    assert!(!err.contains("testsecret1"), "{err}");
    // The folder belongs to none of them.
    let running = daemon(&data, &[]);
    assert_eq!(running.stop(), 0);
}

#[test]
fn an_outage_is_told_takes_spans_meanwhile_and_ends_without_a_restart() {
    let Some(server) = Server::moto(&[]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut flags = server.flags(BUCKET);
    flags.retain(|flag| !flag.contains("timeout"));
    flags.push("--set=storage::object_store::options::timeout=1s".to_owned());
    let running = daemon(&data, &flags);
    load(&running, 1);
    flushed(&running);
    server.signal(Signal::STOP);
    load(&running, 2);
    let (code, text) = flush(&running);
    assert!(code != 0 && text.contains("Generic S3 error"), "{code} {text}");
    let (status, answer) = running.ask("SELECT count(*) FROM spans WHERE attributes['http.route'] IS NOT NULL");
    assert!(status == 503 && answer.to_string().contains("the object store does not answer"), "{status} {answer}");
    server.signal(Signal::CONT);
    let began = Instant::now();
    while flush(&running).0 != 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "{}", log(&data));
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(running.rows("SELECT count(DISTINCT hex(trace_id)) FROM spans")[0][0], 80);
    assert_eq!(
        running.rows("SELECT sum(rows) FROM system.parts")[0][0],
        running.rows("SELECT count(*) FROM spans")[0][0]
    );
    assert_eq!(running.stop(), 0);
}

#[test]
#[ignore = "tests/interop.sh makes the server"]
fn on_versitygw_spans_in_a_bucket_survive_a_kill() {
    let Some(server) = Server::versitygw() else { return };
    spans_in_a_bucket(&server);
}

#[test]
#[ignore = "tests/interop.sh makes the server"]
fn on_versitygw_of_two_daemons_that_start_at_once_each_keeps_what_it_acknowledged() {
    let Some(server) = Server::versitygw() else { return };
    raced_starts(&server, 50);
}
