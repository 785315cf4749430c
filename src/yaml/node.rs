//! The tree: values with the place they were written at.
//!
//! Duty: [`Node`], [`Map`], [`Mark`]. Guarantee: a map keeps the order of the file and holds a key once. Left to others:
//! making trees (`parse`), joining them (`merge`) and reading them (`section`).

use std::fmt;
use std::sync::Arc;

/// A place in a source: a file with line and column, or a command-line flag as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    order: u32,
    line: u32,
    column: u32,
    source: Arc<str>,
}

impl Mark {
    /// The start of a file-like source; `order` is its position among the sources.
    pub fn of_source(order: u32, source: impl Into<Arc<str>>) -> Self {
        Self { order, line: 1, column: 1, source: source.into() }
    }

    /// A flag, which has no lines: `--set processors.batch.timeout`.
    pub fn of_flag(order: u32, flag: impl Into<Arc<str>>) -> Self {
        Self { order, line: 0, column: 0, source: flag.into() }
    }

    /// The same source at `line` and `column`, both counted from 1; a flag stays as it is.
    pub fn at(&self, line: u32, column: u32) -> Self {
        if self.line == 0 {
            return self.clone();
        }
        Self { order: self.order, line, column, source: Arc::clone(&self.source) }
    }

    /// Name of the file, or the flag.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Line and column from 1; `None` for a flag.
    pub fn position(&self) -> Option<(u32, u32)> {
        (self.line > 0).then_some((self.line, self.column))
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position() {
            Some((line, column)) => write!(f, "{}:{line}:{column}", self.source),
            None => f.write_str(&self.source),
        }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What was written.
    pub value: Value,
    /// Where.
    pub mark: Mark,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping.
    Map(Map),
    /// A value whose problem has been reported: readers take it as absent and say nothing more.
    Reported,
}

impl Value {
    /// The word for messages: `expected bool, got string`.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Null | Self::Reported => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "string",
            Self::List(_) => "list",
            Self::Map(_) => "map",
        }
    }
}

/// A mapping in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map {
    entries: Vec<Entry>,
}

/// One key of a mapping with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key as text.
    pub key: String,
    /// Where the key stands.
    pub mark: Mark,
    /// The value.
    pub value: Node,
}

impl Map {
    /// The entry of `key`.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The entry of `key`, to change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.key == key)
    }

    /// All entries in the order of the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// All entries, to change their values.
    pub fn entries_mut(&mut self) -> &mut Vec<Entry> {
        &mut self.entries
    }

    /// The entries themselves.
    pub fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// Adds an entry, or replaces the value of the one with the same key.
    pub fn put(&mut self, entry: Entry) {
        match self.get_mut(&entry.key) {
            Some(old) => *old = entry,
            None => self.entries.push(entry),
        }
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Node {
    /// An empty mapping.
    pub fn empty_map(mark: Mark) -> Self {
        Self { value: Value::Map(Map::default()), mark }
    }

    /// The mapping, if it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The node at `path` below this one.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.as_map()?.get(key).map(|entry| &entry.value))
    }

    /// Calls `change` for every node below and including this one, parents first.
    pub fn visit_mut(&mut self, change: &mut impl FnMut(&mut Node)) {
        change(self);
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.visit_mut(change)),
            Value::Map(map) => map.entries.iter_mut().for_each(|entry| entry.value.visit_mut(change)),
            _ => {}
        }
    }
}
