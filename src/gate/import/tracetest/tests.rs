//! Files of Tracetest as people have them.

use super::super::Format::Tracetest;
use super::super::tests::said;
use super::{assert, select};

const TEST: &str = r#"type: Test
spec:
  id: W656Q0c4g
  name: "POST /checkout: takes the money"
  description: the whole way
  trigger:
    type: http
    httpRequest: {url: "http://shop:8080/checkout", method: POST}
  specs:
    - name: answered
      selector: span[name="POST /checkout" service.name="cart"]
      assertions:
        - attr:http.response.status_code = 200
        - attr:tracetest.span.duration < 200ms
    - selector: span[name contains "checkout"] span[db.system.name="redis"]:last
      assertions: ["attr:tracetest.selected_spans.count = 1"]
"#;

#[test]
fn a_test_becomes_an_assertion_once_the_trigger_is_known_to_be_left_out() {
    let (written, told) = said(Tracetest { without_trigger: true }, TEST);
    assert_eq!(told, Vec::<String>::new());
    assert_eq!(
        written.as_deref(),
        Some(
            r#"groups:
  - name: tracetest
    gates:
      - gate: POST_/checkout
        description: "POST /checkout: takes the money: the whole way"
        assert:
          checks:
            - select: 'span[name="POST /checkout" service="cart"]'
              that:
                - "coalesce(attr_float(attributes, 'http.response.status_code'), attr_float(resource, 'http.response.status_code')) = 200"
                - "duration_ns < 200000000"
            - select: 'span[name contains "checkout"] span[attr."db.system.name"="redis"]:last'
              expect: "count == 1"
        window: "5m"
"#
            .replace("POST_/checkout", "POST_checkout_takes_the_money")
            .as_str()
        )
    );

    let (written, told) = said(Tracetest { without_trigger: false }, TEST);
    assert!(written.is_none());
    assert_eq!(told.len(), 1);
    let line = "WG-GATE-004 in.yaml:6:3: test POST /checkout: takes the money: the trigger (http) has no counterpart";
    assert!(told[0].starts_with(line) && told[0].ends_with("say `--without-trigger` here"), "{told:?}");
}

#[test]
fn everything_that_has_no_counterpart_is_told_with_its_line_and_column() {
    let text = r#"type: Test
spec:
  name: t
  pollingProfile: slow
  specs:
    - selector: span[tracetest.span.type="http" name="x"]
      assertions:
        - attr:http.status_code = ${env:CODE}
        - attr:http.response.body | json_path '$.id' = 1
        - attr:tracetest.response.status = 200
        - tracetest.span.duration < 200
    - selector: spam
      assertions: []
  outputs: []
---
type: TestSuite
spec: {}
"#;
    let (written, told) = said(Tracetest { without_trigger: false }, text);
    assert!(written.is_none());
    let starts = [
        "WG-GATE-004 in.yaml:4:3: test t: `pollingProfile` has no counterpart",
        "WG-GATE-032 in.yaml:6:17: test t: `selector` column 6: `tracetest.span.type` is made by Tracetest",
        "WG-GATE-032 in.yaml:8:11: test t: assertion column 25: `${env:CODE}` is no literal",
        "WG-GATE-032 in.yaml:9:11: test t: assertion column 25: a filter has no counterpart",
        "WG-GATE-032 in.yaml:10:11: test t: assertion column 1: `tracetest.response.status` is made by Tracetest",
        "WG-GATE-032 in.yaml:11:11: test t: assertion column 1: it does not begin with `attr:`",
        "WG-GATE-032 in.yaml:12:17: test t: `selector` column 1: `spam` stands here",
        "WG-GATE-006 in.yaml:13:19: test t: the spec asserts nothing",
        "WG-GATE-004 in.yaml:14:3: test t: `outputs` has no counterpart",
        "WG-GATE-005 in.yaml:16:7: `type: TestSuite` has no counterpart",
    ];
    assert_eq!(told.len(), starts.len(), "{told:#?}");
    for (line, start) in told.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}\n{start}");
    }
    assert!(told[1].contains("e.g. `exists(attr.\"http.request.method\")`"), "{}", told[1]);
}

#[test]
fn keys_that_tracetest_makes_become_the_columns_that_hold_them() {
    // Columns are those of what was written.
    assert_eq!(select::read("span[service.name=\"a\" ?]").map_err(|(at, _, _)| at), Err(23));
    assert_eq!(select::read("span[service.name=").map_err(|(at, _, _)| at), Err(19));
    for (given, ours) in [
        ("", "span"),
        ("span[]", "span"),
        ("span[type=\"a\" name=\"service.name\"]", "span[attr.\"type\"=\"a\" name=\"service.name\"]"),
        ("span[tracetest.span.name=\"a\"]:nth_child(2)", "span[name=\"a\"]:nth(2)"),
        (
            "span[tracetest.span.duration > 5ms], span[k8s.pod.name=\"p\"]",
            "span[duration>5000000ns], span[resource.\"k8s.pod.name\"=\"p\"]",
        ),
        (
            "span[service.name=\"it\\\"s\" app.x != 3] span[http.method=\"GET\"]:first",
            "span[service=\"it\\\"s\" attr.\"app.x\"!=3] span[attr.\"http.method\"=\"GET\"]:first",
        ),
    ] {
        let read = select::read(given);
        assert_eq!(read.as_deref(), Ok(ours), "{given}");
        assert!(crate::gate::assertion::selector::Selector::parse(ours).is_ok(), "{ours}");
    }
}

#[test]
fn an_assertion_becomes_a_condition_in_the_type_of_its_literal() {
    let both =
        |function: &str, key: &str| format!("coalesce({function}(attributes, '{key}'), {function}(resource, '{key}'))");
    for (given, sql) in [
        ("attr:name = \"POST /\"", "CAST(name AS TEXT) = 'POST /'".to_owned()),
        ("attr:service.name != 'it\\'s'", "CAST(service_name AS TEXT) <> 'it''s'".to_owned()),
        ("attr:tracetest.span.duration <= 1.5s", "duration_ns <= 1500000000".to_owned()),
        ("attr:tracetest.span.duration <= 500", "duration_ns <= 500".to_owned()),
        ("attr:db.statement contains \"SELECT\"", format!("contains({}, 'SELECT')", both("attr_text", "db.statement"))),
        ("attr:a.b not-contains \"x\"", format!("NOT contains({}, 'x')", both("attr_text", "a.b"))),
        ("attr:a.b>=-3", format!("{} >= -3", both("attr_float", "a.b"))),
    ] {
        assert_eq!(assert::read(given), Ok(assert::Asserted::That(sql)), "{given}");
    }
    let count = assert::read("attr:tracetest.selected_spans.count >= 2");
    assert_eq!(count, Ok(assert::Asserted::Count(">= 2".to_owned())));
    for (given, column) in [
        ("attr:a.b = 'x", 12),
        ("attr:a.b = 1 + 2", 14),
        ("attr:a.b = 5ms", 1),
        ("attr:a.b < \"x\"", 1),
        ("attr:a.b json-contains '{}'", 10),
        ("attr: = 1", 6),
        ("attr:é.b", 9),
        ("attr:a = \"${var:X}\"", 10),
    ] {
        assert_eq!(assert::read(given).map_err(|(at, _, _)| at), Err(column), "{given}");
    }
}
