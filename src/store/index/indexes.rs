//! Asking the indexes of parts.
//!
//! Duty: [`Indexes::find`], with the fences of the parts last asked kept in memory. Guarantee: the fences hold at most
//! their share; an index that is missing or damaged is noted, once, to be made again. Left to others: making it again
//! (`rebuild`), when (`store/upkeep.rs`); the indexes of whole days (`days`).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use prometheus::IntGauge;
use tokio::sync::OnceCell;

use super::facts::ZONES;
use super::fences::{self, Fences};
use super::{Damage, Key, block, path};
use crate::store::local::is_unreadable;
use crate::store::manifest::PartEntry;
use crate::store::part::ZONE_ROWS;

/// Zones that are worth a reader of their own: each opens the part and reads dictionaries again.
const WORTH_ZONES: usize = 2;
/// The end of a file that is read for its footer: enough for 16 MiB of blocks.
const TAIL_BYTES: u64 = 36 << 10;

/// The indexes of the parts of a dataset; cheap to clone.
#[derive(Clone, Debug)]
pub struct Indexes {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Rooted at the dataset's folder.
    objects: Arc<dyn ObjectStore>,
    limit_bytes: usize,
    kept: Mutex<Kept>,
    kept_bytes: IntGauge,
    wanted: Mutex<Wanted>,
    /// The dates of the days that have an index of their own; listed at the first use.
    days: OnceCell<Mutex<BTreeSet<String>>>,
}

/// Indexes that were found unusable, by the paths of their parts.
#[derive(Debug, Default)]
struct Wanted {
    /// To be made again.
    parts: BTreeMap<String, PartEntry>,
    /// Cannot be made again.
    given_up: HashSet<String>,
}

/// Fences in memory.
#[derive(Debug, Default)]
struct Kept {
    /// By the path of the part; with the time of the last use.
    fences: HashMap<String, (Arc<Fences>, u64)>,
    /// Time of the last use → path.
    uses: BTreeMap<u64, String>,
    bytes: usize,
    time: u64,
}

/// Where rows of some traces may be in a part; nowhere else are any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Ascending by number; none = the part holds none of the traces.
    pub groups: Vec<FoundGroup>,
}

/// Where in a row group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundGroup {
    /// Number of the row group.
    pub number: usize,
    /// How many rows it has.
    pub rows: usize,
    /// Ascending, apart from each other, not empty.
    pub ranges: Vec<Range<usize>>,
}

impl Found {
    /// Rows of the zones.
    pub fn rows(&self) -> usize {
        self.groups.iter().flat_map(|group| &group.ranges).map(Range::len).sum()
    }

    /// The same in at most `most` pieces of about as many zones, in order, which can be read at once; one piece where the
    /// zones are few.
    pub fn split(&self, most: usize) -> Vec<Self> {
        let mut zones = Vec::new();
        for group in &self.groups {
            for range in &group.ranges {
                let mut begin = range.start;
                while begin < range.end {
                    let end = range.end.min((begin / ZONE_ROWS + 1) * ZONE_ROWS);
                    zones.push((group, begin..end));
                    begin = end;
                }
            }
        }
        let pieces = most.min(zones.len() / WORTH_ZONES);
        if pieces < 2 {
            return vec![self.clone()];
        }
        let at = |piece: usize| piece * zones.len() / pieces;
        (0..pieces).map(|piece| of_zones(&zones[at(piece)..at(piece + 1)])).collect()
    }
}

/// The answer that `zones`, ascending, are.
fn of_zones(zones: &[(&FoundGroup, Range<usize>)]) -> Found {
    let mut groups: Vec<FoundGroup> = Vec::new();
    for (of, zone) in zones {
        match groups.last_mut().filter(|last| last.number == of.number) {
            Some(group) => match group.ranges.last_mut().filter(|last| last.end == zone.start) {
                Some(last) => last.end = zone.end,
                None => group.ranges.push(zone.clone()),
            },
            None => groups.push(FoundGroup { number: of.number, rows: of.rows, ranges: vec![zone.clone()] }),
        }
    }
    Found { groups }
}

/// Why an index gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("it is missing")]
    Missing,
    #[error("{0}")]
    Damaged(#[from] Damage),
    #[error("{0}")]
    Objects(object_store::Error),
}

