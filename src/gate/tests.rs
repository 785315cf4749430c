//! Gate files as a user meets them: what is said of each, and what becomes of them.
//!
//! `tests/data/gates/NAME.yaml` is loaded and all that is said of it is compared with `NAME.txt` beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::config::Config;
use super::definition::*;
use super::file::Known;
use super::load::{Loaded, Request, load};
use super::plan::Planner;

const FOLDER: &str = "tests/data/gates";

fn known() -> Known {
    let pipelines = [
        ("regenerate", vec!["weavergen.gate"]),
        ("other", vec!["weavergen.gate.x", "else"]),
        ("own", vec!["weavergen.gate.c"]),
    ];
    let pipelines =
        pipelines.into_iter().map(|(id, starts)| (id.to_owned(), starts.iter().map(|s| (*s).to_owned()).collect()));
    Known { receivers: Some(vec!["am".into(), "hook".into()]), pipelines: Some(pipelines.collect()) }
}

fn load_files(files: &[String], queries_dir: Option<&Path>) -> Loaded {
    let config = Config { files: Some(files.to_vec()), ..Config::default() };
    let planner = Planner::new(crate::query::Config::default(), super::schema::empty_tables());
    load(&Request { config: &config, queries_dir, known: &known() }, &planner)
}

fn said(loaded: &Loaded) -> String {
    let here = format!("{}/", std::env::current_dir().unwrap().display());
    loaded.problems.iter().map(|problem| format!("{problem}\n").replace(&here, "")).collect()
}

/// Loads one text as a file; problems show it as `f.yaml`.
fn load_text(text: &str) -> Loaded {
    load_text_by(text, &Planner::default())
}

fn load_text_by(text: &str, planner: &Planner) -> Loaded {
    load_text_as(text, planner, Config::default())
}

fn load_text_as(text: &str, planner: &Planner, config: Config) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.yaml");
    std::fs::write(&file, text).unwrap();
    let config = Config { files: Some(vec![file.display().to_string()]), ..config };
    let mut loaded = load(&Request { config: &config, queries_dir: None, known: &known() }, planner);
    loaded.problems.iter_mut().for_each(|problem| problem.file = "f.yaml".to_owned());
    loaded
}

