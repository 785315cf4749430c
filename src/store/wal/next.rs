//! The helper thread of the log: the next segment ahead of its use, free space, and the background sync of `os`.
//!
//! Duty: keep a preallocated, synced `wal/next.tmp` ready; measure free space; with `durability: os`, sync what was
//! written once a second. Guarantee: the log thread never waits for an allocation that could be done ahead; while there
//! is no room, [`Next::refusal`] says so, and a second after room came back it stops. Left to others: everything that is
//! written into the file (`writer.rs`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::disk::{Disk, File};
use crate::store::metrics::Metrics;
use crate::store::room::{self, Room};
use crate::store::{Error, panics};

/// How often free space is measured, a failed preallocation repeated, and dirty files synced.
const TICK: Duration = Duration::from_secs(1);

/// A handle on the helper; cheap to clone.
#[derive(Clone, Debug)]
pub struct Next {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    disk: Disk,
    dir: PathBuf,
    segment_bytes: u64,
    /// `None` = the larger of 1 GiB and 2 % of the file system.
    min_free_bytes: Option<u64>,
    metrics: Metrics,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    slot: Slot,
    /// The helper has its hands on `next.tmp`.
    working: bool,
    /// Written, not synced (`durability: os`).
    dirty: Vec<File>,
    /// The helper syncs what was dirty.
    syncing: bool,
    /// Why appends are refused, if they are.
    low_space: Option<String>,
    sync_error: Option<String>,
    stop: bool,
}

#[derive(Debug)]
enum Slot {
    /// To be made.
    Wanted,
    /// Made, synced, not yet used.
    Ready(File),
    /// Cannot be made at the moment.
    Failed(String),
    /// Handed out, or in the hands of the log thread's recovery.
    Taken,
}

