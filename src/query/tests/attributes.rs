//! Claims about brackets: types, conversions, and that layout does not matter.

use arrow::datatypes::DataType;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::fixture::*;
use crate::query::Config;
use crate::query::hints::Pushdown;

#[tokio::test]
async fn a_bracket_beside_a_time_is_a_time_and_null_where_it_is_none() {
    let spans = [
        Span::new(1, 1).with("at", "2023-11-14T23:00:00Z").with("http.response.status_code", 500),
        Span::new(1, 2).with("at", "2023-11-14T21:00:00Z"),
        Span::new(1, 3).with("at", "soon"),
        Span::new(1, 4).with("at", 7),
        Span::new(1, 5),
    ];
    let view = Fill::new().memory(&spans).view();
    for (filter, count) in [
        ("attributes['at'] > now()", "1"),
        ("now() > attributes['at']", "1"),
        ("attributes['at'] <> start_time", "2"),
        ("attributes['at'] < TIMESTAMP '2023-11-14T22:00:00'", "1"),
        ("attributes['at'] BETWEEN TIMESTAMP '2023-11-14T20:00:00' AND now()", "1"),
        ("now() BETWEEN attributes['at'] AND TIMESTAMP '2023-11-15T00:00:00'", "1"),
        ("attributes['at'] IN (TIMESTAMP '2023-11-14T21:00:00', TIMESTAMP '2023-11-14T23:00:00')", "2"),
        ("attributes['http.response.status_code'] > now()", "0"),
        ("NOT (attributes['at'] > now())", "1"),
    ] {
        assert_eq!(one(&view, &format!("SELECT count(*) FROM spans WHERE {filter}")).await, count, "{filter}");
    }
}

#[tokio::test]
async fn the_use_of_a_bracket_decides_its_type() {
    let spans = [
        Span::new(1, 1)
            .with("n", 3)
            .with("t", "3.5")
            .with("flag", Val::Bool(true))
            .with("http.response.status_code", 500),
        Span::new(1, 2)
            .with("n", "x")
            .with("t", "abc")
            .with("flag", "true")
            .with("http.response.status_code", "teapot"),
        Span::new(1, 3).with("n", Val::Double(2.5)).with("t", 7).with("flag", "yes"),
        Span::new(1, 4),
    ];
    let view = Fill::new().memory(&spans).view();
    let cases = [
        ("attributes['n'] > 2", "2"),
        ("attributes['n'] >= 3", "1"),
        ("2 < attributes['n']", "2"),
        ("attributes['n'] = '3'", "1"),
        ("attributes['n'] IN (3, 4)", "1"),
        ("attributes['n'] NOT IN (3, 4)", "1"),
        ("attributes['n'] BETWEEN 2 AND 3", "2"),
        ("attributes['n'] + 1 = 4", "1"),
        ("attributes['n'] IN ('3', 'x')", "2"),
        ("attributes['n'] LIKE '%5'", "1"),
        ("attributes['n'] ~ '^[0-9]'", "2"),
        ("attributes['n'] IS NULL", "1"),
        ("attributes['n']::bigint IS NULL", "3"),
        ("CAST(attributes['n'] AS DOUBLE) > 0", "2"),
        ("attributes['n']::int = 3", "1"),
        ("attributes['flag'] = true", "2"),
        ("NOT (attributes['flag'] = true)", "0"),
        ("attributes['flag'] AND attributes['n'] > 2", "1"),
        ("attributes['http.response.status_code'] >= 500", "1"),
        ("attributes['http.response.status_code'] = '500'", "1"),
        ("attributes['http.response.status_code'] = 'teapot'", "1"),
        ("attributes['http.response.status_code'] LIKE '5%'", "1"),
        ("attributes['http.response.status_code'] IN (500, 501)", "1"),
        ("attributes['http.response.status_code']::text = 'teapot'", "1"),
        ("attributes->>'n' = '2.5'", "1"),
        ("attr_int(attributes, 'n') = 3", "1"),
        ("attr_text(attributes, 'n') = 'x'", "1"),
        ("has_attr(attributes, 'n')", "3"),
        ("round(attributes['n']) = 3", "2"),
        ("abs(attributes['n']) > 2", "2"),
        ("upper(attributes['n']) = 'X'", "1"),
        ("upper(attributes['http.response.status_code']) = '500'", "1"),
        ("coalesce(attributes['n'], 0) = 0", "2"),
        ("CASE attributes['n'] WHEN 3 THEN true ELSE false END", "1"),
        ("attributes['n'] < attributes['t']", "2"),
        ("attributes['n'] || 'y' = 'xy'", "1"),
        ("attributes['t'] <> 7", "1"),
        ("attributes['nothing'] = 'x'", "0"),
        ("attributes['n'] > 9007199254740993", "0"),
        ("attributes['n'] IS DISTINCT FROM 3", "3"),
        ("0 - attributes['n'] < -2", "2"),
        ("attributes['n'] IN (SELECT 3)", "1"),
        ("attributes['db.response.status_code'] = 500", "0"),
    ];
    for (filter, count) in cases {
        let sql = format!("SELECT count(*) FROM spans WHERE {filter}");
        assert_eq!(one(&view, &sql).await, count, "{filter}");
    }
    assert_eq!(one(&view, "SELECT sum(attributes['n']) FROM spans").await, "5.5");
    assert_eq!(one(&view, "SELECT avg(attributes['t']) FROM spans").await, "5.25");
    assert_eq!(one(&view, "SELECT max(attributes['n']) FROM spans").await, "x");
    assert_eq!(one(&view, "SELECT bool_or(attributes['flag']) FROM spans").await, "true");
    assert_eq!(one(&view, "SELECT p50(attributes['n']) FROM spans").await, "2.75");
    assert_eq!(
        one(&view, "SELECT sum(CASE WHEN attributes['n'] > 2 THEN attributes['n'] ELSE 0 END) FROM spans").await,
        "5.5"
    );
    assert_eq!(one(&view, "SELECT sum(attributes['n']) OVER () FROM spans LIMIT 1").await, "5.5");
}

