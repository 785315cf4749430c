//! `weavergen pipeline` as a process: what it prints and how it ends.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn pipeline(dir: &Path, args: &[&str]) -> Ran {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_weavergen")).current_dir(dir).arg("pipeline").args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// regenerate.bpmn with `from` replaced by `to`.
fn damaged(from: &str, to: &str) -> String {
    let text = std::fs::read_to_string(root().join("pipelines/regenerate.bpmn")).unwrap();
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

#[test]
fn the_shipped_pipelines_are_clean_even_of_warnings() {
    let ran = pipeline(root(), &["check", "pipelines", "--deny", "warnings"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("1 file: 0 errors, 0 warnings, "), "{}", ran.err);
    // That the run ends failed when no variant is left is meant.
    let others: Vec<_> = ran.out.lines().filter(|line| !line.contains(" info error-uncaught [GaveUp]")).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn findings_name_file_line_column_rule_and_the_next_move_and_end_with_1() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("more")).unwrap();
    let wrong_type = damaged("type=\"codegen\"", "type=\"codegem\"");
    std::fs::write(dir.path().join("more/wrong.bpmn"), wrong_type).unwrap();
    std::fs::write(dir.path().join("broken.bpmn"), "<a>\n  <b></a>").unwrap();
    let ran = pipeline(dir.path(), &["check", "."]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    let lines: Vec<_> = ran.out.lines().collect();
    assert!(lines[0].starts_with("./broken.bpmn:2:"), "{}", ran.out);
    assert!(lines[0].contains("error xml-malformed"), "{}", ran.out);
    let wrong = lines.iter().find(|line| line.contains("job-type-unknown")).unwrap();
    assert!(wrong.starts_with("./more/wrong.bpmn:"), "{wrong}");
    assert!(wrong.contains("codegem") && wrong.contains("`codegen`"), "{wrong}");
    assert!(ran.err.contains("2 files: 2 errors"), "{}", ran.err);
}

#[test]
fn the_same_findings_as_json() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("wrong.bpmn"), damaged("type=\"codegen\"", "type=\"codegem\"")).unwrap();
    let ran = pipeline(dir.path(), &["check", "wrong.bpmn", "--format", "json"]);
    assert_eq!(ran.code, 1);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["errors"], 1);
    let file = &report["files"][0];
    assert_eq!(file["file"], "wrong.bpmn");
    assert_eq!(file["processes"][0]["id"], "regenerate");
    let finding = &file["diagnostics"].as_array().unwrap().iter().find(|d| d["severity"] == "error").unwrap();
    assert_eq!(finding["rule"], "job-type-unknown");
    assert_eq!(finding["file"], "wrong.bpmn");
    let (offset, length) = (finding["offset"].as_u64().unwrap(), finding["length"].as_u64().unwrap());
    let bytes = std::fs::read(dir.path().join("wrong.bpmn")).unwrap();
    let there = &bytes[usize::try_from(offset).unwrap()..][..usize::try_from(length).unwrap()];
    assert!(String::from_utf8_lossy(there).contains("codegem"), "{}", String::from_utf8_lossy(there));
    for field in ["line", "column", "element", "message", "fix", "related"] {
        assert!(!finding[field].is_null(), "{field}");
    }
}

#[test]
fn warnings_end_with_1_only_when_they_are_denied() {
    let dir = tempfile::tempdir().unwrap();
    let incoming = damaged("<bpmn:incoming>", "<bpmn:incoming>x");
    std::fs::write(dir.path().join("w.bpmn"), incoming).unwrap();
    let ran = pipeline(dir.path(), &["check", "w.bpmn"]);
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(ran.out.contains("warning flow-ref-mismatch"), "{}", ran.out);
    assert_eq!(pipeline(dir.path(), &["check", "w.bpmn", "--deny", "warnings"]).code, 1);
}

#[test]
fn what_cannot_be_read_ends_with_74_and_the_rest_is_judged() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("broken.bpmn"), "<a>").unwrap();
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    let ran = pipeline(dir.path(), &["check", "none.bpmn", "broken.bpmn", "empty"]);
    assert_eq!(ran.code, 74);
    assert!(ran.out.contains("broken.bpmn:1:"), "{}", ran.out);
    assert!(
        ran.err.contains("none.bpmn")
            && ran.err.contains("; check the path")
            && ran.err.contains("no .bpmn file below empty"),
        "{}",
        ran.err
    );
    assert_eq!(pipeline(dir.path(), &["check"]).code, 2);
    assert_eq!(pipeline(dir.path(), &["export", "none.bpmn", "--mermaid"]).code, 74);
}

#[test]
fn a_file_is_drawn_as_mermaid_and_counted_as_json() {
    let ran = pipeline(root(), &["export", "pipelines/regenerate.bpmn", "--mermaid"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.starts_with("flowchart LR\n"), "{}", ran.out);
    let ran = pipeline(root(), &["export", "pipelines/regenerate.bpmn", "--json"]);
    let census: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(census["processes"][0]["id"], "regenerate");
    assert_eq!(census["counts"]["process"], 1);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("broken.bpmn"), "<a>").unwrap();
    let ran = pipeline(dir.path(), &["export", "broken.bpmn", "--json"]);
    assert_eq!((ran.code, ran.out.as_str()), (78, ""));
    assert!(ran.err.contains("xml-malformed"), "{}", ran.err);
    assert_eq!(pipeline(dir.path(), &["export", "broken.bpmn"]).code, 2);
}
