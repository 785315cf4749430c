//! Registries compiled for checking (semconv.md 2).
//!
//! Duty: dense ids of attributes, what a key counts as, the sets of a span type, the span type that a span states.
//! Guarantee: immutable and shared by reference; ids are in key order. Where two registries define a key or type, the
//! first one's counts. Left to others: the check itself (`check`), loading and swapping (`live`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::registry::{Attribute, AttributeUse, Registry, name_of_url};
use super::value::{AttributeType, Deprecated, RequirementLevel, Stability, ValueType};
use crate::span::pinned::ScalarType;

/// Dense id of an attribute.
pub type AttributeId = u32;
/// Place of a span type in [`Tables::spans`].
pub type SpanTypeId = u32;

/// Hex digits of the hash in `semconv_registry`.
const HASH_DIGITS: usize = 12;

/// Registries compiled for checking.
#[derive(Debug)]
pub struct Tables {
    attributes: Vec<Arc<Attribute>>,
    ids: HashMap<String, AttributeId>,
    /// Lengths in bytes of `template[T]` keys, shortest first; `ids` has the keys.
    template_lengths: Vec<usize>,
    namespaces: HashSet<String>,
    spans: Vec<SpanTable>,
    /// Per registry its name and its span types in lower case, in the order in which registries are asked.
    types: Vec<(Option<String>, HashMap<String, SpanTypeId>)>,
    label: String,
    hash: String,
}

/// A span type compiled.
#[derive(Debug)]
pub struct SpanTable {
    /// As written in the registry.
    pub span_type: String,
    /// `client`, `server`, `producer`, `consumer` or `internal`.
    pub kind: &'static str,
    /// Templates of the name, the first that applies.
    pub name_templates: Vec<String>,
    /// Whether, and why, it should no longer be used.
    pub deprecated: Option<Deprecated>,
    /// How settled it is.
    pub stability: Stability,
    /// Attributes that are always there.
    pub required: AttributeSet,
    /// Attributes that are there if they can be.
    pub recommended: AttributeSet,
    /// Attributes that are there under a condition.
    pub conditionally_required: AttributeSet,
    /// Attributes that are there on request.
    pub opt_in: AttributeSet,
    /// All of these.
    pub all: AttributeSet,
    /// Each with its refinements.
    pub attributes: Vec<AttributeUse>,
}

/// A set of attributes: 64 ids a word, words without any left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttributeSet {
    words: Vec<(u32, u64)>,
    len: u16,
}

impl AttributeSet {
    fn of(mut ids: Vec<AttributeId>) -> Self {
        ids.sort_unstable();
        ids.dedup();
        let mut words: Vec<(u32, u64)> = Vec::new();
        for id in &ids {
            let (word, bit) = (id / 64, 1_u64 << (id % 64));
            match words.last_mut() {
                Some((last, bits)) if *last == word => *bits |= bit,
                _ => words.push((word, bit)),
            }
        }
        Self { words, len: u16::try_from(ids.len()).unwrap_or(u16::MAX) }
    }

    /// Number of attributes.
    pub fn len(&self) -> u16 {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Place of a word and its bits, lowest first.
    pub fn words(&self) -> &[(u32, u64)] {
        &self.words
    }

    /// Whether `id` is among them.
    pub fn contains(&self, id: AttributeId) -> bool {
        let at = self.words.binary_search_by_key(&(id / 64), |(word, _)| *word);
        at.is_ok_and(|at| self.words[at].1 >> (id % 64) & 1 == 1)
    }
}

/// Which registries a span's schema URL lets be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// All of them, in order.
    All,
    /// The one that the URL names.
    Only(usize),
}

impl Tables {
    /// Compiles `main` with `beside`, of which only what `main` does not define counts.
    pub fn compile(main: &Registry, beside: &[&Registry]) -> Self {
        let registries: Vec<&Registry> = std::iter::once(main).chain(beside.iter().copied()).collect();
        let mut merged: BTreeMap<&str, &Arc<Attribute>> = BTreeMap::new();
        for attribute in registries.iter().flat_map(|registry| &registry.attributes) {
            merged.entry(&attribute.key).or_insert(attribute);
        }
        let attributes: Vec<Arc<Attribute>> = merged.into_values().cloned().collect();
        let ids: HashMap<String, AttributeId> = attributes.iter().map(|one| one.key.clone()).zip(0..).collect();
        let is_template = |one: &&Arc<Attribute>| matches!(one.of, AttributeType::Template(_));
        let mut template_lengths: Vec<usize> = attributes.iter().filter(is_template).map(|one| one.key.len()).collect();
        template_lengths.sort_unstable();
        template_lengths.dedup();
        let plain = attributes.iter().filter(|one| !is_template(one));
        let namespaces = plain.flat_map(|one| prefixes(&one.key)).map(str::to_owned).collect();
        let mut spans: Vec<SpanTable> = Vec::new();
        let mut types: Vec<(Option<String>, HashMap<String, SpanTypeId>)> = Vec::new();
        for registry in &registries {
            let mut own = HashMap::new();
            for span in &registry.spans {
                let folded = span.span_type.to_lowercase();
                let known = types.iter().find_map(|(_, before)| before.get(&folded).copied());
                let id = known.unwrap_or_else(|| {
                    spans.push(SpanTable::of(span, &ids));
                    SpanTypeId::try_from(spans.len() - 1).expect("a registry has at most 10,000 span types")
                });
                own.insert(folded, id);
            }
            types.push((registry.name().map(str::to_owned), own));
        }
        let label = format!("{}#{}", main.schema_url, &main.hash()[..HASH_DIGITS]);
        let hash = main.hash().to_owned();
        Self { attributes, ids, template_lengths, namespaces, spans, types, label, hash }
    }

