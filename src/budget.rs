//! Memory shares and reservations.
//!
//! Duty: one limit for the process (storage.md 14), split into shares; a share hands out reservations of bytes that are
//! given back when dropped. Guarantee: the bytes reserved from a share never exceed it. Left to others: what is done
//! when a share is exhausted (receive refuses, store freezes early, query spills).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Smallest memory limit that can be configured, and smallest cgroup to run in.
pub const MIN_LIMIT_BYTES: u64 = 256 << 20;
/// What is taken of such a cgroup: the rest is for what is not in any share.
const MIN_DETECTED_BYTES: u64 = MIN_LIMIT_BYTES / 4 * 3;

/// The memory limit of the process and its shares.
#[derive(Clone, Debug)]
pub struct Budget {
    limit_bytes: u64,
}

/// The configured limit is too small to work in.
#[derive(Debug, thiserror::Error)]
#[error("memory.limit is {limit_bytes} bytes; the smallest that works is {MIN_LIMIT_BYTES} (256MiB): raise it")]
pub struct LimitTooSmall {
    limit_bytes: u64,
}

impl Budget {
    /// Shares of `limit_bytes`, at least 75 % of [`MIN_LIMIT_BYTES`].
    pub fn try_new(limit_bytes: u64) -> Result<Self, LimitTooSmall> {
        if limit_bytes < MIN_DETECTED_BYTES {
            return Err(LimitTooSmall { limit_bytes });
        }
        Ok(Self { limit_bytes })
    }

    /// The same for a limit that somebody has set: at least [`MIN_LIMIT_BYTES`].
    pub fn try_configured(limit_bytes: u64) -> Result<Self, LimitTooSmall> {
        if limit_bytes < MIN_LIMIT_BYTES {
            return Err(LimitTooSmall { limit_bytes });
        }
        Self::try_new(limit_bytes)
    }

    /// 75 % of the cgroup limit (v2 or v1), else of the machine's memory, however little that is.
    pub fn detect() -> Self {
        Self { limit_bytes: available_memory() / 4 * 3 }
    }

    /// The whole limit in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// 10 %, at least 24 MiB: requests in flight, from wire bytes to columns (otlp.md B4).
    pub fn inflight_bytes(&self) -> u64 {
        (self.limit_bytes / 10).max(24 << 20)
    }

    /// 25 %: active and frozen generations.
    pub fn memtable_bytes(&self) -> u64 {
        self.limit_bytes / 4
    }

    /// 10 %: flush and compaction; beyond it compaction goes to the disk.
    pub fn compaction_bytes(&self) -> u64 {
        self.limit_bytes / 10
    }

    /// 35 %: the query pool. A seventh as much, 5 % of the limit, is for the footers of parts that statements keep.
    pub fn query_bytes(&self) -> u64 {
        self.limit_bytes / 100 * 35
    }

    /// 5 % in three equal shares: fences of trace indexes, request identities, catalogue; this is one of them.
    pub fn lookup_bytes(&self) -> u64 {
        self.limit_bytes / 20 / 3
    }
}

/// Memory of the machine in bytes, as the kernel tells it.
pub fn machine_memory() -> u64 {
    let info = rustix::system::sysinfo();
    #[allow(clippy::unnecessary_cast, reason = "the field's width depends on the platform")]
    let total = info.totalram as u64;
    total.saturating_mul(u64::from(info.mem_unit.max(1)))
}

/// The cgroup limit (v2 or v1), else the machine's memory, in bytes: what `memory.limit: N%` is a part of.
pub fn available_memory() -> u64 {
    cgroup_limit().unwrap_or(u64::MAX).min(machine_memory())
}

fn cgroup_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    // Of a group without a limit the file says `max`.
    limit_files(&groups).iter().filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok()).min()
}

/// Where the limits of the groups `groups` (`/proc/self/cgroup`) stand, and of those above them, which hold as well.
fn limit_files(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in groups.lines().chain(["0::/", ":memory:/"]) {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            v1 if v1.split(',').any(|of| of == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let above = std::path::Path::new(group).ancestors().filter_map(|group| group.to_str());
        files.extend(above.map(|group| format!("{root}{}/{file}", group.trim_end_matches('/'))));
    }
    files.dedup();
    files
}

/// A share of bytes from which reservations are taken; cheap to clone, all clones are one share.
///
/// Waiters are served first come, first served. Sizes are counted in KiB, rounded up.
#[derive(Clone, Debug)]
pub struct Pool {
    permits: Arc<Semaphore>,
    limit_kib: u32,
    reserved_kib: Arc<AtomicU64>,
}

/// Bytes taken from a [`Pool`]; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    permits: Vec<OwnedSemaphorePermit>,
    kib: u64,
    reserved_kib: Arc<AtomicU64>,
}

/// The share had no room within the time allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for {bytes} bytes")]
pub struct Exhausted {
    /// Bytes asked for.
    pub bytes: u64,
}