#[test]
fn every_golden_file_is_said_of_as_written_beside_it() {
    let planner = Planner::new(crate::query::Config::default(), super::schema::empty_tables());
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in [FOLDER.to_owned(), format!("{FOLDER}/plan")] {
        files.extend(std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() >= 20, "{files:?}");
    let mut wrong = Vec::new();
    for file in files {
        let want = std::fs::read_to_string(file.with_extension("txt")).unwrap_or_default();
        let config = Config { files: Some(vec![file.display().to_string()]), ..Config::default() };
        let got = said(&load(&Request { config: &config, queries_dir: None, known: &known() }, &planner));
        if got.trim_end() != want.trim_end() {
            wrong.push(format!("--- {}\n{got}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_whole_gate_is_read_as_it_was_written() {
    let loaded = load_files(&[format!("{FOLDER}/000_whole.yaml")], None);
    assert_eq!(said(&loaded), "");
    let [group] = loaded.groups.as_slice() else { panic!("{:?}", loaded.groups) };
    assert_eq!((group.name.as_str(), group.interval), ("semconv", Duration::from_secs(30)));
    assert_eq!(group.labels, BTreeMap::from([("team".to_owned(), "shop".to_owned())]));
    let gate = &group.gates[0];
    assert_eq!(gate.pass, Comparison { text: "> 95%".into(), test: Test::Above(0.95) });
    assert_eq!(gate.warn.as_ref().map(|warn| warn.test), Some(Test::Above(0.9)));
    assert_eq!(gate.clear.test, Test::Above(0.97));
    assert_eq!(gate.hold_for, Duration::from_secs(120));
    assert_eq!(gate.keep_firing_for, Duration::from_secs(5400));
    assert_eq!((gate.no_data, gate.insufficient, gate.inconclusive), (Policy::Alert, Policy::Hold, Policy::Fail));
    assert_eq!(gate.stale_after, StaleAfter::Evaluations(3));
    assert_eq!((gate.error_limit, gate.timeout), (Some(2), Duration::from_secs(10)));
    assert_eq!(gate.severity, Severities { warn: "ticket".into(), fail: "page".into() });
    assert_eq!((gate.limit, gate.mode, &gate.notify), (500, Mode::Enforce, &Some(vec!["am".to_owned()])));
    let on_fail = gate.on_fail.as_ref().unwrap();
    assert_eq!((on_fail.on_warn, on_fail.cooldown), (true, Duration::from_secs(300)));
    assert_eq!((on_fail.max_runs, on_fail.max_runs_in), (2, Duration::from_secs(43_200)));
    assert_eq!(gate.source.path.as_deref(), Some(Path::new("tests/data/gates/queries/good.sql")));
    let inline = &group.gates[1];
    assert_eq!(inline.pass.test, Test::Below(1500.0));
    assert_eq!((inline.source.path.as_ref(), inline.source.line, inline.mode), (None, 36, Mode::DryRun));
    assert_eq!((inline.stale_after, inline.notify.as_deref()), (StaleAfter::Never, Some(&[] as &[String])));
    assert_eq!(group.file, "tests/data/gates/000_whole.yaml");
}

#[test]
fn a_gate_with_on_fail_never_goes_stale_unless_it_says_so() {
    let text = |more: &str| {
        format!("groups: [{{name: g, gates: [{{gate: a, sql: SELECT 1 AS value, window: 5m, pass: \"> 1\"{more}}}]}}]")
    };
    let stale = |more: &str| load_text(&text(more)).groups[0].gates[0].stale_after;
    assert_eq!(stale(""), StaleAfter::Evaluations(2));
    assert_eq!(stale(", on_fail: {pipeline: regenerate}"), StaleAfter::Never);
    assert_eq!(
        stale(", on_fail: {pipeline: regenerate}, stale_after: 10m"),
        StaleAfter::Time(Duration::from_secs(600))
    );
}

#[test]
fn a_built_in_file_runs_dry_until_it_is_named() {
    let unnamed = load_files(&[], None);
    assert_eq!(said(&unnamed), "");
    assert!(unnamed.groups.iter().flat_map(|group| &group.gates).all(|gate| gate.mode == Mode::DryRun));
    assert_eq!(unnamed.groups[0].gates[0].name, "span_completeness");
    let unasked = unnamed.groups.iter().flat_map(|group| &group.gates).count();
    assert_eq!(unasked, 1, "the others cost more than who did not ask should pay");
    let named = load_files(&["builtin:founding".to_owned()], None);
    assert_eq!(said(&named), "");
    assert_eq!(named.groups[0].gates[0].mode, Mode::Enforce);
    let all: Vec<_> = named.groups.iter().flat_map(|group| &group.gates).collect();
    let dry: Vec<_> = all.iter().filter(|gate| gate.mode == Mode::DryRun).map(|gate| gate.name.as_str()).collect();
    assert_eq!((all.len(), dry), (14, vec!["completeness_falling", "performance_rank_correlation"]), "twelve figures");
    for pack in ["instrumentation", "semconv", "delivery", "slo"] {
        assert_eq!(said(&load_files(&[format!("builtin:{pack}")], None)), "", "{pack}");
    }
    let typo = load_files(&["builtin:foundin".to_owned()], None);
    assert!(said(&typo).contains("WG-GATE-001 builtin:foundin:1:1: there is no built-in gate file of that name; did you mean `builtin:founding`?"), "{}", said(&typo));
}

#[test]
fn a_named_gate_takes_the_place_of_a_built_in_one_of_its_name() {
    let loaded = load_text(
        "groups: [{name: mine, gates: [{gate: span_completeness, sql: SELECT 1 AS value, window: 5m, pass: \"> 1\"}]}]",
    );
    assert!(!loaded.has_errors(), "{}", said(&loaded));
    let names: Vec<_> = loaded.groups.iter().flat_map(|g| g.gates.iter().map(|gate| (&*g.name, &*gate.name))).collect();
    assert_eq!(names, [("mine", "span_completeness")]);
}

#[test]
fn more_than_a_thousand_groups_are_refused_before_any_is_planned() {
    let folder = tempfile::tempdir().unwrap();
    let write = |file: usize, groups: std::ops::Range<usize>| {
        let path = folder.path().join(format!("{file:02}.yaml"));
        let group = |at: usize| {
            // This would not plan.
            format!(
                "  - {{name: g{at}, gates: [{{gate: n{at}, sql: SELECT x AS value, window: 5m, pass: \"> 1\"}}]}}\n"
            )
        };
        std::fs::write(&path, format!("groups:\n{}", groups.map(group).collect::<String>())).unwrap();
        path.display().to_string()
    };
    let files = vec![write(0, 0..500), write(1, 500..1_000), write(2, 1_000..1_001)];
    let loaded = load_files(&files, None);
    let [problem] = loaded.problems.as_slice() else { panic!("{}", said(&loaded)) };
    let text = problem.to_string();
    assert!(
        text.starts_with(&format!("WG-GATE-034 {}:2:5: group g1000: the files hold 1001 groups", files[2])),
        "{text}"
    );
    assert!(loaded.has_errors() && loaded.groups.is_empty());
}

#[test]
fn files_of_queries_dir_add_to_the_built_in_ones_and_replace_them() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("queries");
    let write = |path: &str, text: &str| {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let gate = |name: &str, source: &str| {
        format!(
            "groups: [{{name: {name}, gates: [{{gate: {name}, {source}, window: 5m, pass: \"> 1\", min_samples: 5}}]}}]"
        )
    };
    let config = Config::default();
    let load_dir = || load(&Request { config: &config, queries_dir: Some(&dir), known: &known() }, &Planner::default());
    // A query of the built-in files, from a file of the user's.
    write("gates/mine.yaml", &gate("mine", "sql_file: ../founding/span_completeness.sql"));
    let loaded = load_dir();
    assert!(!loaded.has_errors(), "{}", said(&loaded));
    let names: Vec<_> = loaded.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["mine", "founding"]);
    assert!(loaded.groups[0].gates[0].source.sql.contains("required_present"));
    // A query of the same path replaces the built-in one, also for the built-in gate.
    write("founding/span_completeness.sql", "SELECT 2 AS value, 1 AS n");
    let loaded = load_dir();
    assert_eq!(loaded.groups[0].gates[0].source.sql, "SELECT 2 AS value, 1 AS n");
    assert_eq!(loaded.groups[1].gates[0].source.sql, "SELECT 2 AS value, 1 AS n");
    // A gate file of the same path is taken in by the default, so it is named.
    write("gates/founding.yaml", &gate("theirs", "sql: SELECT 3 AS value"));
    let loaded = load_dir();
    let names: Vec<_> = loaded.groups.iter().map(|group| (group.name.as_str(), group.gates[0].mode)).collect();
    assert_eq!(names, [("theirs", Mode::Enforce), ("mine", Mode::Enforce)]);
    // Where other files are named, it still stands in for the built-in one.
    let config = Config { files: Some(vec![format!("{}/gates/m*.yaml", dir.display())]), ..Config::default() };
    let loaded = load(&Request { config: &config, queries_dir: Some(&dir), known: &known() }, &Planner::default());
    let names: Vec<_> = loaded.groups.iter().map(|group| (group.name.as_str(), group.gates[0].mode)).collect();
    assert_eq!(names, [("mine", Mode::Enforce), ("theirs", Mode::DryRun)]);
}

#[test]
fn a_link_leads_nowhere_outside() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret.sql"), "SELECT 1 AS value").unwrap();
    let inner = folder.path().join("gates");
    std::fs::create_dir(&inner).unwrap();
    std::os::unix::fs::symlink(folder.path().join("secret.sql"), inner.join("link.sql")).unwrap();
    let file = inner.join("f.yaml");
    std::fs::write(&file, "groups: [{name: g, gates: [{gate: a, sql_file: link.sql, window: 5m, pass: \"> 1\"}]}]")
        .unwrap();
    let loaded = load_files(&[file.display().to_string()], None);
    assert!(said(&loaded).contains("WG-GATE-015") && said(&loaded).contains("lies outside"), "{}", said(&loaded));
}

#[test]
fn a_query_is_text_of_at_most_256_kib() {
    let folder = tempfile::tempdir().unwrap();
    let said_of = |bytes: &[u8]| {
        std::fs::write(folder.path().join("q.sql"), bytes).unwrap();
        let file = folder.path().join("f.yaml");
        std::fs::write(&file, "groups: [{name: g, gates: [{gate: a, sql_file: q.sql, window: 5m, pass: \"> 1\"}]}]")
            .unwrap();
        said(&load_files(&[file.display().to_string()], None))
    };
    assert!(said_of(b"SELECT \xff").contains("WG-GATE-015") && said_of(b"\xff").contains("`q.sql` is not UTF-8 text"));
    let long = said_of(&[b' '; (256 << 10) + 1]);
    assert!(long.contains("WG-GATE-015") && long.contains("`q.sql` is larger than 256 KiB"), "{long}");
}

#[test]
fn what_cannot_be_read_is_told_with_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("bytes.yaml"), b"groups:\n  - x\xff").unwrap();
    std::fs::write(path("long.yaml"), " ".repeat((1 << 20) + 1)).unwrap();
    std::fs::write(
        path("nodes.yaml"),
        format!("x-a: &a [{}]\nx-b: [{}]\ngroups: []", "1,".repeat(99), "*a,".repeat(101)),
    )
    .unwrap();
    let names = ["absent.yaml", "bytes.yaml", "long.yaml", "nodes.yaml"];
    let loaded = load_files(&names.map(|name| path(name).display().to_string()), None);
    let said = said(&loaded).replace(&format!("{}/", folder.path().display()), "");
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("WG-GATE-001 absent.yaml:1:1: the file cannot be read: "), "{said}");
    assert_eq!(lines[1], "WG-GATE-002 bytes.yaml:2:6: this is not UTF-8 text; save the file as UTF-8");
    assert_eq!(lines[2], "WG-GATE-001 long.yaml:1:1: the file is larger than 1 MiB; split it");
    assert_eq!(lines[3], "WG-GATE-001 nodes.yaml:2:301: cannot parse YAML: more than 10000 nodes; split the file");
    assert_eq!(lines.len(), 4);
}

