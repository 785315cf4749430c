//! Claims about rules and alerts in Prometheus' shape.

use axum::body::{Body, to_bytes};
use axum::response::IntoResponse as _;
use futures::StreamExt as _;

use super::super::gates::tests::{House, by_service, group};
use super::super::tests::state;
use super::*;
use crate::access;
use crate::gate::definition::tests::comparison;
use crate::gate::definition::{Policy, Test};
use crate::gate::result::RunError;

async fn asked(house: &House, path: &str) -> Response {
    let query = crate::query::Config { threads: 1, ..Default::default() };
    let state = AppState { gates: Some(house.live.clone()), ..state(access::Config::default(), query) };
    let uri: Uri = path.parse().unwrap();
    match uri.path() {
        "/rules" => rules(State(state), uri).await.into_response(),
        _ => alerts(State(state)).await.into_response(),
    }
}

async fn get(house: &House, path: &str) -> (u16, Value) {
    let response = asked(house, path).await;
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{path}: {error}")))
}

async fn the_rule(house: &House) -> Value {
    let (status, answer) = get(house, "/rules").await;
    assert_eq!((status, &answer["status"]), (200, &"success".into()));
    answer["data"]["groups"][0]["rules"][0].clone()
}

/// `group/gate` of an answer.
fn names(answer: &Value) -> Vec<String> {
    let groups = answer["data"]["groups"].as_array().unwrap().iter();
    let of = |group: &Value| {
        let rules = group["rules"].as_array().unwrap().clone();
        let name = group["name"].as_str().unwrap().to_owned();
        rules.into_iter().map(move |rule| format!("{name}/{}", rule["name"].as_str().unwrap()))
    };
    groups.flat_map(of).collect()
}

#[tokio::test]
async fn the_state_of_a_rule_is_that_of_its_worst_key() {
    let mut gate = by_service("b");
    gate.warn = Some(comparison(Test::AtLeast(0.5)));
    gate.hold_for = Duration::from_secs(2);
    gate.keep_firing_for = Duration::from_millis(3_500);
    gate.annotations.insert("summary".to_owned(), "{{ labels.service }} has {{ value }}".to_owned());
    gate.labels.insert("team".to_owned(), "{{ labels.service }}s".to_owned());
    gate.about.insert("owner".to_owned(), "ann".to_owned());
    let mut groups = group("g", vec![gate]);
    groups.labels.insert("zone".to_owned(), "eu".to_owned());
    let mut house = House::new(vec![groups]);
    let shown = the_rule(&house).await;
    assert_eq!(
        [&shown["state"], &shown["health"], &shown["lastEvaluation"]],
        ["inactive", "unknown", "0001-01-01T00:00:00Z"],
        "before the first tick"
    );
    assert_eq!([&shown["duration"], &shown["keepFiringFor"]], [&json!(2), &json!(3.5)]);
    assert_eq!(
        shown["labels"],
        json!({"gate_group": "g", "severity": "critical", "team": "{{ labels.service }}s", "zone": "eu"})
    );
    assert_eq!(shown["annotations"], json!({"owner": "ann", "summary": "{{ labels.service }} has {{ value }}"}));

    for (service, value) in [("cart", 0.7), ("pay", 0.25), ("web", 3.0)] {
        house.answer("b", service, value);
    }
    house.seconds(2).await;
    let shown = the_rule(&house).await;
    assert_eq!([&shown["state"], &shown["health"]], ["pending", "ok"]);
    let alerts = shown["alerts"].as_array().unwrap();
    assert_eq!(alerts.len(), 2, "what passes is no alert: {shown}");
    assert_eq!([&alerts[0]["labels"]["level"], &alerts[1]["labels"]["level"]], ["fail", "warn"]);
    house.seconds(2).await;
    house.answer("b", "cart", 9.0);
    house.seconds(1).await;
    let shown = the_rule(&house).await;
    let alerts = shown["alerts"].as_array().unwrap();
    assert_eq!((shown["state"].as_str(), alerts.len()), (Some("firing"), 2));
    assert_eq!(
        alerts[0],
        json!({
            "labels": {
                "alertname": "b", "gate_group": "g", "level": "fail", "service": "pay", "severity": "critical",
                "team": "pays", "zone": "eu",
            },
            "annotations": {"owner": "ann", "summary": "pay has 0.25"},
            "state": "firing",
            "activeAt": "2023-11-14T22:13:20Z",
            "value": "2.5e-01",
        })
    );
    assert_eq!(
        [&alerts[1]["labels"]["service"], &alerts[1]["labels"]["severity"], &alerts[1]["state"]],
        ["cart", "warning", "firing"]
    );
    assert_eq!(alerts[1]["keepFiringSince"], "2023-11-14T22:13:24Z", "it recovers");
    let (_, answer) = get(&house, "/alerts").await;
    assert_eq!(answer, json!({"status": "success", "data": {"alerts": alerts}}));
}

