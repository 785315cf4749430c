//! The names of a [`Sim`](super::Sim): directories, as they are and as they are durable.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path};

use super::{EEXIST, ENOENT, ENOTDIR, Node, ROOT, State, errno};

type Names = BTreeMap<OsString, Node>;

#[derive(Clone, Default)]
pub(super) struct Dir {
    pub(super) cached: Names,
    pub(super) durable: Names,
}

/// One change of names, which happens as a whole: directory, name, what it names from now on.
#[derive(Clone)]
pub(super) struct Change(pub(super) Vec<(Node, OsString, Option<Node>)>);

impl State {
    pub(super) fn find(&self, path: &Path) -> io::Result<Node> {
        let mut node = ROOT;
        for part in path.components() {
            if let Component::Normal(name) = part {
                let dir = self.dirs.get(&node).ok_or_else(|| errno(ENOTDIR))?;
                node = *dir.cached.get(name).ok_or_else(|| errno(ENOENT))?;
            }
        }
        Ok(node)
    }

    pub(super) fn dir(&self, path: &Path) -> io::Result<Node> {
        self.find(path).and_then(|node| if self.dirs.contains_key(&node) { Ok(node) } else { Err(errno(ENOTDIR)) })
    }

    /// Directory and name of `path`, which need not exist.
    pub(super) fn place(&self, path: &Path) -> io::Result<(Node, OsString)> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Err(errno(EEXIST)) };
        Ok((self.dir(dir)?, name.to_owned()))
    }

    pub(super) fn make_dir(&mut self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.place(path)?;
        if self.dirs[&dir].cached.contains_key(&name) {
            return Err(errno(EEXIST));
        }
        self.dirs.insert(self.next, Dir::default());
        self.change(vec![(dir, name, Some(self.next))]);
        self.next += 1;
        Ok(())
    }

    pub(super) fn change(&mut self, names: Vec<(Node, OsString, Option<Node>)>) {
        for (dir, name, node) in &names {
            set(&mut self.dirs.get_mut(dir).unwrap().cached, name, *node);
        }
        self.pending.push(Change(names));
    }

    /// Makes those pending changes durable of which `is_durable` says so. Of earlier ones nothing is left to be done
    /// where a later durable one has the same name.
    pub(super) fn settle(&mut self, mut is_durable: impl FnMut(&Change) -> bool) {
        let (mut overtaken, mut durable, mut kept) = (BTreeSet::new(), Vec::new(), Vec::new());
        for mut change in std::mem::take(&mut self.pending).into_iter().rev() {
            let settles = is_durable(&change);
            change.0.retain(|(dir, name, _)| !overtaken.contains(&(*dir, name.clone())));
            if settles {
                overtaken.extend(change.0.iter().map(|(dir, name, _)| (*dir, name.clone())));
                durable.push(change);
            } else if !change.0.is_empty() {
                kept.push(change);
            }
        }
        for (dir, name, node) in durable.into_iter().flat_map(|change| change.0) {
            set(&mut self.dirs.get_mut(&dir).unwrap().durable, &name, node);
        }
        kept.reverse();
        self.pending = kept;
    }
}

fn set(names: &mut Names, name: &OsString, node: Option<Node>) {
    match node {
        Some(node) => drop(names.insert(name.clone(), node)),
        None => drop(names.remove(name)),
    }
}
