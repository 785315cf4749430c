//! The only file through which durable data of ours is written (redb aside).
//!
//! Duty: create, write, sync, link, rename, remove, list, on the machine's disk. Guarantee: nothing here retries or
//! hides an error, and nothing syncs unless asked: the caller owns the order of writes and syncs. Left to others: that
//! order (`store/wal`, `store/local.rs`), and how long a blocking call may take (callers run on threads of their own).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

#[cfg(test)]
pub mod faults;
mod file;
#[cfg(test)]
pub mod sim;

pub use file::File;

/// A file system; cheap to clone.
#[derive(Clone, Debug, Default)]
pub enum Disk {
    /// The machine's.
    #[default]
    Os,
    /// The machine's, with errors injected by a test.
    #[cfg(test)]
    Faulty(faults::Faults),
    /// One in memory that loses what was not synced.
    #[cfg(test)]
    Sim(sim::Sim),
}

/// Room of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that an unprivileged writer may still use.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

/// What is known of a file or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Whether it is a file with bytes.
    pub is_file: bool,
    /// Length in bytes.
    pub len: u64,
    /// When it was last written; 1970 where that is not known.
    pub modified: SystemTime,
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
            #[cfg(test)]
            Self::Sim(_) => Ok(()),
        }
    }

    /// Makes a directory and its parents; an existing one is fine.
    pub fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        #[cfg(test)]
        if let Self::Sim(sim) = self {
            return sim.create_dir_all(path);
        }
        fs::create_dir_all(path)
    }

    /// Makes a directory and its parents, durably. One that exists gets its name synced all the same: that it is there
    /// does not tell that whoever made it has come to that.
    pub fn create_dir_durable(&self, path: &Path) -> io::Result<()> {
        let missing =
            path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && self.metadata(dir).is_err()).count();
        self.create_dir_all(path)?;
        for (i, parent) in path.ancestors().skip(1).enumerate() {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            match self.sync_dir(parent) {
                // A folder that others made may be readable for them alone.
                Err(error) if i < missing || i == 0 && error.kind() != io::ErrorKind::PermissionDenied => {
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes a file that must not exist yet.
    pub fn create_new(&self, path: &Path) -> io::Result<File> {
        #[cfg(test)]
        if let Self::Sim(sim) = self {
            return sim.create(path, true);
        }
        self.check(Op::Create, path)?;
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(File::new(file, self.clone()))
    }

    /// Opens a file for reading and writing; makes it if it does not exist.
    pub fn open_or_create(&self, path: &Path) -> io::Result<File> {
        #[cfg(test)]
        if let Self::Sim(sim) = self {
            return sim.create(path, false);
        }
        self.check(Op::Create, path)?;
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(File::new(file, self.clone()))
    }

    /// Opens a file that exists, for reading and writing.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        #[cfg(test)]
        if let Self::Sim(sim) = self {
            return sim.open(path);
        }
        let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
        Ok(File::new(file, self.clone()))
    }

    /// Opens a file that exists, for reading only.
    pub fn open_read(&self, path: &Path) -> io::Result<File> {
        #[cfg(test)]
        if let Self::Sim(sim) = self {
            return sim.open(path);
        }
        let file = fs::OpenOptions::new().read(true).open(path)?;
        Ok(File::new(file, self.clone()))
    }

    /// The whole content of a file.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        #[cfg(test)]
        if let Self::Sim(sim) = self {
            return sim.read(path);
        }
        self.check(Op::Read, path)?;
        fs::read(path)
    }

    /// Names of the entries of a directory, sorted.
    pub fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        #[cfg(test)]
        if let Self::Sim(sim) = self {
            return sim.list(dir);
        }
        let mut paths = fs::read_dir(dir)?.map(|e| e.map(|e| e.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }

    /// What is known of a file or a directory.
    pub fn metadata(&self, path: &Path) -> io::Result<Meta> {
        #[cfg(test)]
        if let Self::Sim(sim) = self {
            return sim.metadata(path);
        }
        let meta = fs::metadata(path)?;
        let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(Meta { is_dir: meta.is_dir(), is_file: meta.is_file(), len: meta.len(), modified })
    }

    /// Gives a file a second name, which must not exist yet.
    pub fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        #[cfg(test)]
        if let Self::Sim(sim) = self {
            return sim.link(from, to);
        }
        self.check(Op::Link, to)?;
        fs::hard_link(from, to)
    }

    /// Renames a file, replacing what has the new name.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        #[cfg(test)]
        if let Self::Sim(sim) = self {
            return sim.rename(from, to);
        }
        self.check(Op::Rename, to)?;
        fs::rename(from, to)
    }

    /// Removes a file.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        #[cfg(test)]
        if let Self::Sim(sim) = self {
            return sim.remove(path);
        }
        self.check(Op::Remove, path)?;
        fs::remove_file(path)
    }

    /// Removes a file, or a directory with all that is in it.
    pub fn remove_all(&self, path: &Path) -> io::Result<()> {
        #[cfg(test)]
        if let Self::Sim(sim) = self {
            return sim.remove_all(path);
        }
        self.check(Op::Remove, path)?;
        if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
    }

    /// Removes a directory; one that is not empty is an error.
    pub fn remove_dir(&self, path: &Path) -> io::Result<()> {
        #[cfg(test)]
        if let Self::Sim(sim) = self {
            return sim.remove_dir(path);
        }
        self.check(Op::Remove, path)?;
        fs::remove_dir(path)
    }

    /// Gives a file the permissions of another.
    pub fn copy_mode(&self, from: &Path, to: &Path) -> io::Result<()> {
        #[cfg(test)]
        if let Self::Sim(sim) = self {
            return sim.metadata(from).and(sim.metadata(to)).map(drop);
        }
        fs::set_permissions(to, fs::metadata(from)?.permissions())
    }

    /// Makes creations, renames and removals in a directory durable.
    pub fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        #[cfg(test)]
        if let Self::Sim(sim) = self {
            return sim.sync_dir(dir);
        }
        self.check(Op::SyncDir, dir)?;
        fs::File::open(dir)?.sync_all()
    }

    /// Bytes that an unprivileged writer may still use on the file system of `path`.
    pub fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        Ok(self.space(path)?.free)
    }

    /// Free and total bytes of the file system of `path`.
    pub fn space(&self, path: &Path) -> io::Result<Space> {
        #[cfg(test)]
        if let Self::Sim(sim) = self {
            return Ok(sim.space());
        }
        #[cfg(test)]
        if let Self::Faulty(faults) = self
            && let Some(free) = faults.free()
        {
            return Ok(Space { free, total: 1 << 41 });
        }
        let stat = rustix::fs::statvfs(path)?;
        Ok(Space {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }
}
