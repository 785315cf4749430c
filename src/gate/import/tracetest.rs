//! Tests of Tracetest to gates of kind `assert` (gates.md 12, 13).
//!
//! Duty: the specs of a `type: Test` as checks of an assertion. Guarantee: a check selects and asserts what the spec did, for a
//! trace of which the selector finds nothing too; everything else is refused with its place. Left to others: selectors
//! (`select`), assertions (`assert`), what `assert` may say (`assertion`).
//!
//! A test judges the one trace that its trigger makes, a gate all traces of its window: so the gate of a test belongs into
//! a run over just those traces (`gates run`), and whoever imports says that the trigger is left out.

mod assert;
mod select;

use self::assert::Asserted;
use super::{Imported, list, map, text};
use crate::gate::problem::{Code, Problems, Who};
use crate::gate::reader::{Keys, word};
use crate::yaml::{Mark, Node, Value};

/// Group of the gates.
const GROUP: &str = "tracetest";
/// How far gates look back, if they run in a daemon.
const WINDOW: &str = "5m";

/// The gate file that `documents` make.
pub(super) fn read(documents: &[Node], mark: &Mark, without_trigger: bool, problems: &Problems) -> Option<Imported> {
    let mut notes = Vec::new();
    let gates = documents.iter().filter_map(|root| test(root, without_trigger, &mut notes, problems));
    let gates: Vec<Node> = gates.collect();
    if documents.is_empty() {
        problems.add(Code::Missing, mark, &Who::File, "the file holds no test", "begin it with `type: Test`");
    }
    let group = map(mark, [("name", Some(text(GROUP, mark))), ("gates", Some(list(gates, mark)))]);
    let root = map(mark, [("groups", Some(list(vec![group], mark)))]);
    Some(Imported { root, notes })
}

fn test(root: &Node, without_trigger: bool, notes: &mut Vec<String>, problems: &Problems) -> Option<Node> {
    let keys = Keys::of(root, "a document", Who::File, problems)?;
    keys.required("type", "begin the test with `type: Test`");
    if let Some((kind, mark)) = keys.text("type")
        && kind != "Test"
    {
        let next = "import files of `type: Test`, one gate a test";
        keys.tell(Code::WrongType, mark, format!("`type: {kind}` has no counterpart"), next);
        return None;
    }
    keys.required("spec", "say what the test is: `spec: {name: …, specs: […]}`");
    let spec = keys.entry("spec").map(|entry| &entry.value);
    keys.finish(&[]);
    let mut keys = Keys::of(spec?, "`spec`", Who::File, problems)?;
    keys.required("name", "name the test");
    let name = keys.text("name");
    if let Some((name, _)) = name {
        keys.who = Who::Other("test", name.to_owned());
    }
    // What the server called it.
    keys.entry("id");
    let about = keys.text("description");
    trigger(&keys, name.map_or("", |(name, _)| name), without_trigger, notes);
    for (key, next) in [
        ("outputs", "remove it: a gate gives nothing to another one"),
        ("pollingProfile", "remove it; `quiet` and `give_up` of the gate's `assert` say when a trace is judged"),
        ("skipTraceCollection", "remove it: without spans there is nothing to judge"),
    ] {
        if let Some(entry) = keys.entry(key) {
            keys.tell(Code::UnknownKey, &entry.mark, format!("`{key}` has no counterpart"), next);
        }
    }
    let specs = keys.required("specs", "say what must hold: `specs: [{selector: …, assertions: […]}]`");
    let checks = specs.map(|specs| checks(&keys, specs)).unwrap_or_default();
    let gate = name.and_then(|(name, mark)| Some((slug(&keys, name, mark)?, name, mark)));
    keys.finish(&[]);
    let (gate, name, mark) = gate?;
    let description = match about {
        Some((about, of)) if !about.trim().is_empty() => text(format!("{name}: {}", about.trim()), of),
        _ => text(name, mark),
    };
    let assert = map(mark, [("checks", Some(list(checks, mark)))]);
    Some(map(
        mark,
        [
            ("gate", Some(text(gate, mark))),
            ("description", Some(description)),
            ("assert", Some(assert)),
            ("window", Some(text(WINDOW, mark))),
        ],
    ))
}

