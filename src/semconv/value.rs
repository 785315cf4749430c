//! Values that several definitions share (semconv.md 1.5).
//!
//! Duty: types, requirement levels, stability, deprecation: what they are, how they are read and how a resolved registry
//! writes them. Guarantee: a value that is not allowed is reported with its place. Left to others: which key may hold
//! which value (`definition`).

use serde_json::{Map, Value as Json, json};

use super::problem::{Code, Problems};
use crate::yaml::{Node, Section, Value, nearest};

/// A simple or array type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of the registry")]
pub enum ValueType {
    String,
    Int,
    Double,
    Boolean,
    Any,
    Strings,
    Ints,
    Doubles,
    Booleans,
}

const VALUE_TYPES: [(&str, ValueType); 9] = [
    ("string", ValueType::String),
    ("int", ValueType::Int),
    ("double", ValueType::Double),
    ("boolean", ValueType::Boolean),
    ("any", ValueType::Any),
    ("string[]", ValueType::Strings),
    ("int[]", ValueType::Ints),
    ("double[]", ValueType::Doubles),
    ("boolean[]", ValueType::Booleans),
];

impl ValueType {
    /// As the registry spells it.
    pub fn as_str(self) -> &'static str {
        VALUE_TYPES.iter().find(|(_, of)| *of == self).map_or("any", |(word, _)| word)
    }
}

/// The type of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeType {
    /// One value, or an array.
    Value(ValueType),
    /// `template[T]`: every key below this one has a value of the type.
    Template(ValueType),
    /// One of a few values; others may be sent as well.
    Enum(Vec<Member>),
}

/// A value of an enum.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Name of the member.
    pub id: String,
    /// What is sent: text, a number or a truth value.
    pub value: Json,
    /// One line.
    pub brief: Option<String>,
    /// More.
    pub note: Option<String>,
    /// How settled it is.
    pub stability: Option<Stability>,
    /// Whether, and why, it should no longer be used.
    pub deprecated: Option<Deprecated>,
    /// Free additions.
    pub annotations: Map<String, Json>,
}

/// How settled a definition is, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are those of the registry")]
pub enum Stability {
    Deprecated,
    Development,
    Alpha,
    Beta,
    ReleaseCandidate,
    Stable,
}

impl Stability {
    /// As the registry spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deprecated => "deprecated",
            Self::Development => "development",
            Self::Alpha => "alpha",
            Self::Beta => "beta",
            Self::ReleaseCandidate => "release_candidate",
            Self::Stable => "stable",
        }
    }
}

/// Why a definition should no longer be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deprecated {
    /// `renamed`, `obsoleted`, `uncategorized` or `unspecified`.
    pub reason: &'static str,
    /// The new name, of `renamed` only.
    pub renamed_to: Option<String>,
    /// In words.
    pub note: String,
}

/// How much a signal wants an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequirementLevel {
    /// Always there.
    Required,
    /// There under a condition, in words.
    ConditionallyRequired(String),
    /// There if it can be; with a remark, where one was written.
    Recommended(Option<String>),
    /// There on request; with a remark, where one was written.
    OptIn(Option<String>),
}

impl RequirementLevel {
    /// As a resolved registry writes it.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Required => json!("required"),
            Self::ConditionallyRequired(text) => json!({ "conditionally_required": text }),
            Self::Recommended(None) => json!("recommended"),
            Self::Recommended(Some(text)) => json!({ "recommended": text }),
            Self::OptIn(None) => json!("opt_in"),
            Self::OptIn(Some(text)) => json!({ "opt_in": text }),
        }
    }
}

impl Deprecated {
    /// As a resolved registry writes it.
    pub fn to_json(&self) -> Json {
        let mut object = Map::new();
        object.insert("reason".to_owned(), json!(self.reason));
        if let Some(to) = &self.renamed_to {
            object.insert("renamed_to".to_owned(), json!(to));
        }
        object.insert("note".to_owned(), json!(self.note));
        Json::Object(object)
    }
}

impl AttributeType {
    /// As a resolved registry writes it.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Value(of) => json!(of.as_str()),
            Self::Template(of) => json!(format!("template[{}]", of.as_str())),
            Self::Enum(members) => json!({ "members": members.iter().map(Member::to_json).collect::<Vec<_>>() }),
        }
    }
}

