//! Text to tree.
//!
//! Duty: one YAML document, or several, from the parser's events, with marks: as the Collector reads it (C6), or strictly, as YAML
//! 1.2's core schema says. Guarantee: anchors and aliases copy at most 100,000 nodes in all, of which a long text is
//! several; nesting ends at 128 levels, a key stands once in a mapping; no input panics. Left to others: what the values mean.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::scalar::{resolve, resolve_core};
use super::{Code, Entry, Map, Mark, Node, Problem, Value};

const MAX_ALIASED_NODES: usize = 100_000;
/// So many bytes of a text are copied like one node more.
const NODE_BYTES: usize = 256;
const MAX_DEPTH: usize = 128;

/// Reads `text`; `source` names it in every mark. An empty text is an empty mapping.
///
/// Errors: the text is not YAML, holds a second document or a key twice, or is not a mapping (0001).
pub fn parse(text: &str, source: &Mark) -> Result<Node, Problem> {
    let root = value(text, source)?;
    match root.value {
        Value::Null => Ok(Node::empty_map(root.mark)),
        Value::Map(_) => Ok(root),
        other => Err(problem(root.mark, format!("the root is a {}, want a mapping", other.type_name()))),
    }
}

/// Reads `text`, whose root may be of any type; as [`parse`] otherwise.
pub(super) fn value(text: &str, source: &Mark) -> Result<Node, Problem> {
    let mut builder = Builder::new(source);
    builder.read(text)?;
    Ok(builder.root.unwrap_or_else(|| Node { value: Value::Null, mark: source.clone() }))
}

/// One thing that a strict reading refuses.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Which kind.
    pub kind: FaultKind,
    /// What is wrong.
    pub text: String,
    /// Where.
    pub mark: Mark,
}

/// Kinds of [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// No YAML, no mapping, or more than one document.
    Syntax,
    /// More nodes than allowed.
    TooLarge,
    /// `<<`
    MergeKey,
    /// A key given twice.
    DuplicateKey,
}

/// Reads `text` by YAML 1.2's core schema, with merge keys refused, at most `max_nodes` nodes after the expansion of
/// aliases, and all doubled keys told. The tree is without what was refused; there is none after a fault of syntax or
/// size, which is then the last one.
pub fn parse_strict(text: &str, source: &Mark, max_nodes: usize) -> (Option<Node>, Vec<Fault>) {
    let mut builder = Builder::new(source);
    builder.strict = Some(Strict { max_nodes, ..Strict::default() });
    let outcome = builder.read(text);
    let strict = builder.strict.take().unwrap_or_default();
    let mut faults = strict.faults;
    let kind = if strict.nodes > max_nodes { FaultKind::TooLarge } else { FaultKind::Syntax };
    let mut fault = |mark: Mark, text: String| faults.push(Fault { kind, text, mark });
    let root = match (outcome, builder.root) {
        (Err(problem), _) => {
            fault(problem.mark, problem.text);
            None
        }
        (Ok(()), None) => Some(Node::empty_map(source.clone())),
        (Ok(()), Some(root)) => match root.value {
            Value::Null => Some(Node::empty_map(root.mark)),
            Value::Map(_) => Some(root),
            other => {
                fault(root.mark, format!("the root is a {}, want a mapping", other.type_name()));
                None
            }
        },
    };
    (root, faults)
}

/// As [`parse_strict`], of a text with several documents: their roots, without empty ones.
pub fn parse_documents(text: &str, source: &Mark, max_nodes: usize) -> (Vec<Node>, Vec<Fault>) {
    let mut builder = Builder::new(source);
    builder.strict = Some(Strict { max_nodes, ..Strict::default() });
    builder.done = Some(Vec::new());
    let outcome = builder.read(text);
    let strict = builder.strict.take().unwrap_or_default();
    let mut faults = strict.faults;
    let mut roots = Vec::new();
    for root in builder.done.unwrap_or_default() {
        match root.value {
            Value::Null => {}
            Value::Map(_) => roots.push(root),
            other => {
                let text = format!("a document is a {}, want a mapping", other.type_name());
                faults.push(Fault { kind: FaultKind::Syntax, text, mark: root.mark });
            }
        }
    }
    if let Err(problem) = outcome {
        let kind = if strict.nodes > max_nodes { FaultKind::TooLarge } else { FaultKind::Syntax };
        faults.push(Fault { kind, text: problem.text, mark: problem.mark });
        roots.clear();
    }
    (roots, faults)
}

