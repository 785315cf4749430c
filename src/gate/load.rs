//! All gate files to the groups that run (gates.md 1).
//!
//! Duty: read every file, hold names unique over them, decide what built-in files contribute, plan every SQL. Guarantee:
//! all problems of all files are told, sorted; groups are to be used only if [`Loaded::has_errors`] is false. Left to
//! others: a file (`file`), a query (`plan`), what happens on reload.

use std::collections::BTreeMap;
use std::path::Path;

use super::config::Config;
use super::definition::{Group, Mode};
use super::file::{self, Known, Setting, Written};
use super::files;
use super::plan::Planner;
use super::problem::{Code, Problem, Problems, Who};
use crate::yaml::Mark;

/// What to load.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Section `gates`.
    pub config: &'a Config,
    /// `queries.dir`, where there is one.
    pub queries_dir: Option<&'a Path>,
    /// Names that gates may point at.
    pub known: &'a Known,
}

/// What was loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// Groups in the order of the files; those of built-in files that nobody named come last, as `dry_run`.
    pub groups: Vec<Group>,
    /// Errors and warnings by file, line and column.
    pub problems: Vec<Problem>,
}

impl Loaded {
    /// Whether a problem stops the load; `groups` then holds stand-ins and is not to be used.
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.code.is_error())
    }
}

/// Reads, checks and plans.
pub fn load(request: &Request<'_>, planner: &Planner) -> Loaded {
    let problems = Problems::default();
    let setting =
        Setting { config: request.config, queries_dir: request.queries_dir, known: request.known, problems: &problems };
    let texts = files::texts(request.config.files.as_deref(), request.queries_dir, &problems);
    let read: Vec<(bool, Vec<Written>)> = texts.iter().map(|text| (text.named, file::read(text, setting))).collect();

    let mut names: BTreeMap<String, Mark> = BTreeMap::new();
    let mut groups = Vec::new();
    for (named, written) in read {
        // Named files come first, so these names are all of theirs.
        let taken = if named { BTreeMap::new() } else { names.clone() };
        for Written { mut group, gates } in written {
            for (mut gate, places) in gates {
                if taken.contains_key(&gate.name) {
                    continue;
                }
                let who = Who::Gate(gate.name.clone());
                match names.get(&gate.name) {
                    Some(first) if !gate.name.is_empty() => {
                        let what = format!("the gate name `{}` is already used at {first}", gate.name);
                        problems.add(Code::NameUsed, &places.name, &who, what, "choose another name");
                    }
                    _ => {
                        names.insert(gate.name.clone(), places.name.clone());
                    }
                }
                planner.check(&gate, &places, &problems);
                if !named {
                    gate.mode = Mode::DryRun;
                }
                group.gates.push(gate);
            }
            if !group.gates.is_empty() {
                groups.push(group);
            }
        }
    }
    Loaded { groups, problems: problems.into_sorted() }
}
