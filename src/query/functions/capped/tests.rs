//! Claims about growth: what is refused, that the rest is the engine's own, and that nothing large is made before.

use crate::query::tests::fixture::{Fill, Span, ask, one, try_ask};

#[tokio::test]
async fn what_would_grow_beyond_the_cap_is_refused_before_it_is_made() {
    let view = Fill::new().memory(&[Span::new(1, 1), Span::new(1, 2)]).view();
    for (sql, told) in [
        ("repeat('x', 1048577)", "`repeat` would make a text of 1048577 bytes"),
        ("repeat('ab', 9223372036854775807)", "`repeat` would make a text of"),
        ("repeat(name, 4000000000)", "`repeat` would make a text of 8000000000 bytes"),
        ("lpad('x', 2000000)", "`lpad` would make a text of 2000000 bytes"),
        ("rpad(name, 600000, 'é')", "`rpad` would make a text of 1199998 bytes"),
        ("range(100001)", "`range` would make an array of 100002 elements"),
        ("generate_series(1, 9223372036854775807)", "`generate_series` would make an array of"),
        ("generate_series(10, -9223372036854775807, -1)", "`generate_series` would make an array of"),
        ("range(DATE '0001-01-01', DATE '9000-01-01', INTERVAL '1 day')", "`range` would make an array of"),
        (
            "generate_series(TIMESTAMP '2020-01-01', TIMESTAMP '2021-01-01', INTERVAL '1 second')",
            "`generate_series` would make an array of",
        ),
        (
            "generate_series(TIMESTAMP '2020-01-01', TIMESTAMP '2021-01-01', INTERVAL '1 month -31 days')",
            "`generate_series` takes a step whose parts all have one sign",
        ),
        ("array_repeat(1, 100001)", "`array_repeat` would make an array of 100001 elements"),
        (
            "array_repeat(array_repeat(duration_ns, 1000), 1000)",
            "`array_repeat` would make an array of 1000000 elements",
        ),
        ("array_repeat(repeat(name, 500000), 1000)", "`array_repeat` would make more than 67108864 bytes"),
        ("array_resize([1], 2000000000)", "`array_resize` would make an array of 2000000000 elements"),
        ("list_resize([1], 2000000000, 7)", "`array_resize` would make an array of 2000000000 elements"),
    ] {
        let error = try_ask(&view, &format!("SELECT {sql} FROM spans")).await.err().unwrap_or_default();
        assert!(error.contains(told), "{sql}: {error}");
    }
}

#[tokio::test]
async fn what_stays_below_the_cap_is_the_engines_own() {
    let view = Fill::new().memory(&[Span::new(1, 1)]).view();
    let sql = "SELECT repeat('ab', 2), lpad('é', 3, 'xy'), rpad(name, 3), repeat('x', -1), repeat(NULL, 5), \
               array_resize([1, 2], 3, 9), array_repeat('a', 2), range(2, 7, 2), generate_series(3, 1, -1), \
               generate_series(3, 1), length(repeat('x', 1048576)), \
               array_length(generate_series(DATE '2024-01-01', DATE '2024-03-01', INTERVAL '1 month')) FROM spans";
    assert_eq!(
        ask(&view, sql).await,
        [["abab", "xyé", "op ", "", "∅", "[1, 2, 9]", "[a, a]", "[2, 4, 6]", "[3, 2, 1]", "[]", "1048576", "3"]]
    );
    assert_eq!(one(&view, "SELECT sum(length(repeat(name, 3))) FROM spans").await, "6");
}

#[tokio::test]
async fn the_caps_of_a_batch_count_all_rows() {
    let spans: Vec<Span> = (1..=70).map(|id| Span::new(1, id)).collect();
    let view = Fill::new().memory(&spans).view();
    let error = try_ask(&view, "SELECT repeat(name, 524288) FROM spans").await.unwrap_err();
    assert!(error.contains("more than 67108864 bytes at once"), "{error}");
    let sql = "SELECT range(duration_ns, duration_ns + 99990) FROM spans";
    let error = try_ask(&view, sql).await.unwrap_err();
    assert!(error.contains("more than 4000000 elements at once"), "{error}");
}

