//! A file of tests to a [`Suite`].
//!
//! Duty: the keys of gates.md 15 by the reader of gate files. Guarantee: all problems are told with their places, an unknown
//! key with the nearest known one; nothing is run if there is one. Left to others: what the gates are.

mod event;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::super::identity::alert_key;
use super::super::journal::Status;
use super::super::problem::{Code, Problem, Problems, Who};
use super::super::reader::{Keys, word};
use super::super::state::Level;
use super::super::verdict::Outcome;
use super::super::window::nanos;
use super::{Change, Deployed, Event, Expect, Message, Order, Spans, Start, Suite, Test, What};
use crate::yaml::{self, Mark, Node, parse_strict};

/// Most nodes of a file after the expansion of aliases.
const MAX_NODES: usize = 100_000;
/// Most spans of one generator.
const MAX_SPANS: i64 = 1_000_000;
/// 2026-01-01T00:00:00Z
const START_NS: i64 = 1_767_225_600 * 1_000_000_000;
/// 2200-01-01T00:00:00Z: room for the longest durations behind it.
const LAST_START_NS: i64 = 7_258_118_400 * 1_000_000_000;
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
const ANY: (Duration, Duration) = (Duration::ZERO, LONGEST);

const KINDS: [(&str, u32); 5] = [("internal", 1), ("server", 2), ("client", 3), ("producer", 4), ("consumer", 5)];
const STATUS: [(&str, u32); 3] = [("unset", 0), ("ok", 1), ("error", 2)];
const LEVELS: [(&str, Level); 2] = [("warn", Level::Warn), ("fail", Level::Fail)];
const PHASES: [(&str, &str); 5] = [
    ("inactive", "inactive"),
    ("pending", "pending"),
    ("firing", "firing"),
    ("recovering", "recovering"),
    ("resolved", "resolved"),
];
const CHANGES: [(&str, &str); 3] = [("new", "new"), ("executable", "executable"), ("layout", "layout")];
const OUTCOMES: [(&str, Outcome); 7] = [
    ("pass", Outcome::Pass),
    ("warn", Outcome::Warn),
    ("fail", Outcome::Fail),
    ("no_data", Outcome::NoData),
    ("insufficient", Outcome::Insufficient),
    ("inconclusive", Outcome::Inconclusive),
    ("error", Outcome::Error),
];

/// Reads `text`, the file `path`.
///
/// Errors: every problem, sorted.
pub fn read(path: &Path, text: &str) -> Result<Suite, Vec<Problem>> {
    let problems = Problems::default();
    let folder = path.parent().unwrap_or(Path::new(""));
    let suite = Reading { problems: &problems, folder, start_ns: RefCell::new(START_NS) }.suite(path, text);
    let problems = problems.into_sorted();
    match suite {
        Some(suite) if problems.is_empty() => Ok(suite),
        _ => Err(problems),
    }
}

struct Reading<'a> {
    problems: &'a Problems,
    folder: &'a Path,
    start_ns: RefCell<i64>,
}