#[tokio::test]
async fn a_bracket_works_through_aliases_views_joins_and_unions() {
    let spans = [Span::new(1, 1).with("k", "a").with("n", 1), Span::new(1, 2).with("k", "b").with("n", 2)];
    let promotions = [("attr.k".to_owned(), DataType::Utf8View)].into();
    let view = Fill::new().memory(&spans[..1]).part(&spans[1..], &promotions, 10).await.view();
    let all = [["a"], ["b"]];
    for sql in [
        "SELECT attributes['k'] FROM spans ORDER BY 1",
        "SELECT s.attributes['k'] FROM spans s ORDER BY s.attributes['k']",
        "WITH c AS (SELECT * FROM spans WHERE duration_ns > 0) SELECT c.attributes['k'] FROM c ORDER BY 1",
        "SELECT x.attributes['k'] FROM (SELECT attributes FROM spans) x ORDER BY 1",
        "SELECT attributes['k'] FROM spans GROUP BY attributes['k'] ORDER BY 1",
        "SELECT p.attributes['k'] FROM spans p JOIN spans c ON p.span_id = c.span_id ORDER BY 1",
        "SELECT u.attributes['k'] FROM (SELECT attributes FROM spans UNION ALL SELECT attributes FROM spans WHERE false) u ORDER BY 1",
        "SELECT attributes['k'] FROM spans WHERE span_id IN (SELECT span_id FROM spans WHERE attributes['n'] > 0) ORDER BY 1",
        "SELECT DISTINCT attributes['k'] FROM spans ORDER BY 1",
        "SELECT (SELECT max(i.attributes['k']) FROM spans i WHERE i.span_id = o.span_id) FROM spans o ORDER BY 1",
    ] {
        assert_eq!(ask(&view, sql).await, all, "{sql}");
    }
    let joined =
        "SELECT l.attributes['k'], r.attributes['k'] FROM spans l LEFT JOIN spans r ON r.duration_ns < 0 ORDER BY 1";
    assert_eq!(ask(&view, joined).await, [["a", "∅"], ["b", "∅"]]);
    let schema = session(&view).sql("SELECT attributes['k'], s.resource['x'] FROM spans s").await.unwrap();
    let names: Vec<_> = schema.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["s.attributes['k']", "s.resource['x']"]);
    let schema = session(&view).sql("SELECT attributes['k'] FROM spans WHERE attributes['k'] > 1").await.unwrap();
    assert_eq!(schema.schema().field(0).name(), "attributes['k']");
    let error = try_ask(&view, "SELECT attributes[name] FROM spans").await.unwrap_err();
    assert!(error.contains("an attribute key is a text literal"), "{error}");
}

