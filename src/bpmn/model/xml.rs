//! XML to a tree of elements with places.
//!
//! Duty: well-formedness, namespaces by URI, the limits of bpmn.md 2. Guarantee: no panic and no memory beyond the limits on
//! any input; every element and attribute knows its place; quick-xml cuts the text into markup, what it is lenient about
//! (names, attributes, references, characters) is checked here. Left to others: what the elements mean (`build`).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::chars::{self, Fault};
use super::encoding::{self, Places};
use crate::diagnostic::{At, Diagnostic, Severity};

/// Bytes of a file.
const MAX_BYTES: usize = 16 << 20;
/// Elements around an element, itself included.
const MAX_DEPTH: usize = 256;
/// Elements of a file.
const MAX_ELEMENTS: usize = 200_000;
/// Bytes of an attribute's value as written.
const MAX_ATTRIBUTE: usize = 1 << 20;

/// Bytes of an id (own): every finding repeats it.
const MAX_ID: usize = 512;

/// A namespace, by URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ns {
    /// None.
    None,
    /// The BPMN 2.0 model.
    Model,
    /// BPMN diagrams.
    BpmnDi,
    /// Bounds.
    Dc,
    /// Waypoints.
    Di,
    /// The extension elements we read.
    Zeebe,
    /// Any other.
    Other(Rc<str>),
}

/// An attribute that is no namespace declaration.
#[derive(Clone, Debug)]
pub(crate) struct Attribute {
    pub(crate) ns: Ns,
    pub(crate) local: String,
    /// References resolved, white space normalised.
    pub(crate) value: String,
    /// Of the value, quotes excluded.
    pub(crate) at: At,
}

/// An element.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub(crate) ns: Ns,
    pub(crate) local: String,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) parent: Option<usize>,
    pub(crate) children: Vec<usize>,
    /// Its own character data, trimmed.
    pub(crate) text: String,
    /// Where the trimmed text is.
    pub(crate) text_at: At,
    /// From `<` to the `>` of its end.
    pub(crate) at: At,
}

impl Element {
    /// The attribute without namespace called `local`.
    pub(crate) fn attribute(&self, local: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.ns == Ns::None && attribute.local == local)
    }

    /// Its value.
    pub(crate) fn value(&self, local: &str) -> Option<&str> {
        self.attribute(local).map(|attribute| attribute.value.as_str())
    }

    /// Whether it is the BPMN element `local`.
    pub(crate) fn is(&self, local: &str) -> bool {
        self.ns == Ns::Model && self.local == local
    }
}

/// A file's elements; 0 is the root.
#[derive(Clone, Debug, Default)]
pub(crate) struct Document {
    /// In document order.
    pub(crate) elements: Vec<Element>,
    /// Namespace declarations of the root: prefix → URI.
    pub(crate) prefixes: BTreeMap<String, String>,
}

impl Document {
    /// The children of `element` in document order.
    pub(crate) fn children(&self, element: usize) -> impl Iterator<Item = (usize, &Element)> {
        self.elements[element].children.iter().map(|child| (*child, &self.elements[*child]))
    }
}

/// Reads `source`. Errors: `xml-malformed`, `xml-encoding`, `xml-limit`, `xml-doctype`, at the first place.
pub(crate) fn read(source: &[u8]) -> Result<Document, Box<Diagnostic>> {
    if source.len() > MAX_BYTES {
        let at = At { offset: 0, length: 0, line: 1, column: 1 };
        let message = format!("the file has {} bytes, more than {MAX_BYTES}", source.len());
        return Err(beyond(at, message, "split the file"));
    }
    let places = encoding::decode(source)?;
    if let Some(byte) = chars::forbidden(places.text()) {
        return Err(malformed(places.at(byte, byte + 1), "a control character, which XML does not allow"));
    }
    Tree { places: &places, document: Document::default(), open: Vec::new(), scopes: BTreeMap::new() }.read()
}

fn malformed(at: At, message: impl Into<String>) -> Box<Diagnostic> {
    let fix = "escape or correct the markup at this place";
    Box::new(Diagnostic::new("xml-malformed", Severity::Error, at, message, fix))
}

fn beyond(at: At, message: String, fix: &str) -> Box<Diagnostic> {
    Box::new(Diagnostic::new("xml-limit", Severity::Error, at, message, fix))
}

/// An element that has no end yet.
struct Open {
    element: usize,
    start: usize,
    /// Where its text begins and ends in the file's text, white space around it excluded.
    text: Option<(usize, usize)>,
    /// Prefixes it declares.
    declares: Vec<String>,
}

