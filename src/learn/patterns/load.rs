//! All pattern files to the ones that run (learn.md 3.1, 3.6).
//!
//! Duty: find the files, read each, let the configuration win over the head. Guarantee: all problems of all files are
//! told, sorted; patterns are to be used only if [`Loaded::has_errors`] is false. Left to others: heads (`header`),
//! statements (`plan`).

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fold::Thresholds;
use super::header;
use super::problem::{Code, Problem, Problems, Teller};
use super::{Pattern, Planner, builtin};
use crate::gate::scalar::duration_text;
use crate::learn::Config;
use crate::yaml::nearest;

const MAX_BYTES: u64 = 256 << 10;
const MAX_FILES: usize = 200;
const MAX_NAME: usize = 64;

/// What to load.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Section `learn`.
    pub config: &'a Config,
    /// `queries.dir`, where there is one: its `patterns/*.sql` add to the built-in files or replace them.
    pub queries_dir: Option<&'a Path>,
    /// How long spans are kept, if not for ever.
    pub retention: Option<Duration>,
}

/// What was loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// Files that are enabled, in the order in which they run: built-in ones first, then by name.
    pub patterns: Vec<Pattern>,
    /// Errors and warnings by file, line and column.
    pub problems: Vec<Problem>,
    /// The system did not give a file or the folder; what they say is not known then.
    pub is_unread: bool,
}

/// Pattern files that may not run.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadError(pub Vec<Problem>);

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the pattern files have {} problems", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for LoadError {}

impl Loaded {
    /// Whether a problem stops the load; `patterns` is then not to be used.
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.code.is_error())
    }
}

/// A file before it is read.
enum Source {
    Builtin(&'static str),
    Disk(PathBuf),
}

/// Reads, checks and plans all files.
pub fn load(request: &Request<'_>, planner: &Planner) -> Loaded {
    let problems = Problems::default();
    let mut files: Vec<(String, Source)> =
        builtin::files().map(|(name, text)| (name.to_owned(), Source::Builtin(text))).collect();
    let mut is_unread = false;
    for (name, path) in on_disk(request.queries_dir, &problems, &mut is_unread) {
        match files.iter_mut().find(|(known, _)| *known == name) {
            Some((_, source)) => *source = Source::Disk(path),
            None => files.push((name, Source::Disk(path))),
        }
    }
    let names: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
    let mut patterns = Vec::new();
    for (at, (name, source)) in files.into_iter().enumerate() {
        let shown = match &source {
            Source::Builtin(_) => format!("builtin:patterns/{name}.sql"),
            Source::Disk(path) => path.display().to_string(),
        };
        let teller = Teller { file: &shown, pattern: &name, problems: &problems };
        if at >= MAX_FILES {
            teller.tell(
                Code::Unreadable,
                (1, 1),
                format!("this is file {} of at most {MAX_FILES}", at + 1),
                "remove some",
            );
            continue;
        }
        let pattern =
            text(source, teller, &mut is_unread).map(|text| one(&name, &shown, text, request, planner, teller));
        let is_enabled = request.config.patterns.get(&name).is_none_or(|of| of.enabled);
        patterns.extend(pattern.filter(|_| is_enabled));
    }
    unknown(request.config, &names, &problems);
    Loaded { patterns, problems: problems.into_sorted(), is_unread }
}

/// Checks the files at `paths` alone, as `learn check FILES` does: without built-in ones, and none of them is to run.
pub fn check(paths: &[PathBuf], request: &Request<'_>, planner: &Planner) -> Loaded {
    let problems = Problems::default();
    let mut is_unread = false;
    for path in paths {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let shown = path.display().to_string();
        let teller = Teller { file: &shown, pattern: &name, problems: &problems };
        if let Some(text) = text(Source::Disk(path.clone()), teller, &mut is_unread) {
            one(&name, &shown, text, request, planner, teller);
        }
    }
    Loaded { patterns: Vec::new(), problems: problems.into_sorted(), is_unread }
}

fn on_disk(queries_dir: Option<&Path>, problems: &Problems, is_unread: &mut bool) -> BTreeMap<String, PathBuf> {
    let Some(dir) = queries_dir.map(|dir| dir.join("patterns")).filter(|dir| dir.is_dir()) else {
        return BTreeMap::new();
    };
    let shown = dir.display().to_string();
    let mut unreadable = |error: std::io::Error| {
        *is_unread = true;
        let teller = Teller { file: &shown, pattern: "*", problems };
        teller.tell(Code::Unreadable, (1, 1), format!("the folder cannot be read: {error}"), "check `queries.dir`");
    };
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) => {
            unreadable(error);
            return BTreeMap::new();
        }
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        match entry {
            Err(error) => unreadable(error),
            Ok(entry) => {
                let path = entry.path();
                if path.extension().is_some_and(|end| end == "sql") && path.is_file() {
                    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
                    found.insert(name, path);
                }
            }
        }
    }
    found
}

