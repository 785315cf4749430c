//! From definitions with references to a resolved registry (semconv.md 1.6, R1, R2, R4, R5, R8).
//!
//! Duty: definitions first, then groups, then spans. Guarantee: the result does not depend on the order of files; every
//! reference that leads nowhere is reported with its place; work and memory are bounded. Left to others: grammar
//! (`definition`), hash and views (`view`).

use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::definition::{self, Definitions, Entry, GroupDefinition, SpanDefinition};
use super::problem::{Code, Problems};
use super::registry::{Attribute, AttributeGroup, AttributeUse, Span};
use super::value::RequirementLevel;
use crate::yaml::{Mark, nearest};

/// Attribute definitions of a registry at most (semconv.md 7).
const MAX_ATTRIBUTES: usize = 100_000;
/// Span types of a registry at most (semconv.md 7).
const MAX_SPANS: usize = 10_000;
/// Bytes of the attributes of all groups and spans together at most, each counted where it is used: so much would their
/// inline form hold. It keeps few lines that multiply from growing without bound.
const MAX_WEIGHT: usize = 256 << 20;
/// Groups within groups at most.
const MAX_DEPTH: usize = 64;

/// What [`resolve`] hands out.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    pub(super) attributes: Vec<Arc<Attribute>>,
    pub(super) groups: Vec<AttributeGroup>,
    pub(super) spans: Vec<Span>,
}

/// Resolves `definitions`; means something only if no error was found. `complete` is false where a file could not be
/// read, so that a reference may lead into it and is not reported.
pub(super) fn resolve(definitions: &Definitions, complete: bool, problems: &Problems) -> Resolved {
    let mut resolver = Resolver {
        definitions,
        complete,
        problems,
        attributes: BTreeMap::new(),
        groups: HashMap::new(),
        state: vec![GroupState::Open; definitions.groups.len()],
        weight: 0,
    };
    if !resolver.is_within_bounds() {
        return Resolved::default();
    }
    resolver.collect();
    let mut groups = Vec::new();
    let mut ids: Vec<_> = resolver.groups.iter().map(|(id, at)| (*id, *at)).collect();
    ids.sort_unstable();
    for (id, at) in ids {
        let attributes = resolver.group(at, &mut Vec::new());
        if let Some(common) = &definitions.groups[at].common {
            groups.push(AttributeGroup { id: id.to_owned(), attributes: attributes.to_vec(), common: common.clone() });
        }
    }
    let spans = resolver.spans();
    if resolver.weight > MAX_WEIGHT {
        let mark = definitions.groups.first().map(|group| &group.mark);
        if let Some(mark) = mark.or_else(|| definitions.spans.first().map(|span| &span.mark)) {
            let mib = MAX_WEIGHT >> 20;
            let text = format!("the attributes of all groups and spans hold more than {mib} MiB when written inline");
            problems.add(Code::TooLarge, mark, "", text, None);
        }
    }
    let attributes = resolver.attributes.into_values().map(|(attribute, _)| attribute).collect();
    Resolved { attributes, groups, spans }
}

#[derive(Clone, Debug)]
enum GroupState {
    Open,
    Entered,
    Done(Arc<[AttributeUse]>),
}

struct Resolver<'d> {
    definitions: &'d Definitions,
    complete: bool,
    problems: &'d Problems,
    attributes: BTreeMap<&'d str, (Arc<Attribute>, &'d Mark)>,
    groups: HashMap<&'d str, usize>,
    state: Vec<GroupState>,
    weight: usize,
}

impl<'d> Resolver<'d> {
    fn is_within_bounds(&self) -> bool {
        let attributes = self.definitions.attributes.get(MAX_ATTRIBUTES).map(|one| (&one.mark, MAX_ATTRIBUTES));
        let spans = self.definitions.spans.get(MAX_SPANS).map(|one| (&one.mark, MAX_SPANS));
        for (over, what) in [(attributes, "attributes"), (spans, "span types")] {
            if let Some((mark, most)) = over {
                let text = format!("the registry has more than {most} {what}");
                self.problems.add(Code::TooLarge, mark, "", text, None);
            }
        }
        attributes.is_none() && spans.is_none()
    }

