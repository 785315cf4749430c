//! Claims about pattern files: what is refused and where, and what the shipped ones find.

use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

mod hotspot;

use super::header;
use super::load::check;
use super::problem::{Problems, Teller};
use super::run::{asker, gateway};
use super::*;
use crate::clock::Clock;
use crate::learn::Config;
use crate::learn::sources::Ask;
use crate::query;
use crate::query::tests::fixture::{Fill, NOW, Span, Val, reader};

const S: i64 = 1_000_000_000;

fn request(config: &Config) -> Request<'_> {
    Request { config, queries_dir: None, retention: Some(Duration::from_secs(3600)) }
}

fn in_folder(files: &[(&str, &[u8])], config: &Config) -> (Loaded, PathBuf, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let patterns = dir.path().join("patterns");
    std::fs::create_dir(&patterns).unwrap();
    for (name, text) in files {
        std::fs::write(patterns.join(name), text).unwrap();
    }
    let loaded = load(&Request { queries_dir: Some(dir.path()), ..request(config) }, &Planner::default());
    (loaded, patterns, dir)
}

fn told(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.sql");
    std::fs::write(&path, text).unwrap();
    let problems = check(std::slice::from_ref(&path), &request(&Config::default()), &Planner::default()).problems;
    let shown = path.display().to_string();
    problems.iter().map(|problem| problem.to_string().replace(&shown, "p.sql")).collect::<Vec<_>>().join("\n")
}

/// Cases of `tests/data/patterns/*.txt`: a file, a line `----`, what is told.
#[test]
fn every_code_is_told_with_its_place() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/patterns");
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut wrong = Vec::new();
    let mut codes = std::collections::BTreeSet::new();
    for path in paths {
        let case = std::fs::read_to_string(&path).unwrap();
        let (text, wanted) = case.split_once("----\n").unwrap();
        let got = told(text);
        codes.extend(got.lines().map(|line| line.split(' ').next().unwrap_or_default().to_owned()));
        if got.trim() != wanted.trim() {
            wrong.push(format!("{}:\n{got}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    for code in ["001", "003", "004", "005", "006", "007", "008", "009", "010", "W01", "W02"] {
        assert!(codes.contains(&format!("WG-LRN-{code}")), "no case for {code}");
    }
}

#[test]
fn names_and_files_that_are_not_there_are_told() {
    let tree =
        crate::yaml::parse("patterns: {new_operatoin: {enabled: false}}", &crate::yaml::Mark::of_source(0, "c.yaml"));
    let (tree, problems) = (tree.unwrap(), crate::yaml::Problems::new());
    let config = Config::read(&crate::yaml::Section::root(&tree, &problems), &crate::gate::Config::default());
    let good = b"-- about: x\n-- by: name\nSELECT name, count(*) AS support, count(*) AS n FROM spans GROUP BY 1";
    let (loaded, patterns, _dir) = in_folder(&[("Bad-Name.sql", good), ("bytes.sql", b"-- about: \xff")], &config);
    let told: Vec<_> = loaded.problems.iter().map(ToString::to_string).collect();
    let at = patterns.display();
    assert_eq!(told, [
        format!(
            "WG-LRN-002 {at}/Bad-Name.sql:1:1: pattern Bad-Name: `Bad-Name` is no name of a pattern; rename the file: a small \
             letter, then up to 63 small letters, digits and `_`"
        ),
        format!("WG-LRN-001 {at}/bytes.sql:1:11: pattern bytes: this is not UTF-8 text; save the file as UTF-8"),
        "WG-LRN-011 c.yaml:1:12: pattern new_operatoin: `learn.patterns` names a file that is not there; did you mean \
         `new_operation`?"
            .to_owned(),
    ]);
    assert!(loaded.has_errors());
}

#[test]
fn the_shipped_files_load_and_a_folder_adds_and_replaces() {
    let config = Config::default();
    let loaded = load(&request(&config), &Planner::default());
    assert_eq!(loaded.problems, []);
    let names = |loaded: &Loaded| loaded.patterns.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&loaded), ["missing_attribute", "error_hotspot", "new_operation"]);
    let explicit: Vec<_> = loaded.patterns.iter().map(|p| p.is_explicit).collect();
    assert_eq!(explicit, [false, false, true]);
    assert_eq!((loaded.patterns[1].thresholds.min_support, loaded.patterns[1].thresholds.min_effect), (10, Some(2.0)));

    let own = b"-- about: x\n-- by: name\n-- every: 1m\nSELECT name, count(*) AS support, count(*) AS n FROM spans GROUP BY 1";
    let (more, ..) = in_folder(&[("own.sql", own), ("error_hotspot.sql", own)], &config);
    assert_eq!(more.problems, []);
    assert_eq!(names(&more), ["missing_attribute", "error_hotspot", "new_operation", "own"]);
    assert_eq!(more.patterns[1].by, ["name"]);
    assert_eq!(more.patterns[3].every, Duration::from_secs(60));
}

