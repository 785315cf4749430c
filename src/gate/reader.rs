//! Typed readers over a mapping of a gate file.
//!
//! Duty: take keys out of the located tree with the codes of gates.md 1.5. Guarantee: every problem is told with its
//! place and reads as absent; a key that nobody asked for is told by [`Keys::finish`] with the nearest known one. Left to
//! others: what keys mean (`group`, `gate_keys`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::definition::{Comparison, Unit};
use super::problem::{Code, Problems, Who};
use super::scalar::{self, Fault, duration_text};
use super::template::{self, Use};
use crate::query::condition::condition;
use crate::yaml::{Entry, Map, Mark, Node, Value, nearest};

/// Keys of a Prometheus rule file.
const PROMETHEUS: [&str; 4] = ["rules", "alert", "expr", "record"];

/// A mapping that is being read.
#[derive(Debug)]
pub(super) struct Keys<'a> {
    map: &'a Map,
    /// Where the mapping stands.
    pub mark: Mark,
    /// Whom it is about.
    pub who: Who,
    /// Where problems go.
    pub problems: &'a Problems,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Keys<'a> {
    /// Reads `node`, which stands for `what`; another type is told.
    pub fn of(node: &'a Node, what: &str, who: Who, problems: &'a Problems) -> Option<Self> {
        match &node.value {
            Value::Map(map) => Some(Self { map, mark: node.mark.clone(), who, problems, known: RefCell::default() }),
            other => {
                let found = word(other);
                problems.add(
                    Code::WrongType,
                    &node.mark,
                    &who,
                    format!("{what} is {found}, a mapping is expected"),
                    "write its keys below it",
                );
                None
            }
        }
    }

    /// Tells a problem at `mark`.
    pub fn tell(&self, code: Code, mark: &Mark, what: impl Into<String>, next: impl Into<String>) {
        self.problems.add(code, mark, &self.who, what, next);
    }

    /// The entry of `key`.
    pub fn entry(&self, key: &'static str) -> Option<&'a Entry> {
        if !self.known.borrow().contains(&key) {
            self.known.borrow_mut().push(key);
        }
        self.map.get(key)
    }

    /// Whether `key` is written; it does not become known by that.
    pub fn is_given(&self, key: &str) -> bool {
        self.map.get(key).is_some()
    }

    /// Where the value of `key` stands; the mapping's place without it.
    pub fn place(&self, key: &'static str) -> Mark {
        self.entry(key).map_or_else(|| self.mark.clone(), |entry| entry.value.mark.clone())
    }

    /// The value of `key`; told if it must be there.
    pub fn required(&self, key: &'static str, next: &str) -> Option<&'a Node> {
        let node = self.entry(key).map(|entry| &entry.value);
        if node.is_none() {
            self.tell(Code::Missing, &self.mark, format!("`{key}` is missing"), next);
        }
        node
    }

    fn wrong<T>(&self, key: &str, node: &Node, expected: &str, next: &str) -> Option<T> {
        let found = word(&node.value);
        self.tell(Code::WrongType, &node.mark, format!("`{key}` is {found}, {expected} is expected"), next);
        None
    }

    /// Text.
    pub fn text(&self, key: &'static str) -> Option<(&'a str, &'a Mark)> {
        self.text_of(key, &self.entry(key)?.value)
    }

    /// Text in `node`, the value of `key`.
    pub fn text_of(&self, key: &str, node: &'a Node) -> Option<(&'a str, &'a Mark)> {
        match &node.value {
            Value::Text(text) => Some((text.as_str(), &node.mark)),
            Value::Reported => None,
            Value::Null => self.wrong(key, node, "text", "give it a value or remove the key"),
            _ => self.wrong(key, node, "text", "put it in quotes"),
        }
    }

    /// The condition about one row that `text`, of `key` at `mark`, is, as its parser prints it: what it opens it closes.
    pub fn condition_of(&self, code: Code, key: &str, text: &str, mark: &Mark) -> Option<String> {
        match condition(text) {
            Ok(read) => Some(read.to_string()),
            Err(error) => {
                let at = error.position.map(|at| format!(" {}:{}", at.line, at.column)).unwrap_or_default();
                let next = error.hint.unwrap_or_else(|| "write a condition on columns of `spans`".to_owned());
                self.tell(code, mark, format!("`{key}`: SQL{at}: {}", error.message), next);
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        let node = &self.entry(key)?.value;
        match node.value {
            Value::Bool(value) => Some(value),
            _ => self.wrong(key, node, "true or false", "write one of them without quotes"),
        }
    }

    /// A whole number from `least` to `most`; one outside has the code `outside`.
    pub fn count(&self, key: &'static str, (least, most): (u64, u64), outside: Code) -> Option<u64> {
        let node = &self.entry(key)?.value;
        let Value::Int(number) = node.value else {
            return self.wrong(key, node, "a whole number", "write digits without quotes");
        };
        let inside = u64::try_from(number).ok().filter(|n| (least..=most).contains(n));
        if inside.is_none() {
            let range = if most >= u64::from(u32::MAX) {
                format!("at least {least}")
            } else {
                format!("from {least} to {most}")
            };
            self.tell(outside, &node.mark, format!("`{key}` is {number}, it must be {range}"), "change the number");
        }
        inside
    }

    /// A number, with or without a fraction.
    pub fn number(&self, key: &'static str) -> Option<f64> {
        let node = &self.entry(key)?.value;
        match node.value {
            #[allow(clippy::cast_precision_loss, reason = "who writes more digits gets the nearest double")]
            Value::Int(number) => Some(number as f64),
            Value::Float(number) => Some(number),
            _ => self.wrong(key, node, "a number", "write digits without quotes"),
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let (text, mark) = self.text(key)?;
        let found = words.iter().find(|(known, _)| *known == text).map(|(_, value)| *value);
        if found.is_none() {
            let list: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
            let next = match nearest(text, list.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "choose one of them".to_owned(),
            };
            let what = format!("`{key}` is `{text}`, one of {} is expected", list.join(", "));
            self.tell(Code::WrongType, mark, what, next);
        }
        found
    }

    /// A duration from `least` to `most`.
    pub fn duration(&self, key: &'static str, range: (Duration, Duration)) -> Option<Duration> {
        let node = &self.entry(key)?.value;
        // `0` needs no unit, and YAML reads it as a number.
        let (text, mark) = match &node.value {
            Value::Int(0) => ("0", &node.mark),
            Value::Int(number) => {
                let what = format!("`{key}` is {number} without a unit");
                self.tell(Code::Duration, &node.mark, what, "write e.g. `30s`, with units y w d h m s ms");
                return None;
            }
            _ => self.text_of(key, node)?,
        };
        self.duration_of(key, text, mark, range)
    }

    /// The duration in `text`, which stands at `mark`.
    pub fn duration_of(
        &self,
        key: &str,
        text: &str,
        mark: &Mark,
        (least, most): (Duration, Duration),
    ) -> Option<Duration> {
        match scalar::duration(text) {
            Err(why) => {
                let what = format!("`{key}`: `{text}` is no duration: {why}");
                self.tell(
                    Code::Duration,
                    mark,
                    what,
                    "write e.g. `1h30m`: integers with y w d h m s ms, largest first",
                );
                None
            }
            Ok(value) if value < least || value > most => {
                let (least, most) = (duration_text(least), duration_text(most));
                let what = format!("`{key}` is {text}, it must be from {least} to {most}");
                self.tell(Code::Duration, mark, what, "change the duration");
                None
            }
            Ok(value) => Some(value),
        }
    }

    /// A comparison with literals in `unit`.
    pub fn comparison(&self, key: &'static str, unit: Unit) -> Option<Comparison> {
        let (text, mark) = self.text(key)?;
        self.comparison_of(key, text, mark, unit)
    }

    /// The comparison in `text`, which stands at `mark`.
    pub fn comparison_of(&self, key: &str, text: &str, mark: &Mark, unit: Unit) -> Option<Comparison> {
        match scalar::comparison(text, unit) {
            Ok(comparison) => Some(comparison),
            Err(Fault::Malformed(why)) => {
                let what = format!("`{key}`: `{text}` is no comparison: {why}");
                self.tell(Code::Comparison, mark, what, "write e.g. \"> 95%\" or \"in [1, 2]\"");
                None
            }
            Err(Fault::Unit(why)) => {
                self.tell(Code::Unit, mark, format!("`{key}`: {why}"), "change the suffix or set `unit`");
                None
            }
        }
    }

    /// A list of texts with their places.
    pub fn texts(&self, key: &'static str) -> Option<Vec<(&'a str, &'a Mark)>> {
        let node = &self.entry(key)?.value;
        match &node.value {
            Value::List(items) => Some(items.iter().filter_map(|item| self.text_of(key, item)).collect()),
            _ => self.wrong(key, node, "a list", "write e.g. `[a, b]`"),
        }
    }

    /// A mapping of the user's names to templates, which are checked.
    pub fn templates(&self, key: &'static str, of: Use) -> BTreeMap<String, String> {
        let mut read = BTreeMap::new();
        for entry in self.named(key) {
            let Some((text, mark)) = self.text_of(&entry.key, &entry.value) else { continue };
            if let Err(why) = template::check(text, of) {
                self.tell(Code::Template, mark, format!("`{key}.{}`: {why}", entry.key), "correct the template");
            }
            read.insert(entry.key.clone(), text.to_owned());
        }
        read
    }

    /// The entries of the mapping at `key`, whose names the user chose.
    pub fn named(&self, key: &'static str) -> &'a [Entry] {
        let Some(entry) = self.entry(key) else { return &[] };
        match &entry.value.value {
            Value::Map(map) => map.entries(),
            _ => {
                self.wrong::<()>(key, &entry.value, "a mapping", "write `name: text` pairs");
                &[]
            }
        }
    }

    /// Tells keys that are specified and not built yet, and keys that nobody asked for.
    pub fn finish(self, coming: &[&'static str]) {
        let known = self.known.borrow();
        for entry in self.map.entries() {
            let key = entry.key.as_str();
            if known.contains(&key) {
                continue;
            }
            if coming.contains(&key) {
                let what = format!("`{key}` is coming: this version does not have it");
                self.tell(Code::UnknownKey, &entry.mark, what, "remove the key");
            } else if PROMETHEUS.contains(&key) {
                let what = format!("unknown key `{key}`: this is a Prometheus rule file; gates use SQL");
                self.tell(Code::UnknownKey, &entry.mark, what, "write `gates:` with `gate:` and `sql:`");
            } else {
                let near = nearest(key, known.iter().copied().chain(coming.iter().copied()));
                let next = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("keys here: {}", known.join(", ")),
                };
                self.tell(Code::UnknownKey, &entry.mark, format!("unknown key `{key}`"), next);
            }
        }
    }
}

/// What a value is, for messages.
pub(super) fn word(value: &Value) -> &'static str {
    match value {
        Value::Null | Value::Reported => "empty",
        Value::Bool(_) => "true or false",
        Value::Int(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Text(_) => "text",
        Value::List(_) => "a list",
        Value::Map(_) => "a mapping",
    }
}
