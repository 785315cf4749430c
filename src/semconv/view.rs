//! How a resolved registry is written.
//!
//! Duty: [`Registry::v2_view`], [`Registry::template_view`] and the hash. Guarantee: stable: the same registry gives the
//! same bytes. The layouts are those of OpenTelemetry Weaver's `semconv.resolved.v2.json` (what `registry resolve --v2`
//! prints, attributes as indexes into a catalogue) and `semconv.materialized.v2.json` (what templates get, attributes
//! inline). Left to others: YAML (`cli`), templates (`generate`).

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::definition::Common;
use super::registry::{Attribute, AttributeGroup, AttributeUse, Registry, Span};

impl Registry {
    /// The layout `resolved/2.0`: `file_format schema_url attribute_catalog registry refinements`. The catalogue holds
    /// every definition and every refined variant, sorted by key; `registry.attributes` are the indexes of definitions;
    /// a group or span has `{base, requirement_level}` per attribute. `refinements` holds each span itself under its
    /// type, as Weaver does.
    pub fn v2_view(&self) -> Json {
        let catalog = Catalog::of(self);
        let index = |attribute: &Arc<Attribute>| json!(catalog.index(attribute));
        let referred = |one: &AttributeUse| {
            let mut object = Map::new();
            object.insert("base".to_owned(), index(&one.attribute));
            Json::Object(with_level(object, one))
        };
        let attributes: Vec<_> = self.attributes.iter().map(&index).collect();
        let mut view = body(self, "resolved/2.0", json!(attributes), &referred);
        view.insert("attribute_catalog".to_owned(), Json::Array(catalog.entries));
        Json::Object(view)
    }

    /// The layout `materialized/2.0`, which templates get as `ctx`: as [`Registry::v2_view`] without the catalogue; where
    /// that has an index this has the attribute itself (`key type brief stability`, and `note examples deprecated
    /// annotations` where there are any), in groups and spans with its `requirement_level`.
    pub fn template_view(&self) -> Json {
        let inline = |one: &AttributeUse| Json::Object(with_level(attribute(&one.attribute), one));
        let attributes: Vec<_> = self.attributes.iter().map(|one| Json::Object(attribute(one))).collect();
        Json::Object(body(self, "materialized/2.0", json!(attributes), &inline))
    }
}

/// SHA-256 of the view with sorted keys, in hex.
pub(super) fn hash(registry: &Registry) -> String {
    let mut text = String::new();
    canonical(&registry.v2_view(), &mut text);
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// JSON with sorted keys and no blanks, whatever map `serde_json` was built with.
fn canonical(value: &Json, into: &mut String) {
    match value {
        Json::Array(items) => {
            into.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    into.push(',');
                }
                canonical(item, into);
            }
            into.push(']');
        }
        Json::Object(map) => {
            into.push('{');
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            for (i, (key, value)) in entries.into_iter().enumerate() {
                if i > 0 {
                    into.push(',');
                }
                into.push_str(&Json::String(key.clone()).to_string());
                into.push(':');
                canonical(value, into);
            }
            into.push('}');
        }
        other => into.push_str(&other.to_string()),
    }
}

/// All attributes that differ, sorted by key, then by their text.
struct Catalog {
    entries: Vec<Json>,
    /// Index by address: attributes are shared by all their uses, and written once.
    indexes: HashMap<*const Attribute, usize>,
}

impl Catalog {
    fn of(registry: &Registry) -> Self {
        let used = registry.groups.iter().flat_map(|group| &group.attributes);
        let used = used.chain(registry.spans.iter().flat_map(|span| &span.attributes));
        let all = registry.attributes.iter().chain(used.map(|one| &one.attribute));
        let distinct: HashMap<*const Attribute, &Attribute> = all.map(|one| (Arc::as_ptr(one), &**one)).collect();
        let mut entries: BTreeMap<(String, String), (Json, Vec<*const Attribute>)> = BTreeMap::new();
        for (address, one) in distinct {
            let (place, object) = entry(one);
            entries.entry(place).or_insert((object, Vec::new())).1.push(address);
        }
        let mut indexes = HashMap::new();
        for (i, (_, addresses)) in entries.values().enumerate() {
            indexes.extend(addresses.iter().map(|address| (*address, i)));
        }
        let entries = entries.into_values().map(|(object, _)| object).collect();
        Self { entries, indexes }
    }

