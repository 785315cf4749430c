//! How much room the disk has (storage.md 12.2).
//!
//! Duty: [`Room::of`]. Guarantee: pure; the same thresholds for everyone who asks. Left to others: measuring
//! (`disk.rs`), refusing (`wal/next.rs`), making room (`retain.rs`).

use crate::disk::Space;

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// `retention.min_free_bytes` or more.
    Ample,
    /// Less: warn; compaction only where it frees space.
    Low,
    /// Less than half of it: refuse before anything is written.
    Full,
}

impl Room {
    /// What `space` means where `min_free_bytes` are to stay free.
    pub fn of(space: Space, min_free_bytes: u64) -> Self {
        match space.free {
            free if free < min_free_bytes / 2 => Self::Full,
            free if free < min_free_bytes => Self::Low,
            _ => Self::Ample,
        }
    }
}

/// `retention.min_free_bytes`; unless configured, the larger of 1 GiB and 2 % of the file system.
pub fn min_free_bytes(configured: Option<u64>, space: Space) -> u64 {
    configured.unwrap_or_else(|| (1 << 30).max(space.total / 50))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_the_minimum_is_low_and_below_half_of_it_full() {
        let room = |free| Room::of(Space { free, total: 1000 }, 100);
        assert_eq!([100, 99, 50, 49].map(room), [Room::Ample, Room::Low, Room::Low, Room::Full]);
        assert_eq!(min_free_bytes(None, Space { free: 0, total: 100 << 30 }), 2 << 30);
        assert_eq!(min_free_bytes(None, Space { free: 0, total: 10 << 30 }), 1 << 30);
        assert_eq!(min_free_bytes(Some(0), Space { free: 0, total: 10 << 30 }), 0);
    }
}
