//! Rendered files into a staging folder.
//!
//! Duty: `OUTPUT/.weavergen/<id>/` with the files and their manifest; previews without writing. Guarantee: the folder is
//! whole or not there; the same id finds it and returns its outcome. Left to others: rendering (`render`), installing
//! (`apply`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::hash::sha256;
use super::manifest::{FORMAT, Home, List, Staged, Staging, check_id};
use super::plan::{Plan, Preview};
use super::render::{Input, Rendering, render};
use super::{Outcome, apply, diff};
use crate::disk::Disk;

/// What to stage.
#[derive(Clone, Debug)]
pub struct Stage {
    /// OUTPUT; made if it is not there.
    pub output: PathBuf,
    /// Effect key or run id: letters, digits, `_`, `-`.
    pub id: String,
    /// What to render.
    pub input: Input,
    /// Refuse while a generated file is edited by hand.
    pub expect_clean: bool,
    /// Where to write.
    pub disk: Disk,
}

/// Manifest of a staging folder.
pub(super) const MANIFEST: &str = ".weavergen.json";

/// Renders into `OUTPUT/.weavergen/<id>/`, or returns the recorded outcome of this id.
///
/// Errors: those of [`render`]; WG-GEN-031 with `expect_clean`; WG-GEN-034 while another process writes; input and output.
pub fn stage(request: &Stage) -> Result<Outcome, Error> {
    check_id(&request.id)?;
    let home = Home::open(&request.output, &request.disk)?;
    let _lock = home.lock()?;
    apply::finish_begun(&home)?;
    let folder = home.staging(&request.id);
    if let Some(staging) = home.read::<Staging>(&folder.join(MANIFEST))? {
        return Ok(staging.outcome);
    }
    let rendering = render(&request.input)?;
    let plan = Plan::of(Some(&home), &home.list()?, &rendering.target, &rendering.files)?;
    if request.expect_clean && !plan.edited.is_empty() {
        return Err(Error::Conflict(dirty(&plan)));
    }
    let (text, diff_truncated) = diff::cut(plan.diff());
    let outcome = Outcome {
        variant: rendering.variant.clone(),
        staged: Some(folder.clone()),
        diff: text,
        diff_truncated,
        files_changed: plan.changes.len() as u64,
        added: plan.added(),
        removed: plan.removed(),
        manifest: folder.join(MANIFEST),
        before_hash: plan.before_hash,
        after_hash: plan.after_hash,
    };
    write(&home, &request.id, &rendering, outcome)
}

/// Conflicts of the plan, and the edited files that are in no one's way.
fn dirty(plan: &Plan) -> Vec<super::Conflict> {
    let in_the_way: BTreeSet<&str> = plan.conflicts.iter().map(|c| c.path.as_str()).collect();
    let idle = plan.edited.iter().filter(|path| !in_the_way.contains(path.as_str())).map(|path| super::Conflict {
        path: path.clone(),
        yours: String::new(),
        ours: String::new(),
    });
    let all: Vec<_> = plan.conflicts.iter().filter(|c| plan.edited.contains(&c.path)).cloned().chain(idle).collect();
    all
}

fn write(home: &Home, id: &str, rendering: &Rendering, outcome: Outcome) -> Result<Outcome, Error> {
    let aside = home.ours.join(format!("{id}.staging"));
    home.fresh(&aside)?;
    let mut folders = BTreeSet::from([aside.clone()]);
    let mut files = Vec::new();
    for (path, bytes) in &rendering.files {
        let place = aside.join(path);
        let parent = place.parent().expect("a file below a folder has a parent");
        if !folders.contains(parent) {
            home.disk.create_dir_all(parent).map_err(Error::io("make", parent))?;
            folders.extend(parent.ancestors().take_while(|p| *p != aside).map(Path::to_owned));
        }
        files.push((place, bytes.as_slice()));
    }
    home.put_all(files)?;
    let staging = Staging {
        format: FORMAT,
        target: rendering.target.clone(),
        registry: rendering.registry_hash.clone(),
        templates: rendering.templates_hash.clone(),
        engine: "builtin".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        files: rendering
            .files
            .iter()
            .map(|(path, bytes)| Staged { path: path.clone(), sha256: sha256(bytes) })
            .collect(),
        outcome,
    };
    home.write(&aside.join(MANIFEST), &staging)?;
    for folder in &folders {
        home.sync(folder)?;
    }
    let folder = home.staging(id);
    home.discard(&folder)?;
    home.disk.rename(&aside, &folder).map_err(Error::io("rename", &folder))?;
    home.sync(&home.ours)?;
    Ok(staging.outcome)
}

/// What applying `rendering` to `output` would change. Writes nothing.
///
/// Errors: WG-GEN-030, or the tree cannot be read.
pub fn preview(output: &Path, rendering: &Rendering) -> Result<Preview, Error> {
    let home = Home::look(output)?;
    let list = home.as_ref().map_or_else(|| Ok(List::default()), Home::list)?;
    Ok(Plan::of(home.as_ref(), &list, &rendering.target, &rendering.files)?.preview())
}

/// Whether `output` holds `rendering` already, unedited and listed as of the same registry and templates. Writes nothing.
///
/// Errors: as [`preview`].
pub fn is_current(output: &Path, rendering: &Rendering) -> Result<bool, Error> {
    let Some(home) = Home::look(output)? else { return Ok(false) };
    let list = home.list()?;
    let mine: Vec<_> = list.files.iter().filter(|row| row.target == rendering.target).collect();
    let listed = mine.len() == rendering.files.len()
        && mine.iter().all(|row| {
            (&row.registry, &row.templates) == (&rendering.registry_hash, &rendering.templates_hash)
                && row.version == env!("CARGO_PKG_VERSION")
                && rendering.files.contains_key(&row.path)
        });
    Ok(listed && Plan::of(Some(&home), &list, &rendering.target, &rendering.files)?.changes.is_empty())
}

/// Removes what runs whose id starts with `prefix` left below `OUTPUT/.weavergen/` and nothing refers to any more.
///
/// Errors: input and output.
pub fn prune(output: &Path, prefix: &str, disk: &Disk) -> Result<(), Error> {
    let home = Home::open(output, disk)?;
    let _lock = home.lock()?;
    apply::finish_begun(&home)?;
    let list = home.list()?;
    let used: BTreeSet<&str> =
        list.files.iter().map(|row| row.staged.as_str()).chain(list.applied.as_deref()).collect();
    for path in disk.list(&home.ours).map_err(Error::io("read", &home.ours))? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let id = name.split('.').next().unwrap_or_default();
        if id.starts_with(prefix) && !used.contains(id) {
            home.discard(&path)?;
        }
    }
    home.sync(&home.ours)
}
