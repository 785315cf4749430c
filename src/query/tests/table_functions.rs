//! Claims about functions that give rows, and about the relations made of calls and minutes.

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::fixture::*;
use crate::query::params::{Param, Params};
use crate::query::within::{Window, Within};
use crate::query::{Code, Config, Gateway, Limits, Statement, probe, session};

const MS: i64 = 1_000_000;
const SERVICES: [&str; 4] = ["web", "cart", "pay", "mail"];
const NAMES: [&str; 3] = ["get", "put", "list"];
const KINDS: [&str; 4] = ["server", "client", "internal", "consumer"];

fn pick<T: Copy>(rng: &mut ChaCha8Rng, of: &[T]) -> T {
    of[rng.next_u32() as usize % of.len()]
}

/// Few traces of few ids within 20 minutes: orphans, duplicates, cycles and parents in other services.
fn random(seed: u64, count: usize) -> Vec<Span> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let below = |rng: &mut ChaCha8Rng, n: i64| i64::from(rng.next_u32()) % n;
    (0..count)
        .map(|_| {
            let trace = 1 + u128::from(rng.next_u32() % 5);
            let id = 1 + u64::from(rng.next_u32() % 12);
            let parent = Some(1 + u64::from(rng.next_u32() % 14)).filter(|_| rng.next_u32() % 6 > 0);
            let span = Span {
                parent,
                start: NOW - below(&mut rng, 1_200_000) * MS,
                duration: below(&mut rng, 300_000) * MS,
                service: pick(&mut rng, &SERVICES),
                name: pick(&mut rng, &NAMES),
                kind: pick(&mut rng, &KINDS),
                status: pick(&mut rng, &["unset", "ok", "error"]),
                ..Span::new(trace, id)
            };
            match rng.next_u32() % 3 {
                0 => span.with("app.plan", pick(&mut rng, &["free", "pro"])).with("n", i64::from(rng.next_u32() % 3)),
                1 => span.with("app.plan", pick(&mut rng, &["free", "pro"])),
                _ => span,
            }
        })
        .collect()
}