#[tokio::test]
async fn every_way_to_grow_a_text_or_an_array_is_refused_at_its_cap() {
    let view = Fill::new().memory(&[Span::new(1, 1), Span::new(1, 2)]).view();
    // 1 MiB of each row: what is at the cap already.
    let big = "repeat(name, 524288)";
    // What is constant would be folded first.
    let (half, whole) = ("range(duration_ns + 59000)", "generate_series(1, duration_ns + 99000)");
    for (sql, told) in [
        ("replace(repeat(name, 1000), 'o', repeat(name, 1000))".to_owned(), "`replace` would make a text of"),
        (format!("replace({big}, 'o', 'oo')"), "`replace` would make a text of 1572864 bytes"),
        (format!("replace({big}, '', 'x')"), "`replace` would make a text of"),
        (format!("translate({big}, 'o', 'é')"), "`translate` would make a text of 1572864 bytes"),
        (format!("overlay({big} PLACING {big} FROM 3)"), "`overlay` would make a text of 2097152 bytes"),
        (format!("concat({big}, 'x')"), "`concat` would make a text of 1048577 bytes"),
        (format!("concat({big}, NULL, 'x')"), "`concat` would make a text of 1048577 bytes"),
        (format!("concat_ws({big}, name, name, name)"), "`concat_ws` would make a text of 2097158 bytes"),
        (format!("{big} || name"), "`||` would make a text of 1048578 bytes"),
        (format!("{big} || 7"), "`||` would make a text of 1048577 bytes"),
        (format!("encode({big}, 'hex')"), "`encode` would make a text of 2097152 bytes"),
        (format!("encode({big}, 'base64')"), "`encode` would make a text of 1398104 bytes"),
        (format!("regexp_replace({big}, 'o', 'xyz', 'g')"), "`regexp_replace` would make a text of 2621440 bytes"),
        (format!("regexp_replace({big}, '(.*)', '\\1\\1')"), "`regexp_replace` would make a text of"),
        (
            "to_char(start_time, repeat(concat('%', left(name, 0), 'c'), 100000))".to_owned(),
            "`to_char` would make a text of",
        ),
        (format!("array_to_string(array_repeat(name, 1000), {big})"), "`array_to_string` would make a text of"),
        (format!("make_array({half}, {half})"), "`make_array` would make an array of 120000 elements"),
        (format!("array_concat({half}, {half})"), "`array_concat` would make an array of"),
        (format!("{half} || {half}"), "`array_concat` would make an array of 120000 elements"),
        (format!("array_append({whole}, 7)"), "`array_append` would make an array of 100001 elements"),
        (format!("7 || {whole}"), "`array_prepend` would make an array of 100001 elements"),
        (format!("array_union({half}, {half})"), "`array_union` would make an array of 120000"),
        (format!("string_to_array({big}, 'o')"), "`string_to_array` would make an array of 524289 elements"),
        (format!("string_to_array({big}, NULL)"), "`string_to_array` would make an array of 1048576 elements"),
        (
            format!("array_replace_all(array_repeat(name, 1000), name, {big})"),
            "`array_replace_all` would make more than 67108864 bytes",
        ),
        (format!("[{}]", [big; 70].join(",")), "`make_array` would make more than 67108864 bytes"),
        ("array_repeat(NULL, 4000000000)".to_owned(), "`array_repeat` would make an array of 4000000000 elements"),
        ("levenshtein(repeat(name, 3000), name)".to_owned(), "`levenshtein` got a text of 6000 bytes; at most 4096"),
    ] {
        let error = try_ask(&view, &format!("SELECT {sql} FROM spans")).await.err().unwrap_or_default();
        assert!(error.contains(told), "{sql}: {error}");
    }
}

#[tokio::test]
async fn capped_functions_still_do_what_the_engine_does() {
    let view = Fill::new().memory(&[Span::new(1, 1).with("k", "v")]).view();
    let sql = "SELECT replace(name, 'o', 'aa'), translate('abc', 'ab', 'éx'), overlay('abcd' PLACING 'X' FROM 2 FOR 2), \
               concat(name, NULL, 7), concat_ws('-', 'a', NULL, 'b'), name || '-' || 7, name || NULL, \
               service_name || '/' || kind, encode('ab', 'hex'), regexp_replace('aXbX', 'X', 'yy', 'g'), \
               regexp_replace('ab', '(a)(b)', '\\2\\1'), to_char(DATE '2024-05-06', '%Y/%m'), \
               array_to_string([1, 2], '+'), levenshtein('kitten', 'sitting'), attributes['k'] || '!' FROM spans";
    assert_eq!(
        ask(&view, sql).await,
        [[
            "aap",
            "éxc",
            "aXd",
            "op7",
            "a-b",
            "op-7",
            "∅",
            "shop/server",
            "6162",
            "ayybyy",
            "ba",
            "2024/05",
            "1+2",
            "3",
            "v!"
        ]]
    );
    let sql = "SELECT [1, 2], array_concat([1], [2, 3]), [1] || 2, 0 || [1], array_union([1], [1, 2]), \
               flatten([[1], [2, 3]]), string_to_array('a,b', ','), array_replace_all([1, 2, 1], 1, 9), \
               array_has([name, 'x'], 'x') FROM spans";
    assert_eq!(
        ask(&view, sql).await,
        [["[1, 2]", "[1, 2, 3]", "[1, 2]", "[0, 1]", "[1, 2]", "[1, 2, 3]", "[a, b]", "[9, 2, 9]", "true"]]
    );
    // Names of columns and groups stay.
    assert_eq!(ask(&view, "SELECT name || 'x', count(*) FROM spans GROUP BY name || 'x'").await, [["opx", "1"]]);
    let sql = "SELECT x FROM (SELECT name || 'x' AS x FROM spans) WHERE x || 'y' = 'opxy' ORDER BY x || 'z'";
    assert_eq!(one(&view, sql).await, "opx");
}