impl From<object_store::Error> for Failure {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::Missing,
            // Made again, as one that is damaged.
            error if is_unreadable(&error) => Damage("the disk cannot give its bytes").into(),
            other => Self::Objects(other),
        }
    }
}

impl Indexes {
    /// The indexes in `objects`, which are rooted at the dataset's folder; fences hold at most `limit_bytes`, which
    /// `kept_bytes` shows.
    pub fn new(objects: Arc<dyn ObjectStore>, limit_bytes: usize, kept_bytes: IntGauge) -> Self {
        let (kept, wanted) = (Mutex::default(), Mutex::default());
        Self { inner: Arc::new(Inner { objects, limit_bytes, kept, kept_bytes, wanted, days: OnceCell::new() }) }
    }

    /// Where rows of the traces `keys` are in `part`; `None` if its index cannot tell, and then all of it may hold some.
    pub async fn find(&self, part: &PartEntry, keys: &[Key]) -> Option<Found> {
        match self.ask(part, keys).await {
            Ok(found) => Some(found),
            Err(failure) => {
                self.note(part, &failure);
                None
            }
        }
    }

    /// The index of `part` is of no use, for the reason of `failure`.
    pub(super) fn note(&self, part: &PartEntry, failure: &Failure) {
        // Whatever it was, the footer is read again next time.
        self.forget(&part.path);
        match failure {
            Failure::Objects(error) => {
                tracing::warn!(part = part.path, %error, "the trace index cannot be read; the part is searched without");
            }
            Failure::Missing | Failure::Damaged(_) => {
                let mut wanted = self.wanted();
                if !wanted.given_up.contains(&part.path)
                    && wanted.parts.insert(part.path.clone(), part.clone()).is_none()
                {
                    tracing::info!(part = part.path, reason = %failure, "the trace index is of no use; the part is searched without");
                }
            }
        }
    }

    /// Lets go of what is in memory of the index of `part`, which is live no longer, or of the index of a day.
    pub fn forget(&self, part: &str) {
        let mut kept = self.kept();
        kept.remove(part);
        self.show(&kept);
    }

    /// The parts whose indexes were found unusable since the last call.
    pub fn take_wanted(&self) -> Vec<PartEntry> {
        std::mem::take(&mut self.wanted().parts).into_values().collect()
    }

    /// The index of `part` cannot be made again: it is not noted any more.
    pub(super) fn give_up(&self, part: &str) {
        self.wanted().given_up.insert(part.to_owned());
    }

    pub(super) fn objects(&self) -> &dyn ObjectStore {
        self.inner.objects.as_ref()
    }

    pub(super) fn days_cell(&self) -> &OnceCell<Mutex<BTreeSet<String>>> {
        &self.inner.days
    }

    async fn ask(&self, part: &PartEntry, keys: &[Key]) -> Result<Found, Failure> {
        let path = path(part);
        let fences = self.fences(&part.path, &path, |footer, bytes| Fences::read(footer, bytes, part)).await?;
        let zones = self.zones(&path, &fences, keys).await?;
        Ok(found(&zones, &fences.groups, 0..fences.groups.len()))
    }

    /// The zones that may hold rows of `keys`, by the numbers of their row groups in `fences`, which are those of `path`.
    pub(super) async fn zones(
        &self,
        path: &str,
        fences: &Fences,
        keys: &[Key],
    ) -> Result<BTreeMap<usize, u8>, Failure> {
        let wanted: BTreeSet<Key> = keys.iter().copied().collect();
        let blocks: BTreeSet<usize> = wanted.iter().flat_map(|key| fences.blocks_of(*key)).collect();
        let mut zones: BTreeMap<usize, u8> = BTreeMap::new();
        for (at, bytes) in self.blocks(path, fences, blocks).await? {
            block::read(&bytes, fences.seed, fences.first(at), |key, place| {
                if wanted.contains(&key) {
                    *zones.entry(place.group as usize).or_default() |= place.zones;
                }
            })?;
        }
        match zones.last_key_value() {
            Some((last, _)) if *last >= fences.groups.len() => {
                Err(Damage("it names a row group that its part has not").into())
            }
            _ => Ok(zones),
        }
    }