struct Tree<'a> {
    places: &'a Places<'a>,
    document: Document,
    open: Vec<Open>,
    /// Prefix → namespaces, the innermost last.
    scopes: BTreeMap<String, Vec<Ns>>,
}

impl<'a> Tree<'a> {
    fn read(mut self) -> Result<Document, Box<Diagnostic>> {
        let text = self.places.text();
        let mut reader = Reader::from_str(text);
        reader.config_mut().check_comments = true;
        loop {
            let start = offset(reader.buffer_position());
            let event = match reader.read_event() {
                Ok(event) => event,
                Err(error) => {
                    let byte = chars::floor(text, offset(reader.error_position()));
                    return Err(malformed(self.places.at(byte, byte), error.to_string()));
                }
            };
            let end = offset(reader.buffer_position());
            match event {
                Event::Start(_) => self.start(start, end, false)?,
                Event::Empty(_) => self.start(start, end, true)?,
                Event::End(_) => self.end(end),
                Event::Text(_) | Event::GeneralRef(_) => self.characters(start, end, false)?,
                Event::CData(_) => {
                    self.characters(start + "<![CDATA[".len(), end - "]]>".len(), true)?;
                }
                Event::Decl(_) if start != 0 => {
                    return Err(malformed(self.places.at(start, end), "an XML declaration that is not at the start"));
                }
                Event::DocType(_) => {
                    let fix = "delete the DOCTYPE; only the five named entities and character references exist";
                    let at = self.places.at(start, end);
                    let found = Diagnostic::new("xml-doctype", Severity::Error, at, "the file has a DOCTYPE", fix);
                    return Err(Box::new(found));
                }
                Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
                Event::Eof => break,
            }
        }
        if let Some(open) = self.open.last() {
            let name = &self.document.elements[open.element].local;
            let message = format!("`{name}` has no end tag");
            return Err(malformed(self.places.at(open.start, open.start + 1), message));
        }
        match self.document.elements.is_empty() {
            true => Err(malformed(self.places.at(0, 0), "there is no element")),
            false => Ok(self.document),
        }
    }

    fn start(&mut self, start: usize, end: usize, empty: bool) -> Result<(), Box<Diagnostic>> {
        let at = self.places.at(start, end);
        if self.open.is_empty() && !self.document.elements.is_empty() {
            return Err(malformed(at, "a second root element"));
        }
        let limit = |message: String| beyond(at, message, "split the file");
        if self.document.elements.len() == MAX_ELEMENTS {
            return Err(limit(format!("more than {MAX_ELEMENTS} elements")));
        }
        if self.open.len() == MAX_DEPTH {
            return Err(limit(format!("elements lie more than {MAX_DEPTH} deep")));
        }
        let inner_end = end - if empty { "/>".len() } else { ">".len() };
        let tag = chars::tag(self.places.text(), start + 1, inner_end).map_err(|fault| self.fault(fault))?;
        if let Some(long) = tag.attributes.iter().find(|raw| raw.value.len() > MAX_ATTRIBUTE) {
            let at = self.places.at(long.value.start, long.value.end);
            let message = format!("the attribute `{}` has {} bytes, more than {MAX_ATTRIBUTE}", long.name, at.length);
            return Err(beyond(at, message, "shorten the attribute"));
        }

        let index = self.document.elements.len();
        let mut declares = Vec::new();
        let mut seen = BTreeSet::new();
        let mut named = Vec::new();
        for raw in &tag.attributes {
            let value = chars::attribute(self.places.text(), raw.value.clone()).map_err(|fault| self.fault(fault))?;
            let prefix = match raw.name.split_once(':') {
                None if raw.name == "xmlns" => Some(""),
                Some(("xmlns", prefix)) => Some(prefix),
                _ => None,
            };
            let Some(prefix) = prefix else {
                named.push((raw, value));
                continue;
            };
            if value.is_empty() && !prefix.is_empty() {
                let message = format!("the prefix `{prefix}` is declared without a namespace");
                return Err(malformed(self.places.at(raw.value.start, raw.value.end), message));
            }
            if !seen.insert(raw.name) {
                return Err(self.twice(raw));
            }
            if index == 0 {
                self.document.prefixes.insert(prefix.to_owned(), value.clone());
            }
            self.scopes.entry(prefix.to_owned()).or_default().push(Ns::of(&value));
            declares.push(prefix.to_owned());
        }
        let mut attributes = Vec::with_capacity(named.len());
        for (raw, value) in named {
            if !seen.insert(raw.name) {
                return Err(self.twice(raw));
            }
            let (prefix, local) = raw.name.split_once(':').unwrap_or(("", raw.name));
            let at = self.places.at(raw.value.start, raw.value.end);
            // An attribute without prefix has no namespace, whatever the default is.
            let ns = if prefix.is_empty() { Ns::None } else { self.namespace(prefix, at)? };
            if ns == Ns::None && local == "id" && value.len() > MAX_ID {
                return Err(beyond(
                    at,
                    format!("an id has {} bytes, more than {MAX_ID}", value.len()),
                    "shorten the id",
                ));
            }
            attributes.push(Attribute { ns, local: local.to_owned(), value, at });
        }
        let (prefix, local) = tag.name.split_once(':').unwrap_or(("", tag.name));
        let ns = self.namespace(prefix, at)?;
        let parent = self.open.last().map(|open| open.element);
        if let Some(parent) = parent {
            self.document.elements[parent].children.push(index);
        }
        self.document.elements.push(Element {
            ns,
            local: local.to_owned(),
            attributes,
            parent,
            children: Vec::new(),
            text: String::new(),
            text_at: At::default(),
            at,
        });
        self.open.push(Open { element: index, start, text: None, declares });
        if empty {
            self.end(end);
        }
        Ok(())
    }

