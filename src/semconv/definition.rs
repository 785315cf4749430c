//! One file of definitions (semconv.md 1.2, 1.4).
//!
//! Duty: a YAML text of `definition/2` to attributes, groups and spans as they were written. Guarantee: strict: unknown
//! keys, wrong types and missing keys are reported with their place, and none keeps the rest from being read; a section
//! that is not built is refused by name. Left to others: what references lead to (`resolve`).

use serde_json::{Map, Value as Json};

use super::problem::{Code, Problems};
use super::value::{self, AttributeType, Deprecated, RequirementLevel, Stability, missing, required_text, sub};
use crate::yaml::{Mark, Node, Section, Value, nearest};

/// Fields that definitions of all kinds have.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Common {
    pub(super) brief: String,
    pub(super) note: String,
    pub(super) stability: Stability,
    pub(super) deprecated: Option<Deprecated>,
    pub(super) annotations: Map<String, Json>,
}

/// An item of `attributes`.
#[derive(Clone, Debug)]
pub(super) struct AttributeDefinition {
    pub(super) key: String,
    pub(super) of: AttributeType,
    pub(super) examples: Option<Json>,
    pub(super) common: Common,
    pub(super) mark: Mark,
}

/// An entry of a list of attributes.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// `ref`
    Use(Box<Use>),
    /// `ref_group`
    Group { id: String, mark: Mark },
}

/// A use of an attribute; what is absent falls through to its definition.
#[derive(Clone, Debug)]
pub(super) struct Use {
    pub(super) key: String,
    pub(super) brief: Option<String>,
    pub(super) note: Option<String>,
    pub(super) examples: Option<Json>,
    pub(super) annotations: Option<Map<String, Json>>,
    pub(super) stability: Option<Stability>,
    pub(super) deprecated: Option<Deprecated>,
    pub(super) level: Option<RequirementLevel>,
    pub(super) sampling_relevant: Option<bool>,
    pub(super) mark: Mark,
}

/// An item of `attribute_groups`.
#[derive(Clone, Debug)]
pub(super) struct GroupDefinition {
    pub(super) id: String,
    /// Of a public group; an internal one has none and is not handed out.
    pub(super) common: Option<Common>,
    pub(super) entries: Vec<Entry>,
    pub(super) mark: Mark,
}

/// An item of `spans`.
#[derive(Clone, Debug)]
pub(super) struct SpanDefinition {
    pub(super) span_type: String,
    pub(super) kind: &'static str,
    pub(super) name_note: Option<String>,
    pub(super) name_templates: Vec<NameTemplate>,
    pub(super) level: Option<&'static str>,
    pub(super) entries: Vec<Entry>,
    pub(super) common: Common,
    pub(super) mark: Mark,
}

/// A span-name template with the keys in its braces.
#[derive(Clone, Debug)]
pub(super) struct NameTemplate {
    pub(super) text: String,
    pub(super) keys: Vec<String>,
    pub(super) mark: Mark,
}

/// What files define, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Definitions {
    pub(super) attributes: Vec<AttributeDefinition>,
    pub(super) groups: Vec<GroupDefinition>,
    pub(super) spans: Vec<SpanDefinition>,
}

/// What is read without them, as the next move.
const LEAVE_OUT: &str = "leave it out, or keep it in a folder of its own: only attributes, groups and spans are read";
/// Sections that are specified and not built, and what to do about each.
const NOT_BUILT: [(&str, &str); 9] = [
    ("metrics", LEAVE_OUT),
    ("events", LEAVE_OUT),
    ("entities", LEAVE_OUT),
    ("span_refinements", "leave it out, or write the refined span under `spans`"),
    ("metric_refinements", LEAVE_OUT),
    ("event_refinements", LEAVE_OUT),
    ("entity_refinements", LEAVE_OUT),
    ("groups", "write what it defines under `attributes`, `attribute_groups` and `spans`"),
    ("imports", "copy the definitions that it names into this folder"),
];
const SPAN_KINDS: [&str; 5] = ["client", "server", "producer", "consumer", "internal"];

/// Reads one file. `None`: nothing of it could be read, so what others refer to may be missing.
pub(super) fn read(root: &Node, problems: &Problems) -> Option<Definitions> {
    let section = Section::root(root, &problems.yaml);
    if !is_built(&section, problems) {
        // Its keys follow another grammar.
        section.entries();
        return None;
    }
    for (key, help) in NOT_BUILT {
        if let Some(node) = section.node(key) {
            not_built(&node.mark, key, help, problems);
        }
    }
    let mut found = Definitions::default();
    for item in section.blocks("attributes").unwrap_or_default() {
        found.attributes.extend(attribute(&item, problems));
    }
    for item in section.blocks("attribute_groups").unwrap_or_default() {
        found.groups.extend(group(&item, problems));
    }
    for item in section.blocks("spans").unwrap_or_default() {
        found.spans.extend(span(&item, problems));
    }
    Some(found)
}

