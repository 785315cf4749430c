//! Claims about what is typed at the shell.

use std::path::PathBuf;

use super::complete::{Names, complete};
use super::meta::{COMMANDS, Meta, help, parse};
use super::split::{Item, Split, all, split};
use crate::cli::output::Output;

fn sql(text: &str) -> Item {
    Item::Sql(text.to_owned())
}

fn meta(text: &str) -> Item {
    Item::Meta(text.to_owned())
}

#[test]
fn a_semicolon_ends_a_statement_only_where_it_is_one() {
    for (text, items, rest) in [
        ("", vec![], ""),
        (" ;; \n;", vec![], ""),
        ("SELECT 1", vec![], "SELECT 1"),
        ("SELECT 1; SELECT\n 2 ;\nSELECT 3", vec![sql("SELECT 1"), sql("SELECT\n 2")], "SELECT 3"),
        ("SELECT ';', \";\", 'it''s;';", vec![sql("SELECT ';', \";\", 'it''s;'")], ""),
        (r"SELECT E'\';', E'a';", vec![sql(r"SELECT E'\';', E'a'")], ""),
        (r"SELECT 'a\'; SELECT 2;", vec![sql(r"SELECT 'a\'"), sql("SELECT 2")], ""),
        ("SELECT 1 -- no; end\n;", vec![sql("SELECT 1 -- no; end")], ""),
        ("SELECT /* a; /* b; */ c; */ 1;", vec![sql("SELECT /* a; /* b; */ c; */ 1")], ""),
        ("SELECT $$a;b$$, $t$;$$;$t$;", vec![sql("SELECT $$a;b$$, $t$;$$;$t$")], ""),
        ("SELECT $a + $b; SELECT $1;", vec![sql("SELECT $a + $b"), sql("SELECT $1")], ""),
        ("-- only a comment;\n/* ; */", vec![], ""),
        ("SELECT 'open; ", vec![], "SELECT 'open;"),
        ("/* open;", vec![], "/* open;"),
        ("SELECT 'é;ü';", vec![sql("SELECT 'é;ü'")], ""),
    ] {
        assert_eq!(split(text), Split { items, rest: rest.to_owned() }, "{text}");
    }
    assert_eq!(all("SELECT 1; SELECT 2 -- end"), [sql("SELECT 1"), sql("SELECT 2 -- end")]);
}

#[test]
fn a_line_between_statements_that_begins_with_a_backslash_or_a_dot_is_a_command() {
    let text = "\\d spans\nSELECT 1\n  .5 AS x;  \\x\n-- note\n.output csv a b.csv\nSELECT\n\\d\n;";
    let want =
        [meta("\\d spans"), sql("SELECT 1\n  .5 AS x"), meta("\\x"), meta(".output csv a b.csv"), sql("SELECT\n\\d")];
    assert_eq!(all(text), want);
    assert_eq!(split("\\q").items, [meta("\\q")]);
    assert_eq!(split(".5").rest, ".5");
}

/// Where the tokenizer of the gateway sees a semicolon, and no other place.
#[test]
fn statements_are_cut_where_the_gateway_would_see_their_ends() {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
    use proptest::prelude::*;

    let pieces = [
        "SELECT ", "1", " ", ";", "'a;'", "''", "'", "\"b;\"", "--c;\n", "/*;*/", "/*", "*/", " $$;$$", "$x",
        " E'\\';'", "\n", "é",
    ];
    proptest!(ProptestConfig::with_cases(400), |(picks in prop::collection::vec(0..pieces.len(), 0..12))| {
        let text: String = picks.iter().map(|at| pieces[*at]).collect();
        let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, &text).tokenize() else { return Ok(()) };
        let mut want = Vec::new();
        let mut is_meant = false;
        for token in &tokens {
            match token {
                Token::SemiColon => {
                    want.extend(is_meant.then_some(()));
                    is_meant = false;
                }
                Token::Whitespace(_) => {}
                _ => is_meant = true,
            }
        }
        let got = split(&text);
        prop_assert_eq!(got.items.len(), want.len(), "{:?} {:?}", text, got);
        prop_assert_eq!(!got.rest.is_empty(), is_meant, "{:?}", text);
    });
}