impl Member {
    fn to_json(&self) -> Json {
        let mut object = Map::new();
        object.insert("id".to_owned(), json!(self.id));
        object.insert("value".to_owned(), self.value.clone());
        let mut put = |key: &str, value: Option<Json>| {
            if let Some(value) = value {
                object.insert(key.to_owned(), value);
            }
        };
        put("brief", self.brief.as_ref().map(|text| json!(text)));
        put("note", self.note.as_ref().map(|text| json!(text)));
        put("stability", self.stability.map(|of| json!(of.as_str())));
        put("deprecated", self.deprecated.as_ref().map(Deprecated::to_json));
        put("annotations", (!self.annotations.is_empty()).then(|| Json::Object(self.annotations.clone())));
        Json::Object(object)
    }
}

/// `type` of an attribute.
pub(super) fn attribute_type(section: &Section<'_>, problems: &Problems) -> Option<AttributeType> {
    let node = section.node("type")?;
    if node.as_map().is_some() {
        let block = section.block("type");
        let members = block.blocks("members").unwrap_or_default();
        if !block.has("members") {
            let help = Some("write `type: {members: [{id: …}]}` or one word such as `string`".to_owned());
            problems.add(Code::Missing, &node.mark, block.path(), "has no `members`", help);
        }
        return Some(AttributeType::Enum(members.iter().filter_map(|item| member(item, problems)).collect()));
    }
    let text = section.text("type")?;
    let template = text.strip_prefix("template[").and_then(|rest| rest.strip_suffix(']'));
    let word = template.unwrap_or(&text);
    let Some((_, of)) = VALUE_TYPES.iter().find(|(known, _)| *known == word) else {
        let words = VALUE_TYPES.iter().map(|(known, _)| *known);
        let help = nearest(word, words.clone()).map(|near| format!("did you mean \"{}\"?", text.replace(word, near)));
        let list = words.collect::<Vec<_>>().join(", ");
        let says = format!("unknown type \"{text}\": one of {list}, template[T] of these, or a map with `members`");
        problems.add(Code::Value, &node.mark, &sub(section, "type"), says, help);
        return None;
    };
    Some(if template.is_some() { AttributeType::Template(*of) } else { AttributeType::Value(*of) })
}

fn member(section: &Section<'_>, problems: &Problems) -> Option<Member> {
    let id = required_text(section, "id", problems);
    let value = match section.node("value") {
        None => id.clone().map(Json::String),
        Some(node) => match &node.value {
            Value::Text(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_) => Some(json(node)),
            other => {
                let text = format!("expected string, int, double or boolean, got {}", other.type_name());
                problems.add(Code::WrongType, &node.mark, &sub(section, "value"), text, None);
                None
            }
        },
    };
    let (brief, note) = (section.text("brief"), section.text("note"));
    let (stability, deprecated) = (stability(section, problems), deprecated(section, problems));
    let annotations = annotations(section, problems).unwrap_or_default();
    Some(Member { id: id?, value: value?, brief, note, stability, deprecated, annotations })
}

/// `stability`
pub(super) fn stability(section: &Section<'_>, problems: &Problems) -> Option<Stability> {
    let words = [
        ("stable", Stability::Stable),
        ("release_candidate", Stability::ReleaseCandidate),
        ("beta", Stability::Beta),
        ("alpha", Stability::Alpha),
        ("development", Stability::Development),
        ("experimental", Stability::Development),
        ("deprecated", Stability::Deprecated),
    ];
    let found = section.choice("stability", &words);
    if let (Some(Stability::Deprecated), Some(node)) = (found, section.node("stability")) {
        let help = Some("write the stability it had, and `deprecated: {reason: …}`".to_owned());
        let path = sub(section, "stability");
        problems.add(Code::StabilityDeprecated, &node.mark, &path, "`deprecated` is no stability", help);
    }
    found
}

