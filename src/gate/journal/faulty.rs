//! A file that dies: the process at a write, the power at any moment.
//!
//! Duty: a redb backend in memory whose n-th change fails, and all after it, as if the process had been killed there; what
//! was not synced can be dropped, as if the power had gone. Left to others: what must hold afterwards.

use std::sync::{Arc, Mutex};

use redb::StorageBackend;

/// Bytes that outlive the backends over them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Medium(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    changes: u64,
    dies_at: Option<u64>,
}

#[derive(Debug)]
struct Backend(Medium);

impl Medium {
    /// Changes so far.
    pub(crate) fn changes(&self) -> u64 {
        self.0.lock().unwrap().changes
    }

    /// From the change with this number on, nothing succeeds.
    pub(crate) fn die_at(&self, change: u64) {
        self.0.lock().unwrap().dies_at = Some(change);
    }

    /// Alive again. `power_cut`: with what was synced only.
    pub(crate) fn revive(&self, power_cut: bool) {
        let mut content = self.0.lock().unwrap();
        content.dies_at = None;
        if power_cut {
            content.bytes = content.synced.clone();
        }
    }

    /// A database over these bytes.
    pub(crate) fn database(&self) -> Result<redb::Database, redb::DatabaseError> {
        redb::Database::builder().create_with_backend(Backend(self.clone()))
    }

    /// A journal over these bytes.
    pub(crate) fn journal(&self) -> Result<super::Journal, super::Error> {
        super::Journal::over(self.database()?)
    }

    /// A journal over these bytes that keeps at most so many messages and bytes a receiver.
    pub(super) fn limited(&self, messages: u64, bytes: u64) -> super::Journal {
        super::Journal::limited(self.database().unwrap(), super::Limits { messages, bytes }).unwrap()
    }

    fn change<T>(&self, act: impl FnOnce(&mut Content) -> T) -> std::io::Result<T> {
        let mut content = self.0.lock().unwrap();
        if content.dies_at.is_some_and(|at| content.changes >= at) {
            return Err(std::io::Error::other("dead"));
        }
        content.changes += 1;
        Ok(act(&mut content))
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.0.0.lock().unwrap().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let content = self.0.0.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        let part = content.bytes.get(from..from + out.len()).ok_or_else(|| std::io::Error::other("behind the end"))?;
        out.copy_from_slice(part);
        Ok(())
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.change(|content| content.bytes.resize(usize::try_from(len).unwrap(), 0))
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.0.change(|content| content.synced = content.bytes.clone())
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.change(|content| {
            let from = usize::try_from(offset).unwrap();
            content.bytes[from..from + data.len()].copy_from_slice(data);
        })
    }
}
