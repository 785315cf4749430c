//! A disk in memory that keeps apart what is durable and what is only in the page cache, for tests (storage.md 13, 18).
//!
//! Duty: [`Sim`], every operation of [`super::Disk`] with what a file system may do to it: errors, short writes, slow
//! syncs, the power going off at any operation. Guarantee: file data become durable by a sync of the file alone, names by
//! a sync of their directory alone; after a failed sync the pages are clean and may never have been written, as Linux
//! leaves them; a disk whose power is off answers nothing but errors; what is left of the same operations and the same
//! seed is the same, byte by byte. Left to others: what is left after the power came back (`sim/left.rs`).
//!
//! Own code and not turmoil's file system shim, which the specification names: there a process is a future on the one
//! thread of a simulation, a thread of its own gets in by a thread-local guard and draws unseeded chance (the store has
//! six threads, besides tokio's blocking ones); it has no locks, preallocation or vectored writes; a torn write keeps a
//! prefix, where a disk may keep any blocks; and a failed sync leaves its pages dirty, so a second one would make them
//! durable, which is the very lie that storage.md 4.6 is about.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;

use super::faults::Faults;
use super::{File, Meta, Op, Space};
use names::{Change, Dir};
pub use open::Open;
use open::{Content, SECTOR};

mod left;
mod names;
mod open;
#[cfg(test)]
mod tests;

const ROOT: Node = 0;
const ENOENT: i32 = 2;
const EIO: i32 = 5;
const EEXIST: i32 = 17;
const ENOTDIR: i32 = 20;
const EISDIR: i32 = 21;
const ENOTEMPTY: i32 = 39;

type Node = u64;

/// The disk; cheap to clone, all clones are one.
#[derive(Clone)]
pub struct Sim(Arc<Mutex<State>>);

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sim")
    }
}

/// What becomes of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The power goes off before it.
    OffBefore,
    /// The power goes off after it; nobody learns of its success.
    OffAfter,
    /// It fails.
    Fails,
    /// The thread that does it panics before it.
    Panics,
}

/// With this a planned panic begins.
pub const PANIC: &str = "planned panic";

#[derive(Clone)]
struct State {
    files: BTreeMap<Node, Content>,
    dirs: BTreeMap<Node, Dir>,
    next: Node,
    /// Changes of names that no sync has made durable, in their order.
    pending: Vec<Change>,
    /// Operations so far that change anything.
    ops: u64,
    planned: Vec<(u64, Fate)>,
    faults: Faults,
    chance: ChaCha12Rng,
    slow: Duration,
    off: bool,
    locked: BTreeSet<Node>,
    /// Files that were used although nobody may trust them any more.
    distrusted: Vec<PathBuf>,
}

fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

