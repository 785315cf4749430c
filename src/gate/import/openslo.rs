//! OpenSLO v1 to gates of kind `slo` (gates.md 12, 14).
//!
//! Duty: the objects of a file, and each objective of an SLO as a gate. Guarantee: every key of an object becomes a part of the
//! gate file, a note in it, or a refusal with its place. Left to others: indicators (`indicator`), what an `slo` may say
//! (`slo_keys`).

mod indicator;
mod meta;

use std::collections::{BTreeMap, BTreeSet};

use self::indicator::Indicator;
use self::meta::Meta;
use super::{Imported, list, map, text};
use crate::gate::problem::{Code, Problems, Who};
use crate::gate::reader::Keys;
use crate::yaml::{Map, Mark, Node, Value};

/// The version that is read.
const VERSION: &str = "openslo/v1";
const KINDS: [&str; 7] =
    ["SLO", "SLI", "Service", "DataSource", "AlertPolicy", "AlertCondition", "AlertNotificationTarget"];
/// Group of SLOs that name no service.
const GROUP: &str = "slo";
/// Units of OpenSLO that are as long whenever they begin.
const FIXED: [char; 4] = ['m', 'h', 'd', 'w'];

/// One object.
struct Object<'a> {
    kind: &'a str,
    meta: Meta<'a>,
    spec: Option<&'a Node>,
    who: Who,
}

/// All objects that others name.
#[derive(Default)]
struct Named<'a> {
    indicators: BTreeMap<&'a str, &'a Object<'a>>,
    sources: BTreeMap<&'a str, &'a Object<'a>>,
    services: BTreeMap<&'a str, &'a Object<'a>>,
}

/// The gate file that `documents` make.
pub(super) fn read(documents: &[Node], mark: &Mark, problems: &Problems) -> Option<Imported> {
    let objects: Vec<Object<'_>> = documents.iter().filter_map(|root| object(root, problems)).collect();
    let mut named = Named::default();
    for object in &objects {
        let place = match object.kind {
            "SLI" => &mut named.indicators,
            "DataSource" => &mut named.sources,
            "Service" => &mut named.services,
            _ => continue,
        };
        if let Some(first) = place.insert(object.meta.name, object) {
            let what = format!("there are two {} named `{}`", object.kind, object.meta.name);
            let next = format!("rename one of them; the other stands at {}", first.meta.mark);
            problems.add(Code::NameUsed, &object.meta.mark, &object.who, what, next);
        }
    }
    let mut used = BTreeSet::new();
    let mut groups: Vec<(String, Mark, Vec<Node>)> = Vec::new();
    for slo in objects.iter().filter(|object| object.kind == "SLO") {
        let Some((group, place, gates)) = gates(slo, &named, &mut used, problems) else { continue };
        match groups.iter_mut().find(|(name, _, _)| *name == group) {
            Some((_, _, all)) => all.extend(gates),
            None => groups.push((group, place, gates)),
        }
    }
    if !objects.iter().any(|object| object.kind == "SLO") {
        let next = "an SLO with its SLI becomes a gate; put both into one file";
        problems.add(Code::Missing, mark, &Who::File, "the file holds no SLO", next);
    }
    for object in &objects {
        match object.kind {
            "SLI" if !used.contains(object.meta.name) => {
                let what = format!("no SLO of the file uses the SLI `{}`", object.meta.name);
                problems.add(
                    Code::Slo,
                    &object.meta.mark,
                    &object.who,
                    what,
                    "put its SLO into the same file, or remove it",
                );
            }
            kind if kind.starts_with("Alert") => {
                let next = "remove it: an `slo` gate warns by pairs of windows, and `notify` of the gate names receivers of \
                            the configuration";
                let what = format!("a gate file has no counterpart of {kind}");
                problems.add(Code::UnknownKey, &object.meta.mark, &object.who, what, next);
            }
            _ => {}
        }
    }
    let notes = objects.iter().filter_map(note).collect();
    let groups = groups.into_iter().map(|(name, mark, gates)| {
        let gates = list(gates, &mark);
        map(&mark, [("name", Some(text(name, &mark))), ("gates", Some(gates))])
    });
    let groups = list(groups.collect(), mark);
    Some(Imported { root: map(mark, [("groups", Some(groups))]), notes })
}