#[tokio::test]
async fn a_value_that_is_no_number_is_found_in_files_as_in_memory() {
    // In pages without and with one that is above every bound.
    let values = [1.0, 2.0, 3.0, f64::NAN, 7.0, 8.0, -1.0, f64::NAN];
    let spans: Vec<Span> =
        (1..).zip(values).map(|(id, value)| Span::new(1, id).with("x", Val::Double(value))).collect();
    let promotions = [("attr.x".to_owned(), DataType::Float64)].into();
    let memory = Fill::new().memory(&spans).view();
    let flushed = Fill::new().part(&spans, &promotions, 2).await.view();
    for (filter, count) in [
        ("attributes['x'] > 5", "4"),
        ("attributes['x'] >= 8.5", "2"),
        ("attributes['x'] <> 7", "7"),
        ("NOT (attributes['x'] <= 5)", "4"),
        ("attributes['x'] BETWEEN 2.5 AND 'NaN'::double", "5"),
        ("attributes['x'] = 'NaN'::double", "2"),
        ("attributes['x'] IN (7, 'NaN'::double)", "3"),
        ("isnan(attributes['x']::double)", "2"),
        ("attributes['x'] < 2", "2"),
    ] {
        let sql = format!("SELECT count(*) FROM spans WHERE {filter}");
        assert_eq!((one(&memory, &sql).await, one(&flushed, &sql).await), (count.into(), count.into()), "{filter}");
    }
    for sql in [
        "SELECT max(attributes['x']::double) FROM spans",
        "SELECT span_id FROM spans ORDER BY attributes['x']::double DESC, span_id LIMIT 3",
    ] {
        assert_eq!(ask(&memory, sql).await, ask(&flushed, sql).await, "{sql}");
    }
}

/// Row by row, by the table of conversions in the specification.
fn oracle(value: Option<&Val>, of: &str) -> String {
    let null = || "∅".to_owned();
    let Some(value) = value else { return null() };
    match (value, of) {
        (Val::Str(text), "text") => text.clone(),
        (Val::Str(text), "int") => match text.as_str() {
            "7" | "-3" | "9007199254740993" => text.clone(),
            _ => null(),
        },
        (Val::Str(text), "float") => match text.as_str() {
            "7" => "7.0".into(),
            "-3" => "-3.0".into(),
            "2.50" => "2.5".into(),
            "9007199254740993" => "9007199254740992.0".into(),
            "007" => "7.0".into(),
            _ => null(),
        },
        (Val::Str(text), "bool") if text == "true" || text == "false" => text.clone(),
        (Val::Int(v), "text" | "int") => v.to_string(),
        (Val::Int(v), "float") => format!("{:?}", *v as f64),
        (Val::Double(v), "text") if *v == 3.0 => "3".into(),
        (Val::Double(v), "text") => format!("{v}"),
        (Val::Double(v), "int") if *v == 3.0 => "3".into(),
        (Val::Double(v), "float") => format!("{v:?}"),
        (Val::Bool(v), "text" | "bool") => v.to_string(),
        (Val::Bytes(_), "text") => "AP8=".into(),
        (Val::Array, "text") => r#"["a"]"#.into(),
        _ => null(),
    }
}

fn random_value(rng: &mut ChaCha8Rng) -> Val {
    let texts = ["7", "-3", "2.50", "007", "true", "false", "", "x'y", "9007199254740993", "ü", "3 "];
    match rng.next_u32() % 8 {
        0 => Val::Empty,
        1 | 2 => texts[rng.next_u32() as usize % texts.len()].into(),
        3 => Val::Bool(rng.next_u32().is_multiple_of(2)),
        4 => Val::Int(i64::from(rng.next_u32() % 5)),
        5 => Val::Double([3.0, 0.1, -2.5][rng.next_u32() as usize % 3]),
        6 => Val::Bytes(vec![0, 255]),
        _ => Val::Array,
    }
}

fn random_span(rng: &mut ChaCha8Rng, id: u64) -> Span {
    let mut span = Span::new(u128::from(rng.next_u32() % 5) + 1, id);
    span.duration = i64::from(rng.next_u32() % 1_000);
    for key in ["k0", "k1", "k2", "k1"] {
        if !rng.next_u32().is_multiple_of(3) {
            let value = random_value(rng);
            span.attributes.push((key.into(), value));
        }
    }
    if rng.next_u32().is_multiple_of(2) {
        span.resource.push(("k0".into(), random_value(rng)));
    }
    span
}

fn random_promotions(rng: &mut ChaCha8Rng) -> Promotions {
    let types = [DataType::Utf8View, DataType::Int64, DataType::Float64, DataType::Boolean];
    let mut promotions = Promotions::new();
    for name in ["attr.k0", "attr.k1", "attr.k2", "res.k0", "attr.absent"] {
        if rng.next_u32().is_multiple_of(2) {
            promotions.insert(name.into(), types[rng.next_u32() as usize % 4].clone());
        }
    }
    promotions
}

