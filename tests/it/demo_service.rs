//! A service of the demo's shop as a process: what it sets, what a sandbox run of it sends, how it is restarted.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::daemon::{BINARY, Daemon};

const INSTRUMENTATION: &str = "service: payment\nspans:\n  shop.payment.charge:\n    rpc.system: rpc.system\n    \
                               app.payment.amount: app.payment.amount\n";

fn command(daemon: &Daemon, file: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["demo-service", "--name", "payment", "--endpoint", &daemon.grpc(), "--instrumentation"]).arg(file);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_sandbox_run_sends_its_traces_with_the_attributes_of_the_file_and_the_resource_given() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&dir.path().join("data"));
    daemon.wait_ready();
    let file = dir.path().join("instrumentation.yaml");
    std::fs::write(&file, INSTRUMENTATION).unwrap();
    let status = command(&daemon, &file)
        .args(["--traces", "40", "--resource", "weavergen.run=7"])
        .env("OTEL_RESOURCE_ATTRIBUTES", "weavergen.origin=pipeline")
        .status()
        .unwrap();
    assert!(status.success());
    let rows = daemon.rows(
        "SELECT count(DISTINCT trace_id), count(*), min(span_type), max(span_type), \
         count(attributes['app.payment.amount']), count(attributes['app.order.id']) FROM spans \
         WHERE resource['weavergen.run'] = '7' AND resource['weavergen.origin'] = 'pipeline' \
         AND service_name = 'payment'",
    );
    let spans = rows[0][1].clone();
    assert_eq!(rows[0], json!([40, spans, "shop.payment.charge", "shop.payment.charge", spans, 0]));

    std::fs::write(&file, "service: cart\nspans: {}\n").unwrap();
    let output = command(&daemon, &file).args(["--traces", "1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("instrumentation.yaml:1:10: this is not the instrumentation of \"payment\""), "{told}");
}

#[test]
fn a_restart_ends_when_the_successor_was_heard_and_fails_without_a_keeper() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&dir.path().join("data"));
    daemon.wait_ready();
    let (file, run_dir) = (dir.path().join("instrumentation.yaml"), dir.path().join("run"));
    std::fs::write(&file, INSTRUMENTATION).unwrap();
    let start = || Service(command(&daemon, &file).arg("--run-dir").arg(&run_dir).spawn().unwrap());
    let restart = || {
        let mut command = Command::new(BINARY);
        command.args(["demo-service", "--restart", "payment", "--run-dir"]).arg(&run_dir).stdout(Stdio::null());
        command
    };
    assert_eq!(restart().stderr(Stdio::null()).status().unwrap().code(), Some(1), "nobody runs");
    let mut first = start();
    wait_for("the service is heard", || run_dir.join("payment.heard").exists());

    // The file changes what is sent only by the restart.
    std::fs::write(&file, INSTRUMENTATION.replace("app.payment.amount: app.payment.amount", "user.id: user.id"))
        .unwrap();
    let mut asked = restart().spawn().unwrap();
    assert!(first.0.wait().unwrap().success(), "it flushes and ends well");
    let _second = start();
    assert!(asked.wait().unwrap().success());
    let heard = std::fs::read_to_string(run_dir.join("payment.heard")).unwrap();
    assert_eq!(heard, std::fs::read_to_string(run_dir.join("payment.pid")).unwrap());
    wait_for("the new file shows", || {
        let sql = "SELECT count(attributes['user.id']), count(attributes['app.payment.amount']), count(*) FROM spans \
                   WHERE service_name = 'payment'";
        let rows = daemon.rows(sql);
        let [new, old, all] = [0, 1, 2].map(|at| rows[0][at].as_u64().unwrap());
        new > 0 && old > 0 && new + old == all
    });

    // Its keeper is gone: told, not waited for without end.
    let began = Instant::now();
    assert_eq!(restart().stderr(Stdio::null()).status().unwrap().code(), Some(1));
    assert!(began.elapsed() < Duration::from_secs(15));
}
