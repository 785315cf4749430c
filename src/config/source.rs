//! Sources, merged.
//!
//! Duty: `--config` and `--set` to one tree (C1 to C5, section 17). Guarantee: left to right, then every `--set`, then
//! `--data`, wherever they stood. Left to others: what the tree means.

use std::io::Read;

use super::{Error, Request};
use crate::yaml::{Code, Mark, Node, Problem, Problems, expand_paths, merge, parse, set};

const BUILT_IN: &str = include_str!("builtin.yaml");
/// A configuration larger than this is some other file.
const MAX_SOURCE_BYTES: u64 = 16 << 20;
/// The sections that make a source a Collector's.
const COLLECTOR_SECTIONS: [&str; 6] = ["receivers", "processors", "exporters", "connectors", "extensions", "service"];

/// One `--set key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    key: String,
    value: String,
}

/// Why a text is no `--set`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum InvalidAssignment {
    #[error("write key=value, e.g. `web.endpoint=localhost:9090`")]
    NoEquals,
    #[error("the key has an empty part; separate its parts by `.` or `::`")]
    EmptyPart,
}

impl std::str::FromStr for Assignment {
    type Err = InvalidAssignment;

    fn from_str(text: &str) -> Result<Self, InvalidAssignment> {
        let (key, value) = text.split_once('=').ok_or(InvalidAssignment::NoEquals)?;
        let assignment = Self { key: key.trim().to_owned(), value: value.to_owned() };
        if assignment.path().iter().any(|part| part.is_empty()) {
            return Err(InvalidAssignment::EmptyPart);
        }
        Ok(assignment)
    }
}

impl Assignment {
    /// The key's parts: `.` and `::` both separate (C4).
    fn path(&self) -> Vec<&str> {
        self.key.split("::").flat_map(|part| part.split('.')).collect()
    }
}

/// The tree of all sources.
pub(super) struct Merged {
    pub(super) tree: Node,
    /// Whether the graph is that of section 17.
    pub(super) built_in_graph: bool,
}

/// `None` if a source does not parse; the reasons are among the problems.
pub(super) fn merged(request: &Request, problems: &Problems) -> Result<Option<Merged>, Error> {
    let mut whole = true;
    let mut keep = |tree: Result<Node, Problem>| match tree {
        Ok(mut tree) => {
            expand_paths(&mut tree);
            Some(tree)
        }
        Err(problem) => {
            problems.add(problem);
            whole = false;
            None
        }
    };
    let mut trees = Vec::new();
    for (order, uri) in (1_u32..).zip(&request.sources) {
        trees.extend(keep(read(order, uri)?));
    }
    let is_collectors = |tree: &Node| COLLECTOR_SECTIONS.iter().any(|section| tree.at(&[section]).is_some());
    let built_in_graph = !trees.iter().any(is_collectors);
    let sets_something = trees.iter().any(|tree| tree.as_map().is_some_and(|map| !map.is_empty()));

    let first_mark = trees.first().map(|tree| tree.mark.clone());
    let built_in = Mark::of_source(0, "built-in configuration");
    let mut tree = match &first_mark {
        Some(mark) if !built_in_graph => Node::empty_map(mark.clone()),
        _ => parse(BUILT_IN, &built_in).expect("a test reads it"),
    };
    for source in trees {
        merge(&mut tree, source);
    }
    let first_order = u32::try_from(request.sources.len()).unwrap_or(u32::MAX).saturating_add(1);
    for (order, assignment) in (first_order..).zip(&request.sets) {
        // The value stays out of the mark: it may be a secret (D7).
        let mark = Mark::of_flag(order, format!("--set {}", assignment.key));
        if let Err(problem) = set(&mut tree, &assignment.path(), &assignment.value, &mark) {
            problems.add(problem);
            whole = false;
        }
    }
    if let (Some(mark), false, true, true) = (first_mark, sets_something, request.sets.is_empty(), whole) {
        let (path, text) = (String::new(), "empty configuration".to_owned());
        let help = Some("leave out --config to start with the built-in configuration".to_owned());
        problems.add(Problem { code: Code::Empty, path, text, mark, help });
        return Ok(None);
    }
    Ok(whole.then_some(Merged { tree, built_in_graph }))
}

fn read(order: u32, uri: &str) -> Result<Result<Node, Problem>, Error> {
    let (path, scheme) = match scheme(uri) {
        None | Some("file") => (uri.strip_prefix("file:").unwrap_or(uri), None),
        other => (uri, other),
    };
    if let Some(scheme) = scheme {
        let text = match scheme {
            "env" | "yaml" | "http" | "https" => format!("the scheme \"{scheme}\" is not supported by weavergen yet"),
            _ => format!("unknown scheme \"{scheme}\" (known: env, file, http, https, yaml)"),
        };
        // The rest may hold a password or the text of a configuration.
        let mark = Mark::of_flag(order, format!("--config {scheme}:…"));
        let help = Some("give the path of a file".to_owned());
        return Ok(Err(Problem { code: Code::NotSupported, path: String::new(), text, mark, help }));
    }
    let unreadable = |why: String| Error::Unreadable { file: path.to_owned(), why };
    let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(MAX_SOURCE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > MAX_SOURCE_BYTES {
        return Err(unreadable("it is larger than 16 MiB".to_owned()));
    }
    let mark = Mark::of_source(order, path);
    Ok(match std::str::from_utf8(&bytes) {
        Ok(text) => parse(text, &mark),
        Err(error) => {
            let good = &bytes[..error.valid_up_to()];
            let line = good.split(|byte| *byte == b'\n').count();
            let text = "cannot parse YAML: it is not UTF-8 text".to_owned();
            let mark = mark.at(u32::try_from(line).unwrap_or(u32::MAX), 1);
            Err(Problem { code: Code::Parse, path: String::new(), text, mark, help: None })
        }
    })
}

/// `[A-Za-z][A-Za-z0-9+.-]+` before the first colon.
fn scheme(uri: &str) -> Option<&str> {
    let (scheme, _) = uri.split_once(':')?;
    let mut letters = scheme.bytes();
    let first = letters.next().is_some_and(|b| b.is_ascii_alphabetic());
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'.' | b'-');
    (first && scheme.len() > 1 && letters.all(known)).then_some(scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_double_colons_separate_the_parts_of_a_key() {
        let assignment: Assignment = "processors::batch.timeout=2s=x".parse().unwrap();
        assert_eq!(assignment.path(), ["processors", "batch", "timeout"]);
        assert_eq!(assignment.value, "2s=x");
        assert_eq!("a".parse::<Assignment>(), Err(InvalidAssignment::NoEquals));
        assert_eq!("a..b=1".parse::<Assignment>(), Err(InvalidAssignment::EmptyPart));
        assert_eq!("=1".parse::<Assignment>(), Err(InvalidAssignment::EmptyPart));
    }

    #[test]
    fn a_path_is_not_taken_for_a_scheme() {
        for (uri, want) in [
            ("a.yaml", None),
            ("./a:b.yaml", None),
            ("env:CFG", Some("env")),
            ("file:/a", Some("file")),
            ("s3+x:y", Some("s3+x")),
            ("c:x", None),
        ] {
            assert_eq!(scheme(uri), want, "{uri}");
        }
    }
}