#[tokio::test]
async fn a_constant_is_not_copied_for_each_row_once_it_is_large() {
    let view = Fill::new().memory(&[Span::new(1, 1)]).view();
    for sql in [
        "SELECT repeat('x', 9000) FROM spans",
        "SELECT coalesce(status_message, repeat('x', 9000)) FROM spans",
        "SELECT range(99999) FROM spans",
        "SELECT string_agg(name, repeat('x', 9000)) FROM spans",
        "SELECT x FROM (SELECT name, repeat('x', 9000) AS x FROM spans)",
    ] {
        let error = try_ask(&view, sql).await.err().unwrap_or_default();
        assert!(error.contains("bytes would be copied for each row; at most 8192"), "{sql}: {error}");
    }
    assert_eq!(one(&view, "SELECT length(repeat('x', 9000)) FROM spans").await, "9000");
    assert_eq!(one(&view, "SELECT count(*) FROM spans WHERE array_has(range(99999), 7)").await, "1");
    assert_eq!(one(&view, "SELECT repeat('x', 9000)").await.len(), 9000);
}

#[tokio::test]
async fn a_pattern_is_known_before_it_runs_and_small() {
    let view = Fill::new().memory(&[Span::new(1, 1)]).view();
    let long = "x".repeat(5000);
    for (condition, told) in [
        ("name LIKE service_name", "the pattern of LIKE must be known before it runs"),
        ("name ILIKE service_name || '%'", "the pattern of LIKE must be known"),
        ("name ~ service_name", "the pattern of `~` must be known"),
        ("name ~* (SELECT 'x')", "the pattern of `~*` must be known"),
        ("regexp_like(name, service_name)", "the pattern of `regexp_like` must be known"),
        ("regexp_like(name, 'x', service_name)", "the flags of `regexp_like` must be known"),
        ("regexp_like(name, 'x', 'i)(a{999}){999}(?i')", "the flags of `regexp_like` are letters"),
        (
            "regexp_count(name, '(a{100}){1000}') > 0",
            "the pattern of `regexp_count` compiles to more than 1048576 bytes",
        ),
        ("name !~ '(a{100}){1000}'", "the pattern of `~` compiles to more than"),
        ("name SIMILAR TO '(a{100}){1000}'", "the pattern of SIMILAR TO compiles to more than"),
        ("name ~ repeat('x', 5000)", "the pattern of `~` has 5000 bytes; at most 4096"),
        (&format!("name LIKE '{long}'"), "the pattern of LIKE has 5000 bytes; at most 4096"),
    ] {
        let error = try_ask(&view, &format!("SELECT 1 FROM spans WHERE {condition}")).await.err().unwrap_or_default();
        assert!(error.contains(told), "{condition}: {error}");
    }
    for condition in [
        "name LIKE 'o%'",
        "name LIKE '%' || 'p'",
        "name ILIKE concat('O', '%')",
        "name ~ '^o' AND name !~* '^P'",
        "regexp_like(name, '^O', 'i')",
        "regexp_count(name, 'o') = 1",
        "name LIKE NULL IS NULL",
    ] {
        let sql = format!("SELECT count(*) FROM spans WHERE {condition}");
        assert_eq!(one(&view, &sql).await, "1", "{condition}");
    }
}