    async fn blocks(
        &self,
        path: &str,
        fences: &Fences,
        blocks: BTreeSet<usize>,
    ) -> Result<Vec<(usize, Bytes)>, Failure> {
        let ranges: Vec<Range<u64>> = blocks.iter().map(|block| fences.bytes_of(*block)).collect();
        let path = Path::from(path);
        let read = match ranges.as_slice() {
            [] => Vec::new(),
            [one] => vec![self.inner.objects.get_range(&path, one.clone()).await?],
            many => self.inner.objects.get_ranges(&path, many).await?,
        };
        Ok(blocks.into_iter().zip(read).collect())
    }

    /// The fences of the file `path`, kept as those of `name`, which `read` takes from its footer and its size.
    pub(super) async fn fences(
        &self,
        name: &str,
        path: &str,
        read: impl FnOnce(&[u8], u64) -> Result<Fences, Damage>,
    ) -> Result<Arc<Fences>, Failure> {
        if let Some(fences) = self.kept().touch(name) {
            return Ok(fences);
        }
        let path = Path::from(path);
        let options = GetOptions { range: Some(GetRange::Suffix(TAIL_BYTES)), ..GetOptions::default() };
        let got = self.inner.objects.get_opts(&path, options).await?;
        let file_bytes = got.meta.size;
        let tail = got.bytes().await?;
        let footer_bytes = fences::footer_bytes(&tail)?;
        let footer = match usize::try_from(footer_bytes).ok().and_then(|footer| tail.len().checked_sub(footer)) {
            Some(begin) => tail.slice(begin..),
            None if footer_bytes <= file_bytes => {
                self.inner.objects.get_range(&path, file_bytes - footer_bytes..file_bytes).await?
            }
            None => return Err(fences::SHORT.into()),
        };
        let fences = Arc::new(read(&footer, file_bytes)?);
        let mut kept = self.kept();
        kept.insert(name, fences.clone(), self.inner.limit_bytes);
        self.show(&kept);
        Ok(fences)
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.inner.wanted.lock().expect("no holder of this lock panics")
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.inner.kept.lock().expect("no holder of this lock panics")
    }

    fn show(&self, kept: &Kept) {
        self.inner.kept_bytes.set(i64::try_from(kept.bytes).unwrap_or(i64::MAX));
    }
}

/// The rows of `zones` whose row groups are `of`, numbered from the first of them; `groups` has the rows of all.
pub(super) fn found(zones: &BTreeMap<usize, u8>, groups: &[u32], of: Range<usize>) -> Found {
    let first = of.start;
    let groups = zones.range(of).map(|(at, zones)| {
        let rows = groups[*at] as usize;
        FoundGroup { number: at - first, rows, ranges: ranges(*zones, rows) }
    });
    Found { groups: groups.collect() }
}

/// The rows of the zones `zones` of a row group of `rows` rows.
fn ranges(zones: u8, rows: usize) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for zone in (0..ZONES).filter(|zone| zones >> zone & 1 == 1) {
        let end = if zone + 1 == ZONES { rows } else { rows.min((zone + 1) * ZONE_ROWS) };
        let begin = (zone * ZONE_ROWS).min(end);
        match ranges.last_mut().filter(|last| last.end == begin) {
            Some(last) => last.end = end,
            None if begin < end => ranges.push(begin..end),
            None => {}
        }
    }
    ranges
}

impl Kept {
    fn touch(&mut self, part: &str) -> Option<Arc<Fences>> {
        let (fences, used) = self.fences.get_mut(part)?;
        self.time += 1;
        let path = self.uses.remove(used).expect("every use is listed");
        self.uses.insert(self.time, path);
        *used = self.time;
        Some(fences.clone())
    }

    fn insert(&mut self, part: &str, fences: Arc<Fences>, limit_bytes: usize) {
        self.remove(part);
        self.time += 1;
        self.bytes += cost(part, &fences);
        self.uses.insert(self.time, part.to_owned());
        self.fences.insert(part.to_owned(), (fences, self.time));
        while self.bytes > limit_bytes
            && let Some((_, oldest)) = self.uses.first_key_value()
        {
            let oldest = oldest.clone();
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, part: &str) {
        if let Some((fences, used)) = self.fences.remove(part) {
            self.uses.remove(&used);
            self.bytes -= cost(part, &fences);
        }
    }
}

/// Memory of kept fences: themselves, the path twice, and the maps' own.
fn cost(part: &str, fences: &Fences) -> usize {
    const MAPS_BYTES: usize = 128;
    fences.memory_bytes() + 2 * part.len() + MAPS_BYTES
}