#[tokio::test]
async fn an_error_is_told_and_takes_no_alert_away() {
    let mut gate = by_service("b");
    gate.error_limit = Some(1);
    let mut silent = by_service("silent");
    silent.no_data = Policy::Fail;
    silent.mode = Mode::DryRun;
    let mut house = House::new(vec![group("g", vec![gate, silent])]);
    house.answer("b", "cart", 0.0);
    house.seconds(3).await;
    *house.fault.lock().unwrap() = Some(RunError::Timeout);
    house.seconds(2).await;
    let shown = the_rule(&house).await;
    assert_eq!([&shown["health"], &shown["lastError"]], ["err", "the query took longer than `timeout`"]);
    assert_eq!((&shown["state"], &shown["weavergen"]["missed"]), (&json!("firing"), &json!(2)));
    let (_, answer) = get(&house, "/rules?rule_name[]=silent").await;
    let silent = &answer["data"]["groups"][0]["rules"][0];
    let told = [&silent["state"], &silent["weavergen"]["mode"], &silent["weavergen"]["state"]];
    assert_eq!(told, ["inactive", "dry_run", "firing"]);
    assert_eq!(silent["alerts"], json!([]), "as in the list of all alerts");
    let (_, answer) = get(&house, "/alerts").await;
    let alerts = answer["data"]["alerts"].as_array().unwrap();
    let told: Vec<_> = alerts.iter().map(|alert| (&alert["labels"]["alertname"], &alert["value"])).collect();
    let expected = [("b", "0e+00"), ("GateError", "1e+00")].map(|(name, value)| (json!(name), json!(value)));
    assert_eq!(told, expected.iter().map(|(name, value)| (name, value)).collect::<Vec<_>>(), "none of a dry run");
}

#[tokio::test]
async fn parameters_choose_groups_and_gates() {
    let mut labelled = by_service("x");
    labelled.labels.insert("team".to_owned(), "shop".to_owned());
    let groups = vec![
        group("two", vec![by_service("z"), by_service("y")]),
        group("one", vec![labelled]),
        group("three", vec![by_service("w")]),
    ];
    let house = House::new(groups);
    for (parameters, expected) in [
        ("", &["one/x", "three/w", "two/z", "two/y"][..]),
        ("type=alert&limit=1&state=firing", &["one/x", "three/w", "two/z", "two/y"]),
        ("type=ALERT&type=", &["one/x", "three/w", "two/z", "two/y"]),
        ("type=record", &[]),
        ("rule_name[]=y&rule_name[]=x", &["one/x", "two/y"]),
        ("rule_group%5B%5D=two", &["two/z", "two/y"]),
        ("file[]=gates/three.yaml&file[]=gates/one.yaml&rule_name[]=w", &["three/w"]),
        ("match[]=%7Bteam%3D%22shop%22%7D", &["one/x"]),
        ("match[]=%7Bteam%3D~%22s.*%22%7D&match[]=%7Bgate_group%3D%22two%22%7D", &["one/x", "two/z", "two/y"]),
        ("match[]=%7Bteam%3D%22%22,severity%3D%22critical%22%7D&rule_group[]=three", &["three/w"]),
        ("group_limit=3", &["one/x", "three/w", "two/z", "two/y"]),
        ("group_limit=&group_next_token=", &["one/x", "three/w", "two/z", "two/y"]),
    ] {
        let (status, answer) = get(&house, &format!("/rules?{parameters}")).await;
        assert_eq!(
            (status, names(&answer)),
            (200, expected.iter().map(|&name| name.to_owned()).collect()),
            "{parameters}"
        );
        assert!(answer["data"].get("groupNextToken").is_none(), "{parameters}");
    }
    for (parameters, why) in [
        ("type=alerting", "invalid parameter \"type\": not supported value \"alerting\""),
        ("group_limit=0", "invalid parameter \"group_limit\": "),
        ("group_limit=-1", "invalid parameter \"group_limit\": "),
        ("group_limit=2147483648", "invalid parameter \"group_limit\": "),
        ("group_limit=ten", "invalid parameter \"group_limit\": "),
        ("group_next_token=abc", "invalid parameter \"group_next_token\": group_limit needs to be present"),
        ("group_limit=1&group_next_token=abc", "invalid parameter \"group_next_token\": \"abc\" is of no group"),
        ("exclude_alerts=maybe", "invalid parameter \"exclude_alerts\": "),
        ("match[]=%7B%7D", "invalid parameter \"match[]\": "),
    ] {
        let (status, answer) = get(&house, &format!("/rules?{parameters}")).await;
        assert_eq!(
            (status, &answer["status"], &answer["errorType"]),
            (400, &"error".into(), &"bad_data".into()),
            "{parameters}"
        );
        assert!(answer["error"].as_str().unwrap().starts_with(why), "{answer}");
    }
}