/// A gate sends nothing: refused, unless that is known.
fn trigger(keys: &Keys<'_>, name: &str, without_trigger: bool, notes: &mut Vec<String>) {
    let Some(entry) = keys.entry("trigger") else { return };
    let kind = match entry.value.at(&["type"]).map(|node| &node.value) {
        Some(Value::Text(kind)) => kind.as_str(),
        _ => "unknown",
    };
    if without_trigger {
        notes.push(format!(
            "test {name}: its trigger ({kind}) is left out. Send it yourself, and judge the traces that it makes alone: \
             `weavergen gates run FILE --otlp 127.0.0.1:4317 --until idle=5s`"
        ));
        return;
    }
    let what = format!("the trigger ({kind}) has no counterpart: a gate sends nothing, it judges the spans that come");
    let next = "send it yourself, judge the traces that it makes alone with `weavergen gates run`, and say \
                `--without-trigger` here";
    keys.tell(Code::UnknownKey, &entry.mark, what, next);
}

/// A name that a gate can have.
fn slug(keys: &Keys<'_>, name: &str, mark: &Mark) -> Option<String> {
    let mut made = String::new();
    for c in name.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') => made.push(c),
            _ if made.is_empty() || made.ends_with('_') => {}
            _ => made.push('_'),
        }
    }
    let made = made.trim_end_matches('_').trim_start_matches(|c: char| !c.is_ascii_alphabetic() && c != '_');
    if made.is_empty() {
        let what = format!("`{name}` has no letter that a gate's name can begin with");
        keys.tell(Code::GateName, mark, what, "rename the test");
        return None;
    }
    Some(made.chars().take(128).collect())
}

/// Checks of all specs: one for what is said of the spans, and one for each count of them.
fn checks(of: &Keys<'_>, specs: &Node) -> Vec<Node> {
    let items = match &specs.value {
        Value::List(items) => items.as_slice(),
        other => {
            let what = format!("`specs` is {}, a list is expected", word(other));
            of.tell(Code::WrongType, &specs.mark, what, "write `- selector: …` below it");
            &[]
        }
    };
    let mut checks = Vec::new();
    for item in items {
        let Some(keys) = Keys::of(item, "a spec", of.who.clone(), of.problems) else { continue };
        // For people; the check says the same.
        keys.text("name");
        keys.required("selector", "say which spans are meant: `selector: span[name=\"charge\"]`");
        let selector = keys.entry("selector").and_then(|entry| selector(&keys, &entry.value));
        keys.required("assertions", "say what must hold: `assertions: [\"attr:http.status_code = 200\"]`");
        let assertions = keys.texts("assertions").unwrap_or_default();
        let mut that = Vec::new();
        let mut counts = Vec::new();
        for (given, mark) in &assertions {
            match assert::read(given) {
                Ok(Asserted::That(sql)) => that.push(text(sql, mark)),
                Ok(Asserted::Count(comparison)) => counts.push(text(format!("count {comparison}"), mark)),
                Err((column, what, next)) => {
                    keys.tell(Code::Assertion, mark, format!("assertion column {column}: {what}"), next);
                }
            }
        }
        if assertions.is_empty() && keys.is_given("assertions") {
            keys.tell(Code::Missing, &keys.place("assertions"), "the spec asserts nothing", "list what must hold");
        }
        let mark = keys.mark.clone();
        keys.finish(&[]);
        let Some(selector) = selector else { continue };
        let select = ("select", Some(selector));
        if !that.is_empty() {
            let place = that[0].mark.clone();
            checks.push(map(&mark, [select.clone(), ("that", Some(list(that, &place)))]));
        }
        checks.extend(counts.into_iter().map(|count| map(&mark, [select.clone(), ("expect", Some(count))])));
    }
    checks
}

/// A selector, in text or, as older versions have it, in `query` below it.
fn selector(of: &Keys<'_>, node: &Node) -> Option<Node> {
    let (given, mark) = match &node.value {
        Value::Map(_) => {
            let keys = Keys::of(node, "`selector`", of.who.clone(), of.problems)?;
            keys.required("query", "write the selector as text");
            let query = keys.text("query").map(|(text, mark)| (text.to_owned(), mark.clone()));
            // The same in another form.
            keys.entry("structure");
            keys.finish(&[]);
            query?
        }
        _ => of.text_of("selector", node).map(|(text, mark)| (text.to_owned(), mark.clone()))?,
    };
    match select::read(&given) {
        Ok(selector) => Some(text(selector, &mark)),
        Err((column, what, next)) => {
            of.tell(Code::Assertion, &mark, format!("`selector` column {column}: {what}"), next);
            None
        }
    }
}

#[cfg(test)]
mod tests;
