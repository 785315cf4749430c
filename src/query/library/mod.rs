//! Named queries: the files of `queries/` (sql.md 9.1).
//!
//! Duty: the compiled-in files with those of a folder over them; a file by its name, and its `$names` typed by its head.
//! Guarantee: nothing outside the folder is read, also not through a link; a file with a wrong head does not run. Left to
//! others: running it (`gateway`), gates and patterns, which have keys of their own (`gate`, `learn`).

mod builtin;
pub mod head;
pub mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

pub use builtin::{FILES, compiled};
pub use head::{Head, Parameter};
pub use value::Kind;

use super::nearest::nearest;
use crate::error::Class;

/// Keys in the heads of `patterns/`, which `learn` reads (learn.md 3.1).
const PATTERN_KEYS: [&str; 8] =
    ["by", "every", "window", "min_support", "min_effect", "limit", "expire", "include_pipeline_spans"];
/// Folders below `queries.dir` that are looked into.
const DEEPEST: usize = 8;

/// The files of `queries/`: compiled in, with those of a folder over them; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Library {
    builtin: Arc<BTreeMap<String, String>>,
    dir: Option<PathBuf>,
}

/// A named query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Path below `queries/` without `.sql`.
    pub name: String,
    /// What its head says.
    pub head: Head,
    /// The file, which is the statement too.
    pub sql: String,
}

/// Why there is no query, or it does not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing has this name.
    #[error("there is no query `{name}`; {next}")]
    Unknown {
        /// As asked for.
        name: String,
        /// The next move.
        next: String,
    },
    /// The file cannot be had; a sentence.
    #[error("{0}")]
    Unreadable(String),
    /// Its head is wrong; a line a problem.
    #[error("{0}")]
    Invalid(String),
    /// The call does not fit the head; a sentence.
    #[error("{0}")]
    Call(String),
}

impl Error {
    /// What the caller can do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::Unknown { .. } => Class::NotFound,
            Self::Unreadable(_) => Class::Unavailable,
            Self::Invalid(_) | Self::Call(_) => Class::Invalid,
        }
    }
}

impl Library {
    /// `builtin` by path below `queries/`; a file of the same path in `dir` replaces.
    pub fn new(builtin: BTreeMap<String, String>, dir: Option<PathBuf>) -> Self {
        Self { builtin: Arc::new(builtin), dir }
    }

    /// The compiled-in files, with those of `dir` over them.
    pub fn shipped(dir: Option<PathBuf>) -> Self {
        let files = FILES.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Self::new(files.collect(), dir)
    }

    /// The text of `path`.
    ///
    /// Errors: one sentence: it leaves `queries/`, is not there, or cannot be read.
    pub fn text(&self, path: &str) -> Result<String, String> {
        let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if path.is_empty() || !inside {
            return Err(format!("`{path}` is no path below `queries/`"));
        }
        if let Some(dir) = &self.dir {
            let real = |path: PathBuf| path.canonicalize().ok();
            let found = real(dir.join(path)).zip(real(dir.clone()));
            match found {
                Some((file, dir)) if file.starts_with(&dir) => {
                    return std::fs::read_to_string(&file)
                        .map_err(|error| format!("cannot read {}: {error}", file.display()));
                }
                Some((file, _)) => return Err(format!("`{path}` leads out of `queries/`, to {}", file.display())),
                None => {}
            }
        }
        self.builtin.get(path).cloned().ok_or_else(|| format!("there is no `{path}` below `queries/`"))
    }

