//! Claims about settings and transactions, as pools and drivers rely on them.

use super::*;

/// The timeout, in the words of a client.
async fn timeout(client: &mut Client) -> String {
    one(&client.query("SHOW statement_timeout").await)
}

#[tokio::test]
async fn a_setting_of_a_transaction_ends_with_it() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let outside = client.query("SET LOCAL statement_timeout = 5000").await;
    assert_eq!((kinds(&outside).as_str(), state_of(&outside).as_str()), ("NCZ", "25P01"));
    assert_eq!(timeout(&mut client).await, "0");

    client.query("BEGIN").await;
    client.query("SET LOCAL statement_timeout = 5000").await;
    client.query("SET application_name = 'kept'").await;
    assert_eq!(timeout(&mut client).await, "5000ms");
    client.query("COMMIT").await;
    assert_eq!(timeout(&mut client).await, "0");
    assert_eq!(one(&client.query("SHOW application_name").await), "kept");

    client.query("BEGIN").await;
    client.query("SET statement_timeout = 7000").await;
    client.query("SET application_name = 'lost'").await;
    let said = client.query("ROLLBACK").await;
    // The client hears of what it was told before.
    assert_eq!(kinds(&said), "SCZ", "{said:?}");
    assert_eq!(said[0].1, b"application_name\0kept\0");
    assert_eq!(timeout(&mut client).await, "0");
}

#[tokio::test]
async fn a_transaction_that_chains_is_followed_by_another() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    client.query("BEGIN").await;
    client.query("SET LOCAL statement_timeout = 5000").await;
    assert_eq!(client.query("COMMIT AND CHAIN").await.last().unwrap().1, b"T");
    assert_eq!(timeout(&mut client).await, "0");
    assert_eq!(client.query("ROLLBACK AND CHAIN").await.last().unwrap().1, b"T");
    assert_eq!(client.query("COMMIT").await.last().unwrap().1, b"I");
    assert_eq!(client.query("COMMIT AND CHAIN").await.last().unwrap().1, b"I");
}

#[tokio::test]
async fn formats_are_none_one_or_one_each() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let body = |formats: &[i16], results: &[i16]| {
        let list = |of: &[i16]| {
            [
                &u16::try_from(of.len()).unwrap().to_be_bytes()[..],
                &of.iter().flat_map(|f| f.to_be_bytes()).collect::<Vec<_>>(),
            ]
            .concat()
        };
        [&b"\0\0"[..], &list(formats), &[0, 1, 0, 0, 0, 1, b'7'], &list(results)].concat()
    };
    for (formats, results, expected) in [
        (&[][..], &[][..], ""),
        (&[0][..], &[1][..], ""),
        (&[0, 0][..], &[][..], "08P01"),
        (&[9][..], &[][..], "22023"),
        (&[][..], &[0, 0][..], "08P01"),
        (&[][..], &[7][..], "22023"),
    ] {
        client.send('P', &parse("", "SELECT $1::bigint", &[])).await;
        client.send('B', &body(formats, results)).await;
        client.send('E', &execute("", 0)).await;
        client.send('S', b"").await;
        let said = client.until_ready().await;
        assert_eq!(state_of(&said), expected, "{formats:?} {results:?}: {:?}", told(&said));
    }
}

#[tokio::test]
async fn parameters_have_the_types_that_are_declared_or_that_the_text_casts_them_to() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let sql = "SELECT $1::int, $2::int, $3::text, $4::bool, $5 FROM spans LIMIT $6 OFFSET $7";
    client.send('P', &parse("s", sql, &[0, 0, 0, 0, 1043])).await;
    client.send('D', b"Ss\0").await;
    let values: [Option<&[u8]>; 7] = [None, None, None, Some(b"t"), Some(b"x"), Some(b"1"), Some(b"2")];
    client.send('B', &bind("", "s", &values, false)).await;
    client.send('E', &execute("", 0)).await;
    client.send('S', b"").await;
    let said = client.until_ready().await;
    assert_eq!(kinds(&said), "1tT2DCZ", "{:?}", told(&said));
    assert_eq!(said[1].1[2..], [23_u32, 23, 25, 16, 1043, 20, 20].map(u32::to_be_bytes).concat());
    let expected = [None, None, None, Some("t".to_owned()), Some("x".to_owned())];
    assert_eq!(rows(&said), [expected]);
}