/// Refuses what is specified and not built, with the next move.
pub(super) fn not_built(mark: &Mark, path: &str, help: &str, problems: &Problems) {
    problems.add(Code::NotBuilt, mark, path, "is not supported by weavergen yet", Some(help.to_owned()));
}

/// The file's format, of which only `definition/2` is built.
fn is_built(section: &Section<'_>, problems: &Problems) -> bool {
    let refuse = |mark: &Mark, text: String| {
        let help = Some("write `file_format: definition/2` and its grammar".to_owned());
        problems.add(Code::FileFormat, mark, "file_format", text, help);
        false
    };
    let legacy = section.node("version");
    let Some(node) = section.node("file_format") else {
        let Some(node) = legacy else {
            return refuse(
                section.mark(),
                "absent means definition/1, which weavergen does not support yet".to_owned(),
            );
        };
        return match &node.value {
            Value::Text(version) if version == "2" => {
                let help = Some("write `file_format: definition/2`".to_owned());
                problems.add(Code::LegacyVersion, &node.mark, "version", "is an old spelling", help);
                true
            }
            Value::Text(version) if version == "1" => {
                refuse(&node.mark, "version \"1\" means definition/1, which weavergen does not support yet".to_owned())
            }
            _ => refuse(&node.mark, "want version \"1\" or \"2\", as text".to_owned()),
        };
    };
    if let Some(version) = legacy {
        let text = "stands beside `file_format`";
        problems.add(Code::Value, &version.mark, "version", text, Some("remove it".to_owned()));
    }
    let Value::Text(format) = &node.value else {
        return refuse(&node.mark, format!("expected string, got {}", node.value.type_name()));
    };
    match format.as_str() {
        "definition/2" => true,
        "definition/1" | "resolved/2.0" | "manifest/2.0" => {
            refuse(&node.mark, format!("{format} is not supported by weavergen yet"))
        }
        other => {
            let known = ["definition/1", "definition/2", "resolved/2.0", "manifest/2.0"];
            let near = nearest(other, known).map(|near| format!(" (near \"{near}\")")).unwrap_or_default();
            refuse(&node.mark, format!("unknown format \"{other}\"{near}"))
        }
    }
}

fn attribute(section: &Section<'_>, problems: &Problems) -> Option<AttributeDefinition> {
    let key = required_text(section, "key", problems);
    if !section.is_set("type") {
        missing(section, "type", problems);
    }
    let of = value::attribute_type(section, problems);
    let examples = section.node("examples").map(value::json);
    let common = common(section, problems);
    // A key without a readable type still is a definition: its uses shall not be reported as well.
    let of = of.unwrap_or(AttributeType::Value(value::ValueType::Any));
    Some(AttributeDefinition { key: key?, of, examples, common, mark: place(section, "key") })
}

fn group(section: &Section<'_>, problems: &Problems) -> Option<GroupDefinition> {
    let id = required_text(section, "id", problems);
    if !section.is_set("visibility") {
        missing(section, "visibility", problems);
    }
    let is_public = section.choice("visibility", &[("public", true), ("internal", false)]).unwrap_or_default();
    if !section.has("attributes") {
        missing(section, "attributes", problems);
    }
    let entries = entries(section, false, problems);
    let common = is_public.then(|| common(section, problems));
    Some(GroupDefinition { id: id?, common, entries, mark: place(section, "id") })
}

fn span(section: &Section<'_>, problems: &Problems) -> Option<SpanDefinition> {
    let span_type = required_text(section, "type", problems);
    if !section.is_set("kind") {
        missing(section, "kind", problems);
    }
    let kind = section.choice("kind", &SPAN_KINDS.map(|kind| (kind, kind))).unwrap_or("internal");
    let (name_note, name_templates) = name(section, problems);
    let level = section.choice("requirement_level", &["recommended", "opt_in"].map(|word| (word, word)));
    if section.is_given() && !section.is_set("requirement_level") {
        let help = Some("write `requirement_level: recommended`, which it is taken for, or opt_in".to_owned());
        let text = "has no `requirement_level`";
        problems.add(Code::NoRequirementLevel, section.mark(), section.path(), text, help);
    }
    if section.has_items("entity_associations") {
        let (mark, path) = (place(section, "entity_associations"), sub(section, "entity_associations"));
        not_built(&mark, &path, "leave it out: spans are matched and checked without it", problems);
    }
    let entries = entries(section, true, problems);
    let common = common(section, problems);
    let mark = place(section, "type");
    Some(SpanDefinition { span_type: span_type?, kind, name_note, name_templates, level, entries, common, mark })
}