    fn index(&self, attribute: &Arc<Attribute>) -> usize {
        self.indexes[&Arc::as_ptr(attribute)]
    }
}

fn entry(one: &Attribute) -> ((String, String), Json) {
    let object = Json::Object(attribute(one));
    let mut text = String::new();
    canonical(&object, &mut text);
    ((one.key.clone(), text), object)
}

fn body(
    registry: &Registry,
    file_format: &str,
    attributes: Json,
    used: &dyn Fn(&AttributeUse) -> Json,
) -> Map<String, Json> {
    let spans: Vec<_> = registry.spans.iter().map(|one| span(one, used)).collect();
    let refined: Vec<_> = spans.iter().map(base_refinement).collect();
    let groups: Vec<_> = registry.groups.iter().map(|one| group(one, used)).collect();
    let mut view = Map::new();
    view.insert("file_format".to_owned(), json!(file_format));
    view.insert("schema_url".to_owned(), json!(registry.schema_url));
    let of_registry = json!({
        "attributes": attributes,
        "attribute_groups": groups,
        "spans": spans.into_iter().map(Json::Object).collect::<Vec<_>>(),
        "metrics": [],
        "events": [],
        "entities": [],
    });
    view.insert("registry".to_owned(), of_registry);
    view.insert("refinements".to_owned(), json!({ "spans": refined, "metrics": [], "events": [] }));
    view
}

/// Every signal is its own refinement, under its type.
fn base_refinement(span: &Map<String, Json>) -> Json {
    let mut object = span.clone();
    object.insert("id".to_owned(), span["type"].clone());
    Json::Object(object)
}

fn attribute(one: &Attribute) -> Map<String, Json> {
    let mut object = Map::new();
    object.insert("key".to_owned(), json!(one.key));
    object.insert("type".to_owned(), one.of.to_json());
    if let Some(examples) = &one.examples {
        object.insert("examples".to_owned(), examples.clone());
    }
    let deprecated = one.deprecated.clone();
    let (brief, note, annotations) = (one.brief.clone(), one.note.clone(), one.annotations.clone());
    put_common(&mut object, &Common { brief, note, stability: one.stability, deprecated, annotations });
    object
}

fn with_level(mut object: Map<String, Json>, one: &AttributeUse) -> Map<String, Json> {
    object.insert("requirement_level".to_owned(), one.level.to_json());
    if let Some(relevant) = one.sampling_relevant {
        object.insert("sampling_relevant".to_owned(), json!(relevant));
    }
    object
}

fn group(one: &AttributeGroup, used: &dyn Fn(&AttributeUse) -> Json) -> Json {
    let mut object = Map::new();
    object.insert("id".to_owned(), json!(one.id));
    object.insert("attributes".to_owned(), Json::Array(one.attributes.iter().map(used).collect()));
    put_common(&mut object, &one.common);
    Json::Object(object)
}

fn span(one: &Span, used: &dyn Fn(&AttributeUse) -> Json) -> Map<String, Json> {
    let mut object = Map::new();
    object.insert("type".to_owned(), json!(one.span_type));
    object.insert("kind".to_owned(), json!(one.kind));
    let mut name = Map::new();
    name.insert("note".to_owned(), json!(one.name_note.as_deref().unwrap_or_default()));
    if !one.name_templates.is_empty() {
        name.insert("templates".to_owned(), json!(one.name_templates));
    }
    object.insert("name".to_owned(), Json::Object(name));
    object.insert("attributes".to_owned(), Json::Array(one.attributes.iter().map(used).collect()));
    if let Some(level) = one.level {
        object.insert("requirement_level".to_owned(), json!(level));
    }
    put_common(&mut object, &one.common);
    object
}

fn put_common(object: &mut Map<String, Json>, common: &Common) {
    object.insert("brief".to_owned(), json!(common.brief));
    if !common.note.is_empty() {
        object.insert("note".to_owned(), json!(common.note));
    }
    object.insert("stability".to_owned(), json!(common.stability.as_str()));
    if let Some(deprecated) = &common.deprecated {
        object.insert("deprecated".to_owned(), deprecated.to_json());
    }
    if !common.annotations.is_empty() {
        object.insert("annotations".to_owned(), Json::Object(common.annotations.clone()));
    }
}
