//! Gates read and closed over HTTP, on a daemon of the test's own: rules, alerts, metrics, a close and a kill behind it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::daemon::{BINARY, Daemon, block_on};

const GATES: &str = r#"
groups:
  - name: errors
    interval: 1s
    query_offset: 1s
    labels: { team: shop }
    gates:
      - gate: error_share
        sql: SELECT service_name, avg(CASE WHEN status_code = 'error' THEN 1.0 ELSE 0.0 END) AS value, count(*) AS n FROM spans GROUP BY service_name
        by: [service_name]
        window: 5s
        pass: "< 10%"
        labels: { of: "{{ labels.service_name }}" }
        annotations: { summary: "{{ labels.service_name }}: {{ (value * 100) | round(1) }}% of {{ n }} spans failed" }
      - gate: patient
        sql: SELECT count(*) AS value FROM spans
        window: 10m
        pass: "< 1"
        for: 1h
  - name: quiet
    interval: 1s
    query_offset: 1s
    gates:
      - gate: recorded
        sql: SELECT count(*) AS value FROM spans
        window: 10m
        pass: "< 1"
        mode: dry_run
"#;
const KEY: &str = "service_name=cart";
/// Ticks wait so long for spans of a service that went silent.
const IDLE: &str = "--set=gates.idle_source_after=1s";

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("gates.yaml"), GATES).unwrap();
        Self { dir }
    }

    fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    fn daemon(&self) -> Daemon {
        let files = format!("--set=gates.files=[{}]", self.dir.path().join("gates.yaml").display());
        let daemon = Daemon::start_with(&self.data(), &[&files, IDLE, "--set=learn.enabled=false"]);
        daemon.wait_ready();
        daemon
    }

    fn close(&self, args: &[&str]) -> (i32, String) {
        let output =
            Command::new(BINARY).args(["gates", "close"]).args(args).arg("--data").arg(self.data()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), text)
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn get(daemon: &Daemon, path: &str) -> (u16, Value) {
    let url = daemon.url("api", path);
    block_on(async move {
        let response = client().get(url).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    })
}

