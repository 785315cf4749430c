//! An open file of a [`Disk`].
//!
//! Duty: writes, syncs, reads and the lock of one file. Guarantee: as of `disk.rs`: no retry, no hidden error, no sync
//! that was not asked for. Left to others: names and directories (`disk.rs`).

use std::fs;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::{Disk, Op};

/// A file open for reading and writing; cheap to clone, all clones are one open file.
#[derive(Clone, Debug)]
pub struct File {
    file: Handle,
    disk: Disk,
}

#[derive(Clone, Debug)]
enum Handle {
    Os(Arc<fs::File>),
    #[cfg(test)]
    Sim(Arc<super::sim::Open>),
}

impl File {
    pub(super) fn new(file: fs::File, disk: Disk) -> Self {
        Self { file: Handle::Os(Arc::new(file)), disk }
    }

    #[cfg(test)]
    pub(super) fn of_sim(file: super::sim::Open, disk: Disk) -> Self {
        Self { file: Handle::Sim(Arc::new(file)), disk }
    }

    fn check(&self, op: Op) -> io::Result<()> {
        self.disk.check(op, Path::new(""))
    }

    /// Writes all of `bytes` at `offset`.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check(Op::Write)?;
        match &self.file {
            Handle::Os(file) => file.write_all_at(bytes, offset),
            #[cfg(test)]
            Handle::Sim(open) => open.write(&[IoSlice::new(bytes)], offset),
        }
    }

    /// Writes all of `slices`, one after the other, at `offset`; as few system calls as the kernel allows.
    pub fn write_all_vectored_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.check(Op::Write)?;
        match &self.file {
            Handle::Os(file) => write_vectored(file, slices, offset),
            #[cfg(test)]
            Handle::Sim(open) => open.write(slices, offset),
        }
    }

    /// Reserves space for `len` bytes and sets the length, so that later writes need no new blocks.
    pub fn allocate(&self, len: u64) -> io::Result<()> {
        self.check(Op::Allocate)?;
        match &self.file {
            Handle::Os(file) => allocate(file, len),
            #[cfg(test)]
            Handle::Sim(open) => open.allocate(len),
        }
    }

    /// Makes the content (and the length, if it changed) durable.
    pub fn sync_data(&self) -> io::Result<()> {
        self.check(Op::Sync)?;
        match &self.file {
            Handle::Os(file) => file.sync_data(),
            #[cfg(test)]
            Handle::Sim(open) => open.sync(),
        }
    }

    /// Fills `bytes` from `offset`; an end before that is an error.
    pub fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.check(Op::Read)?;
        match &self.file {
            Handle::Os(file) => file.read_exact_at(bytes, offset),
            #[cfg(test)]
            Handle::Sim(open) => open.read(bytes, offset),
        }
    }

    /// Whether both handles are clones of one open file.
    pub fn same(&self, other: &Self) -> bool {
        match (&self.file, &other.file) {
            (Handle::Os(a), Handle::Os(b)) => Arc::ptr_eq(a, b),
            #[cfg(test)]
            (Handle::Sim(a), Handle::Sim(b)) => Arc::ptr_eq(a, b),
            #[cfg(test)]
            _ => false,
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> io::Result<u64> {
        match &self.file {
            Handle::Os(file) => Ok(file.metadata()?.len()),
            #[cfg(test)]
            Handle::Sim(open) => open.len(),
        }
    }

    /// Whether the file has no bytes.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Takes the exclusive lock of the file without waiting; `false` if another process holds it.
    pub fn try_lock(&self) -> io::Result<bool> {
        let locked = match &self.file {
            Handle::Os(file) => file.try_lock(),
            #[cfg(test)]
            Handle::Sim(open) => return open.try_lock(),
        };
        match locked {
            Ok(()) => Ok(true),
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// Cuts or extends the file.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        match &self.file {
            Handle::Os(file) => file.set_len(len),
            #[cfg(test)]
            Handle::Sim(open) => open.set_len(len),
        }
    }
}

fn allocate(file: &fs::File, len: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, len) {
        Ok(()) => Ok(()),
        // Some file systems cannot preallocate; the length still saves a metadata sync per append.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(len),
        Err(errno) => Err(errno.into()),
    }
}

fn write_vectored(file: &fs::File, slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    // The kernel takes at most IOV_MAX slices a call.
    const IOV_MAX: usize = 1024;
    let mut rest = slices;
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        let take = rest.len().min(IOV_MAX);
        match rustix::io::pwritev(file, &rest[..take], offset) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::WriteZero, "the disk took no bytes")),
            Ok(n) => {
                offset += n as u64;
                IoSlice::advance_slices(&mut rest, n);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
