//! A disk in memory that stops at its n-th change, as if the process had been killed there.
//!
//! Duty: a redb backend that keeps what was written, and separately what was synced. Guarantee: after the stop nothing
//! changes and everything fails; what is read back is one of the three things a real disk may hold. Left to others: what
//! must be true then.

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

/// What a disk holds after it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All writes before the stop, the last of them whole.
    Clean,
    /// The last write is there by half.
    Torn,
    /// Only what was synced.
    LostTail,
}

/// The disk. Clones share it.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    written: Vec<u8>,
    synced: Vec<u8>,
    changes: u64,
    stop_at: Option<u64>,
    torn: bool,
    fail: Option<(u64, Passing)>,
}

/// An error that passes: everything works after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passing {
    /// The change is not there.
    Lost,
    /// It is there all the same.
    Done,
}

impl Disk {
    pub fn new() -> Self {
        Self::holding(Vec::new())
    }

    pub fn holding(bytes: Vec<u8>) -> Self {
        let (written, synced) = (bytes.clone(), bytes);
        Self(Arc::new(Mutex::new(Inner { written, synced, changes: 0, stop_at: None, torn: false, fail: None })))
    }

    /// Stops at the `n`th change from now, counted from 1.
    pub fn stop_at(&self, n: u64, cut: Cut) {
        let mut inner = self.0.lock().unwrap();
        inner.stop_at = Some(inner.changes + n);
        inner.torn = cut == Cut::Torn;
    }

    /// The `n`th change from now, counted from 1, is told to have failed.
    pub fn fail_at(&self, n: u64, how: Passing) {
        let mut inner = self.0.lock().unwrap();
        inner.fail = Some((inner.changes + n, how));
    }

    /// What opens the disk again and again.
    pub fn opener(&self) -> crate::engine::store::Opener {
        let disk = self.clone();
        std::sync::Arc::new(move || Ok(redb::Database::builder().create_with_backend(disk.clone())?))
    }

    /// Changes so far.
    pub fn changes(&self) -> u64 {
        self.0.lock().unwrap().changes
    }

    pub fn stopped(&self) -> bool {
        let inner = self.0.lock().unwrap();
        inner.stop_at.is_some_and(|at| inner.changes >= at)
    }

    /// What is found after the stop.
    pub fn after(&self, cut: Cut) -> Self {
        let inner = self.0.lock().unwrap();
        Self::holding(if cut == Cut::LostTail { inner.synced.clone() } else { inner.written.clone() })
    }
}

fn stopped() -> io::Error {
    io::Error::other("the disk stopped")
}

impl Inner {
    /// Whether this change happens: `Err` from the stop on.
    fn change(&mut self) -> Result<(), io::Error> {
        if self.stop_at.is_some_and(|at| self.changes >= at) {
            return Err(stopped());
        }
        self.changes += 1;
        let lost = self.fail == Some((self.changes, Passing::Lost));
        if lost || self.stop_at == Some(self.changes) { Err(stopped()) } else { Ok(()) }
    }

    /// What is said of a change that happened.
    fn done(&self) -> Result<(), io::Error> {
        if self.fail == Some((self.changes, Passing::Done)) { Err(stopped()) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.0.lock().unwrap().written.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let inner = self.0.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        out.copy_from_slice(inner.written.get(from..from + out.len()).ok_or_else(stopped)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut inner = self.0.lock().unwrap();
        inner.change()?;
        inner.written.resize(usize::try_from(len).unwrap(), 0);
        inner.done()
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut inner = self.0.lock().unwrap();
        inner.change()?;
        inner.synced = inner.written.clone();
        inner.done()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut inner = self.0.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        let whole = inner.change();
        if whole.is_ok() {
            inner.written[from..from + data.len()].copy_from_slice(data);
            return inner.done();
        } else if inner.torn && inner.stop_at == Some(inner.changes) {
            inner.torn = false;
            inner.written[from..from + data.len() / 2].copy_from_slice(&data[..data.len() / 2]);
        }
        whole
    }
}
