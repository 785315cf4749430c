//! Templates to files, in memory (semconv.md 9.1, 9.3).
//!
//! Duty: every entry of `weaver.yaml` over every template that it matches. Guarantee: equal input gives equal bytes;
//! nothing is rendered while a name in any template is unknown; a path has one content. Left to others: which paths may
//! be written (`tree`), writing (`stage`).

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::{AutoEscape, Environment, Value};
use serde_json::Value as Json;

use super::config::{self, Config, Entry, Escape, Mode};
use super::error::Error;
use super::hash::Parts;
use super::jinja::{self, FileName, Names};
use super::templates::{Source, Target, Templates};
use super::{Registry, names, tree, view};

/// Of all files of one rendering.
const MAX_BYTES: usize = 256 << 20;

/// What to render.
#[derive(Clone, Debug)]
pub struct Input {
    /// Folder below `registry/`.
    pub target: String,
    /// Folder below the target's.
    pub variant: Option<String>,
    /// Where templates come from.
    pub templates: Templates,
    /// What they see as `ctx`.
    pub registry: Registry,
    /// Over those of `weaver.yaml`; null removes.
    pub params: BTreeMap<String, Json>,
}

/// Rendered files, not yet written anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendering {
    /// Target.
    pub target: String,
    /// Variant.
    pub variant: Option<String>,
    /// Path inside OUTPUT → bytes.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Of the registry, hex.
    pub registry_hash: String,
    /// Of the templates, their configuration and the parameters, hex.
    pub templates_hash: String,
}

/// Renders every file of the target.
///
/// Errors: no such target; `weaver.yaml` problems, all at once; unsupported names, all at once (`WG-GEN-012`); a template
/// that fails (`WG-GEN-020`); a path that may not be written (`WG-GEN-030`).
pub fn render(input: &Input) -> Result<Rendering, Error> {
    let target = input.templates.target(&input.target, input.variant.as_deref())?;
    let config = Arc::new(Config::read(&target.configs)?);
    supported(&target, &config)?;
    let mut env = jinja::environment(&config);
    add_templates(&mut env, &target, &config)?;
    let mut params = config.params.clone();
    let over = |params: &mut BTreeMap<String, Json>| {
        let given = input.params.iter().map(|(key, value)| (key.clone(), Some(value.clone()).filter(|v| !v.is_null())));
        config::merge_params(params, given);
    };
    let ctx = view::value(&view::expanded(&input.registry.view));
    let (mut files, mut by) = (BTreeMap::<String, Vec<u8>>::new(), BTreeMap::<String, String>::new());
    let mut bytes = 0;
    for (at, entry) in config.entries.iter().enumerate() {
        params.clone_from(&config.params);
        config::merge_params(&mut params, entry.params.clone().into_iter().map(|(key, value)| (key, Some(value))));
        over(&mut params);
        let params = view::value(&Json::Object(params.clone().into_iter().collect()));
        for (path, source) in target.own.iter().filter(|(path, _)| matches(entry, path)) {
            let one = One { env: &env, name: &named(entry.escape, path), path, source, at, entry, params: &params };
            for ctx in contexts(entry.mode, &ctx) {
                let (file, text) = one.render(&ctx)?;
                bytes += text.len();
                if bytes > MAX_BYTES {
                    return Err(Error::Argument(format!("target `{}` renders more than 256 MiB", input.target)));
                }
                match files.get(&file) {
                    Some(old) if *old != text.as_bytes() => {
                        let first = by.get(&file).cloned().unwrap_or_default();
                        return Err(Error::Twice { path: file, first, second: source.shown.clone() });
                    }
                    _ => {
                        by.insert(file.clone(), source.shown.clone());
                        files.insert(file, text.into_bytes());
                    }
                }
            }
        }
    }
    tree::check_set(files.keys())?;
    let mut hash = Parts::new();
    hash.part(target.hash.as_bytes());
    for (key, value) in &input.params {
        hash.part(key.as_bytes()).part(value.to_string().as_bytes());
    }
    Ok(Rendering {
        target: input.target.clone(),
        variant: input.variant.clone(),
        files,
        registry_hash: input.registry.hash.clone(),
        templates_hash: hash.hex(),
    })
}

fn matches(entry: &Entry, path: &str) -> bool {
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::default() };
    entry.pattern.matches_with(path, options)
}

/// `ctx` of each render: `each` takes the elements of a list one by one, `single` skips nothing and `[]`.
fn contexts(mode: Mode, ctx: &Value) -> Vec<Value> {
    let is_list = ctx.kind() == minijinja::value::ValueKind::Seq;
    match mode {
        Mode::Each if is_list => ctx.try_iter().map(Iterator::collect).unwrap_or_default(),
        Mode::Single if ctx.is_none() || (is_list && ctx.len() == Some(0)) => Vec::new(),
        Mode::Each | Mode::Single => vec![ctx.clone()],
    }
}

/// Templates are known by their path; those of an entry that escapes, also under the escape's name.
fn named(escape: Escape, path: &str) -> String {
    match escape {
        Escape::None => path.to_owned(),
        Escape::Html => format!("html:{path}"),
        Escape::Json => format!("json:{path}"),
    }
}

