//! `weavergen gates check` as a user runs it.

use std::process::{Command, Output};

fn check(folder: &std::path::Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weavergen"))
        .args(["gates", "check"])
        .args(args)
        .current_dir(folder)
        .env("HOME", folder)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const GATE: &str = "sql: SELECT count(*) AS value FROM spans, window: 90s, pass: \"> 1\"";

#[test]
fn check_tells_all_problems_or_a_line_a_gate() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("good.yaml", &format!("groups: [{{name: g, gates: [{{gate: a, {GATE}}}]}}]"));
    write("odd.yaml", &format!("groups: [{{name: g, gates: [{{gate: b, {GATE}, time: start}}]}}]"));
    write(
        "bad.yaml",
        "groups:\n  - name: g\n    gates:\n      - gate: c\n        sql: SELECT 1 AS value\n        pass: x\n",
    );

    let output = check(folder.path(), &["good.yaml"]);
    let founding = "span_completeness  class decomposable  window 5m  builtin:founding\n";
    assert_eq!(text(&output.stdout), format!("a  class decomposable  window 1m30s  good.yaml\n{founding}"));
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));

    let warning = "WG-GATE-W03 odd.yaml:1:";
    let output = check(folder.path(), &["odd.yaml"]);
    assert!(text(&output.stderr).starts_with(warning), "{}", text(&output.stderr));
    assert_eq!((output.status.code(), text(&output.stdout).lines().count()), (Some(0), 2));
    let output = check(folder.path(), &["odd.yaml", "--deny-warnings"]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""));

    let output = check(folder.path(), &["*.yaml"]);
    let told = text(&output.stderr);
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("WG-GATE-006 bad.yaml:4:9: gate c: `window` is missing; "), "{told}");
    assert!(lines[1].starts_with("WG-GATE-011 bad.yaml:6:15: gate c: `pass`: `x` is no comparison"), "{told}");
    assert!(lines[2].starts_with(warning), "{told}");
    assert_eq!((output.status.code(), lines.len()), (Some(1), 3));

    let absent = check(folder.path(), &["absent.yaml"]);
    assert_eq!(absent.status.code(), Some(74));
    assert!(text(&absent.stderr).contains("; check the path that names it"), "{}", text(&absent.stderr));
    let nothing = check(folder.path(), &["none/*.yaml"]);
    assert_eq!((nothing.status.code(), text(&nothing.stdout).as_str()), (Some(74), ""));
    assert!(text(&nothing.stderr).contains("no file matches `none/*.yaml`"), "{}", text(&nothing.stderr));
    assert_eq!(check(folder.path(), &["--nothing"]).status.code(), Some(2));

    write("weavergen.yaml", "gates: {files: [good.yaml], interval: 2m}\n");
    let output = check(folder.path(), &["--config", "weavergen.yaml"]);
    assert!(text(&output.stderr).starts_with("WG-GATE-W02 good.yaml:1:"), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("a  class decomposable"), "{}", text(&output.stdout));
    let distinct = "sql: SELECT count(DISTINCT name) AS value FROM spans, window: 2m, pass: \"> 1\"";
    write("alone.yaml", &format!("groups: [{{name: g, gates: [{{gate: a, {distinct}}}]}}]"));
    let output = check(folder.path(), &["alone.yaml", "--config", "weavergen.yaml", "--deny-warnings"]);
    let told = text(&output.stderr);
    assert!(told.starts_with("WG-GATE-W01 alone.yaml:1:"), "{told}");
    assert_eq!((output.status.code(), told.lines().count()), (Some(0), 1), "nobody has to change it: {told}");
}

fn gates(folder: &std::path::Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weavergen"))
        .arg("gates")
        .args(args)
        .current_dir(folder)
        .env("HOME", folder)
        .output()
        .unwrap()
}

const OPENSLO: &str = r#"apiVersion: openslo/v1
kind: SLO
metadata: {name: answers}
spec:
  service: shop
  indicator:
    spec:
      ratioMetric:
        good: {metricSource: {type: weavergen, spec: {where: "status_code <> 'error'"}}}
        total: {metricSource: {type: weavergen, spec: {where: "kind = 'server'"}}}
  timeWindow: [{duration: 28d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{target: 0.999}]
"#;

#[test]
fn import_writes_a_file_that_check_takes_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("slo.yaml"), OPENSLO).unwrap();
    let import = |args: &[&str]| gates(folder.path(), &[&["import"], args].concat());
    let shown = import(&["openslo", "slo.yaml"]);
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stderr));
    assert!(
        text(&shown.stdout).starts_with("# Made by `weavergen gates import` of slo.yaml.\ngroups:\n  - name: shop\n")
    );
    let written = import(&["openslo", "slo.yaml", "--out", "gates.yaml"]);
    assert_eq!((written.status.code(), text(&written.stdout).as_str()), (Some(0), ""));
    assert_eq!(std::fs::read_to_string(path("gates.yaml")).unwrap(), text(&shown.stdout));
    let checked = check(folder.path(), &["gates.yaml"]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    assert!(
        text(&checked.stdout).starts_with("answers  class re-run (it bounds its own window)  window 3d  gates.yaml\n"),
        "{}",
        text(&checked.stdout)
    );
    assert_eq!(import(&["openslo", "slo.yaml", "--out", "gates.yaml"]).status.code(), Some(74), "it is there");

    std::fs::write(path("other.yaml"), OPENSLO.replace("type: weavergen", "type: Prometheus")).unwrap();
    let refused = import(&["openslo", "other.yaml", "--out", "none.yaml"]);
    let told = text(&refused.stderr);
    assert_eq!((refused.status.code(), path("none.yaml").exists()), (Some(1), false));
    assert!(told.starts_with("WG-GATE-031 other.yaml:9:37: SLO answers: the metric is read from Prometheus"), "{told}");
    assert!(told.ends_with("nothing is written: what is told above cannot be translated\n"), "{told}");
    assert_eq!(import(&["openslo", "absent.yaml"]).status.code(), Some(74));
    assert_eq!(import(&["sloth", "slo.yaml"]).status.code(), Some(2));
}
