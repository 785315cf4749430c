//! Claims about names, numbers and what there is none of, as tools ask for them.

use super::*;

fn texts(said: &[Said]) -> Vec<Vec<String>> {
    rows(said).into_iter().map(|row| row.into_iter().map(Option::unwrap_or_default).collect()).collect()
}

#[tokio::test]
async fn an_object_is_found_by_its_name_wherever_a_tool_writes_it() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let number = "SELECT oid FROM pg_class WHERE relname = 'spans' AND relnamespace = 'public'::regnamespace";
    let oid = one(&client.query(number).await);
    for (sql, expected) in [
        ("SELECT 'spans'::regclass", "spans"),
        ("SELECT 'public.spans'::regclass::oid", oid.as_str()),
        ("SELECT to_regclass('spans')", &oid),
        ("SELECT to_regclass('nothing_of_that_name') IS NULL", "t"),
        ("SELECT 'system.queries'::regclass::text", "system.queries"),
        ("SELECT c.oid::regclass::text FROM pg_class c WHERE c.oid = 'spans'::regclass", "spans"),
        (
            "SELECT atttypid::regtype::text FROM pg_attribute WHERE attrelid = 'spans'::regclass AND attname = 'name'",
            "text",
        ),
        ("SELECT 'integer'::regtype::oid", "23"),
        ("SELECT to_regtype('timestamp with time zone')", "1184"),
        ("SELECT to_regtype('hstore') IS NULL", "t"),
        ("SELECT 'trace_tree'::regproc", "trace_tree"),
        ("SELECT count(*) FROM pg_proc WHERE oid = 'trace_tree'::regproc::oid", "1"),
        ("SELECT count(*) > 10 FROM pg_attribute WHERE attrelid = 'public.spans'::regclass AND attnum > 0", "t"),
        (
            "SELECT count(*) FROM pg_class c JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass",
            "0",
        ),
        ("SELECT pg_total_relation_size('spans'::regclass) || pg_size_pretty(20480::bigint)", "020 kB"),
    ] {
        let said = client.query(sql).await;
        assert_eq!(one(&said), expected, "{sql}: {:?}", told(&said));
    }
    for (sql, state) in [
        ("SELECT 'nothing_of_that_name'::regclass", "42P01"),
        ("SELECT 'nothing_of_that_name'::regproc", "42883"),
        ("SELECT 'nothing_of_that_name'::regtype", "22023"),
    ] {
        assert_eq!(state_of(&client.query(sql).await), state, "{sql}");
    }
    // As a value of a statement, too: drivers send names so.
    client
        .send('P', &parse("", "SELECT count(*) > 10 FROM pg_attribute WHERE attrelid = CAST($1 AS REGCLASS)", &[]))
        .await;
    client.send('B', &bind("", "", &[Some(b"spans")], false)).await;
    client.send('E', &execute("", 0)).await;
    client.send('S', b"").await;
    assert_eq!(one(&client.until_ready().await), "t");
}

#[tokio::test]
async fn what_there_is_none_of_is_listed_as_none() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    for (sql, columns) in [
        ("SELECT indexrelid, indkey FROM pg_index", 2),
        ("SELECT indexname FROM pg_indexes WHERE tablename = 'spans'", 1),
        ("SELECT (information_schema._pg_expandarray(i.indkey)).n AS n, i.indrelid FROM pg_catalog.pg_index i", 2),
        (
            "SELECT conname, array_agg(name ORDER BY ord) FROM (SELECT c.conname, unnest(c.conkey) AS name, \
             generate_subscripts(c.conkey, 1) AS ord FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid) x \
             GROUP BY conname",
            2,
        ),
        (
            "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)",
            1,
        ),
        ("SELECT constraint_name FROM information_schema.table_constraints", 1),
        ("SELECT * FROM information_schema.key_column_usage", 9),
        ("SELECT sequencename FROM pg_sequences", 1),
    ] {
        let said = client.query(sql).await;
        assert_eq!(kinds(&said), "TCZ", "{sql}: {:?}", told(&said));
        assert_eq!(said[0].1[..2], u16::to_be_bytes(columns), "{sql}");
    }
    assert_eq!(one(&client.query("SELECT count(*) FROM pg_index").await), "0");
    assert_eq!(one(&client.query("SELECT usename FROM pg_user").await), "me");
}

#[tokio::test]
async fn columns_have_the_types_of_postgresql_in_the_information_schema() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let sql = "SELECT column_name, data_type, udt_name, is_nullable FROM information_schema.columns WHERE table_name = \
               'spans' AND column_name IN ('duration_ns', 'start_time', 'parent_span_id', 'attributes') ORDER BY 1";
    let expected = [
        ["attributes", "text", "text", "NO"],
        ["duration_ns", "bigint", "int8", "NO"],
        ["parent_span_id", "text", "text", "YES"],
        ["start_time", "timestamp with time zone", "timestamptz", "NO"],
    ];
    let said = client.query(sql).await;
    assert_eq!(texts(&said), expected, "{:?}", told(&said));
    let schemas = client.query("SELECT schema_name FROM information_schema.schemata ORDER BY 1").await;
    assert_eq!(texts(&schemas).concat(), ["information_schema", "pg_catalog", "public", "system"]);
    let tables = "SELECT table_catalog, table_type FROM information_schema.tables WHERE table_name = 'spans'";
    assert_eq!(texts(&client.query(tables).await), [["default", "BASE TABLE"]]);
    let functions = "SELECT count(*) FROM information_schema.routines WHERE routine_name = 'trace_tree'";
    assert_eq!(one(&client.query(functions).await), "1");
    // Other surfaces keep ours.
    let over_http =
        "SELECT data_type FROM information_schema.columns WHERE table_name = 'spans' AND column_name = 'kind'";
    let answer = server.gateway.run(crate::query::Statement::new(over_http)).await;
    assert!(answer.is_ok(), "{:?}", answer.err());
}

#[tokio::test]
async fn values_of_what_is_not_planned_are_taken_all_the_same() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let sql = "SELECT a.attname, CASE WHEN a.atthasdef THEN (SELECT d.adbin FROM pg_attrdef d WHERE d.adrelid = a.attrelid \
               AND d.adnum > $1::SMALLINT AND $2 = d.adbin) END FROM pg_attribute a WHERE a.attname = $3::VARCHAR";
    client.send('P', &parse("s", sql, &[])).await;
    client.send('D', b"Ss\0").await;
    client.send('B', &bind("", "s", &[Some(b"1"), Some(b"x"), Some(b"resource_key")], false)).await;
    client.send('E', &execute("", 0)).await;
    client.send('S', b"").await;
    let said = client.until_ready().await;
    assert!(kinds(&said).starts_with("1tT2D"), "{:?}", told(&said));
    assert_eq!(said[1].1[2..], [21_u32, 25, 25].map(u32::to_be_bytes).concat());
}
