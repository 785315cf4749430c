//! `weaver.yaml` (semconv.md 9.1).
//!
//! Duty: the files from the templates' root down to the target, read strictly and merged: `params` key by key,
//! `whitespace_control` field by field, every other section as a whole. Guarantee: all problems of all files are told at
//! once, with their places; what is specified and not built is refused by name. Left to others: rendering (`render`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::comment::CommentFormat;
use super::error::Error;
use crate::yaml::{Mark, Node, Problems, Section, Value, parse};

/// What the files say together.
#[derive(Clone, Debug, Default)]
pub(super) struct Config {
    pub(super) entries: Vec<Entry>,
    pub(super) params: BTreeMap<String, Json>,
    pub(super) text_maps: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) type_mapping: BTreeMap<String, String>,
    pub(super) acronyms: Vec<String>,
    pub(super) whitespace: Whitespace,
    pub(super) comment_formats: BTreeMap<String, CommentFormat>,
    pub(super) default_comment_format: Option<String>,
}

/// One entry of `templates`.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) pattern: glob::Pattern,
    pub(super) mode: Mode,
    pub(super) file_name: Option<String>,
    pub(super) params: BTreeMap<String, Json>,
    pub(super) escape: Escape,
    pub(super) mark: Mark,
}

/// `application_mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Single,
    Each,
}

/// `auto_escape`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    None,
    Html,
    Json,
}

/// `whitespace_control`
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Whitespace {
    pub(super) trim_blocks: bool,
    pub(super) lstrip_blocks: bool,
    pub(super) keep_trailing_newline: bool,
}

impl Config {
    /// Reads and merges `files` (name, text), the first one weakest.
    pub(super) fn read(files: &[(String, Arc<str>)]) -> Result<Self, Error> {
        let problems = Problems::new();
        let mut config = Self::default();
        for (order, (name, text)) in files.iter().enumerate() {
            let source = Mark::of_source(u32::try_from(order).unwrap_or(u32::MAX), name.as_str());
            match parse(text, &source) {
                Ok(node) => config.lay(&Section::root(&node, &problems)),
                Err(problem) => problems.add(problem),
            }
        }
        config.check(&problems, files);
        let found: Vec<_> = problems.into_sorted();
        if found.iter().any(|p| p.code.is_error()) { Err(Error::Config(found)) } else { Ok(config) }
    }

    fn lay(&mut self, file: &Section<'_>) {
        if let Some(blocks) = file.blocks("templates") {
            self.entries = blocks.iter().filter_map(entry).collect();
        }
        merge_params(&mut self.params, params(file));
        if file.is_set("text_maps") {
            let maps = file.block("text_maps");
            self.text_maps =
                maps.entries().iter().map(|entry| (entry.key.clone(), texts(&maps.block_of(entry)))).collect();
        }
        if file.is_set("type_mapping") {
            self.type_mapping = texts(&file.block("type_mapping"));
        }
        if let Some(acronyms) = file.texts("acronyms") {
            self.acronyms = acronyms;
        }
        let whitespace = file.block("whitespace_control");
        for (key, field) in [
            ("trim_blocks", &mut self.whitespace.trim_blocks),
            ("lstrip_blocks", &mut self.whitespace.lstrip_blocks),
            ("keep_trailing_newline", &mut self.whitespace.keep_trailing_newline),
        ] {
            *field = whitespace.boolean(key).unwrap_or(*field);
        }
        if file.is_set("comment_formats") {
            let formats = file.block("comment_formats");
            let format = |entry| CommentFormat::read(&formats.block_of(entry));
            self.comment_formats = formats.entries().iter().map(|entry| (entry.key.clone(), format(entry))).collect();
        }
        if let Some(name) = file.text("default_comment_format") {
            self.default_comment_format = Some(name);
        }
        file.not_yet(&["template_syntax"]);
    }

    fn check(&self, problems: &Problems, files: &[(String, Arc<str>)]) {
        let Some(name) = self.default_comment_format.as_ref().filter(|name| !self.comment_formats.contains_key(*name))
        else {
            return;
        };
        let source = files.last().map_or_else(String::new, |(name, _)| name.clone());
        problems.add(crate::yaml::Problem {
            code: crate::yaml::Code::Dangling,
            path: "default_comment_format".to_owned(),
            text: format!("no `comment_formats::{name}`"),
            mark: Mark::of_source(0, source),
            help: None,
        });
    }
}