impl Next {
    /// Starts the helper for segments in `dir`.
    pub fn start(
        disk: Disk,
        dir: PathBuf,
        segment_bytes: u64,
        min_free_bytes: Option<u64>,
        metrics: Metrics,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let state = State {
            slot: Slot::Wanted,
            working: false,
            dirty: Vec::new(),
            syncing: false,
            low_space: None,
            sync_error: None,
            stop: false,
        };
        let shared = Arc::new(Shared {
            disk,
            dir,
            segment_bytes,
            min_free_bytes,
            metrics,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new().name("wal-next".to_owned()).spawn(move || of_thread.run())?;
        Ok((Self { shared }, thread))
    }

    /// `wal/next.tmp`
    pub fn path(&self) -> PathBuf {
        self.shared.path()
    }

    /// The prepared file, waiting for it if it is being made; [`Error::DiskFull`] if it cannot be made.
    pub fn take(&self) -> Result<File, Error> {
        let mut state = self.shared.lock();
        loop {
            match &state.slot {
                Slot::Ready(_) => {
                    let Slot::Ready(file) = std::mem::replace(&mut state.slot, Slot::Taken) else {
                        return Err(Error::Internal { detail: "the next segment vanished".to_owned() });
                    };
                    return Ok(file);
                }
                Slot::Failed(detail) => return Err(Error::DiskFull { detail: detail.clone() }),
                Slot::Taken => return Err(Error::Internal { detail: "the next segment is taken twice".to_owned() }),
                Slot::Wanted if state.stop => return Err(Error::Draining),
                Slot::Wanted => state = self.shared.changed.wait(state).expect("no holder of this lock panics"),
            }
        }
    }

    /// Asks for a new `next.tmp`: the last one has its name, or is not to be used.
    pub fn want(&self) {
        self.shared.lock().slot = Slot::Wanted;
        self.shared.changed.notify_all();
    }

    /// Keeps the helper's hands off `next.tmp` until [`Next::want`]; returns once it has stopped working on it.
    pub fn seize(&self) {
        let mut state = self.shared.lock();
        state.slot = Slot::Taken;
        while state.working || state.syncing {
            state = self.shared.changed.wait(state).expect("no holder of this lock panics");
        }
        state.slot = Slot::Taken;
        // What an untrusted file still held is void (storage.md 4.6).
        state.dirty.clear();
        state.sync_error = None;
        // Not under the lock, which nobody could take any more after a panic: appends and the end of the store do.
        drop(state);
        drop(self.shared.disk.remove(&self.shared.path()));
    }

    /// Why no append may start, if so (storage.md 12.2).
    pub fn refusal(&self) -> Option<Error> {
        let state = self.shared.lock();
        let detail = match (&state.slot, &state.low_space) {
            (Slot::Failed(detail), _) => detail.clone(),
            (_, Some(detail)) => detail.clone(),
            _ => return None,
        };
        Some(Error::DiskFull { detail })
    }

    /// Hands a written file over to the background sync.
    pub fn dirty(&self, file: &File) {
        let mut state = self.shared.lock();
        if !state.dirty.iter().any(|f| f.same(file)) {
            state.dirty.push(file.clone());
        }
    }

    /// Whether a background sync has failed: then no file may be written or synced before the log is proven again.
    pub fn trusted(&self) -> std::io::Result<()> {
        self.shared.lock().trusted()
    }

    /// Takes `file` away from the background sync, which has ended then.
    ///
    /// Errors: as of [`Next::trusted`]; the file may be the one that failed.
    pub fn reclaim(&self, file: &File) -> std::io::Result<()> {
        let mut state = self.shared.lock();
        while state.syncing {
            state = self.shared.changed.wait(state).expect("no holder of this lock panics");
        }
        state.trusted()?;
        state.dirty.retain(|other| !other.same(file));
        Ok(())
    }

    /// The error of a background sync, once.
    pub fn sync_error(&self) -> Option<String> {
        self.shared.lock().sync_error.take()
    }

    /// Ends the helper.
    pub fn stop(&self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
    }
}

impl State {
    fn trusted(&self) -> std::io::Result<()> {
        match &self.sync_error {
            Some(detail) => Err(std::io::Error::other(format!("background sync: {detail}"))),
            None => Ok(()),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    fn path(&self) -> PathBuf {
        self.dir.join("next.tmp")
    }

    fn run(&self) {
        loop {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| {
                self.measure();
                self.prepare_if_due();
                self.sync_dirty();
            })) {
                self.panicked(&panics::told("the log's helper", &*panic).to_string());
            }
            let state = self.lock();
            if state.stop {
                return;
            }
            if !matches!(state.slot, Slot::Wanted) {
                drop(self.changed.wait_timeout(state, TICK).expect("no holder of this lock panics"));
            }
        }
    }

    /// As if what it was at had failed: nobody waits for it, and it is tried again.
    fn panicked(&self, detail: &str) {
        let mut state = self.lock();
        if std::mem::take(&mut state.working) && matches!(state.slot, Slot::Wanted) {
            state.slot = Slot::Failed(format!("cannot preallocate the next log segment: {detail}"));
        }
        if std::mem::take(&mut state.syncing) {
            // Which of the files were synced is not known.
            state.sync_error = Some(detail.to_owned());
        }
        self.changed.notify_all();
    }

    /// Makes the file if it is wanted, or could not be made before: the slot stays failed while it is tried again, so
    /// that appends stay refused meanwhile.
    fn prepare_if_due(&self) {
        let mut state = self.lock();
        if state.stop || !matches!(state.slot, Slot::Wanted | Slot::Failed(_)) {
            return;
        }
        state.working = true;
        drop(state);
        let made = self.prepare();
        let mut state = self.lock();
        state.working = false;
        match made {
            // The log thread's recovery has taken over.
            _ if matches!(state.slot, Slot::Taken) => {}
            Ok(file) => state.slot = Slot::Ready(file),
            Err(error) => {
                if matches!(state.slot, Slot::Wanted) {
                    tracing::warn!(dir = %self.dir.display(), %error, "cannot preallocate the next log segment");
                }
                state.slot = Slot::Failed(format!("cannot preallocate the next log segment: {error}"));
            }
        }
        self.changed.notify_all();
    }

    fn prepare(&self) -> std::io::Result<File> {
        create(&self.disk, &self.path(), self.segment_bytes).and_then(|file| file.sync_data().map(|()| file))
    }

    fn measure(&self) {
        let Ok(space) = self.disk.space(&self.dir) else { return };
        self.metrics.free_bytes.set(i64::try_from(space.free).unwrap_or(i64::MAX));
        let min = room::min_free_bytes(self.min_free_bytes, space);
        let low = (Room::of(space, min) == Room::Full)
            .then(|| format!("{} bytes are free, less than half of retention.min_free_bytes ({min})", space.free));
        let mut state = self.lock();
        if low.is_some() != state.low_space.is_some() {
            tracing::warn!(dir = %self.dir.display(), free = space.free, low = low.is_some(), "free space changed");
        }
        state.low_space = low;
    }

    fn sync_dirty(&self) {
        let dirty = {
            let mut state = self.lock();
            let dirty = std::mem::take(&mut state.dirty);
            state.syncing = !dirty.is_empty();
            dirty
        };
        for file in dirty {
            if let Err(error) = file.sync_data() {
                self.lock().sync_error = Some(error.to_string());
            }
        }
        self.lock().syncing = false;
        self.changed.notify_all();
    }
}

/// A fresh file of `bytes` zero bytes in the place of whatever had the name.
pub fn create(disk: &Disk, path: &std::path::Path, bytes: u64) -> std::io::Result<File> {
    match disk.remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create_new(path)?;
    if let Err(error) = file.allocate(bytes) {
        // Half an allocation would keep space from everyone.
        let _ = disk.remove(path);
        return Err(error);
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::sim::{Fate, Sim};

    #[test]
    fn a_panic_while_next_tmp_is_taken_away_leaves_the_helper_at_work() {
        let sim = Sim::new(1);
        let (disk, dir) = (Disk::Sim(sim.clone()), Path::new("/var/wal"));
        disk.create_dir_all(dir).unwrap();
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let (next, thread) = Next::start(disk, dir.to_owned(), 4096, Some(0), metrics).unwrap();
        drop(next.take().unwrap());
        sim.plan(sim.ops() + 1, Fate::Panics);
        assert!(catch_unwind(AssertUnwindSafe(|| next.seize())).is_err());
        assert!(next.refusal().is_none());
        next.seize();
        next.want();
        next.take().unwrap();
        next.stop();
        thread.join().unwrap();
    }
}