#[test]
fn the_question_is_statement_by_and_window_and_nothing_else() {
    let config = Config::default();
    let first = load(&request(&config), &Planner::default()).patterns.remove(1);
    let same = |change: &dyn Fn(&mut Pattern)| {
        let mut other = first.clone();
        change(&mut other);
        other.question() == first.question()
    };
    assert!(same(
        &|p| p.sql = p.sql.replace("-- about", "--   note").replace("SELECT service_name", "SELECT  service_name")
    ));
    assert!(same(&|p| p.thresholds.min_support = 99));
    assert!(same(&|p| p.every = Duration::from_secs(99)));
    assert!(same(&|p| p.by.reverse()));
    assert!(!same(&|p| p.window = Duration::from_secs(99)));
    assert!(!same(&|p| drop(p.by.pop())));
    assert!(!same(&|p| p.sql = p.sql.replace(">= 10", ">= 11")));
}

proptest! {
    #[test]
    fn no_head_panics(text in "(-- ?[a-z_]{0,12}:? ?[ -~é]{0,20}\n|[ -~é\n\t]{0,20}){0,12}") {
        let problems = Problems::default();
        header::read(&text, Teller { file: "f", pattern: "p", problems: &problems });
        for problem in problems.into_sorted() {
            prop_assert!(problem.line >= 1 && problem.column >= 1);
        }
    }
}

/// Pieces of which statements are made, and others.
const PIECES: &[&str] = &[
    "SELECT ",
    "name, ",
    "count(*) AS support, ",
    "count(*) AS n ",
    "FROM spans ",
    "WHERE end_time >= $window_start ",
    "AND end_time < $window_end ",
    "GROUP BY 1",
    "GROUP BY name",
    " UNION ALL ",
    "-- min_support: x\n",
    "NULL",
    "now()",
    "$x",
    "(",
    ";",
    "é",
];

proptest! {
    // Each one may be planned twice.
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_file_panics_and_every_problem_has_a_place(
        pieces in proptest::collection::vec(0..PIECES.len(), 0..14),
        noise in "\\PC{0,12}",
    ) {
        let statement: String = pieces.iter().map(|&at| PIECES[at]).collect();
        let text = format!("-- about: x\n-- by: name\n{statement}{noise}");
        for line in told(&text).lines() {
            prop_assert!(line.starts_with("WG-LRN-") && line.contains(" p.sql:"), "{}: {}", text, line);
            prop_assert!(!line.contains("planner failed"), "{}: {}", text, line);
        }
    }
}

fn shipped(name: &str) -> Pattern {
    load(&request(&Config::default()), &Planner::default()).patterns.into_iter().find(|p| p.name == name).unwrap()
}

