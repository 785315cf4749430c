//! Claims about gates over HTTP: an evaluator whose queries answer what a test says.

use std::sync::Mutex;
use std::time::Duration;

use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use super::super::tests::{Server, served, state};
use super::super::*;
use super::*;
use crate::clock::Clock;
use crate::gate::definition::Test;
use crate::gate::definition::tests::gate;
use crate::gate::evaluator::Position;
use crate::gate::result::{Ahead, ResultRow, RunError, Runner};
use crate::gate::{Class, Evaluator, Feed, Journal, Late, Metrics, Parts};

/// What queries answer: value by gate and service.
type Answers = Arc<Mutex<BTreeMap<(String, String), f64>>>;

/// Gates `pass >= 1` by service, in groups by name, with interval and offset 1 s.
pub(in crate::web) struct House {
    pub(in crate::web) answers: Answers,
    pub(in crate::web) fault: Arc<Mutex<Option<RunError>>>,
    pub(in crate::web) clock: Clock,
    pub(in crate::web) metrics: Metrics,
    pub(in crate::web) live: Live,
    evaluator: Option<Evaluator>,
}

pub(in crate::web) fn group(name: &str, gates: Vec<Gate>) -> Group {
    Group {
        name: name.to_owned(),
        file: format!("gates/{name}.yaml"),
        interval: Duration::from_secs(1),
        query_offset: Duration::from_secs(1),
        labels: BTreeMap::new(),
        gates,
    }
}

pub(in crate::web) fn by_service(name: &str) -> Gate {
    Gate { by: vec!["service".to_owned()], ..gate(name, Test::AtLeast(1.0)) }
}

impl House {
    pub(in crate::web) fn new(groups: Vec<Group>) -> Self {
        let clock = Clock::manual(1_700_000_000_000_000_000, 7);
        let (answers, fault) = (Answers::default(), Arc::new(Mutex::new(None)));
        let (given, broken) = (answers.clone(), fault.clone());
        let answer = move |gate: &Gate| {
            let all = given.lock().unwrap();
            let of_gate = all.iter().filter(|((name, _), _)| *name == gate.name);
            let row = |((_, service), value): (&(String, String), &f64)| ResultRow {
                key: BTreeMap::from([("service".to_owned(), service.clone())]),
                value: Some(*value),
                n: Some(2),
                ..ResultRow::default()
            };
            let rows: Vec<ResultRow> = of_gate.map(row).collect();
            broken.lock().unwrap().clone().map_or(Ok(rows), Err)
        };
        let ahead = answer.clone();
        let runner = Runner::new(move |ask| {
            let rows = answer(ask.gate.as_ref());
            Box::pin(async move { rows })
        });
        let runner = runner.looking_ahead(move |ask| {
            let found: Ahead = ask.windows.iter().map(|window| (*window, ahead(ask.gate.as_ref()))).collect();
            Box::pin(async move { found })
        });
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let parts = Parts {
            questions: BTreeMap::new(),
            groups,
            default_receivers: Vec::new(),
            value_metrics: true,
            runner,
            late: Late::new(|_| Box::pin(async { Ok(0) })),
            position: Position::new(|| Some(1)),
            feed: Feed::none(),
            journal: Journal::in_memory().unwrap(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            concurrency: 2,
        };
        let evaluator = Evaluator::open(parts).unwrap();
        let live = evaluator.live();
        Self { answers, fault, clock, metrics, live, evaluator: Some(evaluator) }
    }

    pub(in crate::web) fn answer(&self, gate: &str, service: &str, value: f64) {
        self.answers.lock().unwrap().insert((gate.to_owned(), service.to_owned()), value);
    }

    /// Closes the ticks of some seconds and writes them.
    pub(in crate::web) async fn seconds(&mut self, seconds: u64) {
        let evaluator = self.evaluator.as_mut().unwrap();
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            while evaluator.round_once().await.unwrap() {}
        }
        evaluator.finish().await.unwrap();
    }

    /// Runs as the daemon does until the answer is dropped or cancelled.
    fn run(&mut self) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        let stop = CancellationToken::new();
        let running = tokio::spawn(self.evaluator.take().unwrap().run(stop.clone()));
        (stop, running)
    }

    pub(in crate::web) async fn server(&self, config: access::Config) -> Server {
        let query = crate::query::Config { threads: 1, ..Default::default() };
        served(AppState { gates: Some(self.live.clone()), ..state(config, query) }).await
    }
}