fn place(source: &Mark, marker: saphyr_parser::Marker) -> Mark {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    source.at(number(marker.line()).max(1), number(marker.col()).saturating_add(1))
}

fn problem(mark: Mark, why: String) -> Problem {
    Problem { code: Code::Parse, path: String::new(), text: format!("cannot parse YAML: {why}"), mark, help: None }
}

/// A finished node that aliases may name, with its measures.
struct Anchored {
    node: Node,
    measure: Measure,
}

#[derive(Clone, Copy, Default)]
struct Measure {
    nodes: usize,
    /// Nodes, and what its texts are beside them.
    weight: usize,
    height: usize,
}

enum Open {
    List { items: Vec<Node>, mark: Mark, anchor: usize },
    Map { map: Map, merged: Vec<Node>, has_merge: bool, key: Option<(String, Mark)>, mark: Mark, anchor: usize },
}

struct Builder<'s> {
    source: &'s Mark,
    stack: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    aliased: usize,
    documents: usize,
    root: Option<Node>,
    /// Roots so far, where several documents are read.
    done: Option<Vec<Node>>,
    strict: Option<Strict>,
}

/// What a strict reading counts and finds.
#[derive(Default)]
struct Strict {
    max_nodes: usize,
    nodes: usize,
    faults: Vec<Fault>,
}

impl<'s> Builder<'s> {
    fn new(source: &'s Mark) -> Self {
        Self {
            source,
            stack: Vec::new(),
            anchors: HashMap::new(),
            aliased: 0,
            documents: 0,
            root: None,
            done: None,
            strict: None,
        }
    }

    fn read(&mut self, text: &str) -> Result<(), Problem> {
        let mut parser = Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
        while let Some(event) = parser.next_event() {
            let (event, span) =
                event.map_err(|error| problem(place(self.source, *error.marker()), error.info().to_owned()))?;
            self.take(event, span)?;
        }
        Ok(())
    }

    /// Counts `nodes` more, which begin at `mark`.
    fn count(&mut self, nodes: usize, mark: &Mark) -> Result<(), Problem> {
        let Some(strict) = &mut self.strict else { return Ok(()) };
        strict.nodes = strict.nodes.saturating_add(nodes);
        match strict.nodes > strict.max_nodes {
            true => Err(problem(mark.clone(), format!("more than {} nodes", strict.max_nodes))),
            false => Ok(()),
        }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let mark = place(self.source, span.start);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                // Anchors are of their own document.
                self.anchors.clear();
                if self.documents > 1 && self.done.is_none() {
                    return Err(problem(mark, "a second document starts here; write one".to_owned()));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, &mark)?;
                let plain = style == ScalarStyle::Plain;
                let is_merge = plain && tag.is_none() && text == "<<";
                let resolve = if self.strict.is_some() { resolve_core } else { resolve };
                let value = scalar(&text, plain, tag.as_deref(), resolve).map_err(|why| problem(mark.clone(), why))?;
                self.scalar(Node { value, mark }, &text, is_merge, anchor)?;
            }
            Event::SequenceStart(anchor, tag) => {
                only_core(tag.as_deref(), "seq").map_err(|why| problem(mark.clone(), why))?;
                self.open(Open::List { items: Vec::new(), mark, anchor })?;
            }
            Event::MappingStart(anchor, tag) => {
                only_core(tag.as_deref(), "map").map_err(|why| problem(mark.clone(), why))?;
                let (map, merged) = (Map::default(), Vec::new());
                self.open(Open::Map { map, merged, has_merge: false, key: None, mark, anchor })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Alias(anchor) => self.alias(anchor, mark)?,
            Event::DocumentEnd => {
                if let Some(done) = &mut self.done {
                    done.extend(self.root.take());
                }
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd => {}
        }
        Ok(())
    }