async fn rows(name: &str, spans: &[Span], (start_ns, end_ns): (i64, i64), cut_us: i64) -> Vec<String> {
    let pattern = shipped(name);
    let query = query::Config { threads: 2, ..query::Config::default() };
    let view = Fill::new().memory(spans).view();
    let gateway = gateway(reader(&view), &query, 256 << 20, None, Vec::new(), Clock::manual(NOW, 7)).unwrap();
    let ask = Ask {
        sql: pattern.sql.clone(),
        window_ns: (start_ns, end_ns),
        is_explicit: pattern.is_explicit,
        include_pipeline_spans: false,
        cut_us,
    };
    let batches = asker(gateway).ask(ask).await.unwrap();
    let read = super::rows::read(&pattern.by, &batches).unwrap();
    let selected = fold::select(read, pattern.thresholds);
    let line = |(key, (seen, effect)): (&String, &(fold::Seen, _))| {
        let effect: &Option<crate::learn::stats::Estimate> = effect;
        let ids: Vec<u8> = seen.trace_ids.iter().map(|id| id[15]).collect();
        format!("{key} {}/{} {:?} {ids:?} {:.1}", seen.support, seen.n, seen.rest, effect.unwrap().value)
    };
    selected.rows.iter().map(line).collect()
}

#[tokio::test]
async fn error_hotspot_finds_the_value_whose_spans_fail() {
    let mut spans = Vec::new();
    for id in 1..=60_u64 {
        let is_bad = id.is_multiple_of(5);
        let plan = if is_bad { "gold" } else { "free" };
        let of = Span {
            status: if is_bad { "error" } else { "ok" },
            start: NOW + i64::try_from(id).unwrap(),
            ..Span::new(u128::from(id), id)
        };
        spans.push(of.with("app.plan", plan).with("app.same", 1_i64).with("app.long", "x".repeat(200).as_str()));
    }
    let found = rows("error_hotspot", &spans, (NOW - S, NOW + 60 * S), i64::MAX / 1000).await;
    // 12 of 12 gold spans fail and none of the other 48: F2 with ½ added, (12.5/13)/(0.5/49).
    assert_eq!(found, ["key=app.plan,service_name=shop,value=gold 12/12 Some((0, 48)) [60, 55, 50, 45, 40] 94.2"]);
}

#[tokio::test]
async fn new_operation_is_silent_about_a_service_that_is_new_as_a_whole() {
    let at = |id: u64, second: i64, service, name| Span {
        start: NOW + second * S,
        duration: 1,
        service,
        name,
        ..Span::new(u128::from(id), id)
    };
    let spans = [
        at(1, -600, "shop", "old"),
        at(2, 10, "shop", "old"),
        at(3, 11, "shop", "new"),
        at(4, 12, "shop", "new"),
        at(5, 12, "fresh", "new"),
        at(6, 13, "shop", "hidden").with("weavergen.origin", "pipeline"),
    ];
    let found = rows("new_operation", &spans, (NOW, NOW + 60 * S), i64::MAX / 1000).await;
    assert_eq!(found, ["operation=new,service_name=shop 2/3 None [4, 3] 0.7"]);
    assert_eq!(rows("new_operation", &spans, (NOW, NOW + 60 * S), 1).await, Vec::<String>::new(), "behind the cut");
    assert_eq!(rows("missing_attribute", &spans, (NOW, NOW + 60 * S), i64::MAX / 1000).await, Vec::<String>::new());
}

#[tokio::test]
async fn attr_pairs_are_short_scalars_in_key_order() {
    let mut span = Span::new(1, 1)
        .with("z", "last")
        .with("b", 7_i64)
        .with("long", "y".repeat(129).as_str())
        .with("b", "again")
        .with("empty", Val::Empty)
        .with("bytes", Val::Bytes(vec![1]))
        .with("array", Val::Array)
        .with("bool", Val::Bool(true))
        .with("double", Val::Double(0.5));
    let sql = "SELECT p['key'] || '=' || p['value'] FROM (SELECT unnest(attr_pairs(attributes)) AS p FROM spans)";
    let ask = |span: Span| async move {
        let rows = crate::query::tests::fixture::ask(&Fill::new().memory(&[span]).view(), sql).await;
        rows.into_iter().map(|row| row.join("")).collect::<Vec<_>>()
    };
    assert_eq!(ask(span.clone()).await, ["b=7", "bool=true", "double=0.5", "z=last"]);
    for i in 0..100_i64 {
        span = span.with(&format!("k{i:03}"), i);
    }
    let all = ask(span).await;
    assert_eq!((all.len(), all[63].as_str()), (64, "k060=60"));
}