    /// Names of all queries, in their order.
    pub fn names(&self) -> Vec<String> {
        let mut paths: Vec<String> = self.builtin.keys().cloned().collect();
        if let Some(dir) = &self.dir {
            walk(dir, "", DEEPEST, &mut paths);
        }
        let mut names: Vec<String> =
            paths.iter().filter_map(|path| path.strip_suffix(".sql")).map(str::to_owned).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The query `name`, with or without `.sql`.
    ///
    /// Errors: [`Error::Unknown`] with the nearest names, [`Error::Unreadable`], [`Error::Invalid`] with every problem of
    /// its head.
    pub fn query(&self, name: &str) -> Result<Query, Error> {
        let name = name.strip_suffix(".sql").unwrap_or(name);
        let names = self.names();
        if !names.iter().any(|known| known == name) {
            let near = nearest(name, names.iter().map(String::as_str));
            let near: Vec<String> = near.iter().map(|name| format!("`{name}`")).collect();
            let list = "`weavergen sql --list` lists them";
            let next = match near.is_empty() {
                true => list.to_owned(),
                false => format!("did you mean {}? {list}", near.join(" or ")),
            };
            return Err(Error::Unknown { name: name.to_owned(), next });
        }
        let path = format!("{name}.sql");
        let text = self.text(&path).map_err(Error::Unreadable)?;
        let shown = match self.dir.as_ref().map(|dir| dir.join(&path)).filter(|file| file.is_file()) {
            Some(file) => file.display().to_string(),
            None => format!("builtin:{path}"),
        };
        Query::read(name, &shown, text)
    }
}

impl Query {
    /// The query `name` of the file `shown`, which says `text`.
    ///
    /// Errors: [`Error::Invalid`] with every problem of its head.
    pub fn read(name: &str, shown: &str, text: String) -> Result<Self, Error> {
        let also: &[&str] = if name.starts_with("patterns/") { &PATTERN_KEYS } else { &[] };
        let (head, problems) = head::read(&text, also);
        if problems.is_empty() {
            return Ok(Self { name: name.to_owned(), head, sql: text });
        }
        let line = |problem: &head::Problem| {
            let ((line, column), what, next) = (problem.at, &problem.what, &problem.next);
            format!("{shown}:{line}:{column}: {what}; {next}")
        };
        Err(Error::Invalid(problems.iter().map(line).collect::<Vec<_>>().join("\n")))
    }

    /// Values for all its `$names`: those of `given`, typed by the head, else the defaults; instants are relative to
    /// `now_ns`.
    ///
    /// Errors: [`Error::Call`] for a name that is not declared, twice given or missing, or a value not of its type.
    pub fn bind(&self, given: &[(String, String)], now_ns: i64) -> Result<Map<String, Value>, Error> {
        let query = &self.name;
        let mut values = Map::new();
        for (name, text) in given {
            let Some(of) = self.head.params.iter().find(|of| of.name == *name) else {
                let known = self.head.params.iter().map(|of| of.name.as_str());
                let next = match (nearest(name, known.clone()).first(), self.head.params.is_empty()) {
                    (Some(near), _) => format!("did you mean `{near}`?"),
                    (None, true) => "it has none".to_owned(),
                    (None, false) => format!("it has {}", known.collect::<Vec<_>>().join(", ")),
                };
                return Err(Error::Call(format!("-p {name}: `{query}` has no parameter `{name}`; {next}")));
            };
            let value = of.kind.value(text, now_ns).map_err(|why| Error::Call(format!("-p {name}={text}: {why}")))?;
            if values.insert(name.clone(), value).is_some() {
                return Err(Error::Call(format!("-p {name}={text}: `{name}` is given twice; remove one of them")));
            }
        }
        for of in &self.head.params {
            if values.contains_key(&of.name) {
                continue;
            }
            let Some(default) = &of.default else {
                let (name, kind, about) = (&of.name, of.kind.name(), &of.about);
                let example = self.example().map(|example| format!(", e.g. `{example}`")).unwrap_or_default();
                let text = format!("`{query}` needs `{name}` ({kind}: {about}); give it with -p {name}=…{example}");
                return Err(Error::Call(text));
            };
            let value = of.kind.value(default, now_ns).map_err(Error::Call)?;
            values.insert(of.name.clone(), value);
        }
        Ok(values)
    }

    /// The values of the first example, as a shell takes them.
    pub fn example(&self) -> Option<String> {
        let pairs = self.head.examples.first()?;
        let words = pairs.iter().map(|(name, value)| {
            let plain = !value.is_empty() && value.chars().all(|c| c.is_ascii_alphanumeric() || "_-./:,".contains(c));
            let value = if plain { value.clone() } else { format!("'{}'", value.replace('\'', r"'\''")) };
            format!("-p {name}={value}")
        });
        Some(words.collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.kind.name())?;
        match self.default.as_deref() {
            Some("") => f.write_str(" = ''"),
            Some(default) => write!(f, " = {default}"),
            None => Ok(()),
        }
    }
}

/// Adds the `.sql` files below `dir`, by their paths from where the walk began.
fn walk(dir: &Path, prefix: &str, deepest: usize, into: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        if path.is_dir() && deepest > 0 {
            walk(&path, &format!("{prefix}{name}/"), deepest - 1, into);
        } else if name.ends_with(".sql") && path.is_file() {
            into.push(format!("{prefix}{name}"));
        }
    }
}

#[cfg(test)]
mod tests;