#[tokio::test]
async fn pages_of_groups_follow_each_other_and_hold_all_that_is_chosen() {
    let named =
        |n: usize| group(&format!("g{n:02}"), vec![by_service(&format!("a{n:02}")), by_service(&format!("b{n:02}"))]);
    let house = House::new((0..7).map(named).collect());
    let mut seen = Vec::new();
    let mut token = String::new();
    // Prometheus refuses a selector that an empty label fits: `!~` does not stand alone.
    let selector = "%7Bgate_group=~%22g.%2B%22,gate_group!~%22g03%22%7D";
    let pages = loop {
        let (status, answer) = get(&house, &format!("/rules?group_limit=3{token}&match[]={selector}")).await;
        assert_eq!(status, 200);
        seen.push(names(&answer));
        match answer["data"]["groupNextToken"].as_str() {
            Some(next) => token = format!("&group_next_token={next}"),
            None => break seen.len(),
        }
    };
    let chosen = (0..7).filter(|n| *n != 3).flat_map(|n| [format!("g{n:02}/a{n:02}"), format!("g{n:02}/b{n:02}")]);
    assert_eq!((pages, seen.concat()), (2, chosen.collect()), "no empty page behind the last");
}

#[tokio::test]
async fn an_answer_of_any_length_goes_out_in_pieces() {
    let named = |n: usize| group(&format!("g{n:02}"), (0..5).map(|i| by_service(&format!("a{n:02}_{i}"))).collect());
    let mut house = House::new((0..10).map(named).collect());
    for (gate, service) in (0..50).flat_map(|n| (0..200).map(move |s| (format!("a{:02}_{}", n / 5, n % 5), s))) {
        house.answer(&gate, &format!("s{service:03}"), 0.0);
    }
    house.seconds(2).await;
    for path in ["/rules", "/alerts"] {
        let mut body = Body::into_data_stream(asked(&house, path).await.into_body());
        let (mut text, mut longest) = (Vec::new(), 0);
        while let Some(piece) = body.next().await {
            let piece = piece.unwrap();
            longest = longest.max(piece.len());
            text.extend_from_slice(&piece);
        }
        let answer: Value = serde_json::from_slice(&text).unwrap();
        let alerts = match path {
            "/alerts" => answer["data"]["alerts"].as_array().unwrap().len(),
            _ => {
                let groups = answer["data"]["groups"].as_array().unwrap();
                let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
                rules.map(|rule| rule["alerts"].as_array().unwrap().len()).sum()
            }
        };
        assert_eq!(alerts, 10_000, "{path}");
        assert!(text.len() > 1 << 20 && longest < 70 << 10, "{path}: {} in pieces of {longest}", text.len());
    }
    let (_, without) = get(&house, "/rules?exclude_alerts=1").await;
    assert_eq!((names(&without).len(), &without["data"]["groups"][3]["rules"][0]["alerts"]), (50, &json!([])));
    assert_eq!(without["data"]["groups"][3]["rules"][0]["state"], "firing");
}

#[test]
fn numbers_are_written_as_go_does() {
    let expected = [
        (0.5, "5e-01"),
        (1.0, "1e+00"),
        (0.0, "0e+00"),
        (-12.25, "-1.225e+01"),
        (1e100, "1e+100"),
        (5e-324, "5e-324"),
        (0.1 + 0.2, "3.0000000000000004e-01"),
        (f64::NAN, "NaN"),
        (f64::INFINITY, "+Inf"),
        (f64::NEG_INFINITY, "-Inf"),
    ];
    assert_eq!(expected.map(|(value, _)| go_float(value)), expected.map(|(_, text)| text.to_owned()));
}
