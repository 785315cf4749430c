//! All gate files to the groups that run (gates.md 1).
//!
//! Duty: read every file, hold names unique over them, decide what built-in files contribute, plan every SQL. Guarantee:
//! all problems of all files are told, sorted; groups are to be used only if [`Loaded::has_errors`] is false. Left to
//! others: a file (`file`), a query (`plan`), what happens on reload.

use std::collections::BTreeMap;
use std::path::Path;

use super::buckets;
use super::config::Config;
use super::definition::{Class, Gate, Group, Mode};
use super::file::{self, Known, Setting, Written};
use super::files;
use super::gate_keys::Places;
use super::plan::Planner;
use super::problem::{Code, Problem, Problems, Who};
use crate::yaml::Mark;

/// Most that is evaluated (gates.md 8).
const MOST: Most = Most { groups: 1_000, gates: 10_000 };

#[derive(Clone, Copy)]
struct Most {
    groups: usize,
    gates: usize,
}

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
    /// How many of them stand in files that somebody named.
    pub named: usize,
    /// Errors and warnings by file, line and column.
    pub problems: Vec<Problem>,
    /// What is worth knowing while a file is written and often cannot be changed, for those who check: which gates of named
    /// files share nothing though gates share, and why. Order as above.
    pub notes: Vec<Problem>,
}

/// Gate files that may not run.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadError(pub Vec<Problem>);

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the gate files have {} problems; `weavergen gates check` shows them too", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for LoadError {}

impl Loaded {
    /// Whether a problem stops the load; `groups` then holds stand-ins and is not to be used.
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.code.is_error())
    }
}

/// Reads, checks and plans.
pub fn load(request: &Request<'_>, planner: &Planner) -> Loaded {
    let (problems, notes) = (Problems::default(), Problems::default());
    let setting =
        Setting { config: request.config, queries_dir: request.queries_dir, known: request.known, problems: &problems };
    let texts = files::texts(request.config.files.as_deref(), request.queries_dir, &problems);
    let read_in = |text: &files::Text| {
        let mut written = file::read(text, setting);
        if let Some(only) = text.only {
            let runs = |gate: &Gate| only.contains(&gate.name.as_str());
            written.iter_mut().for_each(|group| group.gates.retain(|(gate, _)| runs(gate)));
        }
        (text.named, written)
    };
    let read: Vec<(bool, Vec<Written>)> = texts.iter().map(read_in).collect();

    if !is_within(MOST, &read, &problems) {
        // So many are not planned only to be refused.
        let (groups, notes) = (Vec::new(), Vec::new());
        return Loaded { groups, named: 0, problems: problems.into_sorted(), notes };
    }

    let mut names: BTreeMap<String, Mark> = BTreeMap::new();
    let (mut groups, mut of_named) = (Vec::new(), 0);
    for (named, written) in read {
        // Named files come first, so these names are all of theirs.
        let taken = if named { BTreeMap::new() } else { names.clone() };
        for Written { mut group, gates, .. } in written {
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
                let may_share = planner.check(&gate, &places, &problems);
                let off_grid = buckets::off_grid(&gate, group.interval, request.config.bucket);
                let is_off_grid = may_share.is_ok() && off_grid.is_some();
                if let (true, Ok(()), Some(why)) = (named, &may_share, &off_grid) {
                    let what = format!("{why}: it shares nothing with others");
                    let next = "make `window`, the group's `interval` and a minute multiples of it";
                    problems.add(Code::OffGrid, &places.window, &who, what, next);
                }
                gate.class = buckets::class(&gate, request.config.bucket, may_share, off_grid);
                if named && !request.config.bucket.is_zero() && !is_off_grid {
                    note_unshared(&gate, &places, &who, &notes);
                }
                if !named {
                    gate.mode = Mode::DryRun;
                }
                group.gates.push(gate);
            }
            if !group.gates.is_empty() {
                groups.push(group);
                of_named += usize::from(named);
            }
        }
    }
    Loaded { groups, named: of_named, problems: problems.into_sorted(), notes: notes.into_sorted() }
}

