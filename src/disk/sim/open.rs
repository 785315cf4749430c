//! An open file of a [`Sim`](super::Sim), and its bytes, as they are and as they are durable.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Mutex;

use rand_chacha::rand_core::RngCore as _;

use super::super::Op;
use super::{Node, Sim, State};

/// The smallest piece of a file that a crash leaves old or new as a whole.
pub(super) const SECTOR: usize = 512;

/// An open file.
#[derive(Debug)]
pub struct Open {
    pub(super) sim: Sim,
    pub(super) node: Node,
    pub(super) path: PathBuf,
    pub(super) locked: Mutex<bool>,
}

#[derive(Clone, Default)]
pub(super) struct Content {
    pub(super) cached: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// Sectors of `cached` that are still to be written.
    pub(super) dirty: BTreeSet<usize>,
    /// What failed on it: a write or a sync.
    pub(super) failed: Option<Op>,
}

impl Open {
    pub(in crate::disk) fn write(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let (mut bytes, at) = (Vec::new(), usize::try_from(offset).unwrap());
        slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
        let work = |state: &mut State| {
            state.trust(self, Op::Write);
            state.content(self).write(&bytes, at);
            Ok(())
        };
        // Short: the kernel took some of it before the error came.
        let failing = |state: &mut State| {
            let short = usize::try_from(state.chance.next_u64()).unwrap() % (bytes.len() + 1);
            state.content(self).write(&bytes[..short], at);
            state.content(self).failed.get_or_insert(Op::Write);
        };
        self.sim.act(Op::Write, &self.path, work, failing)
    }

    pub(in crate::disk) fn allocate(&self, len: u64) -> io::Result<()> {
        let work = |state: &mut State| {
            let content = state.content(self);
            content.resize(content.cached.len().max(usize::try_from(len).unwrap()));
            Ok(())
        };
        self.sim.act(Op::Allocate, &self.path, work, |_| {})
    }

    pub(in crate::disk) fn set_len(&self, len: u64) -> io::Result<()> {
        let work = |state: &mut State| {
            state.content(self).resize(usize::try_from(len).unwrap());
            Ok(())
        };
        self.sim.act(Op::Allocate, &self.path, work, |_| {})
    }

    pub(in crate::disk) fn sync(&self) -> io::Result<()> {
        self.sim.drag();
        let work = |state: &mut State| {
            state.trust(self, Op::Sync);
            state.content(self).sync(|| true);
            Ok(())
        };
        let failing = |state: &mut State| {
            let mut chance = state.chance.clone();
            state.trust(self, Op::Sync);
            let content = state.content(self);
            content.sync(|| chance.next_u64().is_multiple_of(2));
            content.failed = Some(Op::Sync);
            state.chance = chance;
        };
        self.sim.act(Op::Sync, &self.path, work, failing)
    }

    pub(in crate::disk) fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let work = |state: &mut State| {
            let from = usize::try_from(offset).unwrap();
            let there = state.content(self).cached.get(from..from + bytes.len());
            bytes.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        };
        self.sim.act(Op::Read, &self.path, work, |_| {})
    }

    pub(in crate::disk) fn len(&self) -> io::Result<u64> {
        Ok(self.sim.lock().content(self).cached.len() as u64)
    }

    pub(in crate::disk) fn try_lock(&self) -> io::Result<bool> {
        let free = self.sim.lock().locked.insert(self.node);
        *self.locked.lock().unwrap() |= free;
        Ok(free)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if *self.locked.lock().unwrap() {
            self.sim.lock().locked.remove(&self.node);
        }
    }
}

impl State {
    pub(super) fn content(&mut self, open: &Open) -> &mut Content {
        self.files.get_mut(&open.node).unwrap()
    }

    /// Notes that `op` is done to a file which nobody may trust any more.
    pub(super) fn trust(&mut self, open: &Open, op: Op) {
        let failed = self.content(open).failed;
        if failed == Some(Op::Sync) || failed.is_some() && op == Op::Sync {
            self.distrusted.push(open.path.clone());
        }
    }
}

impl Content {
    pub(super) fn write(&mut self, bytes: &[u8], at: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len();
        if self.cached.len() < end {
            self.resize(end);
        }
        self.cached[at..end].copy_from_slice(bytes);
        self.dirty.extend(at / SECTOR..end.div_ceil(SECTOR));
    }

    pub(super) fn resize(&mut self, len: usize) {
        let from = self.cached.len().min(len);
        self.cached.resize(len, 0);
        // Beyond the durable end there are zeros already.
        self.dirty.extend(from / SECTOR..self.durable.len().div_ceil(SECTOR));
    }

    /// Writes the dirty sectors of which `reaches` says so; all are clean then.
    pub(super) fn sync(&mut self, mut reaches: impl FnMut() -> bool) {
        self.durable.resize(self.cached.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            if reaches() {
                self.write_back(sector * SECTOR..(sector + 1) * SECTOR);
            }
        }
    }

    pub(super) fn write_back(&mut self, bytes: std::ops::Range<usize>) {
        let end = bytes.end.min(self.cached.len()).min(self.durable.len());
        if bytes.start < end {
            self.durable[bytes.start..end].copy_from_slice(&self.cached[bytes.start..end]);
        }
    }
}