impl Reading<'_> {
    fn suite(&self, path: &Path, text: &str) -> Option<Suite> {
        let mark = Mark::of_source(0, path.display().to_string());
        let (root, faults) = parse_strict(text, &mark, MAX_NODES);
        self.problems.add_faults(faults, |_| "correct the YAML");
        let mut root = root?;
        if let yaml::Value::Map(map) = &mut root.value {
            map.entries_mut().retain(|entry| !entry.key.starts_with("x-"));
        }
        let keys = Keys::of(&root, "the file", Who::File, self.problems)?;
        keys.required("gate_files", "name gate files, e.g. `gate_files: [../gates/*.yaml]`");
        keys.required("tests", "list the tests");
        let gate_files = self.files(&keys, "gate_files");
        let registry = keys.text("registry").map(|(text, _)| match text.starts_with("builtin:") {
            true => text.to_owned(),
            false => self.folder.join(text).to_string_lossy().into_owned(),
        });
        let suite = Suite { gate_files, registry, tests: self.list(&keys, "tests", |node| self.test(node)) };
        keys.finish(&[]);
        Some(suite)
    }

    /// Gate files beside the file; none at all would be those of the configuration.
    fn files(&self, keys: &Keys<'_>, key: &'static str) -> Vec<String> {
        let files = keys.texts(key);
        if files.as_ref().is_some_and(Vec::is_empty) {
            keys.tell(Code::Missing, &keys.place(key), format!("`{key}` names no file"), "name gate files");
        }
        files.unwrap_or_default().into_iter().map(|(file, _)| self.beside(file)).collect()
    }

    /// A path or glob beside the file.
    fn beside(&self, file: &str) -> String {
        if file.starts_with("builtin:") || Path::new(file).is_absolute() || self.folder == Path::new("") {
            return file.to_owned();
        }
        let folder = glob::Pattern::escape(&self.folder.to_string_lossy());
        format!("{folder}/{file}")
    }

    fn list<T>(&self, keys: &Keys<'_>, key: &'static str, of: impl Fn(&Node) -> Option<T>) -> Vec<T> {
        let Some(entry) = keys.entry(key) else { return Vec::new() };
        match &entry.value.value {
            yaml::Value::List(items) => items.iter().filter_map(of).collect(),
            other => {
                let what = format!("`{key}` is {}, a list is expected", word(other));
                keys.tell(Code::WrongType, &entry.value.mark, what, "write `- …` below it");
                Vec::new()
            }
        }
    }

    fn given<T>(&self, keys: &Keys<'_>, key: &'static str, of: impl Fn(&Node) -> Option<T>) -> Option<Vec<T>> {
        keys.is_given(key).then(|| self.list(keys, key, of))
    }

    fn test(&self, node: &Node) -> Option<Test> {
        let mut keys = Keys::of(node, "a test", Who::File, self.problems)?;
        keys.required("name", "say what it claims");
        let name = keys.text("name").map(|(name, _)| name.to_owned()).unwrap_or_default();
        keys.who = Who::Other("test", name.clone());
        let start_ns = match keys.text("start") {
            None => START_NS,
            Some((text, mark)) => match text.parse::<jiff::Timestamp>() {
                Ok(at) => {
                    let start_ns = i64::try_from(at.as_nanosecond()).ok();
                    start_ns.filter(|at| (0..=LAST_START_NS).contains(at)).unwrap_or_else(|| {
                        let what = format!("`start`: {text} is not from 1970 to 2200");
                        keys.tell(Code::WrongType, mark, what, "write e.g. 2026-01-01T00:00:00Z");
                        START_NS
                    })
                }
                Err(error) => {
                    let what = format!("`start`: `{text}` is no instant: {error}");
                    keys.tell(Code::WrongType, mark, what, "write e.g. 2026-01-01T00:00:00Z");
                    START_NS
                }
            },
        };
        *self.start_ns.borrow_mut() = start_ns;
        let who = &keys.who;
        let test = Test {
            name,
            line: node.mark.position().map_or(1, |(line, _)| line),
            start_ns,
            spans: self.list(&keys, "spans", |node| self.spans(node, who)),
            input: keys.text("input").map(|(file, _)| self.folder.join(file)),
            order: keys.entry("order").and_then(|entry| self.order(&entry.value, who)),
            definitions: self.list(&keys, "definitions", |node| self.deployed(node, who)),
            events: self.events(&keys, who),
            expect: self.list(&keys, "expect", |node| self.expect(node, who)),
            transitions: self.given(&keys, "transitions", |node| self.change(node, who)),
            notifications: self.given(&keys, "notifications", |node| self.message(node, who)),
            pipelines: self.given(&keys, "pipelines", |node| self.start(node, who)),
        };
        let asks = keys.is_given("expect")
            || keys.is_given("transitions")
            || keys.is_given("notifications")
            || keys.is_given("pipelines");
        if !asks {
            let next = "add `expect`, `transitions`, `notifications` or `pipelines`";
            keys.tell(Code::Missing, &node.mark, "the test expects nothing, so it cannot fail", next);
        }
        keys.finish(&[]);
        Some(test)
    }

    fn spans(&self, node: &Node, who: &Who) -> Option<Spans> {
        let keys = Keys::of(node, "a generator of spans", who.clone(), self.problems)?;
        let from_ns = keys.duration("from", ANY).map_or(0, nanos);
        let every = keys.duration("every", (Duration::from_millis(1), LONGEST));
        let to_ns = keys.duration("to", ANY).map(nanos);
        let count = keys.count("count", (1, 1_000_000), Code::Limit).unwrap_or(1);
        let instants = match (to_ns, every) {
            (None, None) => vec![from_ns],
            (Some(to_ns), Some(every))
                if (to_ns - from_ns) / nanos(every) * i64::try_from(count).unwrap_or(1) > MAX_SPANS =>
            {
                keys.tell(Code::Limit, &node.mark, "it makes more than 1000000 spans", "lengthen `every`");
                Vec::new()
            }
            (Some(to_ns), Some(every)) => std::iter::successors(Some(from_ns), |at| Some(at + nanos(every)))
                .take_while(|at| *at < to_ns)
                .collect(),
            _ => {
                let next = "write both, e.g. `from: 0s, to: 5m, every: 10s`, or neither for one instant";
                keys.tell(Code::Missing, &node.mark, "one of `to` and `every` is missing", next);
                Vec::new()
            }
        };
        if instants.is_empty() && keys.is_given("to") && keys.is_given("every") {
            keys.tell(Code::Duration, &keys.place("to"), "`to` is not behind `from`", "change one of them");
        }
        let missing: Vec<&str> = keys.texts("missing").unwrap_or_default().into_iter().map(|(key, _)| key).collect();
        let mut attributes = attributes(&keys, "attributes");
        attributes.retain(|key, _| !missing.contains(&key.as_str()));
        let own = |key| keys.text(key).map(|(text, _)| text.to_owned());
        if keys.is_given("parent") && !keys.is_given("trace") {
            keys.tell(Code::Missing, &keys.place("parent"), "`parent` without `trace`", "name the trace of both");
        }
        let start_ns = *self.start_ns.borrow();
        let spans = Spans {
            instants: instants.into_iter().map(|at| start_ns + at).collect(),
            count,
            service: own("service").unwrap_or_else(|| "service".to_owned()),
            name: own("name").unwrap_or_else(|| "operation".to_owned()),
            kind: keys.choice("kind", &KINDS).unwrap_or(1),
            of_type: own("type"),
            duration_ns: keys.duration("duration", ANY).map_or(1_000_000, nanos),
            status: keys.choice("status", &STATUS).unwrap_or(0),
            attributes,
            resource: self::attributes(&keys, "resource"),
            scope: own("scope"),
            trace: own("trace"),
            id: own("id"),
            parent: own("parent"),
            delay_ns: keys.duration("delay", ANY).map_or(0, nanos),
        };
        keys.finish(&[]);
        Some(spans)
    }

    fn order(&self, node: &Node, who: &Who) -> Option<Order> {
        let keys = Keys::of(node, "`order`", who.clone(), self.problems)?;
        let order = Order {
            shuffle: keys.count("shuffle", (0, u64::MAX), Code::WrongType).unwrap_or(0),
            within_ns: keys.duration("within", ANY).map_or(0, nanos),
            batches: keys.count("batches", (1, 1_000_000), Code::Limit).map_or(1, |n| usize::try_from(n).unwrap_or(1)),
        };
        keys.finish(&[]);
        Some(order)
    }

    fn deployed(&self, node: &Node, who: &Who) -> Option<Deployed> {
        let keys = Keys::of(node, "a definition", who.clone(), self.problems)?;
        keys.required("process", "name the process");
        let version = keys.count("version", (1, u64::from(u32::MAX)), Code::Limit).unwrap_or(1);
        let usual = if version == 1 { "new" } else { "executable" };
        let deployed = Deployed {
            at_ns: self.at(&keys, "at"),
            process: keys.text("process").map(|(text, _)| text.to_owned()).unwrap_or_default(),
            version,
            change: keys.choice("change", &CHANGES).unwrap_or(usual).to_owned(),
        };
        keys.finish(&[]);
        Some(deployed)
    }

    fn at(&self, keys: &Keys<'_>, key: &'static str) -> i64 {
        keys.required(key, "say when, counted from `start`");
        self.start_ns.borrow().saturating_add(keys.duration(key, ANY).map_or(0, nanos))
    }

    fn expect(&self, node: &Node, who: &Who) -> Option<Expect> {
        let keys = Keys::of(node, "an expectation", who.clone(), self.problems)?;
        let expect = Expect {
            line: node.mark.position().map_or(1, |(line, _)| line),
            at_ns: self.at(&keys, "at"),
            gate: gate(&keys),
            key: key(&keys),
            outcome: keys.choice("outcome", &OUTCOMES),
            state: keys.choice("state", &PHASES).map(str::to_owned),
            level: keys.choice("level", &LEVELS),
            value: value(&keys),
            n: keys.count("n", (0, u64::MAX), Code::WrongType),
            episode: keys.count("episode", (0, u64::MAX), Code::WrongType),
        };
        let nothing = ["outcome", "state", "level", "value", "n", "episode"].iter().all(|key| !keys.is_given(key));
        if nothing {
            let next = "give it `outcome`, `state`, `level`, `value`, `n` or `episode`";
            keys.tell(Code::Missing, &node.mark, "the expectation expects nothing", next);
        }
        keys.finish(&[]);
        Some(expect)
    }

    fn change(&self, node: &Node, who: &Who) -> Option<Change> {
        let keys = Keys::of(node, "a transition", who.clone(), self.problems)?;
        keys.required("to", "name the phase after it");
        let change = Change {
            at_ns: self.at(&keys, "at"),
            gate: gate(&keys),
            key: key(&keys),
            to: keys.choice("to", &PHASES).unwrap_or_default().to_owned(),
            level: keys.choice("level", &LEVELS),
            episode: keys.count("episode", (0, u64::MAX), Code::WrongType),
            cause: keys.text("cause").map(|(cause, _)| cause.to_owned()),
        };
        keys.finish(&[]);
        Some(change)
    }

    fn message(&self, node: &Node, who: &Who) -> Option<Message> {
        let keys = Keys::of(node, "a notification", who.clone(), self.problems)?;
        keys.required("receiver", "name the receiver");
        let own = |key| keys.text(key).map(|(text, _)| text.to_owned());
        let message = Message {
            receiver: own("receiver").unwrap_or_default(),
            id_suffix: own("id_suffix"),
            status: keys.choice("status", &[("firing", Status::Firing), ("resolved", Status::Resolved)]),
            gate: own("gate"),
        };
        keys.finish(&[]);
        Some(message)
    }

    fn start(&self, node: &Node, who: &Who) -> Option<Start> {
        let keys = Keys::of(node, "a start", who.clone(), self.problems)?;
        keys.required("pipeline", "name the pipeline");
        let start = Start {
            pipeline: keys.text("pipeline").map(|(text, _)| text.to_owned()).unwrap_or_default(),
            episode: keys.count("episode", (0, u64::MAX), Code::WrongType),
            key: keys.is_given("key").then(|| key(&keys)),
        };
        keys.finish(&[]);
        Some(start)
    }
}