fn text(source: Source, teller: Teller<'_>, is_unread: &mut bool) -> Option<String> {
    let path = match source {
        Source::Builtin(text) => return Some(text.to_owned()),
        Source::Disk(path) => path,
    };
    let mut bytes = Vec::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        *is_unread = true;
        teller.tell(Code::Unreadable, (1, 1), format!("the file cannot be read: {error}"), "check the path");
        return None;
    }
    if bytes.len() as u64 > MAX_BYTES {
        teller.tell(Code::Unreadable, (1, 1), "the file is larger than 256 KiB", "split it");
        return None;
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let good = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
            let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let line = number(good.split('\n').count());
            let column = number(good.rsplit('\n').next().unwrap_or_default().chars().count() + 1);
            teller.tell(Code::Unreadable, (line, column), "this is not UTF-8 text", "save the file as UTF-8");
            None
        }
    }
}

fn one(name: &str, shown: &str, text: String, request: &Request<'_>, planner: &Planner, teller: Teller<'_>) -> Pattern {
    let is_good = name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !is_good {
        let next = "rename the file: a small letter, then up to 63 small letters, digits and `_`";
        teller.tell(Code::Name, (1, 1), format!("`{name}` is no name of a pattern"), next);
    }
    let head = header::read(&text, teller);
    let config = request.config;
    let of = config.patterns.get(name);
    let written = |own: Option<Duration>, head: Option<(Duration, _)>, usual| {
        own.or(head.map(|(value, _)| value)).unwrap_or(usual)
    };
    let every = written(of.and_then(|of| of.every), head.every, config.interval);
    let window = written(of.and_then(|of| of.window), head.window, config.window);
    let window_at = head.window.map_or((1, 1), |(_, at)| at);
    if window < every {
        let what = format!(
            "`window` {} is shorter than `every` {}: some spans are never looked at",
            duration_text(window),
            duration_text(every)
        );
        teller.tell(Code::ShortWindow, window_at, what, "make `window` at least as long");
    }
    if let Some(kept) = request.retention.filter(|kept| window > *kept / 10) {
        let what = format!(
            "`window` {} is more than a tenth of the {} that spans are kept",
            duration_text(window),
            duration_text(kept)
        );
        teller.tell(Code::LongWindow, window_at, what, "shorten it, or keep spans for longer");
    }
    let is_explicit = planner.check(&text, &head.by, window, teller);
    Pattern {
        name: name.to_owned(),
        path: shown.to_owned(),
        sql: text,
        about: head.about,
        by: head.by.into_iter().map(|(column, _)| column).collect(),
        every,
        window,
        thresholds: Thresholds { min_support: head.min_support, min_effect: head.min_effect, limit: head.limit },
        expire: head.expire,
        include_pipeline_spans: head.include_pipeline_spans,
        is_explicit,
    }
}

/// Names in `learn.patterns` that no file has.
fn unknown(config: &Config, names: &[String], problems: &Problems) {
    for (name, of) in &config.patterns {
        if names.contains(name) {
            continue;
        }
        let next = match nearest(name, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")),
        };
        let teller = Teller { file: of.mark.source(), pattern: name, problems };
        let at = of.mark.position().unwrap_or((1, 1));
        teller.tell(Code::NoSuchFile, at, "`learn.patterns` names a file that is not there", next);
    }
}
