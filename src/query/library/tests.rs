//! Claims about named queries.

use super::head::{Problem, parameter};
use super::*;

fn told(text: &str) -> Vec<String> {
    match Query::read("q", "q.sql", text.to_owned()) {
        Ok(_) => Vec::new(),
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
    }
}

#[test]
fn every_file_of_queries_is_compiled_in_has_a_right_head_and_an_example_where_it_needs_one() {
    let mut paths = Vec::new();
    walk(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/queries")), "", DEEPEST, &mut paths);
    // Those of benchmarks are nobody's library.
    paths.retain(|path| !path.starts_with("bench/"));
    paths.sort();
    let compiled: Vec<&str> = FILES.iter().map(|(path, _)| *path).collect();
    assert_eq!(compiled, paths);
    let library = Library::shipped(None);
    let names = library.names();
    assert!(names.iter().filter(|name| !name.contains('/')).count() >= 25, "{names:?}");
    for name in &names {
        let query = library.query(name).unwrap_or_else(|error| panic!("{error}"));
        let needs = query.head.params.iter().any(|of| of.default.is_none());
        assert!(!needs || !query.head.examples.is_empty(), "{name} has no example");
        for example in &query.head.examples {
            query.bind(example, 1_800_000_000_000_000_000).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        assert!(name.contains('/') || !query.head.examples.is_empty(), "{name} has no example");
    }
}

#[test]
fn each_problem_of_a_head_is_told_at_its_place() {
    let text = "-- abut: x\n-- param: n INTEGER how many\n-- param: m BIGINT = many how many\n-- param: u TEXT unused\n\
                -- unit: share\n-- example: -p m=1 -p z=2\n-- param: a\n-- about:\n-- A note: no key\nSELECT $n, $x\n  , $m, $a";
    assert_eq!(
        told(text),
        [
            "q.sql:1:1: `about` is missing; begin the file with `-- about: one sentence`",
            "q.sql:1:4: unknown key `abut`; did you mean `about`?",
            "q.sql:2:11: `n` is of the type `INTEGER`; types: TEXT, BIGINT, DOUBLE, BOOLEAN, TIMESTAMP, DURATION",
            "q.sql:3:11: the default of `m`: `many` is no BIGINT; write a whole number, e.g. `20`; correct it",
            "q.sql:4:11: the statement has no `$u`; use it, or remove the line",
            "q.sql:5:10: `unit` is `share`; write `column unit`, e.g. `share ratio`",
            "q.sql:6:13: the example sets `m`, which is no parameter; correct the example",
            "q.sql:7:11: `param` is `a`; write `name TYPE one sentence`",
            "q.sql:8:4: `about` has no value; write one behind the colon",
            "q.sql:10:8: `$n` is not declared; declare it: `-- param: n TYPE one sentence`",
            "q.sql:10:12: `$x` is not declared; declare it: `-- param: x TYPE one sentence`",
            "q.sql:11:5: `$m` is not declared; declare it: `-- param: m TYPE one sentence`",
            "q.sql:11:9: `$a` is not declared; declare it: `-- param: a TYPE one sentence`",
        ]
    );
    assert_eq!(told("-- about: a\nSELECT $window_start, $window_end, $gate, '$no'"), Vec::<String>::new());
    assert_eq!(told("-- about: a\n-- about: b\nSELECT 1"), ["q.sql:2:4: `about` is given twice; remove one of them"]);
    let by = "-- about: a\n-- by: name\nSELECT 1";
    assert!(Query::read("patterns/p", "p.sql", by.to_owned()).is_ok());
    assert_eq!(told(by), ["q.sql:2:4: unknown key `by`; known: about, param, example, unit"]);
    let _: Vec<Problem> = head::read("\0-- \u{fffd}:\n--:::\n-- param: '", &[]).1;
}

#[test]
fn a_parameter_is_a_name_a_type_perhaps_a_default_and_a_sentence() {
    let of = |text: &str| {
        let of = parameter(text).unwrap();
        (of.name, of.kind, of.default, of.about)
    };
    let text = |text: &str| text.to_owned();
    assert_eq!(of("n BIGINT = -5 how many"), (text("n"), Kind::BigInt, Some(text("-5")), text("how many")));
    assert_eq!(of("s TEXT = '' one"), (text("s"), Kind::Text, Some(text("")), text("one")));
    assert_eq!(of("s TEXT = 'it''s so' one"), (text("s"), Kind::Text, Some(text("it's so")), text("one")));
    assert_eq!(of("s TEXT ='a' one = two"), (text("s"), Kind::Text, Some(text("a")), text("one = two")));
    assert_eq!(of("t TIMESTAMP  when"), (text("t"), Kind::Timestamp, None, text("when")));
    for wrong in ["", "a", "a TEXT", "a TEXT = x", "a TEXT = 'x y", "a-b TEXT x", "a TEXT ="] {
        assert!(parameter(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn values_are_typed_by_the_head_and_a_wrong_one_shows_the_right_form() {
    const NOW: i64 = 1_700_000_000_000_000_000;
    let value = |kind: Kind, text: &str| kind.value(text, NOW);
    let at = |text: &str| serde_json::json!({ "timestamp": text });
    for (kind, text, want) in [
        (Kind::Text, "5", serde_json::json!("5")),
        (Kind::BigInt, "-5", serde_json::json!(-5)),
        (Kind::Double, "5", serde_json::json!(5.0)),
        (Kind::Boolean, "true", serde_json::json!(true)),
        (Kind::Duration, "1h30m", serde_json::json!("1h30m")),
        (Kind::Timestamp, "now", at("2023-11-14T22:13:20.000000000Z")),
        (Kind::Timestamp, "now-1h", at("2023-11-14T21:13:20.000000000Z")),
        (Kind::Timestamp, "2023-11-14", at("2023-11-14T00:00:00.000000000Z")),
        (Kind::Timestamp, "2023-11-14T10:00", at("2023-11-14T10:00:00.000000000Z")),
        (Kind::Timestamp, "2023-11-14T10:00:00+02:00", at("2023-11-14T08:00:00.000000000Z")),
    ] {
        assert_eq!(value(kind, text), Ok(want), "{text}");
    }
    for (kind, text) in [
        (Kind::BigInt, "5.5"),
        (Kind::BigInt, ""),
        (Kind::Double, "NaN"),
        (Kind::Boolean, "yes"),
        (Kind::Duration, "soon"),
        (Kind::Timestamp, "yesterday"),
        (Kind::Timestamp, "now-x"),
    ] {
        let why = value(kind, text).unwrap_err();
        assert!(why.starts_with(&format!("`{text}` is no {}; write ", kind.name())), "{why}");
    }
}

#[test]
fn a_call_that_does_not_fit_says_what_would() {
    let text = "-- about: a\n-- param: trace TEXT its id\n-- param: limit BIGINT = 20 how many\n\
                -- example: -p trace='a b'\nSELECT $trace, $limit";
    let query = Query::read("t", "t.sql", text.to_owned()).unwrap();
    let bound = |given: &[(&str, &str)]| {
        let given: Vec<_> = given.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        query.bind(&given, 0).map(Value::Object).map_err(|error| error.to_string())
    };
    assert_eq!(bound(&[("trace", "5")]), Ok(serde_json::json!({"trace": "5", "limit": 20})));
    let said = |given: &[(&str, &str)]| bound(given).unwrap_err();
    let missing = "`t` needs `trace` (TEXT: its id); give it with -p trace=…, e.g. `-p trace='a b'`";
    assert_eq!(said(&[]), missing);
    assert_eq!(said(&[("limits", "1")]), "-p limits: `t` has no parameter `limits`; did you mean `limit`?");
    assert_eq!(said(&[("q", "1")]), "-p q: `t` has no parameter `q`; it has trace, limit");
    assert_eq!(said(&[("limit", "x")]), "-p limit=x: `x` is no BIGINT; write a whole number, e.g. `20`");
    assert!(said(&[("limit", "1"), ("limit", "2")]).contains("given twice"));
}

#[test]
fn a_folder_adds_queries_and_replaces_those_of_the_same_path() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("team/deep")).unwrap();
    std::fs::write(dir.path().join("red.sql"), "-- about: mine\nSELECT 1").unwrap();
    std::fs::write(dir.path().join("team/deep/own.sql"), "-- about: own\nSELECT 2").unwrap();
    std::fs::write(dir.path().join("team/bad.sql"), "SELECT $x").unwrap();
    std::fs::write(dir.path().join("team/notes.txt"), "").unwrap();
    let library = Library::shipped(Some(dir.path().to_owned()));
    assert_eq!(library.query("red").unwrap().head.about, "mine");
    assert_eq!(library.query("team/deep/own.sql").unwrap().head.about, "own");
    assert!(library.query("slowest_traces").is_ok());
    let error = library.query("team/bad").unwrap_err();
    assert_eq!(error.class(), Class::Invalid);
    assert!(error.to_string().contains(&format!("{}:1:8: `$x`", dir.path().join("team/bad.sql").display())), "{error}");
    let error = library.query("slowest_trace").unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
    assert!(error.to_string().contains("did you mean `slowest_traces`"), "{error}");
    assert!(library.query("../red").is_err() && library.query("").is_err());
    let names = library.names();
    assert!(names.contains(&"team/deep/own".to_owned()) && !names.iter().any(|name| name.contains("notes")));
    assert_eq!(names.iter().filter(|name| *name == "red").count(), 1);
}
