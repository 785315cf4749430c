//! A daemon that tells Alertmanagers: ones that answer as told, and the real one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use prost::Message as _;
use serde_json::Value;

use crate::daemon::{BINARY, Daemon, block_on};
use crate::given;
use crate::proto::plain::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use crate::proto::plain::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value};
use crate::proto::plain::opentelemetry::proto::resource::v1::Resource;
use crate::proto::plain::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

/// A service whose spans of the last seconds failed fires; one that fell silent stays as it is.
const GATES: &str = r#"
groups:
  - name: errors
    gates:
      - gate: without_errors
        sql: SELECT service_name, avg(CAST(status_code <> 'error' AS INT)) AS value, count(*) AS n FROM spans GROUP BY service_name
        by: [service_name]
        window: 8s
        pass: "> 95%"
        stale_after: never
        annotations: { summary: "{{ labels.service_name }}: {{ value }} of {{ n }}" }
"#;

#[allow(clippy::disallowed_methods, reason = "spans for a daemon that runs by the real clock")]
fn now_ns() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

/// Sends 4 spans of each service that end now; those of `bad` fail.
fn send(daemon: &Daemon, services: &[String], bad: &BTreeSet<String>) {
    let end_ns = now_ns();
    let resource = |service: &String| {
        let value = Some(AnyValue { value: Some(any_value::Value::StringValue(service.clone())) });
        let name = KeyValue { key: "service.name".to_owned(), value, ..KeyValue::default() };
        let of_service = service.bytes().fold(1_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        let span = |n: u64| Span {
            trace_id: [of_service.to_be_bytes(), (end_ns + n).to_be_bytes()].concat(),
            span_id: (end_ns + n).to_be_bytes().to_vec(),
            name: "GET /".to_owned(),
            kind: 2,
            start_time_unix_nano: end_ns - 20_000_000,
            end_time_unix_nano: end_ns,
            status: Some(Status { code: if bad.contains(service) { 2 } else { 1 }, ..Status::default() }),
            ..Span::default()
        };
        let scope_spans = vec![ScopeSpans { spans: (0..4).map(span).collect(), ..ScopeSpans::default() }];
        ResourceSpans {
            resource: Some(Resource { attributes: vec![name], ..Resource::default() }),
            scope_spans,
            ..ResourceSpans::default()
        }
    };
    let request = ExportTraceServiceRequest { resource_spans: services.iter().map(resource).collect() };
    let url = format!("{}/v1/traces", daemon.http());
    let status = block_on(async {
        let client = reqwest::Client::new();
        let request = client.post(url).header("content-type", "application/x-protobuf").body(request.encode_to_vec());
        request.send().await.unwrap().status()
    });
    assert_eq!(status, 200);
}

fn start(folder: &Path, urls: &[String]) -> Daemon {
    let config = format!(
        "gates: {{files: [errors.yaml], interval: 1s, query_offset: 1s, idle_source_after: 1s}}
notify:
  default: [am]
  resend_interval: 10s
  receivers: {{am: {{alertmanager: {{urls: [{}]}}}}}}
",
        urls.iter().map(|url| format!("'{url}'")).collect::<Vec<_>>().join(", ")
    );
    std::fs::write(folder.join("errors.yaml"), GATES).unwrap();
    std::fs::write(folder.join("weavergen.yaml"), config).unwrap();
    let daemon = Daemon::start_in(folder, &folder.join("data"), &["--config", "weavergen.yaml"]);
    daemon.wait_ready();
    daemon
}

/// Until `holds`; what it shows then is in the failure.
fn wait<T: std::fmt::Debug>(what: &str, mut look: impl FnMut() -> T, holds: impl Fn(&T) -> bool) -> T {
    let began = Instant::now();
    loop {
        let seen = look();
        if holds(&seen) {
            return seen;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{what}: {seen:?}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// An Alertmanager's door: it keeps what it takes, and refuses batches with a service that it is told to.
#[derive(Clone, Default)]
struct Fake {
    taken: Arc<Mutex<Vec<Value>>>,
    refused: Arc<Mutex<Option<String>>>,
}

impl Fake {
    /// On a port of its own, for as long as the test runs.
    fn listen() -> (Self, String) {
        let fake = Self::default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().route("/api/v2/alerts", post(take)).with_state(fake.clone());
        std::thread::spawn(move || {
            block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, router).await.unwrap();
            });
        });
        (fake, url)
    }

    /// Alerts about `service` in the order in which they came: whether they fire, and when they began.
    fn about(&self, service: &str) -> Vec<(bool, String)> {
        let taken = self.taken.lock().unwrap();
        let of = |alert: &&Value| alert["labels"]["service_name"] == service;
        let text = |alert: &Value, name: &str| alert[name].as_str().unwrap().to_owned();
        let at = |alert: &Value, name: &str| text(alert, name).parse::<jiff::Timestamp>().unwrap();
        let fires = |alert: &Value| at(alert, "endsAt") > at(alert, "taken");
        taken.iter().filter(of).map(|alert| (fires(alert), text(alert, "startsAt"))).collect()
    }

    fn fires(&self, service: &str) -> Option<bool> {
        self.about(service).last().map(|(fires, _)| *fires)
    }
}

async fn take(State(fake): State<Fake>, Json(alerts): Json<Vec<Value>>) -> (StatusCode, &'static str) {
    let refused = fake.refused.lock().unwrap().clone();
    if alerts.iter().any(|alert| refused.as_deref().is_some_and(|service| alert["labels"]["service_name"] == service)) {
        return (StatusCode::BAD_REQUEST, "bad label");
    }
    let at = jiff::Timestamp::from_nanosecond(i128::from(now_ns())).unwrap().to_string();
    for mut alert in alerts {
        alert["taken"] = at.as_str().into();
        fake.taken.lock().unwrap().push(alert);
    }
    (StatusCode::OK, "")
}

fn gates(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("gates").args(args).arg("--data").arg(folder.join("data")).env("HOME", folder);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn both_addresses_hear_of_every_alert_and_a_dead_letter_is_shown_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ((a, url_a), (b, url_b)) = (Fake::listen(), Fake::listen());
    *b.refused.lock().unwrap() = Some("poison".to_owned());
    let daemon = start(folder, &[url_a.clone(), url_b.clone()]);
    let services = ["good", "broken", "poison"].map(str::to_owned);
    let bad: BTreeSet<String> = services[1..].iter().cloned().collect();
    let look = || {
        send(&daemon, &services, &bad);
        ["broken", "poison"].map(|service| (a.fires(service), b.fires(service)))
    };
    wait("firing", look, |seen| *seen == [(Some(true), Some(true)), (Some(true), None)]);
    assert_eq!((a.fires("good"), b.fires("good")), (None, None));
    let line_b = format!("am@{}", url_b.trim_start_matches("http://"));
    let told = || {
        let taken = a.taken.lock().unwrap();
        taken
            .iter()
            .map(|alert| alert["labels"].clone())
            .filter(|l| l["alertname"] == "DeliveryFailing")
            .collect::<Vec<_>>()
    };
    let told = wait("its neighbour hears that it fails", told, |told| !told.is_empty());
    assert_eq!(told[0]["receiver"], line_b.as_str());

    let list = || -> Vec<Value> {
        let output = gates(folder, &["outbox", "-o", "ndjson"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let dead = |rows: &Vec<Value>| rows.iter().any(|row| row["dead"].is_string());
    let rows = wait("a dead letter", list, dead);
    let row = rows.iter().find(|row| row["dead"].is_string()).unwrap().clone();
    assert_eq!((&row["receiver"], &row["dead"]), (&line_b.as_str().into(), &"status 400: bad label".into()));
    assert_eq!((&row["status"], &row["attempts"]), (&"firing".into(), &1.into()));
    assert!(row["transition"].as_str().unwrap().ends_with("/1/0"), "{row}");
    assert!(row["line"].as_str().unwrap().contains("without_errors{service_name=poison}"), "{row}");

    *b.refused.lock().unwrap() = None;
    let id = row["id"].to_string();
    let output = gates(folder, &["outbox", "retry", &id]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with(&format!("message {id} waits again, as ")), "{}", text(&output.stdout));
    wait("what was tried again", || b.fires("poison"), |fires| *fires == Some(true));
    let output = gates(folder, &["outbox", "retry", &id]);
    assert!(text(&output.stderr).contains(&format!("there is no message {id}")), "{}", text(&output.stderr));
    assert_ne!(output.status.code(), Some(0));

    // The same alerts, told again by the process that follows one that was killed, with the same begin.
    let count = a.about("broken").len();
    daemon.kill();
    let daemon = start(folder, &[url_a, url_b]);
    wait("told again", || a.about("broken").len(), |told| *told > count);
    let began: BTreeSet<String> = a.about("broken").into_iter().map(|(_, began)| began).collect();
    assert_eq!(began.len(), 1, "{began:?}");
    let look = || {
        send(&daemon, &services, &BTreeSet::new());
        ["broken", "poison"].map(|service| (a.fires(service), b.fires(service)))
    };
    wait("resolved", look, |seen| seen.iter().all(|seen| *seen == (Some(false), Some(false))));
}

/// Ended when dropped.
struct Alertmanager {
    child: Child,
    url: String,
}

impl Alertmanager {
    fn start(program: &str, folder: &Path, hook: &str) -> Self {
        let config = format!(
            "route: {{receiver: hook, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers: [{{name: hook, webhook_configs: [{{url: '{hook}', send_resolved: true}}]}}]
"
        );
        std::fs::write(folder.join("alertmanager.yml"), config).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = std::fs::File::create(folder.join("alertmanager.log")).unwrap();
        let child = Command::new(program)
            .arg(format!("--config.file={}", folder.join("alertmanager.yml").display()))
            .arg(format!("--storage.path={}", folder.join("alertmanager").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; apt-get install prometheus-alertmanager"));
        let alertmanager = Self { child, url: format!("http://127.0.0.1:{port}") };
        let ready = || block_on(async { reqwest::get(format!("{}/-/ready", alertmanager.url)).await.is_ok() });
        wait("Alertmanager", ready, |ready| *ready);
        alertmanager
    }

    /// Services of the alerts that it holds to be firing.
    fn active(&self) -> BTreeSet<String> {
        let url = format!("{}/api/v2/alerts?active=true&silenced=false&inhibited=false", self.url);
        let text = block_on(async { reqwest::get(url).await.unwrap().text().await.unwrap() });
        let alerts: Vec<Value> = serde_json::from_str(&text).unwrap();
        alerts.iter().map(|alert| alert["labels"]["service_name"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What Alertmanager's own receiver is told: services by status, each time.
type Told = Arc<Mutex<Vec<(String, String)>>>;

fn hook() -> (Told, String) {
    let told = Told::default();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let take = |State(told): State<Told>, Json(body): Json<Value>| async move {
        for alert in body["alerts"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            told.lock().unwrap().push((text(&alert["status"]), text(&alert["labels"]["service_name"])));
        }
    };
    let router = axum::Router::new().route("/hook", post(take)).with_state(told.clone());
    std::thread::spawn(move || {
        block_on(async move {
            axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), router).await.unwrap();
        });
    });
    (told, url)
}

#[test]
#[ignore = "needs Alertmanager: tests/interop.sh --only alertmanager"]
fn of_two_hundred_services_the_thirty_that_breach_fire_once_and_end_once_in_the_real_alertmanager() {
    let Some(program) = given::installed("alertmanager", "WEAVERGEN_TEST_ALERTMANAGER") else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (told, hook) = hook();
    let alertmanager = Alertmanager::start(&program, folder, &hook);
    let daemon = start(folder, std::slice::from_ref(&alertmanager.url));
    let services: Vec<String> = (0..200).map(|n| format!("service-{n:03}")).collect();
    let bad: BTreeSet<String> = services.iter().step_by(7).take(29).chain([&services[199]]).cloned().collect();
    assert_eq!(bad.len(), 30);
    let look = |bad: &BTreeSet<String>| {
        send(&daemon, &services, bad);
        alertmanager.active()
    };
    wait("firing", || look(&bad), |active| *active == bad);
    // Longer than two re-sends: nothing ends, begins or is told a second time meanwhile.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(25) {
        assert_eq!(look(&bad), bad);
        std::thread::sleep(Duration::from_secs(1));
    }
    wait("resolved", || look(&BTreeSet::new()), BTreeSet::is_empty);
    let count = || {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (status, _) in told.lock().unwrap().iter() {
            *counts.entry(status.clone()).or_default() += 1;
        }
        counts
    };
    let expected = BTreeMap::from([("firing".to_owned(), 30), ("resolved".to_owned(), 30)]);
    wait("told", count, |counts| *counts == expected);
    std::thread::sleep(Duration::from_secs(15));
    assert_eq!(count(), expected, "re-sends of ends tell nobody again");
    let of = |wanted: &str| -> BTreeSet<String> {
        let told = told.lock().unwrap();
        told.iter().filter(|(status, _)| status == wanted).map(|(_, service)| service.clone()).collect()
    };
    assert_eq!((of("firing"), of("resolved")), (bad.clone(), bad));
    println!("Alertmanager told its receiver of 30 firing and 30 resolved of 200 services");
}
