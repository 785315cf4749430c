//! Staged files into the tree, and back (semconv.md 9.4 *apply*).
//!
//! Duty: prepare beside the tree, write the journal, rename, remove, write the list, drop the journal; revert the same
//! way. Guarantee: before the journal is there nothing of the tree has changed; once it is there the next call on this
//! OUTPUT finishes it, so that old and new never stay mixed; what an id did is recorded and not done twice. Left to
//! others: what changes (`plan`).

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::{Conflict, Error};
use super::hash::{Parts, sha256};
use super::manifest::{FORMAT, Home, Journal, List, Row, Staging, Step, Undo, Undone, check_id};
use super::plan::{Change, Plan};
use super::stage::MANIFEST;
use super::{Outcome, diff, tree};
use crate::disk::Disk;

/// What to install.
#[derive(Clone, Debug)]
pub struct Apply {
    /// OUTPUT.
    pub output: PathBuf,
    /// Effect key or run id of this apply.
    pub id: String,
    /// The staging folder: a child of `OUTPUT/.weavergen/`.
    pub staged: PathBuf,
    /// Whether files edited by hand may be overwritten.
    pub overwrite: bool,
    /// Refuse while a generated file is edited by hand.
    pub expect_clean: bool,
    /// Where to write.
    pub disk: Disk,
}

/// What to take back.
#[derive(Clone, Debug)]
pub struct Revert {
    /// OUTPUT.
    pub output: PathBuf,
    /// Effect key or run id of this revert.
    pub id: String,
    /// Whether files edited by hand may be overwritten.
    pub overwrite: bool,
    /// Where to write.
    pub disk: Disk,
}

/// Installs a staging folder, or returns the recorded outcome of this id.
///
/// Errors: WG-GEN-030 paths; WG-GEN-031 files edited by hand; WG-GEN-032 a staging folder that is not as it was staged;
/// WG-GEN-034 while another process writes; input and output (then the next call finishes what was begun).
pub fn apply(request: &Apply) -> Result<Outcome, Error> {
    check_id(&request.id)?;
    let home = Home::open(&request.output, &request.disk)?;
    let _lock = home.lock()?;
    finish_begun(&home)?;
    if let Some(outcome) = home.read(&home.record(&request.id))? {
        return Ok(outcome);
    }
    let (staged_id, staging, files) = staged(&home, &request.staged)?;
    let list = home.list()?;
    let plan = Plan::of(Some(&home), &list, &staging.target, &files)?;
    if !request.overwrite && !plan.conflicts.is_empty() {
        return Err(Error::Conflict(plan.conflicts));
    }
    if request.expect_clean && !plan.edited.is_empty() {
        let edited = |path: &String| Conflict { path: path.clone(), yours: String::new(), ours: String::new() };
        return Err(Error::Conflict(plan.edited.iter().map(edited).collect()));
    }
    let outcome = outcome(&home, staging.outcome.variant.clone(), &plan);
    let new_list =
        List { format: FORMAT, applied: Some(request.id.clone()), files: rows(&list, &staging, &staged_id, &files) };
    let undo = Undo {
        format: FORMAT,
        target: staging.target,
        variant: staging.outcome.variant,
        list,
        files: plan.changes.iter().enumerate().map(|(at, change)| undone(at, change)).collect(),
    };
    keep_undo(&home, &request.id, &undo, &plan.changes)?;
    let journal = prepare(&home, &request.id, &plan.changes, new_list, outcome, None)?;
    finish(&home, &journal)?;
    Ok(journal.outcome)
}

/// Takes the newest apply back, or returns the recorded outcome of this id.
///
/// Errors: WG-GEN-031 files edited since; WG-GEN-033 nothing to take back; as [`apply`] otherwise.
pub fn revert(request: &Revert) -> Result<Outcome, Error> {
    check_id(&request.id)?;
    let home = Home::open(&request.output, &request.disk)?;
    let _lock = home.lock()?;
    finish_begun(&home)?;
    if let Some(outcome) = home.read(&home.record(&request.id))? {
        return Ok(outcome);
    }
    let none = |why: &str| Error::Revert { output: home.root.clone(), why: why.to_owned() };
    let list = home.list()?;
    let applied = list.applied.clone().ok_or_else(|| none("nothing was applied here, or all of it is taken back"))?;
    let folder = home.undo(&applied);
    let undo: Undo = home
        .read(&folder.join("undo.json"))?
        .ok_or_else(|| none(&format!("`{}` is gone; restore the files from version control", folder.display())))?;
    let mut plan = Plan::default();
    let (mut before, mut after) = (Parts::new(), Parts::new());
    for file in &undo.files {
        let old = home.current(&file.path)?;
        let new = match &file.before {
            Some((hash, name)) => Some(kept(&home, &folder.join(name), hash)?),
            None => None,
        };
        let (old_hash, new_hash) = (old.as_deref().map(sha256), new.as_deref().map(sha256));
        before.part(file.path.as_bytes()).part(old_hash.as_deref().unwrap_or_default().as_bytes());
        after.part(file.path.as_bytes()).part(new_hash.as_deref().unwrap_or_default().as_bytes());
        if old == new {
            continue;
        }
        if old.is_some() && old_hash != file.after {
            let ours = diff::unified(&file.path, old.as_deref(), new.as_deref());
            plan.conflicts.push(Conflict { path: file.path.clone(), yours: String::new(), ours });
        }
        plan.changes.push(Change { path: file.path.clone(), old, new });
    }
    (plan.before_hash, plan.after_hash) = (before.hex(), after.hex());
    if !request.overwrite && !plan.conflicts.is_empty() {
        return Err(Error::Conflict(plan.conflicts));
    }
    let outcome = outcome(&home, undo.variant, &plan);
    let journal = prepare(&home, &request.id, &plan.changes, undo.list, outcome, Some(applied))?;
    finish(&home, &journal)?;
    Ok(journal.outcome)
}