impl Pool {
    /// A share of `limit_bytes`.
    pub fn new(limit_bytes: u64) -> Self {
        let limit_kib = u32::try_from(limit_bytes / 1024).unwrap_or(u32::MAX);
        Self {
            permits: Arc::new(Semaphore::new(limit_kib as usize)),
            limit_kib,
            reserved_kib: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Size of the share in bytes.
    pub fn limit_bytes(&self) -> u64 {
        u64::from(self.limit_kib) * 1024
    }

    /// Bytes reserved at this moment.
    pub fn reserved_bytes(&self) -> u64 {
        self.reserved_kib.load(Ordering::Relaxed) * 1024
    }

    /// An empty reservation, to grow.
    pub fn empty(&self) -> Reservation {
        Reservation { permits: Vec::new(), kib: 0, reserved_kib: self.reserved_kib.clone() }
    }

    /// Takes `bytes`, waiting in line for at most `wait`.
    #[cfg(test)]
    pub(crate) async fn reserve(&self, bytes: u64, wait: Duration) -> Result<Reservation, Exhausted> {
        let mut reservation = self.empty();
        self.grow(&mut reservation, bytes, wait).await?;
        Ok(reservation)
    }

    /// Adds `bytes` to a reservation of this pool, waiting in line for at most `wait`; unchanged on error.
    pub async fn grow(&self, reservation: &mut Reservation, bytes: u64, wait: Duration) -> Result<(), Exhausted> {
        let Err(exhausted) = self.try_grow(reservation, bytes) else { return Ok(()) };
        let Some(kib) = self.kib(bytes) else { return Err(exhausted) };
        let permit = tokio::time::timeout(wait, self.permits.clone().acquire_many_owned(kib))
            .await
            .map_err(|_| exhausted)?
            .map_err(|_| exhausted)?;
        self.add(reservation, kib, permit);
        Ok(())
    }

    /// Adds `bytes` to a reservation of this pool if there is room at this moment; unchanged on error.
    pub fn try_grow(&self, reservation: &mut Reservation, bytes: u64) -> Result<(), Exhausted> {
        let exhausted = Exhausted { bytes };
        match self.kib(bytes) {
            Some(0) => Ok(()),
            Some(kib) => {
                let permit = self.permits.clone().try_acquire_many_owned(kib).map_err(|_| exhausted)?;
                self.add(reservation, kib, permit);
                Ok(())
            }
            None => Err(exhausted),
        }
    }

    /// `bytes` as they are counted; `None` if the share never has as much.
    fn kib(&self, bytes: u64) -> Option<u32> {
        u32::try_from(bytes.div_ceil(1024)).ok().filter(|kib| *kib <= self.limit_kib)
    }

    fn add(&self, reservation: &mut Reservation, kib: u32, permit: OwnedSemaphorePermit) {
        self.reserved_kib.fetch_add(u64::from(kib), Ordering::Relaxed);
        reservation.kib += u64::from(kib);
        reservation.permits.push(permit);
    }
}

impl Reservation {
    /// Bytes held, rounded up to KiB per step.
    pub fn bytes(&self) -> u64 {
        self.kib * 1024
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.reserved_kib.fetch_sub(self.kib, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_share_is_never_exceeded_and_comes_back() {
        let pool = Pool::new(10 * 1024);
        let first = pool.reserve(6 * 1024, Duration::ZERO).await.unwrap();
        assert_eq!(pool.reserve(5 * 1024, Duration::ZERO).await.unwrap_err(), Exhausted { bytes: 5 * 1024 });
        assert_eq!(pool.reserved_bytes(), 6 * 1024);
        drop(first);
        assert_eq!(pool.reserve(10 * 1024, Duration::ZERO).await.unwrap().bytes(), 10 * 1024);
        assert_eq!(pool.reserved_bytes(), 0);
    }

    #[tokio::test]
    async fn more_than_the_share_is_refused_without_waiting() {
        let pool = Pool::new(1024);
        assert!(pool.reserve(2048, Duration::from_secs(3600)).await.is_err());
    }

    #[test]
    fn limits_of_the_own_group_and_of_those_above_it_are_looked_at() {
        let of = |group: &str| format!("/sys/fs/cgroup{group}/memory.max");
        let v1 = |group: &str| format!("/sys/fs/cgroup/memory{group}/memory.limit_in_bytes");
        let own = limit_files("0::/a.slice/b.service\n");
        assert_eq!(own, [of("/a.slice/b.service"), of("/a.slice"), of(""), v1("")]);
        let both = limit_files("9:name=systemd:/x\n4:memory,hugetlb:/c\n0::/\n");
        assert_eq!(both, [v1("/c"), v1(""), of(""), v1("")]);
    }

    #[test]
    fn the_shares_leave_a_tenth_of_the_limit() {
        let budget = Budget::try_new(10 << 30).unwrap();
        let lookups = 3 * budget.lookup_bytes();
        let footers = budget.query_bytes() / 7;
        let shares =
            [budget.inflight_bytes(), budget.memtable_bytes(), budget.compaction_bytes(), budget.query_bytes()];
        let taken = shares.iter().sum::<u64>() + lookups + footers;
        assert_eq!(taken.div_ceil(1 << 20), (9 << 30) >> 20);
    }

    #[test]
    fn a_limit_under_256_mib_is_refused_with_the_reason() {
        for refused in [Budget::try_new(128 << 20), Budget::try_configured((256 << 20) - 1)] {
            let text = refused.unwrap_err().to_string();
            assert!(text.contains("the smallest that works is 268435456 (256MiB): raise it"), "{text}");
        }
        assert!(Budget::try_configured(256 << 20).is_ok());
        assert!(Budget::try_new(192 << 20).is_ok(), "of a cgroup of 256 MiB");
    }
}