fn ok(daemon: &Daemon, path: &str) -> Value {
    let (status, answer) = get(daemon, path);
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

fn close(daemon: &Daemon, gate: &str, body: &Value) -> (u16, Value) {
    let url = daemon.url("api", &format!("/api/v1/gates/{gate}/close"));
    block_on(async move {
        let response = client().post(url).json(body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    })
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[allow(clippy::disallowed_methods, reason = "the daemon has the clock of the machine")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// Two spans of `cart` that end now, one of them failed.
fn send(daemon: &Daemon) {
    let now_ns = u128::try_from(now().as_nanosecond()).unwrap();
    let span = |id: u64, code: u8| {
        json!({
            "traceId": format!("{:032x}", now_ns + u128::from(id)), "spanId": format!("{:016x}", id + 1), "name": "op",
            "kind": 2, "startTimeUnixNano": (now_ns - 1_000).to_string(), "endTimeUnixNano": now_ns.to_string(),
            "status": {"code": code},
        })
    };
    let service = json!([{"key": "service.name", "value": {"stringValue": "cart"}}]);
    let body = json!({"resourceSpans": [{
        "resource": {"attributes": service},
        "scopeSpans": [{"spans": [span(1, 2), span(2, 1)]}],
    }]});
    let url = format!("{}/v1/traces", daemon.http());
    let status = block_on(async move { client().post(url).json(&body).send().await.unwrap().status().as_u16() });
    assert_eq!(status, 200);
}

fn firing(daemon: &Daemon) -> Vec<Value> {
    let alerts = ok(daemon, "/api/v1/alerts");
    assert_eq!(alerts["status"], "success");
    let alerts = alerts["data"]["alerts"].as_array().unwrap().clone();
    alerts.into_iter().filter(|alert| alert["state"] == "firing").collect()
}

fn rule(daemon: &Daemon, name: &str) -> Value {
    let rules = ok(daemon, &format!("/api/v1/rules?rule_name[]={name}"));
    let groups = rules["data"]["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 1, "{rules}");
    let rules = groups[0]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 1, "{rules:?}");
    rules[0].clone()
}

fn broken(daemon: &Daemon) -> Value {
    until("error_share did not fire", || {
        // Until it fires, for a span may come in behind the tick of its window.
        send(daemon);
        firing(daemon).into_iter().next()
    })
}

fn seconds(time: &Value) -> i64 {
    time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second()
}

#[test]
fn a_gate_that_breaks_is_a_rule_an_alert_and_series_for_those_who_read_prometheus() {
    let world = World::new();
    let daemon = world.daemon();
    let empty = ok(&daemon, "/api/v1/alerts");
    assert_eq!(empty, json!({"status": "success", "data": {"alerts": []}}));

    let alert = broken(&daemon);
    let labels = json!({
        "service_name": "cart", "team": "shop", "of": "cart", "alertname": "error_share", "gate_group": "errors",
        "severity": "critical", "level": "fail",
    });
    assert_eq!(alert["labels"], labels, "those that receivers are sent");
    assert_eq!(alert["value"], "5e-01");
    let summary = alert["annotations"]["summary"].as_str().unwrap();
    assert!(summary.starts_with("cart: 50.0% of ") && summary.ends_with(" spans failed"), "{summary}");
    assert!((seconds(&alert["activeAt"]) - now().as_second()).abs() < 60, "{alert}");

    let shown = rule(&daemon, "error_share");
    assert_eq!(
        (&shown["type"], &shown["state"], &shown["health"]),
        (&"alerting".into(), &"firing".into(), &"ok".into())
    );
    assert_eq!((&shown["duration"], &shown["keepFiringFor"]), (&json!(0), &json!(0)));
    assert_eq!(shown["labels"]["of"], "{{ labels.service_name }}");
    assert!(shown["query"].as_str().unwrap().starts_with("SELECT service_name, avg("), "{shown}");
    assert_eq!(shown["alerts"][0]["labels"], labels);
    assert_eq!((&shown["weavergen"]["class"], &shown["weavergen"]["generation"]), (&"re-run".into(), &json!(1)));
    assert!(shown["weavergen"]["lag"].as_f64().unwrap() < 30.0 && shown["weavergen"]["missed"].is_u64(), "{shown}");
    assert!(seconds(&shown["lastEvaluation"]) > 0 && shown.get("lastError").is_none(), "{shown}");
    let patient =
        until("patient is not pending", || Some(rule(&daemon, "patient")).filter(|rule| rule["state"] == "pending"));
    assert_eq!((&patient["duration"], &patient["alerts"][0]["state"]), (&json!(3600), &"pending".into()));
    let recorded = until("recorded does not fire", || {
        Some(rule(&daemon, "recorded")).filter(|rule| rule["weavergen"]["state"] == "firing")
    });
    assert_eq!((&recorded["weavergen"]["mode"], &recorded["state"]), (&"dry_run".into(), &"inactive".into()));
    assert_eq!(recorded["alerts"], json!([]));
    let named = |alert: &Value| alert["labels"]["alertname"] == "recorded";
    assert!(!firing(&daemon).iter().any(named), "nobody is told of a dry run");

    let quiet = ok(&daemon, "/api/v1/rules?exclude_alerts=true&rule_group[]=quiet&match[]={gate_group=\"quiet\"}");
    assert_eq!(quiet["data"]["groups"][0]["rules"][0]["alerts"], json!([]));
    let mut page = ok(&daemon, "/api/v1/rules?group_limit=1");
    let mut names = Vec::new();
    loop {
        let groups = page["data"]["groups"].as_array().unwrap();
        assert_eq!(groups.len(), 1);
        names.push(groups[0]["name"].as_str().unwrap().to_owned());
        let Some(token) = page["data"]["groupNextToken"].as_str() else { break };
        page = ok(&daemon, &format!("/api/v1/rules?group_limit=1&group_next_token={token}"));
    }
    let all = ok(&daemon, "/api/v1/rules");
    let all: Vec<&str> =
        all["data"]["groups"].as_array().unwrap().iter().map(|group| group["name"].as_str().unwrap()).collect();
    assert_eq!(names, all);
    assert!(all.len() >= 3, "a built-in group is there too: {all:?}");
    for wrong in ["type=x", "group_limit=0", "group_limit=1&group_next_token=gone", "match[]={}", "exclude_alerts=2"] {
        let (status, refused) = get(&daemon, &format!("/api/v1/rules?{wrong}"));
        assert_eq!((status, &refused["status"], &refused["errorType"]), (400, &"error".into(), &"bad_data".into()));
        assert!(refused["error"].as_str().unwrap().starts_with("invalid parameter \""), "{refused}");
    }

    let url = daemon.url("metrics", "/metrics");
    let metrics = block_on(async move { client().get(url).send().await.unwrap().text().await.unwrap() });
    let line = |start: &str| {
        let found = metrics.lines().find(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("no line {start} in\n{metrics}")).to_owned()
    };
    assert_eq!(
        line("ALERTS{alertname=\"error_share\""),
        "ALERTS{alertname=\"error_share\",alertstate=\"firing\",gate_group=\"errors\",level=\"fail\",of=\"cart\",\
         service_name=\"cart\",severity=\"critical\",team=\"shop\"} 1"
    );
    line("ALERTS{alertname=\"patient\",alertstate=\"pending\"");
    let for_state = line("ALERTS_FOR_STATE{alertname=\"error_share\",gate_group");
    let began: f64 = for_state.rsplit(' ').next().unwrap().parse().unwrap();
    assert_eq!(began as i64, seconds(&alert["activeAt"]), "{for_state}");
    assert!(!metrics.contains("ALERTS{alertname=\"recorded\""));
    assert_eq!(
        line("weavergen_gate_value{gate=\"error_share\""),
        format!("weavergen_gate_value{{gate=\"error_share\",key=\"{KEY}\"}} 0.5")
    );
    assert_eq!(line("weavergen_gate_reload_failed"), "weavergen_gate_reload_failed 0");
    line("weavergen_gate_watermark_seconds 1");
    line("weavergen_gate_evaluations_total{gate=\"error_share\",outcome=\"fail\"} ");
    assert_eq!(
        line("weavergen_gate_keys{gate=\"error_share\",state=\"firing\"}"),
        "weavergen_gate_keys{gate=\"error_share\",state=\"firing\"} 1"
    );
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn what_a_person_closed_stays_closed_behind_a_kill_and_wrong_uses_change_nothing() {
    let world = World::new();
    let daemon = world.daemon();
    broken(&daemon);
    until("patient is not pending", || Some(()).filter(|()| rule(&daemon, "patient")["state"] == "pending"));
    for (gate, body, status, code) in [
        ("error_share", json!({"key": KEY}), 400, "sql.argument"),
        ("error_share", json!({"key": KEY, "reason": "  "}), 400, "sql.argument"),
        ("error_share", json!({"key": KEY, "reason": "x", "force": true}), 400, "sql.argument"),
        ("error_share", json!({"key": KEY, "reason": "x".repeat(1001)}), 400, "sql.argument"),
        ("error_shares", json!({"key": KEY, "reason": "x"}), 404, "gates.unknown_gate"),
        ("error_share", json!({"key": "service_name=nobody", "reason": "x"}), 404, "gates.unknown_key"),
        ("patient", json!({"key": "", "reason": "x"}), 409, "gates.not_open"),
    ] {
        let (got, refused) = close(&daemon, gate, &body);
        assert_eq!((got, refused["error"]["code"].as_str()), (status, Some(code)), "{body}: {refused}");
        assert!(refused["error"]["hint"].is_string(), "{refused}");
    }
    let (status, refused) = get(&daemon, "/api/v1/gates/error_shar");
    assert_eq!((status, &refused["error"]["hint"]), (404, &"did you mean `error_share`?".into()));
    let (code, told) = world.close(&["error_share", "--key", "service_name=x", "--reason", "y"]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("has no key `service_name=x`; open: `service_name=cart`"), "{told}");
    assert_eq!(world.close(&["error_share", "--key", KEY]).0, 2, "a reason is needed");
    assert_eq!(world.close(&["error_share", "--key", KEY, "--reason", " "]).0, 2);
    assert_eq!(world.close(&["../sql", "--key", KEY, "--reason", "x"]).0, 1);
    assert_eq!(firing(&daemon).len(), 1, "none of this closed it");

    // Silence holds it, and no new breach opens the next episode.
    let of_gate = |daemon: &Daemon| ok(daemon, "/api/v1/gates/error_share");
    let held = until("the window did not empty", || {
        Some(of_gate(&daemon)).filter(|gate| gate["keys"][0]["verdict"]["outcome"] == "no_data")
    });
    assert_eq!((&held["state"], &held["keys"][0]["phase"]), (&"firing".into(), &"firing".into()), "{held}");
    assert_eq!(held["definition"]["pass"], "< 10%");
    let (status, closed) = close(&daemon, "error_share", &json!({"key": KEY, "reason": "cart was taken down"}));
    let data = daemon.kill();
    assert_eq!(status, 200, "{closed}");
    assert_eq!((&closed["phase"], &closed["episode"]), (&"resolved".into(), &json!(1)));

    let daemon = world.daemon();
    assert_eq!(daemon.data, data);
    let gate = of_gate(&daemon);
    assert_eq!((&gate["state"], &gate["keys"][0]["phase"]), (&"inactive".into(), &"resolved".into()), "{gate}");
    let row = &gate["journal"][0];
    let told = [&row["cause"], &row["actor"], &row["summary"], &row["from"], &row["to"]];
    assert_eq!(told, ["manual", "operator", "cart was taken down", "firing", "resolved"]);
    assert_eq!(firing(&daemon), Vec::<Value>::new());
    let episodes = "SELECT episode, closed_by, closed IS NOT NULL FROM gate_episodes WHERE gate = 'error_share'";
    assert_eq!(json!(daemon.rows(episodes)), json!([[1, "manual", true]]));
    let (status, again) = close(&daemon, "error_share", &json!({"key": KEY, "reason": "again"}));
    assert_eq!((status, &again["error"]["code"]), (409, &"gates.not_open".into()), "{again}");

    // The next breach is another episode, and the command closes it.
    broken(&daemon);
    let (code, told) = world.close(&["error_share", "--key", KEY, "--reason", "known"]);
    assert_eq!((code, told.as_str()), (0, "closed episode 2 of error_share service_name=cart\n"));
    let by_hand = daemon.rows("SELECT count(*) FROM gate_transitions WHERE cause = 'manual' AND actor = 'operator'");
    assert_eq!(by_hand[0][0], 2);
    let list = ok(&daemon, "/api/v1/gates?limit=2");
    assert_eq!((list["gates"].as_array().unwrap().len(), &list["next"]), (2, &list["gates"][1]["gate"]));
    assert!(Path::new(&data).exists());
    assert_eq!(daemon.stop(), 0);
}
