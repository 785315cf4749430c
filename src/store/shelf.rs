//! The parts and the manifest as the log side uses them: the one seam to `part` and `manifest`.
//!
//! Duty: open the object store of the data folder, become its writer, put parts, commit. Guarantee: a part is named only
//! after it is durable; all commits of the process go through one queue, and each is published before the next one, so
//! snapshots follow the manifest. Left to others: formats (`part`, `manifest`), when to flush (`flush.rs`), compact and
//! expire (`upkeep.rs`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, ArcSwapOption};
use object_store::ObjectStore;
use tokio::sync::Mutex;
use ulid::Ulid;

use super::folder::Folder;
use super::manifest::{self, Delta, Manifest, PartEntry, Removal};
use super::part::{self, Part, PartSpec, PartStore, Promotion, SORTED_GROUPS, Source, WalRange, ZONE_ROWS};
use super::place::Objects;
use super::split::Set;
use super::{Config, Error, Lsn, PartSet};
use crate::clock::Clock;
use crate::disk::Disk;

/// Path → bytes of a part, and whether somebody holds it.
type Left = HashMap<String, (u64, Weak<Part>)>;

/// The parts and the manifest; cheap to clone, all clones are one writer.
#[derive(Clone, Debug)]
pub struct Shelf {
    manifest: Arc<Mutex<Manifest>>,
    /// A flush's commit failed and may have succeeded after all: until it is settled its rows may be in memory and in
    /// live parts, so nobody else may publish.
    flush_open: Arc<AtomicBool>,
    shown: Arc<ArcSwap<Shown>>,
    place: Objects,
    /// Parts that left since the start, by path: a snapshot may still hold them.
    left: Arc<std::sync::Mutex<Left>>,
    /// What the part written last promoted, small ones left out.
    promoted: Arc<ArcSwapOption<Promotion>>,
    objects: Arc<dyn ObjectStore>,
    reads: PartStore,
    node: Ulid,
    clock: Clock,
    config: Arc<Config>,
}

/// What is known of a delta whose commit has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The manifest holds it.
    Committed,
    /// It does not, so far; it may be committed again.
    Open,
    /// It does not, and cannot any more: what it removes has left otherwise.
    Void,
}

/// The manifest after one of its versions.
#[derive(Debug)]
pub struct Shown {
    /// Version of the manifest.
    pub version: u64,
    /// Epoch of its writer.
    pub epoch: u64,
    /// Highest lsn of this node whose rows are in parts; 0 = none.
    pub flushed: Lsn,
    /// Newest store position in any part ever named, µs; 0 without parts.
    pub max_ingest_us: i64,
    /// The live parts.
    pub parts: Arc<PartSet>,
}

impl Shown {
    /// The manifest as it is, with the parts of `before` that are still live.
    fn of(manifest: &Manifest, node: Ulid, before: &PartSet) -> Self {
        let known: HashMap<&str, &Arc<Part>> = before.parts.iter().map(|p| (p.entry.path.as_str(), p)).collect();
        let part = |entry: &PartEntry| {
            // A part keeps what was read of its footer.
            known.get(entry.path.as_str()).map_or_else(|| Arc::new(Part::new(entry.clone())), |part| Arc::clone(part))
        };
        let parts = Arc::new(PartSet { parts: manifest.parts().iter().map(part).collect() });
        Self {
            version: manifest.version(),
            epoch: manifest.epoch(),
            flushed: manifest.flushed_lsn(node),
            max_ingest_us: manifest.max_ingest_us(),
            parts,
        }
    }
}

impl Shelf {
    /// Reads the manifest of `folder`; changes nothing.
    pub async fn open(folder: &Folder, disk: &Disk, clock: &Clock, config: &Config) -> Result<Self, Error> {
        let place = Objects::open(&config.place, folder, disk, clock)?;
        let objects = place.store().clone();
        let manifest = Manifest::load(objects.clone()).await.map_err(|e| place.of_manifest(&e))?;
        let reads = PartStore::new(objects.clone());
        manifest.parts().iter().for_each(|entry| reads.register(entry));
        let shown = Shown::of(&manifest, folder.node, &PartSet::default());
        Ok(Self {
            manifest: Arc::new(Mutex::new(manifest)),
            flush_open: Arc::default(),
            shown: Arc::new(ArcSwap::from_pointee(shown)),
            place,
            left: Arc::default(),
            promoted: Arc::default(),
            objects,
            reads,
            node: folder.node,
            clock: clock.clone(),
            config: Arc::new(config.clone()),
        })
    }

