//! Registries as files, with what is wrong in them.

mod check;
mod load;

use std::path::Path;

use super::source::{Text, Texts};
use super::*;

/// A registry of one manifest and `files`.
fn load(files: &[(&str, &str)]) -> Result<Loaded, Vec<Problem>> {
    let text = |(name, text): &(&str, &str)| Text { name: (*name).to_owned(), text: (*text).to_owned() };
    let manifest = text(&("manifest.yaml", "schema_url: https://example.com/schemas/test/1.0.0"));
    registry::from_texts(&Texts { manifest: Some(manifest), definitions: files.iter().map(text).collect() })
}

#[test]
fn shipped_registries_load_without_a_word() {
    for name in builtin::NAMES {
        let loaded = Registry::load(&Source::Builtin(name), None).unwrap();
        assert_eq!(loaded.warnings, [], "{name}");
        assert_eq!(loaded.registry.name(), Some(format!("weavergen.local/schemas/{name}").as_str()));
    }
}

#[test]
fn broken_registries_tell_all_problems_of_all_files_at_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/semconv/broken");
    let mut folders: Vec<_> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 4);
    for folder in folders {
        let got = match Registry::load(&Source::Folder(folder.clone()), None) {
            Ok(loaded) => loaded.warnings.iter().map(|problem| format!("{problem}\n")).collect(),
            Err(error) => format!("{error}\n"),
        };
        let got = got.replace(&root.display().to_string(), "broken");
        let golden = folder.join("expected.txt");
        assert_eq!(got, std::fs::read_to_string(&golden).unwrap(), "{}", folder.display());
    }
}

const REFINED: &str = r#"
file_format: definition/2
attributes:
  - {key: b.key, type: string, brief: B., stability: stable, examples: [x], annotations: {z: 1, a: {y: 2, b: 3}}}
  - {key: a.key, type: {members: [{id: one, value: 1, brief: One.}, {id: two}]}, brief: A., stability: beta}
  - {key: c.key, type: "template[int[]]", brief: C., stability: stable, deprecated: {reason: renamed, renamed_to: b.key}}
attribute_groups:
  - {id: inner, visibility: internal, attributes: [{ref: b.key, brief: Inner., requirement_level: required}]}
  - {id: outer, visibility: public, brief: Outer., stability: stable, attributes: [{ref_group: inner}, {ref: c.key}]}
spans:
  - type: z.span
    kind: client
    name: {templates: ["{b.key}"], note: The key.}
    brief: Z.
    stability: stable
    requirement_level: opt_in
    attributes:
      - {ref: b.key, note: Inline., requirement_level: {opt_in: if asked}, sampling_relevant: true}
      - {ref_group: outer}
      - {ref: a.key, stability: alpha, requirement_level: {conditionally_required: when it is known}}
  - {type: a.span, kind: server, name: {note: free}, brief: A., stability: beta, requirement_level: recommended}
"#;

#[test]
fn inline_refinements_go_before_those_of_groups_and_fall_through_field_by_field() {
    let registry = load(&[("a.yaml", REFINED)]).unwrap().registry;
    let span = &registry.spans[1];
    let keys: Vec<_> = span.attributes.iter().map(|one| one.attribute.key.as_str()).collect();
    assert_eq!((span.span_type.as_str(), keys), ("z.span", vec!["a.key", "b.key", "c.key"]));
    let b = &span.attributes[1];
    assert_eq!((b.attribute.brief.as_str(), b.attribute.note.as_str()), ("Inner.", "Inline."));
    assert_eq!((b.level.clone(), b.sampling_relevant), (RequirementLevel::OptIn(Some("if asked".into())), Some(true)));
    assert_eq!(registry.groups[0].attributes[0].level, RequirementLevel::Required);
    assert_eq!(span.attributes[2].level, RequirementLevel::Recommended(None));
    assert_eq!(registry.groups.len(), 1, "internal groups are not handed out");
}

#[test]
fn the_views_are_those_of_the_resolved_and_the_materialized_layout() {
    let registry = load(&[("a.yaml", REFINED)]).unwrap().registry;
    for (name, view) in [("resolved", registry.v2_view()), ("materialized", registry.template_view())] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/semconv/{name}.json"));
        let want: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(view, want, "{name}:\n{}", serde_json::to_string_pretty(&view).unwrap());
    }
}