/// What is said of a text without planning its queries.
fn read_text(text: &str) -> Vec<super::Problem> {
    let problems = super::problem::Problems::default();
    let (config, known) = (Config::default(), known());
    let setting = super::file::Setting { config: &config, queries_dir: None, known: &known, problems: &problems };
    let home = super::files::Home::Disk(PathBuf::from("tests/data/gates/f.yaml"));
    let mark = crate::yaml::Mark::of_source(0, "f.yaml");
    super::file::read(&super::files::Text { mark, home, text: text.to_owned(), named: true, only: None }, setting);
    problems.into_sorted()
}

/// Pieces of gate files, of which most texts below are made.
const PIECES: [&str; 30] = [
    "groups:",
    "\n",
    "\n  - ",
    "name: g",
    "gates:",
    "gate: a",
    "sql: |",
    "\n        SELECT 1",
    "by: [",
    "]",
    "window: 5m",
    "pass: \"> 1\"",
    "warn: '>= 0'",
    "{",
    "}",
    ": ",
    "&a ",
    "*a",
    "<<: *a",
    "on_fail:",
    "pipeline: p",
    "? ",
    "!!int ",
    "labels: {a: \"{{ x\"}",
    "x-y: 1",
    "---",
    "#",
    "\t",
    "\u{feff}",
    "é",
];