impl Sim {
    /// An empty disk; `seed` draws how much of a failed write or sync was done.
    pub fn new(seed: u64) -> Self {
        let state = State {
            files: BTreeMap::new(),
            dirs: BTreeMap::from([(ROOT, Dir::default())]),
            next: ROOT + 1,
            pending: Vec::new(),
            ops: 0,
            planned: Vec::new(),
            faults: Faults::default(),
            chance: ChaCha12Rng::seed_from_u64(seed),
            slow: Duration::ZERO,
            off: false,
            locked: BTreeSet::new(),
            distrusted: Vec::new(),
        };
        Self(Arc::new(Mutex::new(state)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Operations so far that change anything.
    pub fn ops(&self) -> u64 {
        self.lock().ops
    }

    /// Decides on the operation that is number `op` (the first is 1), besides those decided on before.
    pub fn plan(&self, op: u64, fate: Fate) {
        self.lock().planned.push((op, fate));
    }

    /// Errors to come, by kind of operation.
    pub fn faults(&self) -> Faults {
        self.lock().faults.clone()
    }

    /// How long every sync takes from now on.
    pub fn slow_syncs(&self, slow: Duration) {
        self.lock().slow = slow;
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        self.lock().off
    }

    /// Files that were synced after a sync or a write of them had failed, or written after a sync had failed: storage.md
    /// 4.6 forbids it.
    pub fn distrusted(&self) -> Vec<PathBuf> {
        self.lock().distrusted.clone()
    }

    /// Does `work`, unless the power is off or something else was decided; `failing` is what an error leaves behind.
    fn act<T>(
        &self,
        op: Op,
        path: &Path,
        work: impl FnOnce(&mut State) -> io::Result<T>,
        failing: impl FnOnce(&mut State),
    ) -> io::Result<T> {
        let mut state = self.lock();
        if state.off {
            return Err(errno(EIO));
        }
        state.ops += u64::from(op != Op::Read);
        let planned = state.planned.iter().find(|(at, _)| *at == state.ops && op != Op::Read);
        let error = match planned.map(|(_, fate)| *fate) {
            Some(Fate::OffBefore) => {
                state.off = true;
                return Err(errno(EIO));
            }
            Some(Fate::OffAfter) => {
                drop(work(&mut state));
                state.off = true;
                return Err(errno(EIO));
            }
            Some(Fate::Panics) => {
                drop(state);
                panic!("{PANIC}: {op:?} of {}", path.display());
            }
            Some(Fate::Fails) => errno(EIO),
            None => match state.faults.check(op, path) {
                Ok(()) => return work(&mut state),
                Err(error) => error,
            },
        };
        failing(&mut state);
        Err(error)
    }

    /// Waits as long as a slow sync does.
    fn drag(&self) {
        let slow = self.lock().slow;
        if !slow.is_zero() {
            std::thread::sleep(slow);
        }
    }

    pub(super) fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut missing: Vec<&Path> = path.ancestors().collect();
        missing.retain(|dir| !dir.as_os_str().is_empty() && self.metadata(dir).is_err());
        for dir in missing.into_iter().rev() {
            let made = self.act(Op::Create, dir, |state| state.make_dir(dir), |_| {});
            // Somebody else made it meanwhile.
            made.or_else(|error| if error.raw_os_error() == Some(EEXIST) { Ok(()) } else { Err(error) })?;
        }
        self.lock().dir(path).map(drop)
    }

    pub(super) fn create(&self, path: &Path, must_be_new: bool) -> io::Result<File> {
        let work = |state: &mut State| match state.find(path) {
            Ok(_) if must_be_new => Err(errno(EEXIST)),
            Ok(node) => Ok(node),
            Err(_) => {
                let (dir, name) = state.place(path)?;
                let node = state.next;
                state.next += 1;
                state.files.insert(node, Content::default());
                state.change(vec![(dir, name, Some(node))]);
                Ok(node)
            }
        };
        let node = self.act(Op::Create, path, work, |_| {})?;
        Ok(self.file(node, path))
    }

    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        let state = self.lock();
        if state.off {
            return Err(errno(EIO));
        }
        let node = state.find(path)?;
        let is_file = state.files.contains_key(&node);
        drop(state);
        if is_file { Ok(self.file(node, path)) } else { Err(errno(EISDIR)) }
    }

    fn file(&self, node: Node, path: &Path) -> File {
        let open = Open { sim: self.clone(), node, path: path.to_owned(), locked: Mutex::new(false) };
        File::of_sim(open, super::Disk::Sim(self.clone()))
    }

    pub(super) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let work = |state: &mut State| {
            let node = state.find(path)?;
            state.files.get(&node).map(|file| file.cached.clone()).ok_or_else(|| errno(EISDIR))
        };
        self.act(Op::Read, path, work, |_| {})
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.lock();
        if state.off {
            return Err(errno(EIO));
        }
        let node = state.dir(dir)?;
        Ok(state.dirs[&node].cached.keys().map(|name| dir.join(name)).collect())
    }

    pub(super) fn metadata(&self, path: &Path) -> io::Result<Meta> {
        let state = self.lock();
        if state.off {
            return Err(errno(EIO));
        }
        let file = state.files.get(&state.find(path)?);
        let len = file.map_or(0, |file| file.cached.len() as u64);
        Ok(Meta { is_dir: file.is_none(), is_file: file.is_some(), len, modified: SystemTime::UNIX_EPOCH })
    }

    pub(super) fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let work = |state: &mut State| {
            let node = state.find(from)?;
            let (dir, name) = state.place(to)?;
            if state.dirs[&dir].cached.contains_key(&name) {
                return Err(errno(EEXIST));
            }
            state.change(vec![(dir, name, Some(node))]);
            Ok(())
        };
        self.act(Op::Link, to, work, |_| {})
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let work = |state: &mut State| {
            let node = state.find(from)?;
            let ((old, old_name), (new, new_name)) = (state.place(from)?, state.place(to)?);
            state.change(vec![(old, old_name, None), (new, new_name, Some(node))]);
            Ok(())
        };
        self.act(Op::Rename, to, work, |_| {})
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.unname(path, |state, node| if state.files.contains_key(&node) { Ok(()) } else { Err(errno(EISDIR)) })
    }

    pub(super) fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.unname(path, |state, node| match state.dirs.get(&node) {
            Some(dir) if dir.cached.is_empty() => Ok(()),
            Some(_) => Err(errno(ENOTEMPTY)),
            None => Err(errno(ENOTDIR)),
        })
    }

    pub(super) fn remove_all(&self, path: &Path) -> io::Result<()> {
        self.unname(path, |_, _| Ok(()))
    }

    fn unname(&self, path: &Path, check: impl FnOnce(&State, Node) -> io::Result<()>) -> io::Result<()> {
        let work = |state: &mut State| {
            check(state, state.find(path)?)?;
            let (dir, name) = state.place(path)?;
            state.change(vec![(dir, name, None)]);
            Ok(())
        };
        self.act(Op::Remove, path, work, |_| {})
    }

    pub(super) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.drag();
        let work = |state: &mut State| {
            let node = state.dir(dir)?;
            state.settle(|change| change.0.iter().any(|(dir, ..)| *dir == node));
            Ok(())
        };
        self.act(Op::SyncDir, dir, work, |_| {})
    }

    pub(super) fn space(&self) -> Space {
        Space { free: 1 << 40, total: 1 << 41 }
    }
}