fn object<'a>(root: &'a Node, problems: &'a Problems) -> Option<Object<'a>> {
    let mut keys = Keys::of(root, "a document", Who::File, problems)?;
    keys.required("apiVersion", "begin the object with `apiVersion: openslo/v1`");
    keys.required("kind", "say what the object is, e.g. `kind: SLO`");
    keys.required("metadata", "name the object: `metadata: {name: …}`");
    let version = keys.text("apiVersion");
    if let Some((version, mark)) = version
        && version != VERSION
    {
        let next = format!("translate it to `{VERSION}`; `oslo` of the OpenSLO project does that");
        keys.tell(Code::WrongType, mark, format!("`apiVersion` is `{version}`, `{VERSION}` is read"), next);
        return None;
    }
    let kind = keys.choice("kind", &KINDS.map(|kind| (kind, kind)));
    let meta = meta::read(&mut keys, kind.unwrap_or("object"));
    let spec = keys.entry("spec").map(|entry| &entry.value);
    let who = keys.who.clone();
    keys.finish(&[]);
    Some(Object { kind: kind?, meta: meta?, spec, who })
}

/// What is for people alone stays as a note.
fn note(object: &Object<'_>) -> Option<String> {
    match object.kind {
        "Service" => {
            let about = object.spec.and_then(|spec| match &spec.at(&["description"])?.value {
                Value::Text(text) => Some(text.as_str()),
                _ => None,
            });
            let words: Vec<&str> = [object.meta.display, about].into_iter().flatten().collect();
            Some(format!("service {}: {}", object.meta.name, words.join(". "))).filter(|_| !words.is_empty())
        }
        "DataSource" => Some(format!("data source {}: left out, spans are in weavergen", object.meta.name)),
        _ => None,
    }
}

/// The group of an SLO and a gate for each of its objectives.
fn gates<'a>(
    slo: &'a Object<'a>,
    named: &Named<'a>,
    used: &mut BTreeSet<&'a str>,
    problems: &'a Problems,
) -> Option<(String, Mark, Vec<Node>)> {
    let Some(spec) = slo.spec else {
        let what = "`spec` is missing";
        problems.add(Code::Missing, &slo.meta.mark, &slo.who, what, "say what the objective is about");
        return None;
    };
    let keys = Keys::of(spec, "`spec`", slo.who.clone(), problems)?;
    let description = keys.text("description").map(|(given, mark)| text(given, mark));
    let (group, group_mark) =
        keys.text("service").map_or_else(|| (GROUP, slo.meta.mark.clone()), |(name, mark)| (name, mark.clone()));
    if let Some((method, mark)) = keys.text("budgetingMethod")
        && method != "Occurrences"
    {
        let next =
            "count spans: `budgetingMethod: Occurrences`; a share of good minutes is a question for a gate with `sql`";
        keys.tell(Code::Slo, mark, format!("`budgetingMethod: {method}` has no counterpart"), next);
    }
    keys.required("timeWindow", "say what the budget is for: `timeWindow: [{duration: 30d, isRolling: true}]`");
    let period = keys.entry("timeWindow").and_then(|entry| period(&keys, &entry.value));
    keys.required("objectives", "say how much is to be good: `objectives: [{target: 0.999}]`");
    if let Some(entry) = keys.entry("alertPolicies") {
        let next = "remove it: an `slo` gate warns by pairs of windows (`windows`), and `notify` of the gate names who is told";
        keys.tell(Code::UnknownKey, &entry.mark, "`alertPolicies` has no counterpart", next);
    }
    let indicator = indicator(&keys, slo, named, used);
    let objectives = match keys.entry("objectives").map(|entry| &entry.value) {
        Some(Node { value: Value::List(items), .. }) if !items.is_empty() => items.as_slice(),
        Some(node) => {
            keys.tell(Code::WrongType, &node.mark, "`objectives` is no list with an entry", "write `- target: 0.999`");
            &[]
        }
        None => &[],
    };
    let mut gates = Vec::new();
    for (nth, item) in objectives.iter().enumerate() {
        let Some(objective) = objective(&keys, item, indicator.as_ref()) else { continue };
        let name = match objectives.len() {
            1 => slo.meta.name.to_owned(),
            _ => format!("{}-{}", slo.meta.name, nth + 1),
        };
        let (Some(indicator), Some(period)) = (&indicator, &period) else { continue };
        let entries = [
            ("objective", Some(objective.percent)),
            ("period", Some(period.clone())),
            ("total", Some(indicator.total.clone())),
            ("good", Some(objective.good)),
        ];
        let by = slo.meta.by.clone().or_else(|| indicator.by.clone());
        let annotations = slo.meta.annotations_with(objective.display, &keys);
        let gate = map(
            &item.mark,
            [
                ("gate", Some(text(name, &slo.meta.mark))),
                ("description", description.clone()),
                ("by", by),
                ("slo", Some(map(&item.mark, entries))),
                ("labels", slo.meta.labels.clone()),
                ("annotations", annotations),
            ],
        );
        gates.push(gate);
    }
    keys.finish(&[]);
    Some((group.to_owned(), group_mark, gates))
}