    /// All attributes; an id is a place among them.
    pub fn attributes(&self) -> &[Arc<Attribute>] {
        &self.attributes
    }

    /// All span types.
    pub fn spans(&self) -> &[SpanTable] {
        &self.spans
    }

    /// The value of `semconv_registry`: `<schema url>#<first 12 hex digits of the hash>`.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Hash of the main registry, in hex.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Whether attributes lie below `prefix`, at a dot.
    pub fn is_namespace(&self, prefix: &str) -> bool {
        self.namespaces.contains(prefix)
    }

    /// Adds to `into` what a span with the key `key` has: the attribute of the key, and every template whose key it
    /// begins with (semconv.md 4: any key with the prefix makes a template present).
    pub fn present(&self, key: &str, into: &mut Vec<AttributeId>) {
        into.extend(self.ids.get(key));
        for len in self.template_lengths.iter().take_while(|len| **len < key.len()) {
            let Some(id) = key.get(..*len).and_then(|prefix| self.ids.get(prefix)) else { continue };
            if matches!(self.attributes[*id as usize].of, AttributeType::Template(_)) {
                into.push(*id);
            }
        }
    }

    /// The template by which `key` has a meaning: the one with the longest prefix.
    pub fn template_of(&self, key: &str) -> Option<AttributeId> {
        let mut found = Vec::new();
        self.present(key, &mut found);
        let is_template = |id: &AttributeId| matches!(self.attributes[*id as usize].of, AttributeType::Template(_));
        found.into_iter().filter(is_template).max_by_key(|id| self.attributes[*id as usize].key.len())
    }

    /// Whom to ask about a span under the schema URL `url`.
    pub fn asked(&self, url: &str) -> Asked {
        let named =
            name_of_url(url).and_then(|name| self.types.iter().position(|(own, _)| own.as_deref() == Some(name)));
        named.map_or(Asked::All, Asked::Only)
    }

    /// Number of registries.
    pub fn registries(&self) -> usize {
        self.types.len()
    }

    /// The span type that is spelled `text`, in any case.
    pub fn span_type(&self, text: &str, asked: Asked) -> Option<SpanTypeId> {
        let folded = text.to_lowercase();
        match asked {
            Asked::All => self.types.iter().find_map(|(_, own)| own.get(&folded).copied()),
            Asked::Only(at) => self.types.get(at)?.1.get(&folded).copied(),
        }
    }

    /// Types of keys for flat columns and SQL; keys of arrays, templates and mixed enums have none.
    pub fn scalar_types(&self) -> BTreeMap<String, ScalarType> {
        let typed = |one: &Arc<Attribute>| Some((one.key.clone(), scalar_type(&one.of)?));
        self.attributes.iter().filter_map(typed).collect()
    }
}

impl SpanTable {
    fn of(span: &super::registry::Span, ids: &HashMap<String, AttributeId>) -> Self {
        let set = |wanted: &dyn Fn(&RequirementLevel) -> bool| {
            let wanted = span.attributes.iter().filter(|one| wanted(&one.level));
            // Every use was resolved to a definition of its own registry, and all of those have ids.
            AttributeSet::of(wanted.filter_map(|one| ids.get(&one.attribute.key).copied()).collect())
        };
        Self {
            span_type: span.span_type.clone(),
            kind: span.kind,
            name_templates: span.name_templates.clone(),
            deprecated: span.deprecated().cloned(),
            stability: span.stability(),
            required: set(&|level| *level == RequirementLevel::Required),
            recommended: set(&|level| matches!(level, RequirementLevel::Recommended(_))),
            conditionally_required: set(&|level| matches!(level, RequirementLevel::ConditionallyRequired(_))),
            opt_in: set(&|level| matches!(level, RequirementLevel::OptIn(_))),
            all: set(&|_| true),
            attributes: span.attributes.clone(),
        }
    }
}

/// `a.b.c` → `a`, `a.b`.
fn prefixes(key: &str) -> impl Iterator<Item = &str> {
    key.match_indices('.').map(|(at, _)| &key[..at]).filter(|prefix| !prefix.is_empty())
}

fn scalar_type(of: &AttributeType) -> Option<ScalarType> {
    match of {
        AttributeType::Value(ValueType::String) => Some(ScalarType::Text),
        AttributeType::Value(ValueType::Int) => Some(ScalarType::Int),
        AttributeType::Value(ValueType::Double) => Some(ScalarType::Double),
        AttributeType::Value(ValueType::Boolean) => Some(ScalarType::Bool),
        AttributeType::Enum(members) if members.iter().all(|one| one.value.is_string()) => Some(ScalarType::Text),
        AttributeType::Enum(members) if members.iter().all(|one| one.value.is_i64()) => Some(ScalarType::Int),
        AttributeType::Value(_) | AttributeType::Template(_) | AttributeType::Enum(_) => None,
    }
}