    /// Becomes the writer: an older one commits nothing more.
    ///
    /// Errors: [`Error::Place`] if the place cannot keep two writers apart; [`Error::Folder`] if a copy of the data folder
    /// has become the writer; [`Error::Superseded`] if another writer committed since the manifest was read, be it a dead
    /// one whose last put arrived late: open again, and try again.
    pub async fn claim(&self) -> Result<(), Error> {
        self.place.prepare(&self.clock).await?;
        let mut manifest = self.manifest.lock().await;
        self.place.claim(&mut manifest, &self.clock).await?;
        self.show(&manifest);
        if let Err(error) = self.place.tidy() {
            tracing::warn!(%error, "what an earlier process left half-way stays");
        }
        Ok(())
    }

    /// Takes over parts that no version names: the log tells that the manifest is older than the parts. `false`: there are
    /// none.
    pub async fn recover_tail(&self) -> Result<bool, Error> {
        let mut manifest = self.manifest.lock().await;
        let found = manifest.recover_tail().await.map_err(|e| self.place.of_manifest(&e))?;
        if found {
            manifest.parts().iter().for_each(|entry| self.reads.register(entry));
            self.show(&manifest);
        }
        Ok(found)
    }

    /// What the manifest could not be read of, one sentence each; empty when all is well.
    pub async fn damage(&self) -> Vec<String> {
        let manifest = self.manifest.lock().await;
        let files =
            manifest.unreadable().iter().map(|file| format!("`{}` cannot be read: {}", file.path, file.problem));
        files.chain(manifest.recovered().map(|recovery| recovery.told.clone())).collect()
    }

    /// Writes a checkpoint of the manifest if one is due.
    pub async fn checkpoint_if_due(&self) -> Result<(), Error> {
        let mut manifest = self.manifest.lock().await;
        match manifest.checkpoint_is_due() {
            true => manifest.checkpoint(&self.clock).await.map_err(|e| manifest_error(&e)),
            false => Ok(()),
        }
    }

    /// The manifest as of its newest version.
    pub fn shown(&self) -> Arc<Shown> {
        self.shown.load_full()
    }

    /// Where readers find the bytes of the parts, checked.
    pub fn reads(&self) -> Arc<dyn ObjectStore> {
        Arc::new(self.reads.clone())
    }

    /// The parts by block, checked; new ones must be registered, gone ones forgotten.
    pub fn part_store(&self) -> &PartStore {
        &self.reads
    }

    /// Where the objects are.
    pub fn place(&self) -> &Objects {
        &self.place
    }

    /// All objects of the dataset, unchecked.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// Settings of the store.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The writer's clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Writes `set`, number `index` of `of` of the generation `[from, to]`, as a durable part that no manifest names yet.
    pub async fn put(&self, set: &Set, from: Lsn, to: Lsn, index: u32, of: u32) -> Result<PartEntry, Error> {
        let wal = WalRange { node: self.node, epoch: self.shown().epoch, from, to, index, of };
        let (ulid, hour, source) = (self.clock.ulid(), hour_text(set.hour), Source::Log(wal));
        let spec = PartSpec { ulid, level: 0, hour, stray: set.stray, sort: SORTED_GROUPS, source };
        let before = self.promoted.load_full();
        let encoded = part::encode_behind(before.as_deref(), &set.batches, &spec, &self.config);
        let (encoded, promotion) = encoded.map_err(|e| parts_error(&e))?;
        // A few rows, or those of another source, say nothing of the next ones.
        if encoded.entry.rows >= ZONE_ROWS as u64 {
            self.promoted.store(Some(Arc::new(promotion)));
        }
        // In hand before its file is there, and before any snapshot names it: once the clock has stepped, the sweep would
        // take it for an old one.
        self.reads.register(&encoded.entry);
        let put = part::put_verified(&self.objects, &encoded, &self.config).await;
        put.map_err(|e| {
            self.reads.forget(&encoded.entry.path);
            parts_error(&e)
        })
    }