    fn open(&mut self, open: Open) -> Result<(), Problem> {
        let (Open::List { mark, .. } | Open::Map { mark, .. }) = &open;
        self.count(1, mark)?;
        if self.stack.len() >= MAX_DEPTH {
            return Err(problem(mark.clone(), format!("nested deeper than {MAX_DEPTH} levels")));
        }
        if self.expects_key() {
            return Err(problem(mark.clone(), "a key is a mapping or list; keys are text".to_owned()));
        }
        self.stack.push(open);
        Ok(())
    }

    fn expects_key(&self) -> bool {
        matches!(self.stack.last(), Some(Open::Map { key: None, .. }))
    }

    fn scalar(&mut self, node: Node, text: &str, is_merge: bool, anchor: usize) -> Result<(), Problem> {
        if !self.expects_key() {
            return self.finish(node, anchor);
        }
        let mark = node.mark.clone();
        if matches!(node.value, Value::Null) || text.is_empty() {
            return Err(problem(mark, "a key is empty".to_owned()));
        }
        if anchor > 0 {
            self.keep(anchor, &node)?;
        }
        self.key(text.to_owned(), is_merge, mark)
    }

    fn key(&mut self, text: String, is_merge: bool, mark: Mark) -> Result<(), Problem> {
        let Some(Open::Map { map, key, has_merge, .. }) = self.stack.last_mut() else {
            unreachable!("expects_key saw an open mapping");
        };
        let first = if is_merge { has_merge.then_some(&mark) } else { map.get(&text).map(|entry| &entry.mark) };
        let twice = first.map(|first| match first.position() {
            Some((line, _)) => format!("the key \"{text}\" is already set in line {line}"),
            None => format!("the key \"{text}\" is set twice"),
        });
        if let Some(strict) = &mut self.strict {
            let (kind, why) = match twice {
                _ if is_merge => (FaultKind::MergeKey, "a merge key (<<) is not read here".to_owned()),
                Some(why) => (FaultKind::DuplicateKey, why),
                None => {
                    *key = Some((text, mark));
                    return Ok(());
                }
            };
            strict.faults.push(Fault { kind, text: why, mark: mark.clone() });
            *key = Some((String::new(), mark));
            return Ok(());
        }
        if let Some(why) = twice {
            return Err(problem(mark, why));
        }
        *has_merge |= is_merge;
        // A merge key is told from a text "<<" by the empty key, which no other entry can have.
        *key = Some((if is_merge { String::new() } else { text }, mark));
        Ok(())
    }

    fn close(&mut self) -> Result<(), Problem> {
        let (node, anchor) = match self.stack.pop().expect("the parser ends only what it started") {
            Open::List { items, mark, anchor } => (Node { value: Value::List(items), mark }, anchor),
            Open::Map { mut map, merged, mark, anchor, .. } => {
                // A strict reading has refused them, and so are the values of doubled keys.
                if self.strict.is_none() {
                    merge_keys(&mut map, merged)?;
                }
                (Node { value: Value::Map(map), mark }, anchor)
            }
        };
        self.finish(node, anchor)
    }