    fn end(&mut self, end: usize) {
        // quick-xml refuses an end tag that closes nothing.
        let Some(open) = self.open.pop() else { return };
        let element = &mut self.document.elements[open.element];
        element.at = self.places.at(open.start, end);
        element.text.truncate(element.text.trim_end().len());
        if let Some((from, to)) = open.text {
            element.text_at = self.places.at(from, to);
        }
        for prefix in open.declares {
            if let Some(spaces) = self.scopes.get_mut(&prefix) {
                spaces.pop();
            }
        }
    }

    fn characters(&mut self, start: usize, end: usize, literal: bool) -> Result<(), Box<Diagnostic>> {
        let raw = &self.places.text()[start..end];
        let Some(open) = self.open.last_mut() else {
            let blank = !literal && raw.chars().all(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
            return match blank {
                true => Ok(()),
                false => Err(malformed(self.places.at(start, end), "text outside the root element")),
            };
        };
        let text = &mut self.document.elements[open.element].text;
        let span = &mut open.text;
        let mut sink = |character: char, range: std::ops::Range<usize>| {
            if !character.is_whitespace() {
                let from = span.map_or(start + range.start, |(from, _)| from);
                *span = Some((from, start + range.end));
            }
            if span.is_some() {
                text.push(character);
            }
        };
        if literal {
            chars::literal(raw, &mut sink);
            return Ok(());
        }
        let read = chars::text(raw, &mut sink);
        read.map_err(|fault| self.fault(Fault { byte: start + fault.byte, ..fault }))
    }

    fn namespace(&self, prefix: &str, at: At) -> Result<Ns, Box<Diagnostic>> {
        match self.scopes.get(prefix).and_then(|spaces| spaces.last()) {
            Some(ns) => Ok(ns.clone()),
            None if prefix.is_empty() => Ok(Ns::None),
            None if prefix == "xml" => Ok(Ns::of("http://www.w3.org/XML/1998/namespace")),
            None => {
                let fix = format!("declare `xmlns:{prefix}` at the root element");
                let mut found = malformed(at, format!("the prefix `{prefix}` is not declared"));
                found.fix = fix;
                Err(found)
            }
        }
    }

    fn twice(&self, raw: &chars::RawAttribute<'_>) -> Box<Diagnostic> {
        malformed(
            self.places.at(raw.value.start, raw.value.end),
            format!("the attribute `{}` is given twice", raw.name),
        )
    }

    fn fault(&self, fault: Fault) -> Box<Diagnostic> {
        let byte = chars::floor(self.places.text(), fault.byte);
        malformed(self.places.at(byte, byte), fault.message)
    }
}

impl Ns {
    fn of(uri: &str) -> Self {
        match uri {
            "" => Ns::None,
            "http://www.omg.org/spec/BPMN/20100524/MODEL" => Ns::Model,
            "http://www.omg.org/spec/BPMN/20100524/DI" => Ns::BpmnDi,
            "http://www.omg.org/spec/DD/20100524/DC" => Ns::Dc,
            "http://www.omg.org/spec/DD/20100524/DI" => Ns::Di,
            "http://camunda.org/schema/zeebe/1.0" => Ns::Zeebe,
            other => Ns::Other(other.into()),
        }
    }
}

fn offset(position: u64) -> usize {
    // A file of at most 16 MiB.
    usize::try_from(position).unwrap_or(usize::MAX)
}
