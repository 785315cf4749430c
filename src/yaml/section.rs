//! Typed readers over a mapping.
//!
//! Duty: [`Section`], by which a module takes its keys out of the tree. Guarantee: a key that nobody asked for is
//! reported when the section is dropped, with the nearest known one (D1); a value of another type is reported and read
//! as absent (D2); so is null (D3). Left to others: defaults, which the caller puts in with `unwrap_or`.

use std::cell::{Cell, RefCell};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Code, Endpoint, Entry, Map, Mark, Node, Problem, Problems, Size, Value, duration, nearest};

/// A mapping that is being read. Every key asked for is known; the others are reported on drop.
#[derive(Debug)]
pub struct Section<'a> {
    path: String,
    mark: Mark,
    map: Option<&'a Map>,
    problems: &'a Problems,
    days: bool,
    known: RefCell<Vec<&'static str>>,
    open: Cell<bool>,
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        self.report_unknown();
    }
}

impl<'a> Section<'a> {
    /// The whole tree.
    pub fn root(node: &'a Node, problems: &'a Problems) -> Self {
        Self::over(String::new(), node.mark.clone(), Some(node), problems, false)
    }

    fn over(path: String, mark: Mark, node: Option<&'a Node>, problems: &'a Problems, days: bool) -> Self {
        let map = match node.map(|node| &node.value) {
            Some(Value::Map(map)) => Some(map),
            Some(Value::Null | Value::Reported) | None => None,
            Some(other) => {
                let text = format!("expected map, got {}", other.type_name());
                problems.add(Problem {
                    code: Code::WrongType,
                    path: path.clone(),
                    text,
                    mark: mark.clone(),
                    help: None,
                });
                None
            }
        };
        let (known, open) = (RefCell::default(), Cell::new(false));
        Self { path, mark, map, problems, days, known, open }
    }

    /// Path of this mapping, joined by `::`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where this mapping stands; for an absent one, where its parent stands.
    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Allows the unit `d` in durations: for sections of ours (D5).
    #[must_use]
    pub fn with_days(mut self) -> Self {
        self.days = true;
        self
    }

    /// Whether this mapping was written with content.
    pub fn is_given(&self) -> bool {
        self.map.is_some()
    }

    /// Whether `key` is written, be it null.
    pub fn has(&self, key: &'static str) -> bool {
        self.entry(key).is_some()
    }

