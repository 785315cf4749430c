//! Errors injected into [`super::Disk`] by tests: which operation fails, how often, with which errno; and a full disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::Op;

/// The faults armed at the moment; cheap to clone, all clones are one set.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Vec<Fault>>>, Arc<Mutex<Option<u64>>>, Arc<Mutex<Vec<PathBuf>>>);

#[derive(Debug)]
struct Fault {
    op: Op,
    /// Passes this many calls first.
    after: usize,
    /// Fails this many calls then.
    times: usize,
    errno: i32,
}

impl Faults {
    /// Lets `after` calls of `op` pass, then fails `times` of them with `errno`.
    pub fn arm(&self, op: Op, after: usize, times: usize, errno: i32) {
        self.0.lock().unwrap().push(Fault { op, after, times, errno });
    }

    /// Takes all faults back.
    pub fn disarm(&self) {
        self.0.lock().unwrap().clear();
    }

    /// From now on the disk says that it has `bytes` free.
    pub fn leave_free(&self, bytes: u64) {
        *self.1.lock().unwrap() = Some(bytes);
    }

    pub(super) fn free(&self) -> Option<u64> {
        *self.1.lock().unwrap()
    }

    /// From now on a simulated disk cannot read the file `path`: a bad sector.
    pub fn break_reads(&self, path: &Path) {
        self.2.lock().unwrap().push(path.to_owned());
    }

    /// From now on all files can be read again: it was the cable.
    pub fn mend_reads(&self) {
        self.2.lock().unwrap().clear();
    }

    pub(super) fn check(&self, op: Op, path: &Path) -> io::Result<()> {
        if op == Op::Read && self.2.lock().unwrap().iter().any(|bad| bad == path) {
            return Err(io::Error::from_raw_os_error(5));
        }
        for fault in self.0.lock().unwrap().iter_mut().filter(|f| f.op == op) {
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                return Err(io::Error::from_raw_os_error(fault.errno));
            }
        }
        Ok(())
    }
}