proptest! {
    #[test]
    fn no_text_panics_and_every_refusal_has_a_place(
        pieces in prop::collection::vec(0..PIECES.len(), 0..40),
        noise in "\\PC{0,40}",
        indent in 0_usize..12,
    ) {
        let text: String = pieces.iter().map(|&at| format!("{}{}", PIECES[at], if at == 1 { " ".repeat(indent) } else { String::new() })).collect();
        for text in [format!("{text}{noise}"), noise] {
            for problem in read_text(&text) {
                prop_assert!(problem.line >= 1 && problem.column >= 1, "{}", problem);
                prop_assert!(!problem.next.is_empty() && !problem.to_string().contains('\n'), "{}", problem);
            }
        }
    }

    #[test]
    fn no_value_of_any_key_panics(key in 0..KEYS.len(), value in "\\PC{0,40}") {
        let quoted = serde_json::to_string(&value).unwrap();
        for value in [quoted, value, "[1, {a: b}]".to_owned(), "9223372036854775807".to_owned()] {
            let text = format!("groups:\n  - name: g\n    gates:\n      - gate: a\n        {}: {value}\n        sql: SELECT 1", KEYS[key]);
            let _ = read_text(&text);
        }
    }
}

const KEYS: [&str; 30] = [
    "cron",
    "timezone",
    "on",
    "finding",
    "window",
    "pass",
    "warn",
    "clear",
    "conclusive_when",
    "by",
    "unit",
    "for",
    "stale_after",
    "severity",
    "labels",
    "annotations",
    "on_fail",
    "notify",
    "min_samples",
    "timeout",
    "sql_file",
    "description",
    "mode",
    "error_limit",
    "fire_after",
    "step_down_after",
    "on_resolve",
    "slo",
    "baseline",
    "exemplars",
];

/// Pieces of queries, of which the texts below are made.
const SQL: [&str; 26] = [
    "SELECT ",
    "count(*) AS value",
    " FROM spans",
    " WHERE ",
    "end_time >= $window_start",
    " AND ",
    "$window_end",
    "(",
    ")",
    ", ",
    "service_name",
    "attributes['k']",
    " GROUP BY 1",
    "WITH a AS (SELECT 1 AS value)",
    " FROM a",
    "--",
    "/*",
    "'",
    "\n",
    "$gate",
    "NULL",
    " - INTERVAL '1 day'",
    ";",
    "now()",
    " UNION ALL ",
    "é",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_query_panics(pieces in prop::collection::vec(0..SQL.len(), 0..14), noise in "\\PC{0,12}") {
        let sql: String = pieces.iter().map(|&at| SQL[at]).collect::<String>() + &noise;
        for problem in load_text(&format!(
            "groups: [{{name: g, gates: [{{gate: span_completeness, sql: {}, window: 5m, pass: \"> 1\"}}]}}]",
            serde_json::to_string(&sql).unwrap(),
        )).problems {
            prop_assert!(problem.line >= 1 && !problem.next.is_empty(), "{}", problem);
            prop_assert!(!problem.what.contains("planner failed"), "{}: {}", sql, problem);
        }
    }
}

mod arrivals;
mod assertions;
mod buckets;
mod objectives;
mod run;
mod sharing;