async fn asked(request: reqwest::RequestBuilder) -> Value {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

#[tokio::test]
async fn gates_and_keys_come_in_pages() {
    let gates = ["a", "b", "outbox"].map(by_service);
    let mut house = House::new(vec![group("g", gates.to_vec())]);
    for service in ["cart", "pay", "web"] {
        house.answer("b", service, if service == "pay" { 0.0 } else { 2.0 });
    }
    house.seconds(3).await;
    let server = house.server(access::Config::default()).await;
    let first = asked(server.get("/api/v1/gates?limit=2")).await;
    assert_eq!((first["gates"][0]["gate"].as_str(), first["next"].as_str()), (Some("a"), Some("b")));
    let b = &first["gates"][1];
    assert_eq!(
        (b["state"].as_str(), &b["phases"]["firing"], &b["phases"]["inactive"]),
        (Some("firing"), &json!(1), &json!(2))
    );
    assert_eq!((&b["lag"], &b["missed"], &b["error"]), (&json!(0.0), &json!(0), &Value::Null));
    let second = asked(server.get("/api/v1/gates?limit=2&after=b")).await;
    assert_eq!((second["gates"].as_array().unwrap().len(), &second["next"]), (1, &Value::Null));

    let b = asked(server.get("/api/v1/gates/b?limit=2")).await;
    let keys = b["keys"].as_array().unwrap();
    assert_eq!((keys.len(), b["next_key"].as_str()), (2, Some("service=pay")));
    assert_eq!(
        (keys[1]["phase"].as_str(), keys[1]["level"].as_str(), &keys[1]["episode"]),
        (Some("firing"), Some("fail"), &json!(1))
    );
    assert_eq!((&keys[1]["verdict"]["value"], &keys[1]["verdict"]["final"]), (&json!(0.0), &json!(true)));
    assert_eq!((&keys[0]["episode"], &keys[0]["fired_at"]), (&Value::Null, &Value::Null));
    assert_eq!((b["journal"].as_array().unwrap().len(), b["journal"][0]["to"].as_str()), (1, Some("firing")));
    assert_eq!(b["definition"]["stale_after"], "2 evaluations");
    let rest = asked(server.get("/api/v1/gates/b?after=service%3Dpay")).await;
    assert_eq!((rest["keys"].as_array().unwrap().len(), &rest["next_key"]), (1, &Value::Null));

    for (path, status, code) in [
        ("/api/v1/gates?limit=0", 400, "sql.argument"),
        ("/api/v1/gates?limit=10001", 400, "sql.argument"),
        ("/api/v1/gates?offset=1", 400, "sql.argument"),
        ("/api/v1/gates/b?limit=x", 400, "sql.argument"),
        ("/api/v1/gates/nothing", 404, "gates.unknown_gate"),
    ] {
        let (got, error) = server.error(server.get(path)).await;
        assert_eq!((got, error["code"].as_str()), (status, Some(code)), "{path}: {error}");
    }
}

#[tokio::test]
async fn the_page_that_messages_link_to_shows_the_keys_and_escapes_what_others_wrote() {
    let mut gate = by_service("b");
    let runbook = "javascript:alert(1)".to_owned();
    gate.about = [("description".to_owned(), "a < b".to_owned()), ("runbook_url".to_owned(), runbook)].into();
    let mut house = House::new(vec![group("g", vec![by_service("a"), gate])]);
    let nasty = "</td><script>\"x\"</script>";
    house.answer("b", nasty, 0.25);
    for number in 0..300 {
        house.answer("b", &format!("s{number:03}"), if number == 299 { 0.5 } else { 2.0 });
    }
    house.seconds(3).await;
    let server = house.server(access::Config::default()).await;
    let first = asked(server.get("/api/v1/gates/b?limit=1")).await["keys"][0].clone();
    let (since, tick) = (first["active_at"].as_str().unwrap(), first["verdict"]["tick"].as_str().unwrap());
    let window = format!("window_start=2023-11-14T22:12:21Z&window_end={since}");
    let key = "service%3D%3C%2Ftd%3E%3Cscript%3E%22x%22%3C%2Fscript%3E";
    let response = server.get(&format!("/gates/b?key={key}&{window}&from=chat")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    let page = response.text().await.unwrap();
    assert!(!page.contains("<script") && !page.contains("href=\"javascript"), "{page}");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("<tr")).collect();
    let escaped = "service=&lt;/td&gt;&lt;script&gt;&quot;x&quot;&lt;/script&gt;";
    assert_eq!(
        rows[0],
        format!("<tr class=\"asked\"><td>{escaped}<td>firing (fail)<td>0.25<td>2<td>{since}<td>fail<td>{tick}</tr>")
    );
    assert!(
        rows[1].starts_with("<tr><td>service=s299<td>firing (fail)<td>0.5<"),
        "what fires stands first: {}",
        rows[1]
    );
    assert!(page.contains("There are more keys") && page.contains("a &lt; b"), "{page}");
    let asked = page.split("Last transitions").nth(1).unwrap();
    let asked: Vec<&str> = asked.lines().filter(|line| line.contains("asked")).collect();
    assert_eq!(asked.len(), 1, "{page}");
    assert!(
        asked[0].contains(escaped) && asked[0].contains("<td>inactive<td>firing (fail)<td>firing<td>1<"),
        "{asked:?}"
    );

    let gone = server.get("/gates/b?key=service%3Dgone").send().await.unwrap().text().await.unwrap();
    assert!(gone.contains("The key service=gone is not there any more"), "{gone}");
    let response = server.get("/gates/%3Cb%3E").send().await.unwrap();
    assert_eq!(response.status(), 404);
    let page = response.text().await.unwrap();
    assert!(page.contains("There is no gate &lt;b&gt;") && page.contains("<a href=\"b\">b</a>"), "{page}");
    let (status, error) = server.error(server.get("/gates/b?window_end=soon")).await;
    assert_eq!((status, error["message"].as_str()), (400, Some("`window_end` is no time of RFC 3339")));
}

#[tokio::test]
async fn ticks_that_are_not_closed_have_verdicts_that_are_not_final() {
    let shares = Gate { class: Class::Decomposable, ..by_service("b") };
    let mut house = House::new(vec![group("g", vec![by_service("a"), shares])]);
    for (service, value) in [("cart", 2.0), ("pay", 0.0)] {
        house.answer("a", service, value);
        house.answer("b", service, value);
    }
    house.seconds(3).await;
    let server = house.server(access::Config::default()).await;
    let b = asked(server.get("/api/v1/gates/b?limit=1")).await;
    let [worst] = b["provisional"].as_array().unwrap().as_slice() else { panic!("{b}") };
    let verdict = [&worst["key"], &worst["outcome"], &worst["final"], &worst["value"], &worst["tick"]];
    let expected = [json!("service=pay"), json!("fail"), json!(false), json!(0.0), json!("2023-11-14T22:13:23Z")];
    assert_eq!(verdict, expected.each_ref());
    assert_eq!((&worst["labels"], &worst["window_end"]), (&json!({"service": "pay"}), &worst["tick"]));
    assert_eq!(b["keys"][0]["verdict"]["tick"], "2023-11-14T22:13:22Z", "what closed last");

    house.answer("b", "pay", 3.0);
    let b = asked(server.get("/api/v1/gates/b")).await;
    let outcomes = b["provisional"].as_array().unwrap().iter().map(|verdict| verdict["outcome"].as_str().unwrap());
    assert_eq!(outcomes.collect::<Vec<_>>(), ["pass", "pass"]);
    let pay = &b["keys"][1];
    let kept = [&pay["phase"], &pay["verdict"]["outcome"], &pay["verdict"]["final"]];
    assert_eq!(kept, [&json!("firing"), &json!("fail"), &json!(true)], "a look changes nothing");
    assert_eq!(b["journal"].as_array().unwrap().len(), 1);
    for path in ["/api/v1/gates/b?after=service%3Dcart", "/api/v1/gates/a"] {
        assert_eq!(asked(server.get(path)).await["provisional"], json!([]), "{path}");
    }

    *house.fault.lock().unwrap() = Some(RunError::StateCap);
    let b = asked(server.get("/api/v1/gates/b")).await;
    let [whole] = b["provisional"].as_array().unwrap().as_slice() else { panic!("{b}") };
    assert_eq!((&whole["key"], &whole["outcome"]), (&json!(""), &json!("error")));
    assert!(whole["evidence"]["error"].as_str().unwrap().starts_with("state_cap: "), "{whole}");
}

#[tokio::test]
async fn only_an_admin_closes_and_the_journal_keeps_who_it_was() {
    let mut house = House::new(vec![group("g", vec![by_service("b")])]);
    house.answer("b", "cart", 0.0);
    house.answer("b", "pay", 2.0);
    house.seconds(3).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    std::fs::write(&path, "0123456789abcdef viewer\nabcdef0123456789 admin\n").unwrap();
    let server = house.server(access::Config { anonymous: Some(None), tokens_file: Some(path) }).await;
    let close = |token: &str, key: &str| {
        let body = json!({"key": key, "reason": "  known  "});
        server.post("/api/v1/gates/b/close").bearer_auth(token).json(&body)
    };
    let (stop, running) = house.run();
    let (status, error) = server.error(close("0123456789abcdef", "service=cart")).await;
    assert_eq!((status, error["code"].as_str()), (403, Some("sql.denied")));
    let (status, error) = server.error(close("abcdef0123456789", "service=pay")).await;
    assert_eq!((status, error["code"].as_str()), (409, Some("gates.not_open")));
    assert!(error["message"].as_str().unwrap().contains("is inactive"), "{error}");

    let closed = asked(close("abcdef0123456789", "service=cart")).await;
    let actor = closed["actor"].as_str().unwrap().to_owned();
    assert!(actor.starts_with("token-"), "{closed}");
    assert_eq!((&closed["episode"], closed["phase"].as_str()), (&json!(1), Some("resolved")));
    let shown = asked(server.get("/api/v1/gates/b").bearer_auth("0123456789abcdef")).await;
    let row = &shown["journal"][0];
    let told = [&row["cause"], &row["actor"], &row["summary"]];
    assert_eq!(told, [&json!("manual"), &json!(actor), &json!("known")]);
    assert_eq!((shown["state"].as_str(), &shown["phases"]["resolved"]), (Some("inactive"), &json!(1)), "at once");
    assert_eq!(house.metrics.keys.with_label_values(&["b", "resolved"]).get(), 1);
    let (status, _) = server.error(close("abcdef0123456789", "service=cart")).await;
    assert_eq!(status, 409, "twice");

    stop.cancel();
    running.await.unwrap();
    let (status, error) = server.error(close("abcdef0123456789", "service=cart")).await;
    assert_eq!((status, error["code"].as_str()), (503, Some("gates.stopping")));
}
