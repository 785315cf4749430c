//! The only file through which durable data of ours is written (redb aside).
//!
//! Duty: create, write, sync, link, rename, remove, list, on the machine's disk. Guarantee: nothing here retries or
//! hides an error, and nothing syncs unless asked: the caller owns the order of writes and syncs. Left to others: that
//! order (`store/wal`, `store/local.rs`), and how long a blocking call may take (callers run on threads of their own).

use std::fs;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(test)]
pub mod faults;

/// A file system; cheap to clone.
#[derive(Clone, Debug, Default)]
pub enum Disk {
    /// The machine's.
    #[default]
    Os,
    /// The machine's, with errors injected by a test.
    #[cfg(test)]
    Faulty(faults::Faults),
}

/// A file open for reading and writing; cheap to clone, all clones are one open file.
#[derive(Clone, Debug)]
pub struct File {
    file: Arc<fs::File>,
    disk: Disk,
}

/// Room of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that an unprivileged writer may still use.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

/// The operations at which a test may inject an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Creation of a file.
    Create,
    /// Preallocation of space.
    Allocate,
    /// A write.
    Write,
    /// `fdatasync` of a file.
    Sync,
    /// `fsync` of a directory.
    SyncDir,
    /// A hard link.
    Link,
    /// A rename.
    Rename,
    /// A read.
    Read,
    /// Removal of a file or a directory.
    Remove,
}

impl Disk {
    #[allow(unused_variables, reason = "only tests inject faults")]
    fn check(&self, op: Op, path: &Path) -> io::Result<()> {
        match self {
            Self::Os => Ok(()),
            #[cfg(test)]
            Self::Faulty(faults) => faults.check(op, path),
        }
    }

    /// Makes a directory and its parents; an existing one is fine.
    pub fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    /// Makes a file that must not exist yet.
    pub fn create_new(&self, path: &Path) -> io::Result<File> {
        self.check(Op::Create, path)?;
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(File { file: Arc::new(file), disk: self.clone() })
    }

    /// Opens a file for reading and writing; makes it if it does not exist.
    pub fn open_or_create(&self, path: &Path) -> io::Result<File> {
        self.check(Op::Create, path)?;
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(File { file: Arc::new(file), disk: self.clone() })
    }

    /// Opens a file that exists, for reading and writing.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
        Ok(File { file: Arc::new(file), disk: self.clone() })
    }

    /// Opens a file that exists, for reading only.
    pub fn open_read(&self, path: &Path) -> io::Result<File> {
        let file = fs::OpenOptions::new().read(true).open(path)?;
        Ok(File { file: Arc::new(file), disk: self.clone() })
    }

    /// The whole content of a file.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.check(Op::Read, path)?;
        fs::read(path)
    }

    /// Names of the entries of a directory, sorted.
    pub fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths = fs::read_dir(dir)?.map(|e| e.map(|e| e.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }

    /// Gives a file a second name, which must not exist yet.
    pub fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(Op::Link, to)?;
        fs::hard_link(from, to)
    }

    /// Renames a file, replacing what has the new name.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(Op::Rename, to)?;
        fs::rename(from, to)
    }

    /// Removes a file.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(Op::Remove, path)?;
        fs::remove_file(path)
    }

    /// Removes a file, or a directory with all that is in it.
    pub fn remove_all(&self, path: &Path) -> io::Result<()> {
        self.check(Op::Remove, path)?;
        if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
    }

    /// Removes a directory; one that is not empty is an error.
    pub fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.check(Op::Remove, path)?;
        fs::remove_dir(path)
    }

    /// Gives a file the permissions of another.
    pub fn copy_mode(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::set_permissions(to, fs::metadata(from)?.permissions())
    }

    /// Makes creations, renames and removals in a directory durable.
    pub fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.check(Op::SyncDir, dir)?;
        fs::File::open(dir)?.sync_all()
    }

    /// Bytes that an unprivileged writer may still use on the file system of `path`.
    pub fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        Ok(self.space(path)?.free)
    }

    /// Free and total bytes of the file system of `path`.
    pub fn space(&self, path: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(Space {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }
}

impl File {
    /// Writes all of `bytes` at `offset`.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.check(Op::Write, Path::new(""))?;
        self.file.write_all_at(bytes, offset)
    }

    /// Writes all of `slices`, one after the other, at `offset`; as few system calls as the kernel allows.
    pub fn write_all_vectored_at(&self, slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        // The kernel takes at most IOV_MAX slices a call.
        const IOV_MAX: usize = 1024;
        self.disk.check(Op::Write, Path::new(""))?;
        let mut rest = slices;
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let take = rest.len().min(IOV_MAX);
            match rustix::io::pwritev(&*self.file, &rest[..take], offset) {
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

    /// Reserves space for `len` bytes and sets the length, so that later writes need no new blocks.
    pub fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.check(Op::Allocate, Path::new(""))?;
        match rustix::fs::fallocate(&*self.file, rustix::fs::FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            // Some file systems cannot preallocate; the length still saves a metadata sync per append.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => self.file.set_len(len),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Makes the content (and the length, if it changed) durable.
    pub fn sync_data(&self) -> io::Result<()> {
        self.disk.check(Op::Sync, Path::new(""))?;
        self.file.sync_data()
    }

    /// Fills `bytes` from `offset`; an end before that is an error.
    pub fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.check(Op::Read, Path::new(""))?;
        self.file.read_exact_at(bytes, offset)
    }

    /// Whether both handles are clones of one open file.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.file, &other.file)
    }

    /// Length in bytes.
    pub fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether the file has no bytes.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Takes the exclusive lock of the file without waiting; `false` if another process holds it.
    pub fn try_lock(&self) -> io::Result<bool> {
        match self.file.try_lock() {
            Ok(()) => Ok(true),
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// Cuts or extends the file.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}
