//! Which segment files there are, shared by the log thread that adds and the flush that deletes (storage.md 6.6).
//!
//! Guarantee: the newest segment is never deleted, nor one that holds a record above the given lsn.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::segment;
use crate::disk::Disk;
use crate::store::Lsn;

/// First lsns of the segments in `wal/`, ascending; cheap to clone.
#[derive(Clone, Debug)]
pub struct Segments {
    dir: PathBuf,
    first_lsns: Arc<Mutex<Vec<Lsn>>>,
}

impl Segments {
    /// The segments found in `dir`.
    pub fn new(dir: &Path, mut first_lsns: Vec<Lsn>) -> Self {
        first_lsns.sort_unstable();
        Self { dir: dir.to_owned(), first_lsns: Arc::new(Mutex::new(first_lsns)) }
    }

    /// A segment got its name.
    pub fn add(&self, first_lsn: Lsn) {
        let mut first_lsns = self.first_lsns.lock().expect("no holder of this lock panics");
        if first_lsns.last() != Some(&first_lsn) {
            first_lsns.push(first_lsn);
        }
    }

    /// Deletes the segments all of whose records are at or below `flushed`; returns how many.
    pub fn delete_up_to(&self, flushed: Lsn, disk: &Disk) -> std::io::Result<usize> {
        let mut deleted = 0;
        loop {
            let oldest = {
                let first_lsns = self.first_lsns.lock().expect("no holder of this lock panics");
                match first_lsns[..] {
                    [oldest, successor, ..] if successor <= flushed.saturating_add(1) => oldest,
                    _ => break,
                }
            };
            match disk.remove(&segment::path(&self.dir, oldest)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            self.first_lsns.lock().expect("no holder of this lock panics").remove(0);
            deleted += 1;
        }
        if deleted > 0 {
            disk.sync_dir(&self.dir)?;
        }
        Ok(deleted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_segments_whose_successor_begins_at_or_below_the_next_lsn_go() {
        let dir = tempfile::tempdir().unwrap();
        for lsn in [1, 10, 20] {
            std::fs::write(segment::path(dir.path(), lsn), b"").unwrap();
        }
        let segments = Segments::new(dir.path(), vec![20, 1, 10]);
        assert_eq!(segments.delete_up_to(8, &Disk::Os).unwrap(), 0);
        assert_eq!(segments.delete_up_to(9, &Disk::Os).unwrap(), 1);
        assert_eq!(segments.delete_up_to(1_000, &Disk::Os).unwrap(), 1, "the newest stays");
        assert!(segment::path(dir.path(), 20).exists());
    }
}
