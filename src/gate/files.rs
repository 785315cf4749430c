//! Which gate files there are (gates.md 1).
//!
//! Duty: `gates.files`, its default and the built-in files to texts. Guarantee: a file is read once; a built-in file that
//! nobody named is marked as such; a file of the same path in `queries.dir` stands in for a built-in one. Left to others:
//! what the texts say (`file`), the queries they name (`sql_file`).

use std::io::Read;
use std::path::{Path, PathBuf};

use super::builtin::{self, Builtin};
use super::problem::{Code, Problems, Who};
use crate::yaml::{Mark, nearest};

/// Longest gate file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Where a gate file is, which says where its queries are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// A file on disk.
    Disk(PathBuf),
    /// A compiled-in file, by its path below `queries/`.
    Builtin(&'static str),
}

/// A gate file before it is read as YAML.
#[derive(Debug)]
pub(super) struct Text {
    /// Where marks point.
    pub mark: Mark,
    /// Where it is.
    pub home: Home,
    /// What it says.
    pub text: String,
    /// Whether `gates.files` or its default took it in.
    pub named: bool,
    /// Of a compiled-in file that nobody named: its gates that run nevertheless.
    pub only: Option<&'static [&'static str]>,
}

/// All files, named ones first, in the order in which they are named.
pub(super) fn texts(patterns: Option<&[String]>, queries_dir: Option<&Path>, problems: &Problems) -> Vec<Text> {
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut builtins: Vec<(&'static Builtin, bool)> = builtin::GATES.iter().map(|file| (file, false)).collect();
    let default: Vec<String> = match (patterns, queries_dir) {
        (None, Some(dir)) => vec![format!("{}/gates/*.yaml", glob::Pattern::escape(&dir.to_string_lossy()))],
        _ => Vec::new(),
    };
    for pattern in patterns.unwrap_or(&default) {
        match pattern.strip_prefix("builtin:") {
            Some(name) => match builtins.iter_mut().find(|(file, _)| file.name() == name) {
                Some((_, named)) => *named = true,
                None => {
                    let names: Vec<&str> = builtin::GATES.iter().map(Builtin::name).collect();
                    let next = match nearest(name, names.iter().copied()) {
                        Some(near) => format!("did you mean `builtin:{near}`?"),
                        None => format!("built-in files: {}", names.join(", ")),
                    };
                    unreadable(problems, pattern, "there is no built-in gate file of that name", &next);
                }
            },
            None => matches(pattern, &mut paths, problems),
        }
    }
    let mut named = Vec::new();
    let mut seen: Vec<PathBuf> = Vec::new();
    for path in paths {
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        if !seen.contains(&real) {
            seen.push(real);
            named.extend(read(&path, true, problems));
        }
    }
    let mut rest = Vec::new();
    for (file, is_named) in builtins.into_iter() {
        let replaced = queries_dir.map(|dir| dir.join(file.path)).filter(|path| path.is_file());
        let text = match replaced {
            Some(path) if seen.contains(&path.canonicalize().unwrap_or_else(|_| path.clone())) => continue,
            Some(path) => read(&path, is_named, problems),
            None => Some(Text {
                mark: Mark::of_source(0, format!("builtin:{}", file.name())),
                home: Home::Builtin(file.path),
                text: file.text.to_owned(),
                named: is_named,
                only: (!is_named).then_some(file.unasked),
            }),
        };
        if is_named { named.extend(text) } else { rest.extend(text) }
    }
    named.extend(rest);
    named
}

fn matches(pattern: &str, paths: &mut Vec<PathBuf>, problems: &Problems) {
    if !pattern.contains(['*', '?', '[']) || Path::new(pattern).is_file() {
        paths.push(PathBuf::from(pattern));
        return;
    }
    match glob::glob(pattern) {
        // Sorted by name; a folder that cannot be read holds no file of ours.
        Ok(found) => paths.extend(found.filter_map(Result::ok).filter(|path| path.is_file())),
        Err(error) => {
            unreadable(problems, pattern, &format!("it is no pattern: {}", error.msg), "correct `gates.files`")
        }
    }
}

fn read(path: &Path, named: bool, problems: &Problems) -> Option<Text> {
    let shown = path.display().to_string();
    let mut bytes = Vec::new();
    let outcome = std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    if let Err(error) = outcome {
        unreadable(problems, &shown, &format!("the file cannot be read: {error}"), "check the path that names it");
        return None;
    }
    if bytes.len() as u64 > MAX_BYTES {
        unreadable(problems, &shown, "the file is larger than 1 MiB", "split it");
        return None;
    }
    let mark = Mark::of_source(0, shown);
    match String::from_utf8(bytes) {
        Ok(text) => Some(Text { mark, home: Home::Disk(path.to_owned()), text, named, only: None }),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let good = &error.as_bytes()[..valid];
            let line = good.split(|byte| *byte == b'\n').count();
            let column = String::from_utf8_lossy(good.rsplit(|byte| *byte == b'\n').next().unwrap_or_default())
                .chars()
                .count()
                .saturating_add(1);
            let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let mark = mark.at(number(line), number(column));
            problems.add(Code::NotYaml, &mark, &Who::File, "this is not UTF-8 text", "save the file as UTF-8");
            None
        }
    }
}

fn unreadable(problems: &Problems, source: &str, what: &str, next: &str) {
    problems.add(Code::Unreadable, &Mark::of_source(0, source), &Who::File, what, next);
}