fn name(section: &Section<'_>, problems: &Problems) -> (Option<String>, Vec<NameTemplate>) {
    if !section.is_set("name") {
        missing(section, "name", problems);
        // Known, so that it is not reported as unknown where it is null.
        return (None, Vec::new());
    }
    let block = section.block("name");
    let note = block.text("note");
    let mut templates = Vec::new();
    for (text, mark) in block.located_texts("templates").unwrap_or_default() {
        match placeholders(&text) {
            Ok(keys) => templates.push(NameTemplate { text, keys, mark }),
            Err(why) => {
                let text = format!("the template \"{text}\" {why}");
                problems.add(Code::NameTemplate, &mark, &sub(&block, "templates"), text, None);
            }
        }
    }
    if block.is_given() && !block.is_set("note") && !block.has_items("templates") {
        missing(&block, "note", problems);
    }
    (note, templates)
}

/// The keys in the braces of a span-name template.
fn placeholders(template: &str) -> Result<Vec<String>, &'static str> {
    let mut keys = Vec::new();
    let mut open: Option<usize> = None;
    for (at, c) in template.char_indices() {
        match (c, open) {
            ('{', None) => open = Some(at + 1),
            ('{', Some(_)) => return Err("has a brace inside braces"),
            ('}', None) => return Err("closes a brace that is not open"),
            ('}', Some(from)) if template[from..at].trim().is_empty() => return Err("has empty braces"),
            ('}', Some(from)) => {
                keys.push(template[from..at].to_owned());
                open = None;
            }
            _ => {}
        }
    }
    match open {
        Some(_) => Err("leaves a brace open"),
        None => Ok(keys),
    }
}

fn entries(section: &Section<'_>, on_span: bool, problems: &Problems) -> Vec<Entry> {
    let items = section.blocks("attributes").unwrap_or_default();
    items.iter().filter_map(|item| entry(item, on_span, problems)).collect()
}

fn entry(section: &Section<'_>, on_span: bool, problems: &Problems) -> Option<Entry> {
    if section.has("ref_group") {
        let id = required_text(section, "ref_group", problems)?;
        return Some(Entry::Group { id, mark: place(section, "ref_group") });
    }
    if !section.has("ref") {
        if section.is_given() {
            let text = "has neither `ref` nor `ref_group`";
            let help = section.has("key").then(|| "definitions stand in the section `attributes` only".to_owned());
            problems.add(Code::Missing, section.mark(), section.path(), text, help);
        }
        // What else it holds was meant for another shape.
        section.entries();
        return None;
    }
    let key = required_text(section, "ref", problems);
    let used = Use {
        key: String::new(),
        brief: section.text("brief"),
        note: section.text("note"),
        examples: section.node("examples").map(value::json),
        annotations: value::annotations(section, problems),
        stability: value::stability(section, problems),
        deprecated: value::deprecated(section, problems),
        level: value::requirement_level(section, problems),
        sampling_relevant: if on_span { section.boolean("sampling_relevant") } else { None },
        mark: place(section, "ref"),
    };
    Some(Entry::Use(Box::new(Use { key: key?, ..used })))
}

fn common(section: &Section<'_>, problems: &Problems) -> Common {
    for key in ["brief", "stability"] {
        if !section.is_set(key) {
            missing(section, key, problems);
        }
    }
    Common {
        brief: section.text("brief").unwrap_or_default(),
        note: section.text("note").unwrap_or_default(),
        stability: value::stability(section, problems).unwrap_or(Stability::Development),
        deprecated: value::deprecated(section, problems),
        annotations: value::annotations(section, problems).unwrap_or_default(),
    }
}

/// Where the value of `key` stands, else the mapping.
fn place(section: &Section<'_>, key: &'static str) -> Mark {
    section.node(key).map_or_else(|| section.mark().clone(), |node| node.mark.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_of_a_name_template_are_balanced_flat_and_not_empty() {
        assert_eq!(placeholders("{http.request.method} {http.route}").unwrap(), ["http.request.method", "http.route"]);
        assert_eq!(placeholders("plain").unwrap(), Vec::<String>::new());
        for (template, why) in [
            ("{a", "leaves a brace open"),
            ("a}", "closes a brace that is not open"),
            ("{a{b}}", "has a brace inside braces"),
            ("{ }", "has empty braces"),
        ] {
            assert_eq!(placeholders(template).unwrap_err(), why, "{template}");
        }
    }
}
