//! What applying would change.
//!
//! Duty: rendered files against the own list and the tree: added, changed, removed, edited by hand. Guarantee: a file that
//! differs from both the list and what is generated now is a conflict. Left to others: doing it (`apply`).

use std::collections::{BTreeMap, BTreeSet};

use super::diff;
use super::error::{Conflict, Error};
use super::hash::{Parts, sha256};
use super::manifest::{Home, List, Row};

/// What would change, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// Unified, uncut, files in path order.
    pub diff: String,
    /// Files that are not there yet.
    pub added: u64,
    /// Files whose bytes differ.
    pub changed: u64,
    /// Files that are no longer generated.
    pub removed: u64,
    /// Files that were edited by hand.
    pub conflicts: Vec<Conflict>,
}

/// A file that differs.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) path: String,
    pub(super) old: Option<Vec<u8>>,
    /// `None` removes.
    pub(super) new: Option<Vec<u8>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// In path order.
    pub(super) changes: Vec<Change>,
    pub(super) conflicts: Vec<Conflict>,
    /// Files of the list whose bytes on disk differ from it, be they in the way or not.
    pub(super) edited: Vec<String>,
    pub(super) before_hash: String,
    pub(super) after_hash: String,
}

impl Plan {
    /// `files` of `target` against the tree.
    pub(super) fn of(
        home: Option<&Home>,
        list: &List,
        target: &str,
        files: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Self, Error> {
        let rows: BTreeMap<&str, &Row> = list.files.iter().map(|row| (row.path.as_str(), row)).collect();
        let mine = list.files.iter().filter(|row| row.target == target).map(|row| row.path.as_str());
        let paths: BTreeSet<&str> = mine.chain(files.keys().map(String::as_str)).collect();
        let mut plan = Self::default();
        let (mut before, mut after) = (Parts::new(), Parts::new());
        for path in paths {
            let old = match home {
                Some(home) => home.current(path)?,
                None => None,
            };
            let new = files.get(path);
            let old_hash = old.as_deref().map(sha256).unwrap_or_default();
            let new_hash = new.map(|bytes| sha256(bytes)).unwrap_or_default();
            before.part(path.as_bytes()).part(old_hash.as_bytes());
            after.part(path.as_bytes()).part(new_hash.as_bytes());
            let row = rows.get(path);
            let edited = old.is_some() && row.is_none_or(|row| row.sha256 != old_hash);
            if edited && row.is_some() {
                plan.edited.push(path.to_owned());
            }
            if old.as_ref() == new {
                continue;
            }
            if edited {
                let base = row.and_then(|row| base(home?, row));
                plan.conflicts.push(conflict(path, base.as_deref(), old.as_deref(), new.map(Vec::as_slice)));
            }
            plan.changes.push(Change { path: path.to_owned(), old, new: new.cloned() });
        }
        (plan.before_hash, plan.after_hash) = (before.hex(), after.hex());
        Ok(plan)
    }

    pub(super) fn diff(&self) -> String {
        let one = |c: &Change| diff::unified(&c.path, c.old.as_deref(), c.new.as_deref());
        self.changes.iter().map(one).collect()
    }

    pub(super) fn added(&self) -> u64 {
        self.changes.iter().filter(|c| c.old.is_none()).count() as u64
    }

    pub(super) fn removed(&self) -> u64 {
        self.changes.iter().filter(|c| c.new.is_none()).count() as u64
    }

    pub(super) fn preview(self) -> Preview {
        let (added, removed) = (self.added(), self.removed());
        let changed = self.changes.len() as u64 - added - removed;
        Preview { diff: self.diff(), added, changed, removed, conflicts: self.conflicts }
    }
}

/// What was generated last, if its staging folder still has it.
fn base(home: &Home, row: &Row) -> Option<Vec<u8>> {
    let bytes = std::fs::read(home.staging(&row.staged).join(&row.path)).ok()?;
    (sha256(&bytes) == row.sha256).then_some(bytes)
}

fn conflict(path: &str, base: Option<&[u8]>, old: Option<&[u8]>, new: Option<&[u8]>) -> Conflict {
    let (generated, yours, now) = (format!("generated/{path}"), format!("yours/{path}"), format!("now/{path}"));
    let old = old.unwrap_or_default();
    Conflict {
        path: path.to_owned(),
        yours: base.map(|base| diff::named(&generated, &yours, base, old)).unwrap_or_default(),
        ours: diff::named(&yours, new.map_or("/dev/null", |_| now.as_str()), old, new.unwrap_or_default()),
    }
}