/// Finishes what a crash interrupted in `output`; nothing to do is fine.
///
/// Errors: WG-GEN-034 while another process writes; input and output.
pub fn recover(output: &Path, disk: &Disk) -> Result<(), Error> {
    let Some(seen) = Home::look(output)? else { return Ok(()) };
    if !seen.journal().exists() {
        return Ok(());
    }
    let home = Home { disk: disk.clone(), ..seen };
    let _lock = home.lock()?;
    finish_begun(&home)
}

/// As [`recover`], under the lock of the caller.
pub(super) fn finish_begun(home: &Home) -> Result<(), Error> {
    match home.read::<Journal>(&home.journal())? {
        Some(journal) => finish(home, &journal),
        None => Ok(()),
    }
}

/// Path → bytes.
type Files = BTreeMap<String, Vec<u8>>;

/// A staging folder with its id, manifest and files, every byte as it was staged.
fn staged(home: &Home, folder: &Path) -> Result<(String, Staging, Files), Error> {
    let wrong = |why: &str| Error::Staged { folder: folder.to_owned(), why: why.to_owned() };
    let real = folder.canonicalize().map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    let id = real.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    if real.parent() != Some(home.ours.as_path()) || check_id(&id).is_err() {
        return Err(wrong(&format!("is no staging folder below {}", home.ours.display())));
    }
    let staging: Staging = home.read(&real.join(MANIFEST))?.ok_or_else(|| wrong("has no manifest"))?;
    let mut files = BTreeMap::new();
    for file in &staging.files {
        let path = tree::normal(&file.path)?;
        let place = tree::place(&real, &path)?;
        let bytes = home.disk.read(&place).map_err(|error| wrong(&format!("`{path}` cannot be read: {error}")))?;
        if sha256(&bytes) != file.sha256 {
            return Err(wrong(&format!("`{path}` was changed since it was staged")));
        }
        files.insert(path, bytes);
    }
    Ok((id, staging, files))
}

/// A file of an undo folder.
fn kept(home: &Home, place: &Path, hash: &str) -> Result<Vec<u8>, Error> {
    let bytes = home.disk.read(place).map_err(Error::io("read", place))?;
    if sha256(&bytes) == hash {
        return Ok(bytes);
    }
    let why = format!("`{}` is damaged; restore the files from version control", place.display());
    Err(Error::Revert { output: home.root.clone(), why })
}

fn outcome(home: &Home, variant: Option<String>, plan: &Plan) -> Outcome {
    let (text, diff_truncated) = diff::cut(plan.diff());
    Outcome {
        variant,
        staged: None,
        diff: text,
        diff_truncated,
        files_changed: plan.changes.len() as u64,
        added: plan.added(),
        removed: plan.removed(),
        manifest: home.manifest(),
        before_hash: plan.before_hash.clone(),
        after_hash: plan.after_hash.clone(),
    }
}

/// The own list after: rows of other targets, and those of this one.
fn rows(list: &List, staging: &Staging, staged: &str, files: &Files) -> Vec<Row> {
    let others =
        list.files.iter().filter(|row| row.target != staging.target && !files.contains_key(&row.path)).cloned();
    let own = staging.files.iter().map(|file| Row {
        path: file.path.clone(),
        sha256: file.sha256.clone(),
        target: staging.target.clone(),
        registry: staging.registry.clone(),
        templates: staging.templates.clone(),
        engine: staging.engine.clone(),
        version: staging.version.clone(),
        staged: staged.to_owned(),
    });
    let mut rows: Vec<Row> = others.chain(own).collect();
    rows.sort_by(|a, b| a.path.cmp(&b.path));
    rows
}

fn undone(at: usize, change: &Change) -> Undone {
    Undone {
        path: change.path.clone(),
        before: change.old.as_deref().map(|bytes| (sha256(bytes), at.to_string())),
        after: change.new.as_deref().map(sha256),
    }
}