/// The indicator of an SLO, its own or that of an SLI of the file.
fn indicator<'a>(
    keys: &Keys<'a>,
    slo: &'a Object<'a>,
    named: &Named<'a>,
    used: &mut BTreeSet<&'a str>,
) -> Option<Indicator> {
    let (inline, by_name) = (keys.entry("indicator"), keys.text("indicatorRef"));
    if let (Some(inline), Some(_)) = (inline, by_name) {
        keys.tell(Code::Slo, &inline.mark, "`indicator` and `indicatorRef` are given", "keep one of them");
        return None;
    }
    if let Some((name, mark)) = by_name {
        used.insert(name);
        let Some(sli) = named.indicators.get(name) else {
            let next = "put the SLI into the same file";
            keys.tell(Code::Slo, mark, format!("there is no SLI `{name}` in the file"), next);
            return None;
        };
        return indicator::read(sli.spec, (&slo.meta, &sli.meta), &sli.who, (named, keys.problems));
    }
    let Some(inline) = inline else {
        keys.tell(
            Code::Missing,
            &keys.mark,
            "the SLO has neither `indicator` nor `indicatorRef`",
            "say what is counted, e.g. `indicatorRef: …`",
        );
        return None;
    };
    let mut inner = Keys::of(&inline.value, "`indicator`", slo.who.clone(), keys.problems)?;
    let meta = match inner.entry("metadata") {
        Some(_) => meta::read(&mut inner, "SLI")?,
        None => Meta::of(slo.meta.name, &inner.mark),
    };
    let spec = inner.required("spec", "say what is counted: `spec: {ratioMetric: …}`");
    inner.finish(&[]);
    indicator::read(spec, (&slo.meta, &meta), &slo.who, (named, keys.problems))
}

/// The one rolling window.
fn period(keys: &Keys<'_>, node: &Node) -> Option<Node> {
    let next = "write one rolling window: `timeWindow: [{duration: 30d, isRolling: true}]`";
    let Value::List(items) = &node.value else {
        keys.tell(Code::WrongType, &node.mark, "`timeWindow` is no list", next);
        return None;
    };
    let [item] = items.as_slice() else {
        keys.tell(Code::Slo, &node.mark, format!("`timeWindow` has {} entries", items.len()), next);
        return None;
    };
    let window = Keys::of(item, "a time window", keys.who.clone(), keys.problems)?;
    window.required("duration", next);
    let is_rolling = window.boolean("isRolling").unwrap_or(false);
    let calendar = window.entry("calendar");
    if let Some(calendar) = calendar {
        let what = "`calendar` has no counterpart: a burn rate looks back from each tick";
        window.tell(Code::Slo, &calendar.mark, what, next);
    } else if !is_rolling {
        window.tell(Code::Slo, &window.place("isRolling"), "the window is not rolling", next);
    }
    let duration = window.text("duration");
    window.finish(&[]);
    let (duration, mark) = duration?;
    let (digits, unit) = duration.split_at(duration.find(|c: char| !c.is_ascii_digit()).unwrap_or(duration.len()));
    let mut letters = unit.chars();
    match (letters.next(), letters.next()) {
        (Some(unit), None) if FIXED.contains(&unit) && !digits.is_empty() => Some(text(duration, mark)),
        (Some('M' | 'Q' | 'Y'), None) => {
            let what = format!("`duration: {duration}` is a unit of the calendar, whose length changes");
            keys.tell(Code::Duration, mark, what, next);
            None
        }
        _ => {
            keys.tell(Code::Duration, mark, format!("`duration: {duration}` is no number with m, h, d or w"), next);
            None
        }
    }
}