#[tokio::test]
async fn what_an_aggregate_gathers_is_capped_in_each_group() {
    let spans: Vec<Span> = (1..=9).map(|id| Span::new(u128::from(id % 2), id)).collect();
    let view = Fill::new().memory(&spans).view();
    // 100 000 elements are 9 × 11112; the rows are made by unnest.
    let many = "(SELECT trace_id, name, unnest(range(11112 + duration_ns - duration_ns)) AS n FROM spans)";
    let few = "(SELECT trace_id, name, unnest(range(11111 + duration_ns - duration_ns)) AS n FROM spans)";
    for (sql, told) in [
        (format!("SELECT array_agg(n) FROM {many}"), "`array_agg` would gather more than 100000 elements in a group"),
        (format!("SELECT name, array_agg(n) FROM {many} GROUP BY name"), "`array_agg` would gather more than 100000"),
        (format!("SELECT array_agg(n ORDER BY n DESC) FROM {many}"), "`array_agg` would gather more than 100000"),
        (
            format!("SELECT string_agg(name, ',' ORDER BY n) FROM {many}"),
            "`string_agg` would gather more than 100000 elements",
        ),
        (
            "SELECT array_agg(repeat(name, 100000 + n)) FROM (SELECT name, \
             unnest(range(duration_ns - duration_ns + 20)) AS n FROM spans)"
                .to_owned(),
            "`array_agg` would gather more than 16777216 bytes in a group",
        ),
        (
            "SELECT array_agg(DISTINCT repeat(hex(span_id), 3700 + n)), count(DISTINCT n) FROM (SELECT span_id, \
             unnest(range(duration_ns - duration_ns + 100)) AS n FROM spans)"
                .to_owned(),
            "`array_agg` would gather more than 16777216 bytes in a group",
        ),
        (
            format!("SELECT string_agg(repeat(name, 200), repeat('-', 8000)) FROM {few}"),
            "`string_agg` would gather more than 16777216 bytes in a group",
        ),
        (
            format!("SELECT array_agg(n) OVER (ORDER BY n, name) FROM (SELECT * FROM {few} LIMIT 9000)"),
            "`array_agg` would gather more than 4000000 elements over a window",
        ),
    ] {
        let error = try_ask(&view, &sql).await.err().unwrap_or_default();
        assert!(error.contains(told), "{sql}: {error}");
    }
    assert_eq!(one(&view, &format!("SELECT array_length(array_agg(n)) FROM {few}")).await, "99999");
    let sql = "SELECT array_agg(hex(span_id) ORDER BY span_id DESC)[1], string_agg(name, '-'), array_agg(DISTINCT name), \
               array_agg(name) FILTER (WHERE hex(span_id) LIKE '%2') FROM spans GROUP BY trace_id ORDER BY 1";
    assert_eq!(
        ask(&view, sql).await,
        [["0000000000000008", "op-op-op-op", "[op]", "[op]"], ["0000000000000009", "op-op-op-op-op", "[op]", "∅"]]
    );
}

#[tokio::test]
async fn what_partitions_gather_together_is_capped_too() {
    let rows: Vec<Vec<Span>> = (1..=2).map(|id| vec![Span::new(1, id)]).collect();
    let view = Fill::new().memory(&rows[0]).memory(&rows[1]).view();
    let of = |each: u32| {
        format!("(SELECT trace_id, name, span_id, unnest(range({each} + duration_ns - duration_ns)) AS n FROM spans)")
    };
    for (gathered, told) in [
        ("string_agg(name, '')", "`string_agg` would gather more than 100000 elements in a group"),
        ("string_agg(name, '') FILTER (WHERE n >= 0)", "`string_agg` would gather more than 100000 elements"),
        ("string_agg(name, '' ORDER BY n)", "`string_agg` would gather more than 100000 elements"),
        ("array_agg(n)", "`array_agg` would gather more than 100000 elements in a group"),
        ("array_agg(n ORDER BY n)", "`array_agg` would gather more than 100000 elements"),
    ] {
        let is_ordered = gathered.contains("ORDER BY");
        for groups in ["", "GROUP BY trace_id", "GROUP BY trace_id, name"] {
            // Sorting takes memory that there is not.
            if is_ordered && !groups.is_empty() {
                continue;
            }
            // Each of the two partitions stays below the cap.
            let sql = format!("SELECT {gathered} FROM {} {groups}", of(50_001));
            let error = try_ask(&view, &sql).await.err().unwrap_or_default();
            assert!(error.contains(told), "{sql}: {error}");
            // By span they are groups of their own.
            if !is_ordered {
                let apart = format!("SELECT count(*) FROM (SELECT {gathered} FROM {} GROUP BY span_id)", of(50_001));
                assert_eq!(one(&view, &apart).await, "2", "{apart}");
            }
        }
    }
    for groups in ["", "GROUP BY trace_id"] {
        let sql = format!("SELECT length(string_agg(name, '-')) FROM {} {groups}", of(50_000));
        assert_eq!(one(&view, &sql).await, "299999", "{sql}");
        // NULL is no element.
        let nulls = format!("SELECT string_agg(nullif(name, 'op'), '-') FROM {} {groups}", of(60_000));
        assert_eq!(one(&view, &nulls).await, "∅", "{nulls}");
    }
    let plan = ask(&view, &format!("EXPLAIN SELECT string_agg(name, '') FROM {}", of(1))).await;
    assert!(plan.concat().concat().contains("mode=Partial"), "{plan:?}");
}