    /// Puts a finished node where it belongs.
    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        if anchor > 0 {
            self.keep(anchor, &node)?;
        }
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { map, merged, key, .. }) => {
                let (key, mark) = key.take().expect("a value follows its key");
                if key.is_empty() {
                    merged.push(node);
                } else {
                    map.put(Entry { key, mark, value: node });
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, anchor: usize, node: &Node) -> Result<(), Problem> {
        let measure = measure(node);
        // Each anchor copies what is inside it, be it anchored itself.
        self.aliased = self.aliased.saturating_add(measure.weight);
        if self.aliased > MAX_ALIASED_NODES {
            return Err(problem(
                node.mark.clone(),
                format!("what anchors name grows beyond {MAX_ALIASED_NODES} nodes"),
            ));
        }
        self.anchors.insert(anchor, Anchored { node: node.clone(), measure });
        Ok(())
    }

    fn alias(&mut self, anchor: usize, mark: Mark) -> Result<(), Problem> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            return Err(problem(mark, "an alias stands inside the node it names".to_owned()));
        };
        let measure = anchored.measure;
        self.aliased = self.aliased.saturating_add(measure.weight);
        self.count(measure.nodes, &mark)?;
        let Some(anchored) = self.anchors.get(&anchor) else { return Ok(()) };
        if self.aliased > MAX_ALIASED_NODES {
            return Err(problem(mark, format!("aliases grow beyond {MAX_ALIASED_NODES} nodes")));
        }
        if self.stack.len() + measure.height > MAX_DEPTH {
            return Err(problem(mark, format!("nested deeper than {MAX_DEPTH} levels through an alias")));
        }
        let node = anchored.node.clone();
        if !self.expects_key() {
            return self.finish(node, 0);
        }
        match key_text(&node.value) {
            Some(text) => self.key(text, false, mark),
            None => Err(problem(mark, "a key is a mapping, list or empty; keys are text".to_owned())),
        }
    }
}

fn key_text(value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Int(value) => Some(value.to_string()),
        Value::Float(value) => Some(value.to_string()),
        Value::Text(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}

fn measure(node: &Node) -> Measure {
    let inner = match &node.value {
        Value::List(items) => items.iter().map(measure).fold(Measure::default(), join),
        Value::Map(map) => {
            let entry = |entry: &Entry| {
                let of_value = measure(&entry.value);
                Measure { weight: of_value.weight + entry.key.len() / NODE_BYTES, ..of_value }
            };
            map.entries().iter().map(entry).fold(Measure::default(), join)
        }
        Value::Text(text) => return Measure { nodes: 1, weight: 1 + text.len() / NODE_BYTES, height: 0 },
        _ => return Measure { nodes: 1, weight: 1, height: 0 },
    };
    Measure { nodes: inner.nodes + 1, weight: inner.weight + 1, height: inner.height + 1 }
}

fn join(a: Measure, b: Measure) -> Measure {
    Measure { nodes: a.nodes + b.nodes, weight: a.weight + b.weight, height: a.height.max(b.height) }
}

/// `<<: *a` and `<<: [*a, *b]`: keys written in the mapping win, then the earlier source.
fn merge_keys(map: &mut Map, merged: Vec<Node>) -> Result<(), Problem> {
    let sources = merged.into_iter().flat_map(|node| match node.value {
        Value::List(items) => items,
        _ => vec![node],
    });
    for source in sources {
        let Value::Map(other) = source.value else {
            return Err(problem(source.mark, "a merge key (<<) takes a mapping or a list of mappings".to_owned()));
        };
        for entry in other.into_entries() {
            if map.get(&entry.key).is_none() {
                map.put(entry);
            }
        }
    }
    Ok(())
}

fn scalar(text: &str, plain: bool, tag: Option<&Tag>, resolve: fn(&str) -> Value) -> Result<Value, String> {
    let Some(tag) = tag else {
        return Ok(if plain { resolve(text) } else { Value::Text(text.to_owned()) });
    };
    if tag.handle.is_empty() || (tag.handle == "!" && tag.suffix.is_empty()) {
        return Ok(Value::Text(text.to_owned()));
    }
    let resolved = resolve(text);
    let core = tag.is_yaml_core_schema();
    match (tag.suffix.as_str(), &resolved) {
        ("str", _) if core => Ok(Value::Text(text.to_owned())),
        ("int", Value::Int(_)) | ("float", Value::Float(_)) | ("bool", Value::Bool(_)) | ("null", Value::Null)
            if core =>
        {
            Ok(resolved)
        }
        #[allow(clippy::cast_precision_loss, reason = "asked for by the tag")]
        ("float", Value::Int(number)) if core => Ok(Value::Float(*number as f64)),
        _ => Err(format!("the tag {tag} is not supported here")),
    }
}

fn only_core(tag: Option<&Tag>, suffix: &str) -> Result<(), String> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == suffix) => {
            Err(format!("the tag {tag} is not supported here"))
        }
        _ => Ok(()),
    }
}