/// One objective.
struct Objective {
    percent: Node,
    good: Node,
    display: Option<Node>,
}

fn objective(of: &Keys<'_>, item: &Node, indicator: Option<&Indicator>) -> Option<Objective> {
    let keys = Keys::of(item, "an objective", of.who.clone(), of.problems)?;
    let display = keys.text("displayName").map(|(name, mark)| text(super::literal(name), mark));
    let (share, percent) = (keys.number("target"), keys.number("targetPercent"));
    let (key, percent) = match (share, percent) {
        (Some(_), Some(_)) => {
            let what = "`target` and `targetPercent` are given";
            keys.tell(Code::Slo, &keys.place("targetPercent"), what, "keep one of them");
            ("targetPercent", None)
        }
        // Decimal: 0.57 is 57 and not 56.99999999999999.
        (Some(share), None) => ("target", format!("{share}e2").parse().ok()),
        (None, percent) => ("targetPercent", percent),
    };
    if !keys.is_given("target") && !keys.is_given("targetPercent") {
        keys.tell(Code::Missing, &keys.mark, "the objective has no `target`", "write e.g. `target: 0.999`");
    }
    for (key, what, next) in [
        ("timeSliceTarget", "is about slices of time", "remove it: spans are counted"),
        ("timeSliceWindow", "is about slices of time", "remove it: spans are counted"),
        ("compositeWeight", "weighs several indicators", "write an SLO for each of them"),
        ("indicator", "belongs to a composite of several", "write an SLO for each of them"),
        ("indicatorRef", "belongs to a composite of several", "write an SLO for each of them"),
    ] {
        if let Some(entry) = keys.entry(key) {
            keys.tell(Code::UnknownKey, &entry.mark, format!("`{key}` {what} and has no counterpart"), next);
        }
    }
    let good = match indicator {
        Some(Indicator { good: Some(good), .. }) => {
            for key in ["op", "value"] {
                if let Some(entry) = keys.entry(key) {
                    let what = format!("`{key}` has no meaning beside a `ratioMetric`");
                    keys.tell(Code::Slo, &entry.mark, what, "remove it, or use a `thresholdMetric`");
                }
            }
            Some(good.clone())
        }
        Some(Indicator { value: Some(value), .. }) => {
            keys.required("op", "say how values are compared: `op: lt`");
            keys.required("value", "say what values are compared with: `value: 300`");
            let op = keys.choice("op", &[("lte", "<="), ("gte", ">="), ("lt", "<"), ("gt", ">")]);
            let limit = keys.number("value");
            let place = keys.place("value");
            op.zip(limit).map(|(op, limit)| text(format!("({value}) {op} {limit}"), &place))
        }
        _ => {
            // Known, whichever indicator was meant.
            keys.entry("op");
            keys.entry("value");
            None
        }
    };
    let place = keys.place(key);
    keys.finish(&[]);
    let percent = percent.map(|percent| Node { value: Value::Float(percent), mark: place });
    Some(Objective { percent: percent?, good: good?, display })
}

/// A mapping of texts; `None` if it is empty.
fn texts(entries: Map, mark: &Mark) -> Option<Node> {
    (!entries.is_empty()).then(|| Node { value: Value::Map(entries), mark: mark.clone() })
}

#[cfg(test)]
mod tests;
