//! A resolved registry.
//!
//! Duty: what references led to: attributes, public groups and spans with their attributes inline; loading one from a
//! [`Source`]. Guarantee: attributes are sorted by key, groups by id, spans by type, so equal registries are equal
//! whatever the order of their files (S1). Left to others: how it is written (`view`) and checked (`tables`).

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::definition::{self, Common, Definitions};
use super::problem::{Code, Error, Problem, Problems, of_yaml};
use super::source::{Source, Text, Texts};
use super::value::{AttributeType, Deprecated, Member, RequirementLevel, Stability};
use super::{resolve, view};
use crate::yaml::{self, Mark, Section};

/// An attribute, defined or refined by a use.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Its key.
    pub key: String,
    /// Its type.
    pub of: AttributeType,
    /// One line.
    pub brief: String,
    /// More; may be empty.
    pub note: String,
    /// Values as they may be sent.
    pub examples: Option<Json>,
    /// How settled it is.
    pub stability: Stability,
    /// Whether, and why, it should no longer be used.
    pub deprecated: Option<Deprecated>,
    /// Free additions, sorted by key.
    pub annotations: Map<String, Json>,
    /// Where it is defined.
    pub mark: Mark,
    /// About the bytes it holds.
    pub(super) weight: usize,
}

impl Attribute {
    /// Puts down what it holds, when it was made or changed.
    pub(super) fn weigh(&mut self) {
        let texts = self.key.len() + self.brief.len() + self.note.len();
        let values: usize = self.examples.iter().chain(self.annotations.values()).map(weight).sum();
        let members = match &self.of {
            AttributeType::Enum(members) => members.iter().map(|member| 256 + weight_of_member(member)).sum(),
            AttributeType::Value(_) | AttributeType::Template(_) => 0,
        };
        self.weight = 256 + texts + values + members;
    }
}

fn weight_of_member(member: &Member) -> usize {
    let texts = [&member.brief, &member.note].into_iter().flatten().map(String::len).sum::<usize>();
    member.id.len() + texts + member.annotations.values().map(weight).sum::<usize>()
}

fn weight(value: &Json) -> usize {
    64 + match value {
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(weight).sum(),
        Json::Object(map) => map.iter().map(|(key, value)| key.len() + weight(value)).sum(),
        _ => 0,
    }
}

/// An attribute in a group or span.
#[derive(Clone, Debug, PartialEq)]
pub struct AttributeUse {
    /// The attribute with the refinements of the use.
    pub attribute: Arc<Attribute>,
    /// How much it is wanted here.
    pub level: RequirementLevel,
    /// Whether it should be there when a span starts; as written.
    pub sampling_relevant: Option<bool>,
}

/// A public attribute group.
#[derive(Clone, Debug, PartialEq)]
pub struct AttributeGroup {
    /// Its id.
    pub id: String,
    /// Its attributes, sorted by key.
    pub attributes: Vec<AttributeUse>,
    pub(super) common: Common,
}

/// The definition of a span type.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The type, as written.
    pub span_type: String,
    /// `client`, `server`, `producer`, `consumer` or `internal`.
    pub kind: &'static str,
    /// How the name is made, in words.
    pub name_note: Option<String>,
    /// How the name is made, as text with `{attribute.key}`; the first that applies.
    pub name_templates: Vec<String>,
    /// `recommended` or `opt_in`, where written.
    pub level: Option<&'static str>,
    /// Its attributes, sorted by key.
    pub attributes: Vec<AttributeUse>,
    pub(super) common: Common,
}

impl Span {
    /// Whether, and why, it should no longer be used.
    pub fn deprecated(&self) -> Option<&Deprecated> {
        self.common.deprecated.as_ref()
    }

    /// How settled it is.
    pub fn stability(&self) -> Stability {
        self.common.stability
    }
}

/// A resolved registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Registry {
    /// `http[s]://host/path/<version>`; empty without a manifest.
    pub schema_url: String,
    /// All definitions, sorted by key.
    pub attributes: Vec<Arc<Attribute>>,
    /// Public groups, sorted by id.
    pub groups: Vec<AttributeGroup>,
    /// Sorted by type.
    pub spans: Vec<Span>,
    hash: String,
}