#[tokio::test]
async fn times_without_an_offset_are_read_in_the_zone_that_they_are_shown_in() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let notice = client.query("SET TimeZone = 'Europe/Berlin'").await;
    assert!(told(&notice).get(&'M').unwrap().contains("literals"), "{notice:?}");
    // All spans begin at 22:13:20 UTC: an hour later in Berlin, also in µs since 2000.
    let local_us = (fixture::NOW / 1_000 + 3_600_000_000 - 946_684_800_000_000).to_be_bytes();
    let utc_us = (fixture::NOW / 1_000 - 946_684_800_000_000).to_be_bytes();
    for (declared, value, binary) in [
        (0, &b"2023-11-14 23:13:20"[..], false),
        (1114, b"2023-11-14 23:13:20", false),
        (1184, b"2023-11-14 22:13:20+00", false),
        (1114, &local_us, true),
        (1184, &utc_us, true),
    ] {
        client.send('P', &parse("", "SELECT count(*) FROM spans WHERE start_time = $1", &[declared])).await;
        client.send('B', &bind("", "", &[Some(value)], binary)).await;
        client.send('E', &execute("", 0)).await;
        client.send('S', b"").await;
        let said = client.until_ready().await;
        let count = if binary { "\0\0\0\0\0\0\0\u{5}" } else { "5" };
        assert_eq!(one(&said), count, "{declared} {binary}");
    }
}

#[tokio::test]
async fn what_postgresql_says_otherwise_is_understood() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    for (sql, expected) in [
        (
            "SELECT NULL::text, NULL::int, 1, 1, count(*), count(*) FROM spans",
            vec![None, None, Some("1"), Some("1"), Some("5"), Some("5")],
        ),
        (
            "SELECT EXISTS (SELECT 1 FROM spans WHERE name = 'op'), NOT EXISTS (SELECT 1 FROM pg_class)",
            vec![Some("t"), Some("f")],
        ),
        ("SELECT 'a_c' LIKE 'a/_c' ESCAPE '/', 'abc' LIKE 'a/_c' ESCAPE '/'", vec![Some("t"), Some("f")]),
        (
            "SELECT '{1,NULL}'::bigint[], '\\x00ff'::bytea, 'b' = ANY ('{a,b}')",
            vec![Some("{1,NULL}"), Some("\\x00ff"), Some("t")],
        ),
        ("SELECT '{\"a\": 1}'::jsonb, 'x'::name", vec![Some("{\"a\": 1}"), Some("x")]),
        ("SELECT count(*) FROM \"default\".public.spans", vec![Some("5")]),
        ("SELECT format('%I.%L', 'A b', 'it''s'), quote_literal('a')", vec![Some("\"A b\".'it''s'"), Some("'a'")]),
        (
            "SELECT pg_backend_pid() > 0, has_table_privilege('spans', 'select'), has_table_privilege('spans', 'insert')",
            vec![Some("t"), Some("t"), Some("f")],
        ),
    ] {
        let said = client.query(sql).await;
        let expected: Vec<_> = expected.into_iter().map(|value| value.map(str::to_owned)).collect();
        assert_eq!(rows(&said), [expected], "{sql}: {:?}", told(&said));
    }
    // Names are those of PostgreSQL all the same.
    let said = client.query("SELECT 1, NULL::int, 'x'::varchar(3), count(*), count(*) FROM spans").await;
    let names: Vec<_> =
        said[0].1[2..].split(|byte| *byte == 0).filter(|name| name.is_ascii() && name.len() > 3).collect();
    assert_eq!(names.first(), Some(&&b"?column?"[..]));
}