fn gate(keys: &Keys<'_>) -> String {
    keys.required("gate", "name the gate");
    keys.text("gate").map(|(gate, _)| gate.to_owned()).unwrap_or_default()
}

/// The alert key of the mapping at `key`; empty without one.
fn key(keys: &Keys<'_>) -> String {
    let labels = keys.named("key").iter().filter_map(|entry| {
        let text = match &entry.value.value {
            yaml::Value::Text(text) => text.clone(),
            yaml::Value::Int(number) => number.to_string(),
            yaml::Value::Bool(flag) => flag.to_string(),
            other => {
                let what = format!("`{}` is {}, text is expected", entry.key, word(other));
                keys.tell(Code::WrongType, &entry.value.mark, what, "put it in quotes");
                return None;
            }
        };
        Some((entry.key.clone(), text))
    });
    alert_key(&labels.collect::<BTreeMap<_, _>>())
}

/// A number, or `0.5 ± 0.01`; without it 1e-9 of the number is right.
fn value(keys: &Keys<'_>) -> Option<(f64, f64)> {
    let node = &keys.entry("value")?.value;
    let number = |value: f64| (value, value.abs() * 1e-9);
    match &node.value {
        #[allow(clippy::cast_precision_loss, reason = "values of tests are small")]
        yaml::Value::Int(value) => Some(number(*value as f64)),
        yaml::Value::Float(value) => Some(number(*value)),
        yaml::Value::Text(text) => {
            let parts = text.split_once('±').or_else(|| text.split_once("+-"));
            let read = parts.and_then(|(value, off)| Some((value.trim().parse().ok()?, off.trim().parse().ok()?)));
            if read.is_none() {
                let what = format!("`value`: `{text}` is no number");
                keys.tell(Code::WrongType, &node.mark, what, "write e.g. `0.5` or `0.5 ± 0.01`");
            }
            read
        }
        other => {
            let what = format!("`value` is {}, a number is expected", word(other));
            keys.tell(Code::WrongType, &node.mark, what, "write e.g. `0.5` or `0.5 ± 0.01`");
            None
        }
    }
}