/// Tells why `gate` does not share what it asks, if it could be of a class that does.
fn note_unshared(gate: &Gate, places: &Places, who: &Who, notes: &Problems) {
    let Class::Rerun(why) = &gate.class else { return };
    if gate.class() != "re-run" || why.is_empty() {
        return;
    }
    let place = places.source.as_ref().unwrap_or(&places.name);
    let what = format!("it falls to class re-run ({why})");
    notes.add(
        Code::Unshared,
        place,
        who,
        what,
        "nothing has to change: its SQL runs over its whole window at each tick",
    );
}

/// Whether no more than `most` is named; tells the first group and the first gate over it. A built-in file that nobody
/// named does not count: nobody could leave it out.
fn is_within(most: Most, read: &[(bool, Vec<Written>)], problems: &Problems) -> bool {
    let groups = || read.iter().filter(|(named, _)| *named).flat_map(|(_, written)| written);
    let gates = || groups().flat_map(|group| &group.gates);
    let over = [
        groups().nth(most.groups).map(|first| {
            let who = Who::Group(first.group.name.clone());
            (who, &first.place, "groups", groups().count(), most.groups, "put gates of one interval into one group")
        }),
        gates().nth(most.gates).map(|(gate, places)| {
            let who = Who::Gate(gate.name.clone());
            (who, &places.name, "gates", gates().count(), most.gates, "let one gate answer for several keys with `by`")
        }),
    ];
    for (who, place, what, found, most, next) in over.iter().flatten() {
        let what = format!("the files hold {found} {what}, at most {most} can run, and this is the first above");
        problems.add(Code::Limit, place, who, what, format!("{next}, or name fewer files in `gates.files`"));
    }
    over.iter().all(Option::is_none)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, named: bool) -> (bool, Vec<Written>) {
        let (config, known, problems) = (Config::default(), Known::default(), Problems::default());
        let setting = Setting { config: &config, queries_dir: None, known: &known, problems: &problems };
        let mark = Mark::of_source(0, "f.yaml");
        let home = files::Home::Builtin("gates/f.yaml");
        let written = file::read(&files::Text { mark, home, text: text.to_owned(), named, only: None }, setting);
        assert!(problems.into_sorted().is_empty());
        (named, written)
    }

    #[test]
    fn the_first_group_and_the_first_gate_over_the_bound_are_named_with_their_places() {
        let group = |name: &str, gates: &[&str]| {
            let gate =
                |gate: &&str| format!("      - {{gate: {gate}, sql: SELECT 1 AS value, window: 5m, pass: \"> 1\"}}\n");
            format!("  - name: {name}\n    gates:\n{}", gates.iter().map(gate).collect::<String>())
        };
        let text = format!("groups:\n{}{}", group("one", &["a", "b"]), group("two", &["c"]));
        let said = |groups, gates, named| {
            let problems = Problems::default();
            let within = is_within(Most { groups, gates }, &[read(&text, named)], &problems);
            let said: Vec<String> = problems.into_sorted().iter().map(ToString::to_string).collect();
            assert_eq!(within, said.is_empty());
            said
        };
        assert_eq!(said(2, 3, true), Vec::<String>::new());
        assert_eq!(said(1, 1, false), Vec::<String>::new(), "nobody named it");
        let both = said(1, 2, true);
        assert_eq!(
            both,
            [
                "WG-GATE-034 f.yaml:6:5: group two: the files hold 2 groups, at most 1 can run, and this is the first \
                 above; put gates of one interval into one group, or name fewer files in `gates.files`",
                "WG-GATE-034 f.yaml:8:16: gate c: the files hold 3 gates, at most 2 can run, and this is the first \
                 above; let one gate answer for several keys with `by`, or name fewer files in `gates.files`",
            ]
        );
    }
}