    /// Names `parts` live and all rows up to `flushed` in parts; `publish` shows it to readers.
    pub async fn commit_flush(
        &self,
        parts: Vec<PartEntry>,
        flushed: Lsn,
        publish: impl FnOnce(&Shown),
    ) -> Result<(), Error> {
        let flushed = BTreeMap::from([(self.node.to_string(), flushed)]);
        let mut manifest = self.manifest.lock().await;
        self.flush_open.store(true, Ordering::Relaxed);
        self.put_delta(&mut manifest, Delta { add: parts, remove: Vec::new(), flushed }, publish).await?;
        self.flush_open.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Commits `delta`, which moves or removes parts, durably, then calls `publish` before any further commit.
    ///
    /// Errors: [`Error::Superseded`] once another process owns the store. After any other error the delta may have been
    /// committed all the same: the files it adds must stay, and the same delta is tried again (it is recognised then).
    pub async fn commit(&self, delta: Delta, publish: impl FnOnce(&Shown)) -> Result<(), Error> {
        let mut manifest = self.manifest.lock().await;
        if self.flush_open.load(Ordering::Relaxed) {
            return Err(Error::Parts { detail: "the commit of a flush is not settled yet".to_owned() });
        }
        self.put_delta(&mut manifest, delta, publish).await
    }

    /// What has become of `delta`, which removes parts, after [`Shelf::commit`] has failed.
    pub async fn standing(&self, delta: &Delta) -> Standing {
        let manifest = self.manifest.lock().await;
        let live: HashSet<&str> = manifest.parts().iter().map(|entry| entry.path.as_str()).collect();
        let removed: HashMap<&str, &Removal> = manifest.removed().map(|gone| (gone.path.as_str(), gone)).collect();
        // What was added may have left again.
        let is_known = |path: &str| live.contains(path) || removed.contains_key(path);
        let is_added = delta.add.iter().any(|entry| is_known(&entry.path));
        let is_removed = delta.remove.iter().any(|removal| removed.get(removal.path.as_str()) == Some(&removal));
        match delta.remove.iter().all(|removal| live.contains(removal.path.as_str())) {
            _ if is_added || is_removed => Standing::Committed,
            true => Standing::Open,
            false => Standing::Void,
        }
    }

    /// Whether the manifest has no version that this process does not know: what failed has not come through.
    pub async fn is_newest(&self) -> Result<bool, Error> {
        self.manifest.lock().await.is_newest().await.map_err(|e| manifest_error(&e))
    }

    /// Calls `publish` for a commit that another one has brought to light.
    pub async fn show_again(&self, publish: impl FnOnce(&Shown)) {
        let _in_turn = self.manifest.lock().await;
        // The rows of an open flush are in memory and perhaps in parts: its own commit publishes both.
        if !self.flush_open.load(Ordering::Relaxed) {
            publish(&self.shown());
        }
    }

    /// The parts that left and whose files may still be there, by path.
    pub async fn removed(&self) -> Vec<Removal> {
        self.manifest.lock().await.removed().cloned().collect()
    }

    /// The delta that named the part `path` live; `None` where it cannot be read any more.
    pub async fn origin(&self, path: &str) -> Result<Option<Delta>, Error> {
        // Some hundred files are read: no commit waits for that.
        Manifest::origin(&self.objects, path).await.map_err(|e| manifest_error(&e))
    }

    async fn put_delta(
        &self,
        manifest: &mut Manifest,
        delta: Delta,
        publish: impl FnOnce(&Shown),
    ) -> Result<(), Error> {
        let done = manifest.commit(delta, &self.clock).await.map_err(|e| manifest_error(&e));
        // Also after an error: it may have settled what another commit left open.
        self.show(manifest);
        done?;
        publish(&self.shown());
        Ok(())
    }

    fn show(&self, manifest: &Manifest) {
        let before = self.shown();
        let now = Shown::of(manifest, self.node, &before.parts);
        let live: HashSet<&str> = now.parts.parts.iter().map(|part| part.entry.path.as_str()).collect();
        let gone = before.parts.parts.iter().filter(|part| !live.contains(part.entry.path.as_str()));
        let gone = gone.map(|part| (part.entry.path.clone(), (part.entry.bytes, Arc::downgrade(part))));
        self.left.lock().expect("no holder of this lock panics").extend(gone);
        self.shown.store(Arc::new(now));
    }

    /// Removed parts whose files may go at `now_ns`: the removal is durable, its grace has passed and no snapshot holds
    /// them (storage.md 5.3). Those of an earlier process are held by nobody.
    pub async fn departed(&self, now_ns: i64) -> Vec<Removal> {
        let manifest = self.manifest.lock().await;
        let left = self.left.lock().expect("no holder of this lock panics");
        let is_free = |path: &str| left.get(path).is_none_or(|(_, part)| part.strong_count() == 0);
        manifest.removed().filter(|removal| removal.delete_after <= now_ns && is_free(&removal.path)).cloned().collect()
    }

    /// Bytes of the parts that left since the start and whose files are still there.
    pub fn leaving_bytes(&self) -> u64 {
        self.left.lock().expect("no holder of this lock panics").values().map(|(bytes, _)| bytes).sum()
    }

    /// The files of the removed part `path` are gone.
    pub async fn forget(&self, path: &str) {
        self.reads.forget(path);
        self.left.lock().expect("no holder of this lock panics").remove(path);
        self.manifest.lock().await.forget(path);
    }

    /// The parts that the manifest names, also as removed, and those that it is yet to put aside; `None` where another
    /// process has written a version since.
    pub async fn named(&self) -> Result<Option<HashSet<String>>, Error> {
        let manifest = self.manifest.lock().await;
        if !manifest.is_newest().await.map_err(|e| manifest_error(&e))? {
            return Ok(None);
        }
        let live = manifest.parts().iter().map(|entry| entry.path.clone());
        // They go to quarantine with the next checkpoint.
        let unplaced = manifest.recovered().into_iter().flat_map(|recovery| recovery.unplaced.iter().cloned());
        Ok(Some(live.chain(manifest.removed().map(|removal| removal.path.clone())).chain(unplaced).collect()))
    }

    /// When the manifest was last written, ns since 1970; `None` = never.
    pub async fn written_ns(&self) -> Option<i64> {
        self.manifest.lock().await.written_ns()
    }
}

/// `YYYY-MM-DDTHH` of an hour since 1970.
pub fn hour_text(hour: i64) -> String {
    // A start time is an i64 of ns, so every hour lies in jiff's range.
    let start = jiff::Timestamp::from_second(hour.saturating_mul(3600)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    start.strftime("%Y-%m-%dT%H").to_string()
}

/// Whether `text` is an hour as [`hour_text`] spells it.
pub fn is_hour(text: &str) -> bool {
    text.len() == "YYYY-MM-DDTHH".len() && format!("{text}:00:00Z").parse::<jiff::Timestamp>().is_ok()
}

pub(super) fn manifest_error(error: &manifest::Error) -> Error {
    match error {
        manifest::Error::Superseded { .. } => Error::Superseded { detail: error.to_string() },
        other => parts_error(other),
    }
}

pub(super) fn parts_error(error: &dyn std::error::Error) -> Error {
    Error::Parts { detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_spelled_as_in_folders() {
        assert!(is_hour("2026-11-28T09") && is_hour(&hour_text(491_234)));
        for wrong in ["", "2026-11-28", "2026-11-28T24", "2026-11-28T9", "2026-13-28T09", "2026-11-28 09:"] {
            assert!(!is_hour(wrong), "{wrong}");
        }
    }

    #[tokio::test]
    async fn the_origin_of_a_part_is_looked_for_while_a_commit_is_under_way() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(1_700_000_000_000_000_000, 1));
        let folder = Folder::open(&Disk::Os, dir.path(), &clock).unwrap();
        let shelf = Shelf::open(&folder, &Disk::Os, &clock, &Config::at(dir.path())).await.unwrap();
        shelf.claim().await.unwrap();
        let _commit = shelf.manifest.lock().await;
        let found = tokio::time::timeout(std::time::Duration::from_secs(60), shelf.origin("spans/x")).await;
        assert_eq!(found.expect("it does not wait for the commit").unwrap(), None);
    }
}