/// A third in memory, the others in two parts.
async fn mixed(spans: &[Span]) -> crate::store::View {
    let third = spans.len() / 3;
    let (a, b, c) = (&spans[..third], &spans[third..2 * third], &spans[2 * third..]);
    Fill::new().part(a, &Promotions::new(), 7).await.part(b, &Promotions::new(), 1000).await.memory(c).view()
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

#[tokio::test]
async fn a_tree_is_read_by_the_trace_index_from_memory_and_parts() {
    let mut spans = random(1, 90);
    for span in &mut spans {
        span.trace += 100;
    }
    let view = mixed(&spans).await;
    for trace in 101..=105_u128 {
        let own = spans.iter().filter(|span| span.trace == trace).count();
        let sql = format!("SELECT count(*), count(DISTINCT nested_left) FROM trace_tree('{trace:032x}')");
        assert_eq!(ask(&view, &sql).await, [[own.to_string(), own.to_string()]], "{trace}");
    }
    let plan = explain(&view, &format!("SELECT * FROM trace_tree('{:032x}')", 101)).await;
    assert!(plan.contains("GatherExec: function=trace_tree"), "{plan}");
    assert!(plan.contains("TraceLookupExec: traces=1"), "{plan}");
    assert_eq!(ask(&view, "SELECT * FROM trace_tree('00000000000000ee')").await, Vec::<Vec<String>>::new());
}

#[tokio::test]
async fn bounds_of_the_nested_set_give_descendants_and_ancestors() {
    let spans = random(2, 60);
    let view = mixed(&spans).await;
    let tree = format!("trace_tree('{:032x}')", 1);
    let ids = ask(&view, &format!("SELECT DISTINCT hex(span_id) FROM {tree}")).await;
    assert!(ids.len() > 3, "{ids:?}");
    for id in ids.iter().map(|row| &row[0]) {
        let one = format!(
            "(SELECT nested_left AS l, nested_right AS r, depth AS d FROM {tree} \
             WHERE span_id = '{id}' AND NOT is_duplicate)"
        );
        let trace = format!("'{:032x}', '{id}'", 1);
        for (function, condition) in [
            (format!("descendants({trace})"), "nested_left > o.l AND nested_right < o.r"),
            (format!("descendants({trace}, 1)"), "nested_left > o.l AND nested_right < o.r AND depth = o.d + 1"),
            (format!("ancestors({trace})"), "nested_left < o.l AND nested_right > o.r"),
        ] {
            let expected = format!("SELECT t.* FROM {tree} t, {one} o WHERE {condition} ORDER BY nested_left");
            assert_eq!(
                ask(&view, &format!("SELECT * FROM {function}")).await,
                ask(&view, &expected).await,
                "{function}"
            );
        }
    }
    let unknown = format!("SELECT * FROM descendants('{:032x}', '00000000000000aa')", 1);
    assert_eq!(ask(&view, &unknown).await.len(), 0);
}

#[tokio::test]
async fn sections_of_one_trace_and_of_many_add_up_to_the_durations_of_roots() {
    let spans = random(3, 80);
    let view = mixed(&spans).await;
    let mut whole = 0.0;
    let mut by_service: BTreeMap<String, f64> = BTreeMap::new();
    for trace in 1..=5_u128 {
        let id = format!("{trace:032x}");
        let rows = ask(&view, &format!("SELECT service_name, section_ns, share FROM critical_path('{id}')")).await;
        let root = "SELECT duration_ns FROM TREE WHERE NOT is_duplicate AND depth = 0 \
                    ORDER BY parent_span_id IS NOT NULL, sibling_no LIMIT 1";
        let root = number(&one(&view, &root.replace("TREE", &format!("trace_tree('{id}')"))).await);
        let sum: f64 = rows.iter().map(|row| number(&row[1])).sum();
        assert!((sum - root).abs() < 0.5, "{sum} for {root}");
        let shares: f64 = rows.iter().map(|row| number(&row[2])).sum();
        assert!(root < 0.5 || (shares - 1.0).abs() < 1e-9, "{shares}");
        whole += sum;
        for row in rows {
            *by_service.entry(row[0].clone()).or_default() += number(&row[1]);
        }
    }
    let sql = "SELECT service_name, section_ns, share, traces FROM \
               critical_path_by('true', ago('1h'), now() + INTERVAL '1 second', 'service')";
    let rows = ask(&view, sql).await;
    let found: BTreeMap<String, f64> = rows.iter().map(|row| (row[0].clone(), number(&row[1]))).collect();
    assert_eq!(found, by_service);
    for row in &rows {
        assert!((number(&row[2]) - number(&row[1]) / whole).abs() < 1e-9, "{row:?}");
    }
    let of_operations = sql.replace("SELECT service_name,", "SELECT name,").replace("'service'", "'operation', 5");
    let sum: f64 = ask(&view, &of_operations).await.iter().map(|row| number(&row[1])).sum();
    assert!((sum - whole).abs() < 0.5, "{sum} for {whole}");
    // Of one trace only, the newest.
    let newest = sql.replace("'service'", "'service', 1").replace("section_ns, share, ", "");
    assert!(ask(&view, &newest).await.iter().all(|row| row[1] == "1"));
    assert_eq!(ask(&view, &sql.replace("'true'", "'false'")).await.len(), 0);
}

#[tokio::test]
async fn counts_of_compare_are_those_of_a_naive_count() {
    let spans = random(4, 120);
    let view = mixed(&spans).await;
    let is_selected = |span: &Span| span.status == "error" && span.service != "mail";
    let is_baseline = |span: &Span| span.attributes.iter().any(|(key, _)| key == "app.plan");
    let mut naive: BTreeMap<(&str, String, String), [u64; 2]> = BTreeMap::new();
    let mut all = [0_u64; 2];
    for span in &spans {
        let sets = [is_selected(span), is_baseline(span)];
        let mut pairs: BTreeSet<(&str, String, String)> = BTreeSet::new();
        for (key, value) in
            [("service_name", span.service), ("name", span.name), ("kind", span.kind), ("status_code", span.status)]
        {
            pairs.insert(("span", key.to_owned(), value.to_owned()));
        }
        for (key, value) in &span.attributes {
            let text = match value {
                Val::Str(text) => text.clone(),
                Val::Int(value) => value.to_string(),
                other => panic!("{other:?}"),
            };
            pairs.insert(("attributes", key.clone(), text));
        }
        for (set, is_in) in sets.into_iter().enumerate().filter(|(_, is_in)| *is_in) {
            all[set] += u64::from(is_in);
            for pair in &pairs {
                naive.entry(pair.clone()).or_default()[set] += 1;
            }
        }
    }
    let sql = "SELECT level, key, value, selection_count, selection_share, baseline_count, baseline_share, lift, score \
               FROM compare('status_code = ''error'' AND service_name <> ''mail''', \
               'attributes[''app.plan''] IS NOT NULL', ago('1h'), now() + INTERVAL '1 second', 10000)";
    let rows = ask(&view, sql).await;
    assert_eq!(rows.len(), naive.len());
    #[allow(clippy::cast_precision_loss)]
    for row in &rows {
        let level = if row[0] == "span" { "span" } else { "attributes" };
        let [s, b] = naive[&(level, row[1].clone(), row[2].clone())];
        assert_eq!((row[3].clone(), row[5].clone()), (s.to_string(), b.to_string()), "{row:?}");
        let (s, b) = (s as f64 / all[0] as f64, b as f64 / all[1] as f64);
        assert!((number(&row[4]) - s).abs() < 1e-9 && (number(&row[6]) - b).abs() < 1e-9, "{row:?}");
        assert!((number(&row[8]) - (s - b)).abs() < 1e-9, "{row:?}");
        match row[7].as_str() {
            "∅" => assert!(b == 0.0, "{row:?}"),
            lift => assert!((number(lift) - s / b).abs() < 1e-9, "{row:?}"),
        }
    }
    let scores: Vec<f64> = rows.iter().map(|row| number(&row[8])).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    // Without times, all spans; a NULL condition does not hold.
    let all = "SELECT count(*) FROM compare('NULL', 'kind = attributes[''nothing'']')";
    assert_eq!(one(&view, all).await, "0");
    let top = "SELECT count(*) FROM compare('true', 'true')";
    assert_eq!(one(&view, top).await, "19");
}

#[tokio::test]
async fn each_call_counts_once_whether_compaction_knows_its_caller_or_not() {
    for seed in 5..9 {
        let mut spans = random(seed, 90);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Stored first: a third of them before the next.
        let stored = |spans: &[Span], at: usize| at / (spans.len() / 3);
        let parent = |spans: &[Span], at: usize| {
            let of = &spans[at];
            let fits = |other: &usize| spans[*other].trace == of.trace && Some(spans[*other].id) == of.parent;
            let first = (0..spans.len()).filter(fits).min_by_key(|at| (stored(spans, *at), spans[*at].service));
            first.map(|at| spans[at].service)
        };
        let parents: Vec<_> = (0..spans.len()).map(|at| parent(&spans, at)).collect();
        for (span, parent) in spans.iter_mut().zip(&parents) {
            span.parent_service = parent.filter(|_| rng.next_u32() % 2 == 0);
        }
        let mut naive: BTreeMap<(&str, &str), [u64; 2]> = BTreeMap::new();
        let from = NOW - 600_000 * MS;
        for (span, parent) in spans.iter().zip(&parents) {
            let is_call = matches!(span.kind, "server" | "consumer") && span.start >= from && span.start < NOW;
            if let Some(client) = parent.filter(|client| is_call && *client != span.service) {
                let counted = naive.entry((client, span.service)).or_default();
                counted[0] += 1;
                counted[1] += u64::from(span.status == "error");
            }
        }
        assert!(naive.len() > 3, "{naive:?}");
        let view = mixed(&spans).await;
        let expected: Vec<Vec<String>> = naive
            .iter()
            .map(|((client, server), [calls, errors])| {
                vec![(*client).to_owned(), (*server).to_owned(), calls.to_string(), errors.to_string()]
            })
            .collect();
        let sql = "SELECT client, server, calls, errors FROM service_graph(ago('10m'), now()) ORDER BY 1, 2";
        assert_eq!(ask(&view, sql).await, expected, "seed {seed}");
        let hour = "SELECT * FROM service_graph ORDER BY 1, 2";
        let same = "SELECT * FROM service_graph(ago('1h'), now()) ORDER BY 1, 2";
        assert_eq!(ask(&view, hour).await, ask(&view, same).await);
    }
}

#[tokio::test]
async fn minutes_count_as_a_group_by_does_and_read_only_theirs() {
    let spans = random(9, 100);
    let view = mixed(&spans).await;
    let plain = "SELECT time_bucket('1m', start_time) AS minute, service_name, name, kind, count(*), \
                 count(*) FILTER (WHERE status_code = 'error'), sum(duration_ns), p95(duration_ns) FROM spans \
                 WHERE COND GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4";
    let red = "SELECT minute, service_name, name, kind, calls, errors, exphist_sum(duration)::bigint, \
               exphist_quantile(duration, 0.95) FROM red_1m WHERE COND ORDER BY 1, 2, 3, 4";
    for (spans, minutes) in [
        ("true", "true"),
        (
            "start_time >= '2023-11-14T22:05:00Z' AND start_time < '2023-11-14T22:08:00Z' AND service_name = 'web'",
            "minute >= '2023-11-14T22:05:00Z' AND minute < '2023-11-14T22:08:00Z' AND service_name = 'web'",
        ),
        (
            "start_time >= '2023-11-14T22:05:00Z' AND start_time < '2023-11-14T22:06:00Z' AND kind <> 'client'",
            "minute = '2023-11-14T22:05:00Z' AND kind <> 'client'",
        ),
    ] {
        let expected = ask(&view, &plain.replace("COND", spans)).await;
        assert!(!expected.is_empty(), "{spans}");
        assert_eq!(ask(&view, &red.replace("COND", minutes)).await, expected, "{minutes}");
    }
    let plan = explain(&view, "SELECT count(*) FROM red_1m WHERE minute >= now() + INTERVAL '1 hour'").await;
    assert!(!plan.contains("MemoryExec") && !plan.contains(".parquet"), "{plan}");
    // The whole is the sum of its minutes.
    let merged = number(&one(&view, "SELECT exphist_quantile(exphist_merge(duration), 0.5) FROM red_1m").await);
    let direct = number(&one(&view, "SELECT p50(duration_ns) FROM spans").await);
    assert!((merged - direct).abs() < 1e-6 * direct, "{merged} for {direct}");
}

#[tokio::test]
async fn they_stand_wherever_a_table_may() {
    let spans = random(10, 60);
    let view = mixed(&spans).await;
    let id = format!("{:032x}", 1);
    let count = one(&view, &format!("SELECT count(*) FROM spans WHERE trace_id = '{id}'")).await;
    for sql in [
        format!("WITH t AS (SELECT * FROM trace_tree('{id}')) SELECT count(*) FROM t"),
        format!(
            "SELECT count(*) FROM spans WHERE trace_id = '{id}' AND span_id IN (SELECT span_id FROM trace_tree('{id}'))"
        ),
        format!("SELECT count(*) FROM trace_tree('{id}') a JOIN trace_tree('{id}') b ON a.nested_left = b.nested_left"),
        format!("SELECT (SELECT count(*) FROM trace_tree('{id}')) FROM generate_series(1, 1)"),
        format!("SELECT count(*) FROM (SELECT name FROM trace_tree('{id}') UNION ALL SELECT 'x' WHERE false) AS u"),
        format!("SELECT count(DISTINCT s.nested_left) FROM generate_series(1, 3) g CROSS JOIN trace_tree('{id}') s"),
    ] {
        assert_eq!(one(&view, &sql).await, count, "{sql}");
    }
    let gateway = gateway(&spans, Config { threads: 2, ..Config::default() });
    for sql in [
        format!("SELECT count(*) AS n FROM TRACE_TREE('{id}')"),
        format!("SELECT count(*) AS n FROM public.\"trace_tree\"(decode('{id}', 'hex'))"),
        format!("SELECT count(trace_tree.name) AS n FROM trace_tree(trace_id('{id}'))"),
        format!("EXPLAIN ANALYZE SELECT * FROM trace_tree('{id}')"),
    ] {
        let rows = run(&gateway, Statement::new(&sql)).await.unwrap();
        assert!(sql.starts_with("EXPLAIN") || rows == [[count.clone()]], "{sql}: {rows:?}");
    }
    let params = Params::Map([("trace".to_owned(), Param::Text(id.clone()))].into());
    let statement = Statement { params, ..Statement::new("SELECT count(*) FROM trace_tree($trace)") };
    assert_eq!(run(&gateway, statement).await.unwrap(), [[count]]);
}

async fn run(gateway: &Gateway, statement: Statement) -> Result<Vec<Vec<String>>, crate::query::Error> {
    use crate::query::render::value::text;
    let mut rows = Vec::new();
    for batch in gateway.run(statement).await?.collect().await? {
        for row in 0..batch.num_rows() {
            let cell = |column| text(column, row).unwrap().unwrap_or_else(|| "∅".to_owned());
            rows.push(batch.columns().iter().map(cell).collect());
        }
    }
    Ok(rows)
}

#[tokio::test]
async fn a_gate_sees_its_window_through_them() {
    let spans = [
        Span { start: NOW - 120_000 * MS, parent: None, service: "web", name: "old", ..Span::new(1, 1) },
        Span { start: NOW - 30_000 * MS, parent: Some(1), service: "cart", name: "new", ..Span::new(1, 2) },
    ];
    let gateway = gateway(&spans, Config { threads: 2, ..Config::default() });
    let within = || Within {
        window: Some(Window { start_ns: NOW - 60_000 * MS, end_ns: NOW, spans_by: "start_time" }),
        ..Within::default()
    };
    let id = format!("{:032x}", 1);
    for (sql, whole, narrowed) in [
        (format!("SELECT name FROM trace_tree('{id}')"), 2, 1),
        ("SELECT name FROM red_1m".to_owned(), 2, 1),
        ("SELECT * FROM service_graph(ago('1h'), now())".to_owned(), 1, 0),
        ("SELECT * FROM service_graph".to_owned(), 1, 0),
        ("SELECT * FROM compare('name = ''old''', 'true') WHERE selection_count > 0".to_owned(), 4, 0),
    ] {
        assert_eq!(run(&gateway, Statement::new(&sql)).await.unwrap().len(), whole, "{sql}");
        let mut answer = gateway.run_within(Statement::new(&sql), within()).await.unwrap();
        let rows: usize = answer.collect().await.unwrap().iter().map(|batch| batch.num_rows()).sum();
        assert_eq!(rows, narrowed, "{sql}");
    }
}

#[tokio::test]
async fn a_clock_in_an_argument_is_told_to_those_who_must_not_have_one() {
    let ground = probe::Ground {
        config: Config { threads: 1, ..Config::default() },
        engine: session::runtime(64 << 20, None).unwrap(),
        extra: vec![],
    };
    for (sql, expected) in [
        ("SELECT calls FROM service_graph(ago('1h'), now())", vec!["ago", "now"]),
        ("SELECT calls FROM service_graph", vec!["service_graph"]),
        ("SELECT key FROM compare('start_time > now() - INTERVAL ''1 hour''', 'true')", vec!["now"]),
        ("SELECT key FROM compare('name = ''now()''', 'true')", vec![]),
        ("SELECT calls FROM service_graph('2024-01-01T00:00:00Z', '2024-01-02T00:00:00Z')", vec![]),
        ("SELECT depth FROM trace_tree('00000000000000ff')", vec![]),
    ] {
        let probe = probe::probe(&ground, sql, &Params::None, &Within::default()).await.unwrap();
        assert_eq!(probe.unsteady, expected, "{sql}");
    }
}

#[tokio::test]
async fn a_million_rows_of_a_series_are_made_as_they_are_read() {
    let gateway = gateway(&[Span::new(1, 1)], Config { threads: 2, ..Config::default() });
    let sum = "SELECT count(*), sum(value), min(value) FROM generate_series(-499999, 500000)";
    assert_eq!(run(&gateway, Statement::new(sum)).await.unwrap(), [["1000000", "500000", "-499999"]]);
    let times =
        "SELECT value FROM generate_series('2024-01-31'::timestamp, '2024-04-30'::timestamp, INTERVAL '1 month')";
    let found: Vec<String> =
        run(&gateway, Statement::new(times)).await.unwrap().iter().map(|row| row[0][..10].to_owned()).collect();
    // As in PostgreSQL each step begins at the last value.
    assert_eq!(found, ["2024-01-31", "2024-02-29", "2024-03-29", "2024-04-29"]);
    let down = "SELECT value FROM generate_series(3, 1, -1)";
    assert_eq!(run(&gateway, Statement::new(down)).await.unwrap(), [["3"], ["2"], ["1"]]);
    for none in ["generate_series(3, 1)", "generate_series(1, 3, -1)"] {
        assert!(run(&gateway, Statement::new(format!("SELECT * FROM {none}"))).await.unwrap().is_empty(), "{none}");
    }
    let edge = "SELECT count(*) FROM generate_series(9223372036854775800, 9223372036854775807)";
    assert_eq!(run(&gateway, Statement::new(edge)).await.unwrap(), [["8"]]);
    let limits = Limits { rows: Some(2), ..Limits::default() };
    let statement = Statement { limits, ..Statement::new("SELECT * FROM generate_series(1, 1000000)") };
    assert_eq!(run(&gateway, statement).await.unwrap().len(), 2);
    let error = run(&gateway, Statement::new("SELECT * FROM generate_series(1, 1000001)")).await.unwrap_err();
    assert_eq!(error.code, Code::LimitRows);
}