    fn collect(&mut self) {
        for one in &self.definitions.attributes {
            match self.attributes.entry(&one.key) {
                Place::Vacant(place) => {
                    place.insert((Arc::new(defined(one)), &one.mark));
                }
                Place::Occupied(first) => {
                    let text = format!("the attribute `{}` is already defined at {}", one.key, first.get().1);
                    self.problems.add(Code::DefinedTwice, &one.mark, "", text, Some("remove one".to_owned()));
                }
            }
        }
        for (at, group) in self.definitions.groups.iter().enumerate() {
            match self.groups.get(group.id.as_str()) {
                None => {
                    self.groups.insert(&group.id, at);
                }
                Some(first) => {
                    let first = &self.definitions.groups[*first].mark;
                    let text = format!("the group `{}` is already defined at {first}; that one counts", group.id);
                    self.problems.add(Code::GroupTwice, &group.mark, "", text, None);
                }
            }
        }
    }

    /// The attributes of a group; `chain` holds the groups that are being resolved.
    fn group(&mut self, at: usize, chain: &mut Vec<usize>) -> Arc<[AttributeUse]> {
        let group: &GroupDefinition = &self.definitions.groups[at];
        let nothing = || Arc::from(Vec::new());
        match &self.state[at] {
            GroupState::Done(attributes) => return attributes.clone(),
            GroupState::Entered => {
                let from = chain.iter().position(|link| *link == at).unwrap_or(0);
                let ids = chain[from..].iter().chain([&at]).map(|link| self.definitions.groups[*link].id.as_str());
                let text = format!("groups include each other: {}", ids.collect::<Vec<_>>().join(" → "));
                self.problems.add(Code::GroupCycle, &group.mark, "", text, None);
                return nothing();
            }
            GroupState::Open => {}
        }
        if chain.len() >= MAX_DEPTH {
            let text = format!("groups are nested deeper than {MAX_DEPTH} levels at `{}`", group.id);
            self.problems.add(Code::TooLarge, &group.mark, "", text, None);
            return nothing();
        }
        self.state[at] = GroupState::Entered;
        chain.push(at);
        let owner = format!("group `{}`", group.id);
        let attributes: Arc<[AttributeUse]> = self.entries(&group.entries, &owner, chain).into();
        chain.pop();
        self.state[at] = GroupState::Done(attributes.clone());
        attributes
    }

    fn spans(&mut self) -> Vec<Span> {
        let mut first: HashMap<String, &Mark> = HashMap::new();
        let mut spans = Vec::new();
        for span in &self.definitions.spans {
            let attributes = self.entries(&span.entries, &format!("span `{}`", span.span_type), &mut Vec::new());
            self.check_name(span, &attributes);
            // Span types are compared without case (semconv.md 3.1).
            if let Some(before) = first.insert(span.span_type.to_lowercase(), &span.mark) {
                let text = format!("the span type `{}` is already defined at {before}", span.span_type);
                self.problems.add(Code::SpanTypeTwice, &span.mark, "", text, Some("remove one".to_owned()));
            }
            spans.push(Span {
                span_type: span.span_type.clone(),
                kind: span.kind,
                name_note: span.name_note.clone(),
                name_templates: span.name_templates.iter().map(|template| template.text.clone()).collect(),
                level: span.level,
                attributes,
                common: span.common.clone(),
            });
        }
        spans.sort_by(|a, b| a.span_type.cmp(&b.span_type));
        spans
    }

    fn check_name(&self, span: &SpanDefinition, attributes: &[AttributeUse]) {
        if !self.complete {
            return;
        }
        for template in &span.name_templates {
            for key in &template.keys {
                if attributes.binary_search_by(|one| one.attribute.key.as_str().cmp(key)).is_err() {
                    let text = format!("the name template names `{key}`, no attribute of span `{}`", span.span_type);
                    let near = nearest(key, attributes.iter().map(|one| one.attribute.key.as_str()));
                    let help = near.map(|near| format!("did you mean \"{near}\"?"));
                    self.problems.add(Code::NameTemplateKey, &template.mark, "", text, help);
                }
            }
        }
    }