/// Values by key: text, numbers, booleans and lists of them.
fn attributes(keys: &Keys<'_>, key: &'static str) -> BTreeMap<String, Value> {
    let mut read = BTreeMap::new();
    for entry in keys.named(key) {
        match attribute(&entry.value) {
            Some(value) => drop(read.insert(entry.key.clone(), value)),
            None => {
                let what = format!("`{key}.{}` is {}", entry.key, word(&entry.value.value));
                keys.tell(
                    Code::WrongType,
                    &entry.value.mark,
                    what,
                    "text, numbers, booleans and lists of them are sent",
                );
            }
        }
    }
    read
}

/// As an OTLP `AnyValue` in JSON.
fn attribute(node: &Node) -> Option<Value> {
    Some(match &node.value {
        yaml::Value::Text(text) => serde_json::json!({ "stringValue": text }),
        yaml::Value::Int(number) => serde_json::json!({ "intValue": number.to_string() }),
        yaml::Value::Float(number) => serde_json::json!({ "doubleValue": number }),
        yaml::Value::Bool(flag) => serde_json::json!({ "boolValue": flag }),
        yaml::Value::List(items) => {
            let values = items.iter().map(attribute).collect::<Option<Vec<_>>>()?;
            serde_json::json!({ "arrayValue": { "values": values } })
        }
        yaml::Value::Null | yaml::Value::Reported | yaml::Value::Map(_) => return None,
    })
}