#[tokio::test]
async fn where_a_value_lies_does_not_change_the_answer() {
    let questions = [
        "SELECT count(*) FROM spans",
        "SELECT hex(span_id), attributes['k0'], resource['k0'] FROM spans ORDER BY 1",
        "SELECT hex(span_id), attrs_json(resource) FROM spans ORDER BY 1",
        "SELECT count(*) FROM spans WHERE attributes['k0'] > 2",
        "SELECT count(*) FROM spans WHERE attributes['k0'] > 2 OR attributes['k1'] = 'true'",
        "SELECT count(*) FROM spans WHERE NOT (attributes['k0'] = '7')",
        "SELECT count(*) FROM spans WHERE attributes['k0'] IS NULL AND has_attr(attributes, 'k0')",
        "SELECT count(*) FROM spans WHERE attributes['k0'] IN (1, 2, 3)",
        "SELECT count(*) FROM spans WHERE attributes['k2'] LIKE '%a%'",
        "SELECT count(*) FROM spans WHERE attributes['k2'] = attributes['k1']",
        "SELECT attributes['k0'] AS a, count(*), round(sum(attributes['k1']) FILTER (WHERE attributes['k1'] < 100), 6) FROM spans GROUP BY 1 ORDER BY 1",
        "SELECT count(*) FROM spans a JOIN spans b ON a.attributes['k0'] = b.attributes['k1']",
        "WITH s AS (SELECT * FROM spans WHERE duration_ns > 100) SELECT s.attributes['k1'] AS r, count(*) FROM s GROUP BY 1 ORDER BY 1, 2",
        "SELECT hex(span_id) FROM spans WHERE attributes['k1'] IS NOT NULL ORDER BY duration_ns DESC, span_id LIMIT 7",
        "SELECT hex(span_id), attributes['k2'] FROM spans WHERE attributes['k0'] > 0 OR attributes['k1'] = '7' ORDER BY span_id DESC LIMIT 5",
        "SELECT hex(span_id), attributes['k1'], resource['k0'] FROM spans WHERE attributes['k0'] = 3 AND resource['k0'] IS NOT NULL ORDER BY start_time, span_id LIMIT 9",
        "SELECT count(*) FROM spans WHERE attributes['k1'] BETWEEN 0 AND 3 AND attributes['k2'] ~ '.'",
        "SELECT count(*) FROM spans WHERE attributes['nowhere'] IS NULL AND attributes['k2'] NOT LIKE 'x%'",
        "SELECT count(*) FROM spans WHERE attributes['nowhere'] = 'x' OR attributes['k0'] NOT IN ('7', 'true')",
        "SELECT span_count, error_count FROM traces ORDER BY trace_id",
        "SELECT hex(span_id), end_time, duration_ms FROM spans ORDER BY 1",
        "SELECT count(*) FROM (SELECT attributes FROM spans UNION ALL SELECT resource FROM spans) u WHERE u.attributes['k0'] = '7'",
    ];
    for seed in 0..12 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let spans: Vec<Span> = (1..=60).map(|id| random_span(&mut rng, id)).collect();
        let memory = Fill::new().memory(&spans[..13]).memory(&spans[13..]).view();
        let mut parts = Fill::new();
        for chunk in spans.chunks(25) {
            let promotions = random_promotions(&mut rng);
            let footer = [Footer::Silent, Footer::Whole, Footer::Whole, Footer::Cut][rng.next_u32() as usize % 4];
            parts = parts.footer(footer).part(chunk, &promotions, 9).await;
        }
        let parts = parts.view();
        let promotions = random_promotions(&mut rng);
        let mixed = Fill::new().part(&spans[..31], &promotions, 100).await.memory(&spans[31..]).view();
        for sql in questions {
            let expected = ask(&memory, sql).await;
            assert_eq!(ask(&parts, sql).await, expected, "parts, seed {seed}: {sql}");
            assert_eq!(ask(&mixed, sql).await, expected, "mixed, seed {seed}: {sql}");
            for pushdown in [Pushdown::On, Pushdown::Off] {
                let session = session_with(&parts, &Config { threads: 2, pushdown, ..Config::default() });
                let answer = try_ask_in(&session, sql).await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
                assert_eq!(answer, expected, "parts, {pushdown:?}, seed {seed}: {sql}");
            }
        }
        for of in ["text", "int", "float", "bool"] {
            let select: Vec<_> = ["k0", "k1", "k2"].map(|key| format!("attr_{of}(attributes, '{key}')")).into();
            let sql = format!("SELECT {} FROM spans ORDER BY span_id", select.join(", "));
            let first = |span: &Span, key: &str| span.attributes.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone());
            let expected: Vec<Vec<String>> = spans
                .iter()
                .map(|span| ["k0", "k1", "k2"].map(|key| oracle(first(span, key).as_ref(), of)).into())
                .collect();
            for (layout, view) in [("memory", &memory), ("parts", &parts), ("mixed", &mixed)] {
                assert_eq!(ask(view, &sql).await, expected, "{layout}, seed {seed}: {of}");
            }
        }
    }
}