    /// Whether `key` is written with a value.
    pub fn is_set(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// The mapping at `key`; an absent or null one reads as empty.
    pub fn block(&self, key: &'static str) -> Section<'a> {
        let entry = self.entry(key);
        let mark = entry.map_or_else(|| self.mark.clone(), |entry| entry.mark.clone());
        Section::over(self.sub(key), mark, entry.map(|entry| &entry.value), self.problems, self.days)
    }

    /// Every entry, when the keys are names the user chose.
    pub fn entries(&self) -> &'a [Entry] {
        self.open.set(true);
        self.map.map_or(&[], Map::entries)
    }

    /// The mapping in `entry`, one of [`Section::entries`].
    pub fn block_of(&self, entry: &'a Entry) -> Section<'a> {
        let node = Some(&entry.value);
        Section::over(self.sub(&entry.key), entry.mark.clone(), node, self.problems, self.days)
    }

    /// Mappings in the list at `key`, with their index in the path.
    pub fn blocks(&self, key: &'static str) -> Option<Vec<Section<'a>>> {
        let node = self.value(key)?;
        let Value::List(items) = &node.value else { return self.wrong(key, node, "list") };
        let over = |(i, item): (usize, &'a Node)| {
            Section::over(format!("{}::{i}", self.sub(key)), item.mark.clone(), Some(item), self.problems, self.days)
        };
        Some(items.iter().enumerate().map(over).collect())
    }

    /// The value at `key` as it was written, for values that may have several types; null reads as absent.
    pub fn node(&self, key: &'static str) -> Option<&'a Node> {
        self.value(key)
    }

    /// Text.
    pub fn text(&self, key: &'static str) -> Option<String> {
        let node = self.value(key)?;
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            _ => self.wrong(key, node, "string"),
        }
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        let node = self.value(key)?;
        match node.value {
            Value::Bool(value) => Some(value),
            _ => self.wrong(key, node, "bool"),
        }
    }

    /// A whole number.
    pub fn integer(&self, key: &'static str) -> Option<i64> {
        let node = self.value(key)?;
        match node.value {
            Value::Int(value) => Some(value),
            _ => self.wrong(key, node, "int"),
        }
    }

    /// A whole number in `range`.
    pub fn number(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.integer(key)?;
        let inside = u64::try_from(value).ok().filter(|value| range.contains(value));
        if inside.is_none() {
            let text = match (*range.start(), *range.end()) {
                (0, u64::MAX) => format!("must not be negative, got {value}"),
                (least, u64::MAX) => format!("must be at least {least}, got {value}"),
                (least, most) => format!("must be from {least} to {most}, got {value}"),
            };
            self.check(key, text);
        }
        inside
    }

    /// A number, whole or not.
    pub fn float(&self, key: &'static str) -> Option<f64> {
        let node = self.value(key)?;
        match node.value {
            Value::Float(value) => Some(value),
            #[allow(clippy::cast_precision_loss, reason = "what the user wrote is a short number")]
            Value::Int(value) => Some(value as f64),
            _ => self.wrong(key, node, "float"),
        }
    }

    /// A duration that is not negative.
    pub fn duration(&self, key: &'static str) -> Option<Duration> {
        let node = self.value(key)?;
        let ns = match &node.value {
            Value::Text(text) => match duration::parse(text, self.days) {
                Ok(ns) => ns,
                Err(why) => return self.at(key, Code::Unit, format!("invalid duration \"{text}\": {why}"), None),
            },
            Value::Int(0) => 0,
            Value::Int(ns) => {
                let help = Some("write the unit, e.g. `5s`".to_owned());
                self.at::<()>(key, Code::BareDuration, format!("{ns} without a unit is taken as nanoseconds"), help);
                *ns
            }
            _ => return self.wrong(key, node, "duration"),
        };
        match u64::try_from(ns) {
            Ok(ns) => Some(Duration::from_nanos(ns)),
            Err(_) => self.at(key, Code::Check, "must not be negative".to_owned(), None),
        }
    }

    /// A size in bytes (D9).
    pub fn size(&self, key: &'static str) -> Option<u64> {
        match self.size_or_percent(key)? {
            Size::Bytes(bytes) => Some(bytes),
            Size::Percent(_) => self.at(key, Code::Unit, "takes bytes, not a percentage".to_owned(), None),
        }
    }

    /// A size in bytes, or a percentage (D9).
    pub fn size_or_percent(&self, key: &'static str) -> Option<Size> {
        let node = self.value(key)?;
        match &node.value {
            Value::Int(bytes) => match u64::try_from(*bytes) {
                Ok(bytes) => Some(Size::Bytes(bytes)),
                Err(_) => self.at(key, Code::Check, format!("must not be negative, got {bytes}"), None),
            },
            Value::Text(text) => match Size::parse(text) {
                Ok(size) => Some(size),
                Err(why) => self.at(key, Code::Unit, format!("invalid size \"{text}\": {why}"), None),
            },
            _ => self.wrong(key, node, "size"),
        }
    }

    /// A list of texts; one text is split at commas (D4).
    pub fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        self.located_texts(key).map(|texts| texts.into_iter().map(|(text, _)| text).collect())
    }

    /// Whether the list at `key` has items, readable or not.
    pub fn has_items(&self, key: &'static str) -> bool {
        self.entry(key).is_some_and(|entry| match &entry.value.value {
            Value::Null => false,
            Value::List(items) => !items.is_empty(),
            _ => true,
        })
    }

    /// As [`Section::texts`], with the place of each.
    pub fn located_texts(&self, key: &'static str) -> Option<Vec<(String, Mark)>> {
        let node = self.value(key)?;
        match &node.value {
            Value::Text(text) => Some(text.split(',').map(|part| (part.to_owned(), node.mark.clone())).collect()),
            Value::List(items) => {
                let take = |(i, item): (usize, &Node)| match &item.value {
                    Value::Text(text) => Some((text.clone(), item.mark.clone())),
                    Value::Reported => None,
                    other => {
                        let text = format!("expected string, got {}", other.type_name());
                        let path = format!("{}::{i}", self.sub(key));
                        let (code, mark, help) = (Code::WrongType, item.mark.clone(), None);
                        self.problems.add(Problem { code, path, text, mark, help });
                        None
                    }
                };
                Some(items.iter().enumerate().filter_map(take).collect())
            }
            _ => self.wrong(key, node, "list"),
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(key)?;
        self.pick(key, &text, &text, words)
    }

    /// One of a few words, in any case.
    pub fn choice_any_case<T: Copy>(&self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(key)?;
        self.pick(key, &text, &text.to_lowercase(), words)
    }

    fn pick<T: Copy>(&self, key: &'static str, text: &str, word: &str, words: &[(&'static str, T)]) -> Option<T> {
        let found = words.iter().find(|(known, _)| *known == word).map(|(_, value)| *value);
        if found.is_none() {
            let list: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
            let help = nearest(word, list.iter().copied()).map(|near| format!("did you mean \"{near}\"?"));
            self.at::<()>(key, Code::Check, format!("must be one of {}, got \"{text}\"", list.join(", ")), help);
        }
        found
    }

    /// Every entry as a name the user chose with the entry itself, where the values are text; others are reported.
    pub fn named_texts(&self) -> Vec<(&'a str, &'a Entry)> {
        let is_text = |entry: &&Entry| match &entry.value.value {
            Value::Text(_) => true,
            Value::Null | Value::Reported => false,
            other => {
                let text = format!("expected string, got {}", other.type_name());
                let (path, mark) = (self.sub(&entry.key), entry.value.mark.clone());
                self.problems.add(Problem { code: Code::WrongType, path, text, mark, help: None });
                false
            }
        };
        self.entries().iter().filter(is_text).map(|entry| (entry.key.as_str(), entry)).collect()
    }

    /// The word in `entry`, one of [`Section::named_texts`], in any case.
    pub fn pick_of<T: Copy>(&self, entry: &Entry, words: &[(&'static str, T)]) -> Option<T> {
        let Value::Text(text) = &entry.value.value else { return None };
        let word = text.to_lowercase();
        let found = words.iter().find(|(known, _)| *known == word).map(|(_, value)| *value);
        if found.is_none() {
            let list: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
            let text = format!("must be one of {}, got \"{text}\"", list.join(", "));
            let (path, mark) = (self.sub(&entry.key), entry.value.mark.clone());
            self.problems.add(Problem { code: Code::Check, path, text, mark, help: None });
        }
        found
    }

    /// `host:port` of a listener, as written.
    pub fn endpoint(&self, key: &'static str) -> Option<String> {
        let text = self.text(key)?;
        match text.parse::<Endpoint>() {
            Ok(_) => Some(text),
            Err(why) => self.at(key, Code::Check, format!("invalid endpoint \"{text}\": {why}"), None),
        }
    }

    /// Refuses keys that are specified but not built. Null, `[]` and `{}` ask for nothing, and so does
    /// `enabled: false` alone.
    pub fn not_yet(&self, keys: &[&'static str]) {
        for key in keys {
            let Some(node) = self.value(key) else { continue };
            let asks = match &node.value {
                Value::List(items) => !items.is_empty(),
                Value::Map(map) => match map.entries() {
                    [] => false,
                    [only] => only.key != "enabled" || only.value.value != Value::Bool(false),
                    _ => true,
                },
                _ => true,
            };
            if asks {
                self.check(key, "is not supported by weavergen yet");
            }
        }
    }

    /// Refuses `key` if it is set, for the reason `why`.
    pub fn refuse(&self, key: &'static str, why: &str) {
        if self.is_set(key) {
            self.check(key, why);
        }
    }

    /// Warns that `keys`, if set, do nothing here (0107).
    pub fn no_effect(&self, keys: &[&'static str]) {
        for key in keys {
            if self.is_set(key) {
                self.warn(key, Code::NoEffect, "is accepted and has no effect here");
            }
        }
    }

    /// Reports a failed check of the module's own at `key` (0020).
    pub fn check(&self, key: &'static str, text: impl Into<String>) {
        self.at::<()>(key, Code::Check, text.into(), None);
    }

    /// As [`Section::check`], with the next move.
    pub fn check_with_help(&self, key: &'static str, text: impl Into<String>, help: impl Into<String>) {
        self.at::<()>(key, Code::Check, text.into(), Some(help.into()));
    }

    /// Reports a failed check of this mapping as a whole (0020).
    pub fn check_self(&self, text: impl Into<String>) {
        self.report(Code::Check, text, None);
    }

    /// Reports anything about `key`.
    pub fn warn(&self, key: &'static str, code: Code, text: impl Into<String>) {
        self.at::<()>(key, code, text.into(), None);
    }

    /// Reports anything about `entry`, one of [`Section::entries`]: an unknown key at the key, all else at the value.
    pub fn report_entry(&self, entry: &Entry, code: Code, text: impl Into<String>, help: Option<String>) {
        let mark = if code == Code::UnknownKey { &entry.mark } else { &entry.value.mark };
        let (path, mark) = (self.sub(&entry.key), mark.clone());
        self.problems.add(Problem { code, path, text: text.into(), mark, help });
    }

    /// Reports anything about this mapping as a whole.
    pub fn report(&self, code: Code, text: impl Into<String>, help: Option<String>) {
        let (path, mark) = (self.path.clone(), self.mark.clone());
        self.problems.add(Problem { code, path, text: text.into(), mark, help });
    }

    fn at<T>(&self, key: &'static str, code: Code, text: String, help: Option<String>) -> Option<T> {
        let mark = self.entry(key).map_or_else(|| self.mark.clone(), |entry| entry.value.mark.clone());
        self.problems.add(Problem { code, path: self.sub(key), text, mark, help });
        None
    }

    fn wrong<T>(&self, key: &'static str, node: &Node, want: &str) -> Option<T> {
        self.at(key, Code::WrongType, format!("expected {want}, got {}", node.value.type_name()), None)
    }

    fn entry(&self, key: &'static str) -> Option<&'a Entry> {
        if !self.known.borrow().contains(&key) {
            self.known.borrow_mut().push(key);
        }
        self.map?.get(key)
    }

    fn value(&self, key: &'static str) -> Option<&'a Node> {
        self.entry(key).map(|entry| &entry.value).filter(|node| !matches!(node.value, Value::Null | Value::Reported))
    }

    fn sub(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}::{key}", self.path) }
    }

    fn report_unknown(&self) {
        if self.open.get() {
            return;
        }
        let known = self.known.borrow();
        let unknown: Vec<&Entry> = self
            .map
            .map_or(&[][..], Map::entries)
            .iter()
            .filter(|entry| !known.contains(&entry.key.as_str()))
            .collect();
        let Some(first) = unknown.first() else { return };
        let keys: Vec<&str> = unknown.iter().map(|entry| entry.key.as_str()).collect();
        let guess = |key: &str| nearest(key, known.iter().copied());
        let help = if let [key] = keys[..] {
            guess(key).map(|near| format!("did you mean \"{near}\"?"))
        } else {
            let guesses = keys.iter().filter_map(|key| Some(format!("\"{key}\": did you mean \"{}\"?", guess(key)?)));
            Some(guesses.collect::<Vec<_>>().join(" ")).filter(|text| !text.is_empty())
        };
        let text = format!("has invalid keys: {}", keys.join(", "));
        let (path, mark) = (self.path.clone(), first.mark.clone());
        self.problems.add(Problem { code: Code::UnknownKey, path, text, mark, help });
    }
}