#[tokio::test]
async fn what_is_cast_to_timestamp_or_json_is_told_as_it() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    // Where a type stands in the description of a column: behind its name, its table and its place there.
    let of_column = |body: &[u8], name: &str| {
        let at = 2 + name.len() + 1 + 6;
        u32::from_be_bytes(body[at..at + 4].try_into().unwrap())
    };
    client.query("SET TimeZone = 'Europe/Berlin'").await;
    for (sql, name, of, expected) in [
        ("SELECT '2026-01-31 12:00:00'::timestamp AS t", "t", 1114, "2026-01-31 12:00:00"),
        ("SELECT '2026-01-31 12:00:00'::timestamptz AS t", "t", 1184, "2026-01-31 13:00:00+01"),
        ("SELECT start_time::timestamp AS t FROM spans LIMIT 1", "t", 1114, "2023-11-14 22:13:20"),
        ("SELECT attributes::jsonb AS j FROM spans LIMIT 1", "j", 3802, "{}"),
        ("SELECT resource::json AS j FROM spans LIMIT 1", "j", 114, "{}"),
        ("SELECT attributes AS j FROM spans LIMIT 1", "j", 25, "{}"),
    ] {
        let said = client.query(sql).await;
        assert_eq!(one(&said), expected, "{sql}: {:?}", told(&said));
        assert_eq!(of_column(&said[0].1, name), of, "{sql}");
    }
    // A driver that asks first gives a time without a zone for it.
    client.send('P', &parse("", "SELECT count(*) FROM spans WHERE start_time < $1::timestamp", &[])).await;
    client.send('D', b"S\0").await;
    client.send('B', &bind("", "", &[Some(&(86_400_000_000_i64 * 9_000).to_be_bytes())], true)).await;
    client.send('E', &execute("", 0)).await;
    client.send('S', b"").await;
    let said = client.until_ready().await;
    assert_eq!(kinds(&said), "1tT2DCZ", "{:?}", told(&said));
    assert_eq!(said[1].1, [&1_u16.to_be_bytes()[..], &1114_u32.to_be_bytes()].concat());
    let Some((_, row)) = said.iter().find(|(kind, _)| *kind == 'D') else { panic!("{said:?}") };
    assert_eq!(row[6..], 5_i64.to_be_bytes());
}

#[tokio::test]
async fn set_config_sets_once_its_statement_has_ended() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let sql = "SELECT pg_catalog.set_config('TimeZone', 'Europe/Berlin', false), start_time FROM spans LIMIT 1";
    let row = rows(&client.query(sql).await).remove(0);
    // Its own rows are still shown as before.
    let expected = ["Europe/Berlin", "2023-11-14 22:13:20+00"].map(|text| Some(text.to_owned()));
    assert_eq!(row, expected);
    assert_eq!(one(&client.query("SELECT current_setting('TimeZone')").await), "Europe/Berlin");
    assert_eq!(one(&client.query("SELECT start_time FROM spans LIMIT 1").await), "2023-11-14 23:13:20+01");
    // What SET refuses, and a statement that fails.
    assert_eq!(state_of(&client.query("SELECT set_config('server_version', '9', false)").await), "22023");
    client.query("SELECT set_config('application_name', 'a', false), 1 / (duration_ns - 1000) FROM spans").await;
    assert_eq!(one(&client.query("SHOW application_name").await), "");
    // For a transaction, by values, and not by describing.
    client.query("BEGIN").await;
    client.send('P', &parse("", "SELECT set_config($1, $2, true)", &[25, 25])).await;
    client.send('D', b"S\0").await;
    client.send('S', b"").await;
    client.until_ready().await;
    assert_eq!(one(&client.query("SHOW statement_timeout").await), "0");
    client.send('P', &parse("", "SELECT set_config($1, $2, true)", &[25, 25])).await;
    client.send('B', &bind("", "", &[Some(b"statement_timeout"), Some(b"5s")], false)).await;
    client.send('E', &execute("", 0)).await;
    client.send('S', b"").await;
    assert_eq!(one(&client.until_ready().await), "5000ms");
    assert_eq!(one(&client.query("SHOW statement_timeout").await), "5000ms");
    client.query("COMMIT").await;
    assert_eq!(one(&client.query("SHOW statement_timeout").await), "0");
}