    /// A list of attributes, resolved and sorted by key.
    fn entries(&mut self, entries: &'d [Entry], owner: &str, chain: &mut Vec<usize>) -> Vec<AttributeUse> {
        let mut found: BTreeMap<String, AttributeUse> = BTreeMap::new();
        let mut brought: HashMap<String, &str> = HashMap::new();
        for entry in entries {
            let Entry::Group { id, mark } = entry else { continue };
            let Some(at) = self.groups.get(id.as_str()).copied() else {
                let near = nearest(id, self.groups.keys().copied()).map(|near| format!("did you mean \"{near}\"?"));
                self.unknown(mark, format!("{owner}: there is no attribute group `{id}`"), near);
                continue;
            };
            for one in self.group(at, chain).iter() {
                let key = &one.attribute.key;
                if let Some(other) = brought.insert(key.clone(), id) {
                    let text = format!("{owner}: the groups `{other}` and `{id}` both bring `{key}`");
                    self.problems.add(Code::KeyTwice, mark, "", text, None);
                }
                self.weight += one.attribute.weight;
                if self.weight > MAX_WEIGHT {
                    break;
                }
                found.insert(key.clone(), one.clone());
            }
        }
        let mut inline: HashMap<&str, &Mark> = HashMap::new();
        for entry in entries {
            let Entry::Use(one) = entry else { continue };
            if let Some(first) = inline.insert(&one.key, &one.mark) {
                let text = format!("{owner}: `{}` is already listed at {first}", one.key);
                self.problems.add(Code::KeyTwice, &one.mark, "", text, Some("remove one".to_owned()));
                continue;
            }
            let base = found.get(&one.key).cloned().or_else(|| {
                let (attribute, _) = self.attributes.get(one.key.as_str())?;
                let level = RequirementLevel::Recommended(None);
                Some(AttributeUse { attribute: attribute.clone(), level, sampling_relevant: None })
            });
            let Some(base) = base else {
                let near = nearest(&one.key, self.attributes.keys().copied());
                let help = near.map(|near| format!("did you mean \"{near}\"?"));
                self.unknown(&one.mark, format!("{owner}: there is no attribute `{}`", one.key), help);
                continue;
            };
            let refined = self.refined(base, one, owner);
            self.weight += refined.attribute.weight;
            if self.weight > MAX_WEIGHT {
                break;
            }
            found.insert(one.key.clone(), refined);
        }
        found.into_values().collect()
    }

    fn unknown(&self, mark: &Mark, text: String, help: Option<String>) {
        if self.complete {
            self.problems.add(Code::UnknownReference, mark, "", text, help);
        }
    }

    /// `base` with what the use says (R2, R5): field by field, annotations as a whole, the type never.
    fn refined(&self, base: AttributeUse, one: &definition::Use, owner: &str) -> AttributeUse {
        let AttributeUse { attribute, level, sampling_relevant } = base;
        if let Some(stability) = one.stability
            && stability > attribute.stability
        {
            let (from, to) = (attribute.stability.as_str(), stability.as_str());
            let text = format!("{owner}: `{}` is {from} and cannot become {to} by its use", one.key);
            self.problems.add(Code::StabilityRaised, &one.mark, "", text, None);
        }
        let mut refined = Attribute::clone(&attribute);
        let set = |to: &mut String, by: &Option<String>| {
            if let Some(text) = by {
                to.clone_from(text);
            }
        };
        set(&mut refined.brief, &one.brief);
        set(&mut refined.note, &one.note);
        refined.examples = one.examples.clone().or(refined.examples);
        refined.stability = one.stability.unwrap_or(refined.stability);
        refined.deprecated = one.deprecated.clone().or(refined.deprecated);
        if let Some(annotations) = &one.annotations {
            refined.annotations.clone_from(annotations);
        }
        refined.weigh();
        // One copy in memory of what no use refines.
        let attribute = if refined == *attribute { attribute } else { Arc::new(refined) };
        AttributeUse {
            attribute,
            level: one.level.clone().unwrap_or(level),
            sampling_relevant: one.sampling_relevant.or(sampling_relevant),
        }
    }
}

fn defined(one: &definition::AttributeDefinition) -> Attribute {
    let mut attribute = Attribute {
        key: one.key.clone(),
        of: one.of.clone(),
        brief: one.common.brief.clone(),
        note: one.common.note.clone(),
        examples: one.examples.clone(),
        stability: one.common.stability,
        deprecated: one.common.deprecated.clone(),
        annotations: one.common.annotations.clone(),
        mark: one.mark.clone(),
        weight: 0,
    };
    attribute.weigh();
    attribute
}
