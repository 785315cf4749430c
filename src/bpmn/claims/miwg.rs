//! The 21 reference files of the BPMN Model Interchange Working Group, as real modelers wrote them.
//!
//! Duty: they parse without error, and hold what the committed census says (bpmn.md 2). Guarantee: absent shared data is
//! told, and under CI it fails. Left to others: rules (`lint`).

use std::path::{Path, PathBuf};

use crate::{lint, model};
use serde_json::Value;

/// The folder of the reference files; `None` where the shared data is absent.
#[expect(clippy::disallowed_methods, reason = "where the shared data lies is the environment's to say")]
fn folder(test: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = std::env::var_os("WEAVERGEN_SHARED").map_or_else(|| root.join("../shared"), |at| root.join(at));
    let folder = shared.join("data/bpmn/miwg");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: {test}");
    assert!(std::env::var_os("CI").is_none(), "CI needs the shared data at {}", folder.display());
    None
}

fn files(test: &str) -> Vec<(String, Vec<u8>)> {
    let Some(folder) = folder(test) else { return Vec::new() };
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bpmn"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    assert_eq!(files.len(), 21);
    files
}

#[test]
fn every_reference_file_parses_and_keeps_its_bytes() {
    for (name, bytes) in files("every_reference_file_parses_and_keeps_its_bytes") {
        let definitions = model::parse(&bytes).unwrap_or_else(|errors| panic!("{name}: {}", errors[0]));
        assert_eq!(definitions.source(), bytes, "{name}");
        assert!(definitions.has_diagram, "{name}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a person asks for new expectations by the environment")]
fn every_reference_file_holds_what_its_census_says() {
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/bpmn/census");
    for (name, bytes) in files("every_reference_file_holds_what_its_census_says") {
        let definitions = model::parse(&bytes).unwrap_or_else(|errors| panic!("{name}: {}", errors[0]));
        let census = model::census(&definitions);
        let path = expected.join(format!("{name}.json"));
        if std::env::var_os("WEAVERGEN_BLESS").is_some() {
            std::fs::write(&path, format!("{census}\n")).unwrap();
        }
        let committed: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        if let Some(place) = difference("", &committed, &census) {
            panic!("{name}: census differs at {place}");
        }
    }
}

/// One line a finding: file, place, severity, rule, element.
#[test]
#[expect(clippy::disallowed_methods, reason = "a person asks for new expectations by the environment")]
fn every_reference_file_gets_the_verdict_that_is_committed() {
    let mut verdict = String::new();
    for (name, bytes) in files("every_reference_file_gets_the_verdict_that_is_committed") {
        let definitions = model::parse(&bytes).unwrap_or_else(|errors| panic!("{name}: {}", errors[0]));
        assert!(model::mermaid(&definitions).ends_with('\n'), "{name}");
        for finding in lint::check(&definitions, &lint::Registry::default()) {
            let (at, element) = (finding.at, finding.element.as_deref().unwrap_or_default());
            let line = format!("{name}:{}:{} {} {} [{element}]\n", at.line, at.column, finding.severity, finding.rule);
            verdict.push_str(&line);
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/bpmn/miwg.check");
    if verdict.is_empty() {
        return;
    }
    if std::env::var_os("WEAVERGEN_BLESS").is_some() {
        std::fs::write(&path, &verdict).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    for (committed, found) in committed.lines().zip(verdict.lines()) {
        assert_eq!(committed, found);
    }
    assert_eq!(committed.lines().count(), verdict.lines().count());
}

/// The first path at which two values differ.
fn difference(path: &str, a: &Value, b: &Value) -> Option<String> {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            keys.into_iter().find_map(|key| {
                difference(
                    &format!("{path}/{key}"),
                    a.get(key).unwrap_or(&Value::Null),
                    b.get(key).unwrap_or(&Value::Null),
                )
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b).enumerate();
            pairs.into_iter().find_map(|(at, (a, b))| difference(&format!("{path}/{at}"), a, b))
        }
        _ => (a != b).then(|| format!("{path}: committed {a}, found {b}")),
    }
}