/// The undo folder, whole or not there.
fn keep_undo(home: &Home, id: &str, undo: &Undo, changes: &[Change]) -> Result<(), Error> {
    let aside = home.ours.join(format!("{id}.undoing"));
    home.fresh(&aside)?;
    let old = changes.iter().enumerate().filter_map(|(at, change)| {
        let bytes = change.old.as_deref()?;
        Some((aside.join(at.to_string()), bytes, &change.path))
    });
    home.put_all(old.clone().map(|(kept, bytes, _)| (kept, bytes)))?;
    for (kept, _, path) in old {
        let place = tree::place(&home.root, path)?;
        home.disk.copy_mode(&place, &kept).map_err(Error::io("read", &place))?;
    }
    home.write(&aside.join("undo.json"), undo)?;
    home.sync(&aside)?;
    let folder = home.undo(id);
    home.discard(&folder)?;
    home.disk.rename(&aside, &folder).map_err(Error::io("rename", &folder))?;
    home.sync(&home.ours)
}

/// New files beside the tree, then the journal: from here on the change will happen.
fn prepare(
    home: &Home,
    id: &str,
    changes: &[Change],
    list: List,
    outcome: Outcome,
    spent: Option<String>,
) -> Result<Journal, Error> {
    let folder = home.applying(id);
    home.fresh(&folder)?;
    let new = changes.iter().enumerate().filter_map(|(at, change)| {
        let bytes = change.new.as_deref()?;
        Some((folder.join(at.to_string()), bytes, change))
    });
    home.put_all(new.clone().map(|(aside, bytes, _)| (aside, bytes)))?;
    for (aside, _, change) in new {
        let mode_of = match (&change.old, &spent) {
            (Some(_), _) => Some(tree::place(&home.root, &change.path)?),
            // what revert brings back has the mode it had
            (None, Some(undo)) => undo_file(home, undo, &change.path)?,
            (None, None) => None,
        };
        if let Some(place) = mode_of {
            home.disk.copy_mode(&place, &aside).map_err(Error::io("read", &place))?;
        }
    }
    let step = |(at, change): (usize, &Change)| Step {
        path: change.path.clone(),
        put: change.new.as_ref().map(|_| at.to_string()),
    };
    let steps = changes.iter().enumerate().map(step).collect();
    home.sync(&folder)?;
    home.sync(&home.ours)?;
    let journal = Journal { format: FORMAT, id: id.to_owned(), steps, list, outcome, spent };
    home.write(&home.journal(), &journal)?;
    home.sync(&home.ours)?;
    Ok(journal)
}

fn undo_file(home: &Home, undo: &str, path: &str) -> Result<Option<PathBuf>, Error> {
    let folder = home.undo(undo);
    let undo: Option<Undo> = home.read(&folder.join("undo.json"))?;
    let file = undo.and_then(|undo| undo.files.into_iter().find(|file| file.path == path));
    Ok(file.and_then(|file| file.before).map(|(_, name)| folder.join(name)))
}

/// Does what the journal says, from any point at which it was interrupted.
fn finish(home: &Home, journal: &Journal) -> Result<(), Error> {
    let folder = home.applying(&journal.id);
    let mut touched = BTreeSet::new();
    for step in &journal.steps {
        let place = tree::place(&home.root, &step.path)?;
        let parent = place.parent().expect("a file below OUTPUT has a parent").to_owned();
        match &step.put {
            Some(name) => {
                let aside = folder.join(name);
                home.disk.create_dir_all(&parent).map_err(Error::io("make", &parent))?;
                match home.disk.rename(&aside, &place) {
                    Ok(()) => {}
                    // it was renamed before the interruption
                    Err(error) if error.kind() == ErrorKind::NotFound && !aside.exists() => {}
                    Err(error) => return Err(Error::io("rename", &place)(error)),
                }
            }
            None => home.discard(&place)?,
        }
        touched.extend(parent.ancestors().take_while(|p| p.starts_with(&home.root)).map(Path::to_owned));
    }
    for folder in emptied(home, &journal.steps) {
        match home.disk.remove_dir(&folder) {
            Ok(()) => drop(touched.remove(&folder)),
            Err(error) if error.kind() == ErrorKind::NotFound => drop(touched.remove(&folder)),
            // a link on the way is no folder of ours
            Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(Error::io("remove", &folder)(error)),
        }
    }
    for folder in touched.iter().filter(|folder| folder.exists()) {
        home.sync(folder)?;
    }
    home.write(&home.manifest(), &journal.list)?;
    home.write(&home.record(&journal.id), &journal.outcome)?;
    home.sync(&home.ours)?;
    home.discard(&home.journal())?;
    home.sync(&home.ours)?;
    home.discard(&folder)?;
    match &journal.spent {
        Some(id) => home.discard(&home.undo(id)),
        None => Ok(()),
    }
}

/// Folders that removals may have left empty, deepest first.
fn emptied(home: &Home, steps: &[Step]) -> Vec<PathBuf> {
    let mut folders = BTreeSet::new();
    for step in steps.iter().filter(|step| step.put.is_none()) {
        let place = home.root.join(&step.path);
        folders.extend(place.ancestors().skip(1).take_while(|p| *p != home.root).map(Path::to_owned));
    }
    folders.into_iter().rev().collect()
}
