//! Claims about the catalogue, and about statements that have its words.

use super::*;

#[tokio::test]
async fn what_tools_ask_of_the_catalogue_is_answered() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let mut failed = Vec::new();
    for sql in include_str!("../clients.txt").lines().filter(|line| !line.starts_with("## ")) {
        let said = client.query(sql).await;
        if kinds(&said).contains('E') {
            failed.push(format!("{:?}\n  {sql}", told(&said)));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test]
async fn the_catalogue_lists_our_relations_by_the_same_numbers_in_every_statement() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let by_name = "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE c.relname = 'spans' AND n.nspname = 'public'";
    let oid = one(&client.query(by_name).await);
    assert!(oid.parse::<u32>().is_ok_and(|oid| oid >= 16_384), "{oid}");
    client.query("SELECT count(*) FROM pg_attribute").await;
    let mut other = Client::ready(&server).await;
    assert_eq!(one(&other.query(by_name).await), oid);
    let columns = format!(
        "SELECT attname, pg_catalog.format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = '{oid}' \
         AND attname IN ('trace_id', 'start_time', 'attributes', 'duration_ns', 'kind') ORDER BY attname"
    );
    let said = client.query(&columns).await;
    let columns: Vec<String> =
        rows(&said).into_iter().map(|row| row.into_iter().flatten().collect::<Vec<_>>().join(" ")).collect();
    let expected =
        ["attributes text", "duration_ns bigint", "kind text", "start_time timestamp with time zone", "trace_id text"];
    assert_eq!(columns, expected, "{said:?}");
    let functions = "SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
                     WHERE n.nspname = 'public' AND proname = 'trace_tree'";
    assert_eq!(one(&client.query(functions).await), "1");
    // Other surfaces have none of it.
    let over_http = server.gateway.run(crate::query::Statement::new("SELECT * FROM pg_catalog.pg_class")).await;
    assert_eq!(over_http.unwrap_err().code, Code::UnknownTable);
    let over_http = server.gateway.run(crate::query::Statement::new("SELECT current_setting('work_mem')")).await;
    assert_eq!(over_http.unwrap_err().code, Code::UnknownFunction);
}

#[tokio::test]
async fn a_word_of_the_catalogue_does_not_change_what_a_statement_says_of_ours() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    for (sql, expected) in [
        ("SELECT (SELECT count(*) FROM spans) AS pg_total", "5"),
        ("SELECT (SELECT count(spans.name) FROM spans), pg_backend_pid()", "5"),
        ("SELECT (SELECT count(*) FROM spans i WHERE i.span_id = o.span_id) AS pg_n FROM spans o LIMIT 1", "1"),
        ("SELECT (SELECT max(spans.duration_ns) FROM spans) FROM pg_class LIMIT 1", "1000"),
        ("SELECT (SELECT count(*) FROM spans i WHERE i.name = c.relname) FROM pg_class c LIMIT 1", "0"),
        ("SELECT (SELECT count(*) FROM pg_class WHERE pg_class.relname = 'spans')", "1"),
        (
            "SELECT (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'name') FROM pg_class c \
             WHERE c.relname = 'spans'",
            "1",
        ),
        (
            "SELECT (SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'name') IS NOT NULL FROM \
             pg_class c WHERE c.relname = 'spans'",
            "t",
        ),
        (
            "SELECT (SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'nothing') IS NULL FROM \
             pg_class c WHERE c.relname = 'spans'",
            "t",
        ),
        ("SELECT '{a,b}' AS pg_text", "{a,b}"),
        ("SELECT 'spans'::regclass::int > 0 AS known", "t"),
    ] {
        let said = client.query(sql).await;
        assert_eq!(one(&said), expected, "{sql}: {:?}", told(&said));
    }
    // Places are those of the text here, too.
    let said = client.query("SELECT relname, nme FROM pg_class").await;
    assert_eq!((state_of(&said).as_str(), told(&said).get(&'P').map(String::as_str)), ("42703", Some("17")));
    // With a value, too.
    client.send('P', &parse("", "SELECT (SELECT count(*) FROM spans WHERE name = $1) AS pg_total", &[25])).await;
    client.send('B', &bind("", "", &[Some(b"op")], false)).await;
    client.send('E', &execute("", 0)).await;
    client.send('S', b"").await;
    assert_eq!(one(&client.until_ready().await), "5");
}

#[tokio::test]
async fn what_psql_lists_is_what_names_reach() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let listed = |condition: &str| {
        format!(
            "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = \
             c.relnamespace WHERE c.relkind IN ('r','p','v','') AND n.nspname <> 'pg_catalog' AND n.nspname !~ \
             '^pg_toast' AND n.nspname <> 'information_schema' AND {condition} ORDER BY 1,2"
        )
    };
    let visible = client.query(&listed("pg_catalog.pg_table_is_visible(c.oid)")).await;
    let schemas: Vec<_> = rows(&visible).into_iter().map(|row| row[0].clone().unwrap()).collect();
    assert!(schemas.len() > 3 && schemas.iter().all(|schema| schema == "public"), "{:?}", told(&visible));
    let hidden =
        client.query(&listed("n.nspname OPERATOR(pg_catalog.~) '^(system)$' COLLATE pg_catalog.default")).await;
    let names: Vec<_> = rows(&hidden).into_iter().map(|row| row[1].clone().unwrap()).collect();
    assert!(names.contains(&"queries".to_owned()), "{:?}", told(&hidden));
    for sql in include_str!("../psql.txt").lines().filter(|line| !line.starts_with("## ")) {
        let said = client.query(sql).await;
        assert!(!kinds(&said).contains('E'), "{sql}: {:?}", told(&said));
    }
    let roles = include_str!("../psql.txt").lines().find(|line| line.contains("memberof")).unwrap();
    let said = client.query(roles).await;
    let role = rows(&said).remove(0);
    assert_eq!((role[0].as_deref(), role[8].as_deref()), (Some("me"), Some("{}")));
}

#[tokio::test]
async fn asyncpg_learns_of_arrays() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let off = "SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new";
    assert_eq!(rows(&client.query(off).await), [[Some("off".to_owned()), Some("off".to_owned())]]);
    client.send('P', &parse("", include_str!("../asyncpg.sql"), &[])).await;
    client.send('D', b"S\0").await;
    client.send('S', b"").await;
    let said = client.until_ready().await;
    assert_eq!(kinds(&said), "1tTZ", "{:?}", told(&said));
    assert_eq!(said[1].1, [&1_u16.to_be_bytes()[..], &1028_u32.to_be_bytes()].concat(), "oid[]");
    client.send('B', &bind("", "", &[Some(b"{1016,1009}")], false)).await;
    client.send('E', &execute("", 0)).await;
    client.send('S', b"").await;
    let said = client.until_ready().await;
    let found: Vec<_> =
        rows(&said).into_iter().map(|row| [0, 2, 5, 6].map(|at| row[at].clone().unwrap_or_default())).collect();
    for expected in [["1016", "_int8", "20", ","], ["1009", "_text", "25", ","]] {
        assert!(found.iter().any(|row| row == &expected), "{expected:?}: {found:?} {:?}", told(&said));
    }
}