/// A registry and what is worth telling about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The registry.
    pub registry: Registry,
    /// Warnings, in file order.
    pub warnings: Vec<Problem>,
}

impl Registry {
    /// Reads and resolves the registry `source`; files of `engine_dir` replace shipped ones of the same path.
    ///
    /// Errors: see [`Error`]; all problems of all files at once.
    pub fn load(source: &Source, engine_dir: Option<&Path>) -> Result<Loaded, Error> {
        let texts = source.texts(engine_dir)?;
        from_texts(&texts).map_err(|problems| Error::Invalid { registry: source.to_string(), problems })
    }

    /// SHA-256 of the canonical resolved registry, in hex.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The schema URL without scheme and version, by which spans name the registry.
    pub fn name(&self) -> Option<&str> {
        name_of_url(&self.schema_url)
    }
}

/// `https://host/path/1.0` → `host/path`.
pub(super) fn name_of_url(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let (name, version) = rest.rsplit_once('/')?;
    (!name.is_empty() && !version.is_empty()).then_some(name)
}

/// Reads texts as files of a registry; the path order of the texts is that of their list.
pub(super) fn from_texts(texts: &Texts) -> Result<Loaded, Vec<Problem>> {
    let problems = Problems::default();
    let mut order = 0;
    let schema_url = match &texts.manifest {
        Some(text) => manifest(text, order, &problems),
        None => {
            let first = texts.definitions.first().map_or("", |text| text.name.as_str());
            let help = Some("write `manifest.yaml` with `schema_url: https://<host>/<path>/<version>`".to_owned());
            let mark = Mark::of_source(order, first);
            problems.add(Code::NoManifest, &mark, "", "the registry has no manifest, so no schema URL", help);
            None
        }
    };
    let mut definitions = Definitions::default();
    let mut complete = true;
    for text in &texts.definitions {
        order += 1;
        let mark = Mark::of_source(order, text.name.as_str());
        let found = parse(text, &mark, &problems).and_then(|root| definition::read(&root, &problems));
        match found {
            Some(found) => {
                definitions.attributes.extend(found.attributes);
                definitions.groups.extend(found.groups);
                definitions.spans.extend(found.spans);
            }
            None => complete = false,
        }
    }
    let resolved = resolve::resolve(&definitions, complete, &problems);
    let found = problems.into_sorted();
    if found.iter().any(|problem| problem.code.is_error()) {
        return Err(found);
    }
    let resolve::Resolved { attributes, groups, spans } = resolved;
    let schema_url = schema_url.unwrap_or_default();
    let mut registry = Registry { schema_url, attributes, groups, spans, hash: String::new() };
    registry.hash = view::hash(&registry);
    Ok(Loaded { registry, warnings: found })
}

fn parse(text: &Text, mark: &Mark, problems: &Problems) -> Option<yaml::Node> {
    match yaml::parse(&text.text, mark) {
        Ok(root) => Some(root),
        Err(problem) => {
            let problem = of_yaml(problem);
            problems.add(problem.code, &problem.mark, &problem.path, problem.text, problem.help);
            None
        }
    }
}

/// The schema URL in a manifest.
fn manifest(text: &Text, order: u32, problems: &Problems) -> Option<String> {
    let root = parse(text, &Mark::of_source(order, text.name.as_str()), problems)?;
    let section = Section::root(&root, &problems.yaml);
    section.text("description");
    super::value::stability(&section, problems);
    let of_url = "leave it out: `schema_url` says host, name and version";
    for (key, help) in [
        ("dependencies", "copy the files of the registry that it names into this folder"),
        ("name", of_url),
        ("semconv_version", of_url),
        ("schema_base_url", of_url),
        ("file_format", "leave it out: a manifest is read without one"),
    ] {
        if let Some(node) = section.node(key) {
            definition::not_built(&node.mark, key, help, problems);
        }
    }
    let Some(node) = section.node("schema_url") else {
        problems.add(Code::Manifest, section.mark(), "", "has no `schema_url`", None);
        return None;
    };
    let url = section.text("schema_url")?;
    if name_of_url(&url).is_none() {
        let help = Some("want http[s]://<host>/<path>/<version>".to_owned());
        problems.add(Code::Manifest, &node.mark, "schema_url", format!("\"{url}\" is no schema URL"), help);
    }
    Some(url)
}