fn entry(section: &Section<'_>) -> Option<Entry> {
    let (template, alias) = (section.text("template"), section.text("pattern"));
    if template.is_some() && alias.is_some() {
        section.check("pattern", "is the old name of `template`: write one of them");
    }
    let modes = [("single", Mode::Single), ("each", Mode::Each)];
    let mode = section.choice("application_mode", &modes);
    if !section.is_set("application_mode") {
        section.check("application_mode", "is required: single or each");
    }
    if section.text("filter").is_some_and(|filter| filter.trim() != ".") {
        section.check("filter", "jq beyond `.` is not supported by weavergen yet; select in the template");
    }
    section.not_yet(&["when"]);
    let file_name = section.text("file_name");
    let escapes = [("none", Escape::None), ("html", Escape::Html), ("json", Escape::Json)];
    let escape = section.choice("auto_escape", &escapes).unwrap_or(Escape::None);
    let params = params(section).into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let Some(template) = template.or(alias) else {
        section.check("template", "is required: a pattern of paths inside the target's folder");
        return None;
    };
    match glob::Pattern::new(&template) {
        Ok(pattern) => Some(Entry { pattern, mode: mode?, file_name, params, escape, mark: section.mark().clone() }),
        Err(why) => {
            section.check("template", format!("`{template}` is no pattern: {why}"));
            None
        }
    }
}

/// The parameters of a file or an entry; null removes.
fn params(section: &Section<'_>) -> Vec<(String, Option<Json>)> {
    let block = section.block("params");
    if block.entries().iter().any(|entry| entry.key == "params") {
        block.check("params", "is reserved: `params` holds all parameters");
    }
    block.entries().iter().map(|entry| (entry.key.clone(), Some(json(&entry.value)).filter(|v| !v.is_null()))).collect()
}

pub(super) fn merge_params(base: &mut BTreeMap<String, Json>, over: impl IntoIterator<Item = (String, Option<Json>)>) {
    for (key, value) in over {
        match value {
            Some(value) => drop(base.insert(key, value)),
            None => drop(base.remove(&key)),
        }
    }
}

fn texts(section: &Section<'_>) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Int(value) => Some(value.to_string()),
        Value::Float(value) => Some(value.to_string()),
        Value::Text(value) => Some(value.clone()),
        _ => None,
    };
    let mut map = BTreeMap::new();
    for entry in section.entries() {
        match text(&entry.value.value) {
            Some(text) => drop(map.insert(entry.key.clone(), text)),
            None => section.check_self(format!("`{}` is a {}, want text", entry.key, entry.value.value.type_name())),
        }
    }
    map
}

/// A YAML value as JSON; NaN and infinities, which JSON lacks, as null.
pub(super) fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null | Value::Reported => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => Json::from(*value),
        Value::Float(value) => serde_json::Number::from_f64(*value).map_or(Json::Null, Json::Number),
        Value::Text(text) => Json::String(text.clone()),
        Value::List(items) => Json::Array(items.iter().map(json).collect()),
        Value::Map(map) => Json::Object(map.entries().iter().map(|e| (e.key.clone(), json(&e.value))).collect()),
    }
}

/// Parameters from `text`, the YAML mapping of a `--params` file called `source`.
///
/// Errors: the text is no YAML mapping; with its place.
pub fn params_file(text: &str, source: &str) -> Result<BTreeMap<String, Json>, Error> {
    let node = parse(text, &Mark::of_source(0, source)).map_err(|problem| Error::Config(vec![problem]))?;
    let map = node.as_map().map(|map| map.entries()).unwrap_or_default();
    Ok(map.iter().map(|entry| (entry.key.clone(), json(&entry.value))).collect())
}

/// The parameter in `text`, `key=yaml`.
///
/// Errors: no key, or no YAML behind it.
pub fn param(text: &str) -> Result<(String, Json), Error> {
    let wrong = |why: &str| Error::Argument(format!("`-D {text}`: {why}; write `-D key=value`"));
    let (key, yaml) = text.split_once('=').ok_or_else(|| wrong("there is no `=`"))?;
    if key.is_empty() || key.contains(|c: char| c.is_whitespace() || c == ':') {
        return Err(wrong("the key is empty or holds a blank or `:`"));
    }
    let node = parse(&format!("value: {yaml}"), &Mark::of_flag(0, format!("-D {key}")));
    let node = node.map_err(|problem| wrong(&problem.text))?;
    Ok((key.to_owned(), node.at(&["value"]).map_or(Json::Null, json)))
}