fn supported(target: &Target, config: &Config) -> Result<(), Error> {
    let names = Names::new();
    let known = names.known();
    let all = target.shared.iter().filter(|(path, _)| !target.own.contains_key(*path)).chain(&target.own);
    let mut found: Vec<_> = all
        .filter(|(path, _)| is_template(path, config))
        .flat_map(|(_, source)| names::unsupported(&source.shown, &source.text, &known))
        .collect();
    for entry in &config.entries {
        let Some(file_name) = &entry.file_name else { continue };
        let (line, column) = entry.mark.position().unwrap_or((1, 1));
        // In a YAML value the place is that of its entry.
        let place = |mut told: super::error::Unsupported| {
            (told.line, told.column) = (line as usize, column as usize);
            told
        };
        found.extend(names::unsupported(entry.mark.source(), file_name, &known).into_iter().map(place));
    }
    found.sort();
    if found.is_empty() { Ok(()) } else { Err(Error::Unsupported(found)) }
}

fn is_template(path: &str, config: &Config) -> bool {
    path.ends_with(".j2") || config.entries.iter().any(|entry| matches(entry, path))
}

fn add_templates(env: &mut Environment<'_>, target: &Target, config: &Config) -> Result<(), Error> {
    env.set_auto_escape_callback(|name| match name.split_once(':') {
        Some(("html", _)) => AutoEscape::Html,
        Some(("json", _)) => AutoEscape::Json,
        _ => AutoEscape::None,
    });
    let add = |env: &mut Environment<'_>, name: String, source: &Source| {
        env.add_template_owned(name, source.text.to_string()).map_err(|error| failed(&error, source))
    };
    for (path, source) in target.shared.iter().chain(&target.own).filter(|(path, _)| is_template(path, config)) {
        add(env, path.clone(), source)?;
    }
    for entry in config.entries.iter().filter(|entry| entry.escape != Escape::None) {
        for (path, source) in target.own.iter().filter(|(path, _)| matches(entry, path)) {
            add(env, named(entry.escape, path), source)?;
        }
    }
    for (at, entry) in config.entries.iter().enumerate() {
        if let Some(file_name) = &entry.file_name {
            let source = Source { text: Arc::from(file_name.as_str()), shown: entry.mark.source().to_owned() };
            add(env, format!("file_name:{at}"), &source)?;
        }
    }
    Ok(())
}

/// One template of one entry.
struct One<'a> {
    env: &'a Environment<'a>,
    name: &'a str,
    path: &'a str,
    source: &'a Source,
    at: usize,
    entry: &'a Entry,
    params: &'a Value,
}

impl One<'_> {
    /// The file's path and its text.
    fn render(&self, ctx: &Value) -> Result<(String, String), Error> {
        let file_name = Arc::new(FileName::default());
        let globals = BTreeMap::from([
            ("ctx", ctx.clone()),
            ("params", self.params.clone()),
            ("template", Value::from_dyn_object(Arc::clone(&file_name))),
        ]);
        let globals = Value::from(globals);
        let template = self.env.get_template(self.name).map_err(|error| failed(&error, self.source))?;
        let text = template.render(globals.clone()).map_err(|error| failed(&error, self.source))?;
        let path = match (file_name.take(), &self.entry.file_name) {
            (Some(path), _) => path,
            (None, Some(_)) => {
                let template = self.env.get_template(&format!("file_name:{}", self.at));
                let named = template.and_then(|template| template.render(globals));
                let text = Arc::from(self.entry.file_name.as_deref().unwrap_or_default());
                let source = Source { text, shown: self.entry.mark.to_string() };
                named.map_err(|error| failed(&error, &source))?
            }
            (None, None) => self.path.strip_suffix(".j2").unwrap_or(self.path).to_owned(),
        };
        Ok((tree::normal(&path)?, text))
    }
}

/// `WG-GEN-020` with the three lines around the place.
fn failed(error: &minijinja::Error, source: &Source) -> Error {
    let line = error.line().unwrap_or(0);
    let mut cause = error.to_string();
    if let Some(at) = cause.find(" (in ") {
        cause.truncate(at);
    }
    let mut inner = std::error::Error::source(error);
    while let Some(next) = inner {
        cause = format!("{cause}: {next}");
        inner = next.source();
    }
    // An error in an included file stands in that file.
    let of_other = error.name().filter(|name| !name.ends_with(source_name(source)) && !source.shown.ends_with(*name));
    let text = error.template_source().map_or_else(|| source.text.to_string(), str::to_owned);
    let path = of_other.map_or_else(|| source.shown.clone(), |name| format!("{} (included)", name));
    let shown = |n: usize| text.lines().nth(n.checked_sub(1)?).map(|l| format!("\n{n:>5} | {l}"));
    let excerpt =
        if line == 0 { String::new() } else { (line.saturating_sub(1)..=line + 1).filter_map(shown).collect() };
    Error::Template { path, line, cause, excerpt }
}

fn source_name(source: &Source) -> &str {
    source.shown.rsplit('/').next().unwrap_or_default()
}