/// `deprecated`
pub(super) fn deprecated(section: &Section<'_>, problems: &Problems) -> Option<Deprecated> {
    let node = section.node("deprecated")?;
    let path = sub(section, "deprecated");
    if let Value::Text(note) = &node.value {
        let help = Some("write `{reason: renamed, renamed_to: …}` or `{reason: obsoleted, note: …}`".to_owned());
        problems.add(Code::PlainDeprecation, &node.mark, &path, "is plain text", help);
        return Some(Deprecated { reason: "unspecified", renamed_to: None, note: note.clone() });
    }
    let block = section.block("deprecated");
    let words = ["renamed", "obsoleted", "uncategorized"].map(|word| (word, word));
    if block.is_given() && !block.is_set("reason") {
        problems.add(Code::Missing, &node.mark, &path, "has no `reason`: renamed, obsoleted or uncategorized", None);
    }
    let reason = block.choice("reason", &words);
    let note = block.text("note");
    let renamed_to = block.text("renamed_to");
    match (reason?, &renamed_to) {
        ("renamed", None) => {
            problems.add(Code::Missing, &node.mark, &path, "is renamed and has no `renamed_to`", None);
            None
        }
        ("renamed", Some(to)) => {
            let note = note.unwrap_or_else(|| format!("Replaced by `{to}`."));
            Some(Deprecated { reason: "renamed", renamed_to, note })
        }
        (other, Some(_)) => {
            let text = format!("is {other} and has `renamed_to`, which only renamed takes");
            problems.add(Code::Value, &node.mark, &path, text, None);
            None
        }
        (other, None) => Some(Deprecated { reason: other, renamed_to: None, note: note.unwrap_or_default() }),
    }
}

/// `requirement_level` of a use.
pub(super) fn requirement_level(section: &Section<'_>, problems: &Problems) -> Option<RequirementLevel> {
    let node = section.node("requirement_level")?;
    if node.as_map().is_none() {
        let words = ["required", "recommended", "opt_in", "conditionally_required"].map(|word| (word, word));
        return match section.choice("requirement_level", &words)? {
            "required" => Some(RequirementLevel::Required),
            "recommended" => Some(RequirementLevel::Recommended(None)),
            "opt_in" => Some(RequirementLevel::OptIn(None)),
            _ => {
                let help = Some("write `conditionally_required: <the condition>`".to_owned());
                let path = sub(section, "requirement_level");
                problems.add(Code::Missing, &node.mark, &path, "conditionally_required has no condition", help);
                None
            }
        };
    }
    let block = section.block("requirement_level");
    let conditional = block.text("conditionally_required").map(RequirementLevel::ConditionallyRequired);
    let recommended = block.text("recommended").map(|text| RequirementLevel::Recommended(Some(text)));
    let opt_in = block.text("opt_in").map(|text| RequirementLevel::OptIn(Some(text)));
    let mut given: Vec<_> = [conditional, recommended, opt_in].into_iter().flatten().collect();
    if given.len() != 1 {
        let text = "want one of conditionally_required, recommended, opt_in with a text";
        problems.add(Code::Value, &node.mark, block.path(), text, None);
        return None;
    }
    given.pop()
}

/// `annotations`, keys sorted.
pub(super) fn annotations(section: &Section<'_>, problems: &Problems) -> Option<Map<String, Json>> {
    let node = section.node("annotations")?;
    match json(node) {
        Json::Object(map) => Some(map),
        _ => {
            let text = format!("expected map, got {}", node.value.type_name());
            problems.add(Code::WrongType, &node.mark, &sub(section, "annotations"), text, None);
            None
        }
    }
}

/// The text at `key`; its absence is reported, and so is an empty one.
pub(super) fn required_text(section: &Section<'_>, key: &'static str, problems: &Problems) -> Option<String> {
    if !section.is_set(key) {
        missing(section, key, problems);
    }
    let text = section.text(key)?;
    if text.is_empty() {
        problems.add(Code::Value, section.mark(), &sub(section, key), "is empty", None);
        return None;
    }
    Some(text)
}

/// Reports that `key` must be there, unless the mapping itself is none and was reported.
pub(super) fn missing(section: &Section<'_>, key: &'static str, problems: &Problems) {
    if section.is_given() {
        problems.add(Code::Missing, section.mark(), section.path(), format!("has no `{key}`"), None);
    }
}

/// Path of `key` in `section`.
pub(super) fn sub(section: &Section<'_>, key: &str) -> String {
    if section.path().is_empty() { key.to_owned() } else { format!("{}::{key}", section.path()) }
}

/// A value as JSON, the keys of maps sorted; a number that JSON has not is text.
pub(super) fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null | Value::Reported => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Float(value) => {
            serde_json::Number::from_f64(*value).map_or_else(|| json!(value.to_string()), Json::Number)
        }
        Value::Text(text) => json!(text),
        Value::List(items) => Json::Array(items.iter().map(json).collect()),
        Value::Map(map) => {
            let mut entries: Vec<_> = map.entries().iter().collect();
            entries.sort_by(|a, b| a.key.cmp(&b.key));
            Json::Object(entries.into_iter().map(|entry| (entry.key.clone(), json(&entry.value))).collect())
        }
    }
}
