//! `LOCK`: one process owns the data folder.
//!
//! Duty: take the advisory lock of `LOCK` and write the pid into it. Guarantee: two stores never write one folder; the
//! lock ends with the process, however it ends. Left to others: what else lies in the folder (`folder.rs`).

use std::path::Path;

use super::Error;
use crate::disk::{Disk, File};

/// The lock, held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the folder `dir`; [`Error::Locked`] names the process that holds it.
    pub fn take(disk: &Disk, dir: &Path) -> Result<Self, Error> {
        let path = dir.join("LOCK");
        let file = disk.open_or_create(&path).map_err(|e| Error::io("open", &path, &e))?;
        if !file.try_lock().map_err(|e| Error::io("lock", &path, &e))? {
            let text = disk.read(&path).unwrap_or_default();
            let pid = String::from_utf8_lossy(&text).trim().parse::<u32>();
            return Err(Error::Locked { path, pid: pid.map_or_else(|_| "unknown".to_owned(), |pid| pid.to_string()) });
        }
        let pid = format!("{}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.write_all_at(pid.as_bytes(), 0))
            .map_err(|e| Error::io("write", &path, &e))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_names_the_process_and_is_free_once_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::take(&Disk::Os, dir.path()).unwrap();
        let error = Lock::take(&Disk::Os, dir.path()).unwrap_err();
        assert!(matches!(&error, Error::Locked { pid, .. } if *pid == std::process::id().to_string()), "{error}");
        drop(held);
        Lock::take(&Disk::Os, dir.path()).unwrap();
    }
}
