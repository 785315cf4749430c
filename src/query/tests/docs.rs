//! The examples of `docs.txt` give what stands there, and nothing is without one.

use crate::query::docs::{self, Kind};
use crate::query::render::value::text;
use crate::query::tests::fixture::{self, *};
use crate::query::{Config, Gateway, Statement, functions, session};

const MS: i64 = 1_000_000;

/// Two requests for a cart, 60 s and 30 s ago; the first failed and asked the database, the second had it in a cache.
fn spans() -> Vec<Span> {
    let first = NOW - 60_000 * MS;
    let second = NOW - 30_000 * MS;
    let web = |trace, id| Span { service: "web", ..Span::new(trace, id) };
    let cart = |trace, id| Span { service: "cart", ..Span::new(trace, id) };
    let timeout = vec![("exception.type".to_owned(), "TimeoutError".into())];
    vec![
        Span { name: "GET /cart", parent: None, start: first, duration: 100 * MS, ..web(1, 1) },
        Span {
            name: "call cart",
            kind: "client",
            parent: Some(1),
            start: first + 10 * MS,
            duration: 80 * MS,
            ..web(1, 2)
        },
        Span {
            name: "GetCart",
            parent: Some(2),
            start: first + 15 * MS,
            duration: 70 * MS,
            status: "error",
            events: vec![(first + 80 * MS, "exception", timeout)],
            ..cart(1, 3)
        }
        .with("app.plan", "pro")
        .with("app.items", 12),
        Span {
            name: "SELECT",
            kind: "client",
            parent: Some(3),
            start: first + 20 * MS,
            duration: 40 * MS,
            ..cart(1, 4)
        }
        .with("db.system.name", "postgresql"),
        Span { name: "GET /cart", parent: None, start: second, duration: 50 * MS, ..web(2, 5) },
        Span {
            name: "call cart",
            kind: "client",
            parent: Some(5),
            start: second + 10 * MS,
            duration: 30 * MS,
            ..web(2, 6)
        },
        Span {
            name: "GetCart",
            parent: Some(6),
            start: second + 15 * MS,
            duration: 20 * MS,
            // Compaction knows its caller already.
            parent_service: Some("web"),
            ..cart(2, 7)
        }
        .with("app.plan", "free")
        .with("app.items", 3),
        Span {
            name: "cache",
            kind: "client",
            parent: Some(7),
            start: second + 20 * MS,
            duration: 10 * MS,
            ..cart(2, 8)
        },
    ]
}

async fn output(gateway: &Gateway, sql: &str) -> Result<Vec<String>, String> {
    let told = |error: crate::query::Error| format!("{}: {}", error.code.as_str(), error.message);
    let mut answer = gateway.run(Statement::new(sql)).await.map_err(told)?;
    let batches = answer.collect().await.map_err(told)?;
    let names: Vec<String> = answer.schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut lines = vec![names.join(" | ")];
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cell = |column| text(column, row).unwrap().unwrap_or_else(|| "NULL".to_owned());
            lines.push(batch.columns().iter().map(cell).collect::<Vec<_>>().join(" | "));
        }
    }
    Ok(lines)
}

#[tokio::test]
async fn each_example_gives_what_stands_in_its_doc() {
    let gateway = fixture::gateway(&spans(), Config { threads: 2, ..Config::default() });
    let mut wrong = Vec::new();
    for doc in docs::all() {
        assert!(!doc.about.is_empty() && !doc.example.is_empty() && doc.output.len() > 1, "{doc:?}");
        assert!(doc.example.contains(doc.name) || doc.name == "current_date", "{doc:?}");
        match output(&gateway, &doc.example).await {
            Ok(lines) if lines == doc.output => {}
            Ok(lines) => wrong.push(format!("{:?} {}\n{}", doc.kind, doc.name, lines.join("\n"))),
            Err(error) => wrong.push(format!("{:?} {}: {error}", doc.kind, doc.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test]
async fn each_function_and_relation_of_ours_has_a_doc() {
    let view = Fill::new().view();
    let context = fixture::session(&view);
    let mut named: Vec<(Kind, String)> = Vec::new();
    named.extend(functions::scalars(0).iter().map(|function| (Kind::Scalar, function.name().to_owned())));
    named.extend(functions::aggregates().iter().map(|function| (Kind::Aggregate, function.name().to_owned())));
    named.extend(context.state().table_functions().keys().map(|name| (Kind::Table, name.clone())));
    let tables = context.catalog(session::CATALOG).unwrap().schema(session::SCHEMA).unwrap().table_names();
    named.extend(tables.into_iter().map(|name| (Kind::Relation, name)));
    let missing: Vec<_> = named.iter().filter(|(kind, name)| docs::of(*kind, name).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let unknown: Vec<_> = docs::all()
        .iter()
        .filter(|doc| !named.contains(&(doc.kind, doc.name.to_owned())))
        .map(|doc| doc.name)
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let mut seen: Vec<_> = docs::all().iter().map(|doc| (format!("{:?}", doc.kind), doc.name)).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), docs::all().len(), "a doc stands there twice");
}

#[tokio::test]
async fn routines_show_text_and_example() {
    let view = Fill::new().view();
    let sql = "SELECT function_type, data_type, description IS NOT NULL, syntax_example \
               FROM information_schema.routines \
               WHERE routine_name = 'trace_tree' OR routine_name = 'error_rate' ORDER BY routine_name";
    let rows = ask(&view, sql).await;
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!((rows[0][0].as_str(), rows[0][1].as_str(), rows[0][2].as_str()), ("AGGREGATE", "DOUBLE", "true"));
    assert!(rows[1][3].contains("FROM trace_tree("), "{rows:?}");
    assert_eq!(rows[1][0], "TABLE");
}