#[test]
fn commands_say_what_they_want() {
    let ask = |text: &str| Ok(Meta::Ask(text.to_owned()));
    for (line, want) in [
        ("\\d", ask("SHOW TABLES")),
        ("\\dt;", ask("SHOW TABLES")),
        ("\\d system.parts", ask("DESCRIBE system.parts")),
        ("\\df", ask("SHOW FUNCTIONS")),
        ("\\df p9%'", ask("SHOW FUNCTIONS LIKE 'p9%'''")),
        ("\\x", Ok(Meta::Expanded(None))),
        ("\\x on", Ok(Meta::Expanded(Some(true)))),
        ("\\timing off", Ok(Meta::Timing(Some(false)))),
        (".output", Ok(Meta::Output(None, None))),
        (".output CSV", Ok(Meta::Output(Some(Output::Csv), None))),
        (".output parquet a b.parquet", Ok(Meta::Output(Some(Output::Parquet), Some(PathBuf::from("a b.parquet"))))),
        (".limit 5", Ok(Meta::Limit(Some(Some(5))))),
        (".limit off", Ok(Meta::Limit(Some(None)))),
        (".limit", Ok(Meta::Limit(None))),
        (".read a b.sql", Ok(Meta::Read(PathBuf::from("a b.sql")))),
        (".named red -p since=5m", Ok(Meta::Named("red".to_owned(), vec![("since".to_owned(), "5m".to_owned())]))),
        ("\\q", Ok(Meta::Quit)),
    ] {
        assert_eq!(parse(line), want, "{line}");
    }
    for (line, want) in [
        ("\\d spans; DROP", "`spans; DROP` is no name of a table; `\\d` lists them"),
        ("\\x maybe", "\\x is `on` or `off`, not `maybe`"),
        (".output parquet", "parquet is not for a terminal; name a file: `.output parquet PATH`"),
        (".output xml", "there is no format `xml`; formats: box, json, ndjson, csv, arrow, parquet, markdown"),
        (".limit many", ".limit is a number of rows or `off`, not `many`"),
        (".read", ".read which file? `.read queries.sql`"),
        (".named red since=5m", "`since=5m` is not `-p name=value`; `.named red -p name=value`"),
        (".outptu csv", "there is no command `.outptu`; did you mean `.output`? `.help` lists them"),
        ("\\q now", "\\q takes nothing, and there is `now`"),
    ] {
        assert_eq!(parse(line), Err(want.to_owned()), "{line}");
    }
    for (name, args, _) in COMMANDS {
        let line = match args {
            "FILE" => format!("{name} x"),
            _ if args.starts_with("QUERY") => format!("{name} x"),
            _ => name.to_owned(),
        };
        assert!(parse(&line).is_ok() && help().contains(name), "{name}");
    }
}

#[test]
fn names_that_fit_the_place_are_offered() {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let names = Names {
        tables: [
            ("spans", &["name", "service_name", "start_time", "attributes"][..]),
            ("traces", &["trace_id", "root_name"][..]),
            ("system.parts", &["path", "rows"][..]),
        ]
        .into_iter()
        .map(|(table, columns)| (table.to_owned(), list(columns)))
        .collect(),
        functions: list(&["p95", "p99", "sum"]),
        keys: [
            ("attributes".to_owned(), list(&["http.route", "http.request.method", "it's"])),
            ("resource".to_owned(), list(&["k8s.pod.name"])),
        ]
        .into(),
        queries: list(&["red", "retries"]),
    };
    // `|` is the cursor.
    for (line, from, want) in [
        ("SELECT attributes['http.r|", 18, "'http.request.method'] 'http.route']"),
        ("SELECT attributes[|", 18, "'http.request.method'] 'http.route'] 'it''s']"),
        ("SELECT s.Resource[ 'k|", 18, "'k8s.pod.name']"),
        ("SELECT attributes['x'] AS y, na|", 29, "name"),
        ("SELECT x['h|", 11, ""),
        ("SELECT * FROM |", 14, "spans system.parts traces"),
        ("SELECT * FROM s|", 14, "spans system.parts"),
        ("SELECT * FROM spans JOIN tr|", 25, "traces"),
        ("SELECT r| FROM system.parts", 7, "rows right"),
        ("SELECT t.| FROM spans s JOIN traces AS t", 9, "root_name trace_id"),
        ("SELECT s.st| FROM spans s", 9, "start_time"),
        ("SELECT p9|", 7, "p95( p99("),
        ("SEL|", 0, "SELECT"),
        ("sel|", 0, "select"),
        ("SELECT 'na|", 10, ""),
        ("SELECT é, na|", 11, "name"),
        ("\\|", 0, "\\? \\d \\df \\dt \\q \\timing \\x"),
        ("\\d tr|", 3, "traces"),
        ("\\df su|", 4, "sum"),
        (".output nd|", 8, "ndjson"),
        (".named r|", 7, "red retries"),
    ] {
        let pos = line.find('|').unwrap();
        let got = complete(&line.replace('|', ""), pos, &names);
        assert_eq!(got, (from, want.split_whitespace().map(str::to_owned).collect()), "{line}");
    }
}
