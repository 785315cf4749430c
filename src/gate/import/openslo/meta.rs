//! `metadata` of an object of OpenSLO.
//!
//! Duty: name, texts for people, labels and annotations, with the annotations of ours that say what spans count. Guarantee: a
//! name that a gate cannot have is told and not bent; names of labels and annotations are bent as Prometheus does it, and two
//! that become the same are told. Left to others: reserved names (`gate_keys`).

use super::super::{list, literal, text};
use super::texts;
use crate::gate::problem::{Code, Who};
use crate::gate::reader::Keys;
use crate::yaml::{Entry, Map, Mark, Node, Value};

/// Annotations of ours begin so.
pub(super) const OURS: &str = "weavergen.dev/";

/// What is known of an object.
#[derive(Clone, Debug)]
pub(super) struct Meta<'a> {
    pub name: &'a str,
    /// Where the name stands.
    pub mark: Mark,
    pub display: Option<&'a str>,
    display_mark: Mark,
    pub labels: Option<Node>,
    annotations: Map,
    /// `weavergen.dev/total` and `weavergen.dev/good`.
    pub total: Option<Node>,
    pub good: Option<Node>,
    /// `weavergen.dev/by`
    pub by: Option<Node>,
}

impl<'a> Meta<'a> {
    /// Of an object without any.
    pub fn of(name: &'a str, mark: &Mark) -> Self {
        let (mark, display_mark, annotations) = (mark.clone(), mark.clone(), Map::default());
        Self { name, mark, display: None, display_mark, labels: None, annotations, total: None, good: None, by: None }
    }

    /// Annotations of a gate: those of the object, its display name as `summary`, and that of the objective.
    pub fn annotations_with(&self, objective: Option<Node>, keys: &Keys<'_>) -> Option<Node> {
        let mut all = self.annotations.clone();
        let summary = self.display.map(|display| text(literal(display), &self.display_mark));
        for (key, value) in [("summary", summary), ("objective", objective)] {
            let Some(value) = value else { continue };
            if let Some(taken) = all.get(key) {
                let what = format!("the annotation `{key}` would be that of `displayName`");
                keys.tell(Code::Label, &taken.mark, what, "rename the annotation");
                continue;
            }
            all.put(Entry { key: key.to_owned(), mark: value.mark.clone(), value });
        }
        texts(all, &self.mark)
    }
}

/// Reads `metadata` of the object of `kind`; from then on problems are about it.
pub(super) fn read<'a>(object: &mut Keys<'a>, kind: &'static str) -> Option<Meta<'a>> {
    let node = &object.entry("metadata")?.value;
    let mut keys = Keys::of(node, "`metadata`", object.who.clone(), object.problems)?;
    keys.required("name", "name the object");
    let (name, mark) = keys.text("name")?;
    object.who = Who::Other(kind, name.to_owned());
    keys.who = object.who.clone();
    if kind == "SLO" && !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        let what = format!("`{name}` begins with no letter, so it is no name of a gate");
        keys.tell(Code::GateName, mark, what, "rename the SLO");
    }
    let mut meta = Meta::of(name, mark);
    if let Some((display, mark)) = keys.text("displayName") {
        (meta.display, meta.display_mark) = (Some(display), mark.clone());
    }
    let mut labels = Map::default();
    for entry in keys.named("labels") {
        let value = match &entry.value.value {
            // OpenSLO lets a label have several values.
            Value::List(items) => match items.as_slice() {
                [one] => one,
                _ => {
                    let what = format!("the label `{}` has {} values, an alert has one", entry.key, items.len());
                    keys.tell(Code::Label, &entry.value.mark, what, "keep one, or make several labels of them");
                    continue;
                }
            },
            _ => &entry.value,
        };
        let Some((value, mark)) = keys.text_of(&entry.key, value) else { continue };
        put(&keys, "label", &mut labels, entry, text(literal(value), mark));
    }
    meta.labels = texts(labels, &keys.place("labels"));
    for entry in keys.named("annotations") {
        let Some((value, mark)) = keys.text_of(&entry.key, &entry.value) else { continue };
        match entry.key.strip_prefix(OURS) {
            Some("total") => meta.total = Some(text(value, mark)),
            Some("good") => meta.good = Some(text(value, mark)),
            Some("by") => {
                let columns = value.split(',').map(|column| text(column.trim(), mark));
                meta.by = Some(list(columns.collect(), mark));
            }
            Some(_) => {
                let what = format!("there is no annotation `{}`", entry.key);
                keys.tell(
                    Code::UnknownKey,
                    &entry.mark,
                    what,
                    format!("there are {OURS}total, {OURS}good and {OURS}by"),
                );
            }
            None => put(&keys, "annotation", &mut meta.annotations, entry, text(literal(value), mark)),
        }
    }
    keys.finish(&[]);
    Some(meta)
}

/// Puts `value` under the name of `entry`, whose other characters become `_`.
fn put(keys: &Keys<'_>, kind: &str, into: &mut Map, entry: &Entry, value: Node) {
    let mut name: String =
        entry.key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    if let Some(first) = into.get(&name) {
        let what = format!("the {kind} `{}` becomes `{name}`, as the one at {} does", entry.key, first.mark);
        keys.tell(Code::Label, &entry.mark, what, "rename one of them");
        return;
    }
    into.put(Entry { key: name, mark: entry.mark.clone(), value });
}
