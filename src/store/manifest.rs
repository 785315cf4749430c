//! The manifest: numbered deltas that name the live parts (storage.md 8).
//!
//! Duty: [`Manifest`] reads the chain, and commits one delta at a time. Guarantee: a delta that is damaged, missing or
//! out of its chain is an error, never a shorter list of parts; of two writers the one with the lower epoch commits
//! nothing. Left to others: the files that the entries name (`part`), checkpoints, and recovery from footers.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::Lsn;
use crate::clock::Clock;
use crate::error::Class;

const FOLDER: &str = "manifest";
/// Deltas that are read at once: a bucket answers each in its own time.
const AT_ONCE: usize = 16;

/// A part as the manifest names it. Times are ns since 1970, `ingest` µs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartEntry {
    /// Below the dataset's folder: `spans/date=…/hour=…/{ulid}.parquet`.
    pub path: String,
    /// 0 or 1.
    pub level: u8,
    /// `YYYY-MM-DDTHH`
    pub hour: String,
    /// Rows of the file.
    pub rows: u64,
    /// Size of the file.
    pub bytes: u64,
    /// Length of the Parquet footer.
    pub footer_bytes: u64,
    /// First and last start time.
    pub start: [i64; 2],
    /// First and last end time.
    pub end: [i64; 2],
    /// First and last store position.
    pub ingest: [i64; 2],
    /// Per row group.
    pub row_groups: Vec<RowGroupEntry>,
    /// Up to 64 names, sorted; else `service_range`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<String>>,
    /// Smallest and largest name, where there are more than 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_range: Option<[String; 2]>,
    /// lsn range of the generation; of a compacted part, lowest and highest of its inputs.
    pub lsn: [u64; 2],
    /// Its rows are of other hours than `hour` (storage.md 6.1).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stray: bool,
    /// Version of the span schema.
    pub schema: u32,
    /// XXH3-64 of the file, 16 hex digits.
    pub file_xxh3: String,
    /// XXH3-64 of its `.sum`, 16 hex digits.
    pub sum_xxh3: String,
    /// Its trace index, below the dataset's folder; absent where none was written with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
}

/// Time ranges of one row group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowGroupEntry {
    /// First and last start time.
    pub start: [i64; 2],
    /// First and last end time.
    pub end: [i64; 2],
}

/// Why a part leaves the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Its rows are in a compacted part.
    Compacted,
    /// Older than the retention horizon.
    Expired,
    /// Removed on request.
    Dropped,
    /// Its bytes are damaged.
    Quarantined,
}

/// A part that leaves the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Path of a live part.
    pub path: String,
    /// Why.
    pub reason: Reason,
    /// ns since 1970 before which the file stays.
    pub delete_after: i64,
}

/// One change of the manifest: line 2 of its file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Parts that are live from now on.
    pub add: Vec<PartEntry>,
    /// Parts that are live no longer.
    pub remove: Vec<Removal>,
    /// Node (the ULID of `node.id`) → highest lsn whose rows are in parts.
    pub flushed: BTreeMap<String, Lsn>,
}

/// Line 1 of a delta's file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Head {
    version: u64,
    prev: String,
    writer: Writer,
    time: String,
    body_xxh3: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Writer {
    node: String,
    epoch: u64,
    nonce: String,
}

/// Why the manifest could not be read or advanced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The chain is broken.
    #[error(
        "`{path}` is damaged: {problem}; nothing was changed; restore the file from a copy (the write-ahead log still \
         holds what the newest flush named), then run `weavergen store verify`"
    )]
    Damaged {
        /// The delta.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A writer with a later start owns the store.
    #[error(
        "the store was taken over at manifest version {version} by node {node}, epoch {epoch}; this process (epoch \
         {ours}) writes no more: stop it, or stop the other one and restart"
    )]
    Superseded {
        /// Version the other one committed.
        version: u64,
        /// The other writer's node.
        node: String,
        /// The other writer's epoch.
        epoch: u64,
        /// Our epoch.
        ours: u64,
    },
    /// The delta does not fit the live parts: a defect of ours.
    #[error("manifest delta {version} was not written: {problem}")]
    Misfit {
        /// Version it would have had.
        version: u64,
        /// What does not fit.
        problem: String,
    },
    /// The object store failed; the same commit may be tried again.
    #[error("`{path}`: {source}; the same is tried again")]
    Objects {
        /// The delta or folder.
        path: String,
        /// What the object store said.
        source: object_store::Error,
    },
}

impl Error {
    fn is_not_found(&self) -> bool {
        matches!(self, Self::Objects { source: object_store::Error::NotFound { .. }, .. })
    }

    /// What the caller can do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Damaged { .. } => Class::Invalid,
            Self::Superseded { .. } => Class::Conflict,
            Self::Misfit { .. } => Class::Internal,
            Self::Objects { .. } => Class::Unavailable,
        }
    }
}

/// The manifest of one dataset; `objects` are rooted at the dataset's folder.
#[derive(Debug)]
pub struct Manifest {
    objects: Arc<dyn ObjectStore>,
    version: u64,
    epoch: u64,
    node: String,
    parts: Vec<PartEntry>,
    live: HashSet<String>,
    flushed: BTreeMap<String, Lsn>,
    /// Hash of the newest delta's file; empty before the first.
    prev: String,
    /// Puts of `version + 1` whose outcome is unknown.
    pending: Vec<(Vec<u8>, Delta)>,
    /// Set once another writer was met.
    stopped: Option<(u64, String, u64)>,
}

impl Manifest {
    /// Reads all deltas and checks their chain. Errors: [`Error::Damaged`] names the first file that does not fit.
    pub async fn load(objects: Arc<dyn ObjectStore>) -> Result<Self, Error> {
        let folder = Path::from(FOLDER);
        let objects_error = |source| Error::Objects { path: FOLDER.into(), source };
        let listed: Vec<_> = objects.list(Some(&folder)).try_collect().await.map_err(objects_error)?;
        let mut versions = Vec::new();
        for meta in listed {
            let name = meta.location.filename().unwrap_or_default();
            if name.starts_with("ckpt-") {
                let problem = "checkpoints are written by a newer release, which must read this store".into();
                return Err(Error::Damaged { path: meta.location.to_string(), problem });
            }
            // Anything else is not a delta: editors and copies leave files behind.
            let Some(digits) = name.strip_suffix(".json").filter(|d| d.len() == 20) else { continue };
            versions.extend(digits.parse::<u64>().ok());
        }
        versions.sort_unstable();
        let mut manifest = Self {
            objects: objects.clone(),
            version: 0,
            epoch: 0,
            node: String::new(),
            parts: Vec::new(),
            live: HashSet::new(),
            flushed: BTreeMap::new(),
            prev: String::new(),
            pending: Vec::new(),
            stopped: None,
        };
        // A list may lag behind what is there: a delta counts as missing if it cannot be read, and what follows the list's
        // last one is looked for by name.
        let newest = versions.last().copied().unwrap_or(0);
        let mut listed = stream::iter(1..=newest).map(|version| read(objects.as_ref(), version)).buffered(AT_ONCE);
        loop {
            let version = manifest.version + 1;
            let found = match listed.next().await {
                Some(found) => found,
                None => read(objects.as_ref(), version).await,
            };
            match found {
                Ok(bytes) => manifest.take(version, &bytes)?,
                Err(error) if !error.is_not_found() => return Err(error),
                Err(_) => match versions.iter().find(|listed| **listed > version) {
                    Some(next) => {
                        let problem = format!("it is missing, but version {next} exists");
                        return Err(Error::Damaged { path: path_of(version).to_string(), problem });
                    }
                    None => break,
                },
            }
        }
        drop(listed);
        Ok(manifest)
    }

    /// Adds what the file of `version` says.
    fn take(&mut self, version: u64, bytes: &[u8]) -> Result<(), Error> {
        let damaged = |problem| Error::Damaged { path: path_of(version).to_string(), problem };
        let (head, delta) = parse(bytes).map_err(damaged)?;
        self.check(version, &head, &delta).map_err(damaged)?;
        self.apply(bytes, &head, delta);
        Ok(())
    }

    /// Becomes the writer: commits `{node, epoch + 1}` with no parts. Errors: [`Error::Superseded`] if another writer
    /// did so first.
    pub async fn claim(&mut self, node: Ulid, clock: &Clock) -> Result<u64, Error> {
        let (node_before, epoch_before) = (std::mem::replace(&mut self.node, node.to_string()), self.epoch);
        self.epoch += 1;
        let claimed = self.commit(Delta::default(), clock).await;
        if claimed.is_err() {
            (self.node, self.epoch) = (node_before, epoch_before);
        }
        claimed
    }

    /// Commits `delta` as the next version, durably, and returns that version. After [`Error::Objects`] the same delta
    /// may be committed again: it is recognised if the first try had succeeded after all.
    pub async fn commit(&mut self, delta: Delta, clock: &Clock) -> Result<u64, Error> {
        if !self.pending.is_empty() {
            self.resolve().await?;
        }
        loop {
            if self.holds(&delta) {
                return Ok(self.version);
            }
            if let Some(error) = self.superseded() {
                return Err(error);
            }
            let version = self.version + 1;
            let bytes = self.encode(version, &delta, clock)?;
            self.pending.push((bytes.clone(), delta.clone()));
            let path = path_of(version);
            match self.objects.put_opts(&path, bytes.into(), PutMode::Create.into()).await {
                Ok(_) => {
                    let (bytes, delta) = self.pending.pop().expect("it was pushed above");
                    self.settle(&bytes, delta);
                    return Ok(self.version);
                }
                Err(source) => match self.resolve().await? {
                    Some(done) if done == delta => return Ok(self.version),
                    // An earlier put, of another delta, came through after all: this one goes behind it.
                    Some(_) => {}
                    None => {
                        let failed = Error::Objects { path: path.to_string(), source };
                        return Err(self.superseded().unwrap_or(failed));
                    }
                },
            }
        }
    }

    /// Whether `delta` was committed before. A part's name is used once, so live ones tell; what moves no part is
    /// committed again, which changes nothing.
    fn holds(&self, delta: &Delta) -> bool {
        let parts = !delta.add.is_empty() || !delta.remove.is_empty();
        parts
            && delta.add.iter().all(|entry| self.live.contains(&entry.path))
            && delta.remove.iter().all(|removal| !self.live.contains(&removal.path))
    }

    /// Version of the newest delta; 0 = none.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Epoch of the newest writer.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Live parts in the order they were committed.
    pub fn parts(&self) -> &[PartEntry] {
        &self.parts
    }

    /// Node → highest lsn whose rows are in parts.
    pub fn flushed(&self) -> &BTreeMap<String, Lsn> {
        &self.flushed
    }

    /// Highest lsn of `node` whose rows are in parts; 0 = none.
    pub fn flushed_lsn(&self, node: Ulid) -> Lsn {
        self.flushed.get(&node.to_string()).copied().unwrap_or(0)
    }

    /// Newest store position in any live part, µs since 1970; 0 without parts.
    pub fn max_ingest_us(&self) -> i64 {
        self.parts.iter().map(|part| part.ingest[1]).max().unwrap_or(0)
    }

    fn encode(&self, version: u64, delta: &Delta, clock: &Clock) -> Result<Vec<u8>, Error> {
        let misfit = |problem: String| Error::Misfit { version, problem };
        self.check_parts(delta).map_err(misfit)?;
        let body = serde_json::to_string(delta).map_err(|e| misfit(e.to_string()))?;
        let time = jiff::Timestamp::from_nanosecond(clock.now_ns().into()).map_err(|e| misfit(e.to_string()))?;
        let writer = Writer { node: self.node.clone(), epoch: self.epoch, nonce: clock.ulid().to_string() };
        let body_xxh3 = hash(body.as_bytes());
        let head = Head { version, prev: self.prev.clone(), writer, time: time.to_string(), body_xxh3 };
        let head = serde_json::to_string(&head).map_err(|e| misfit(e.to_string()))?;
        Ok(format!("{head}\n{body}\n").into_bytes())
    }

    /// Looks which put of `version + 1` succeeded. `None`: none did, or another writer's, which stops us.
    async fn resolve(&mut self) -> Result<Option<Delta>, Error> {
        let version = self.version + 1;
        let bytes = match read(self.objects.as_ref(), version).await {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        // The nonce in the head makes the bytes of every put unique.
        if let Some(at) = self.pending.iter().position(|(ours, _)| *ours == bytes) {
            let (bytes, delta) = self.pending.swap_remove(at);
            self.settle(&bytes, delta.clone());
            return Ok(Some(delta));
        }
        let damaged = |problem| Error::Damaged { path: path_of(version).to_string(), problem };
        let (head, _) = parse(&bytes).map_err(damaged)?;
        self.stopped = Some((version, head.writer.node, head.writer.epoch));
        Ok(None)
    }

    fn settle(&mut self, bytes: &[u8], delta: Delta) {
        let (head, _) = parse(bytes).expect("these bytes were encoded here");
        self.pending.clear();
        self.apply(bytes, &head, delta);
    }

    fn superseded(&self) -> Option<Error> {
        let (version, node, epoch) = self.stopped.clone()?;
        Some(Error::Superseded { version, node, epoch, ours: self.epoch })
    }

    fn check(&self, version: u64, head: &Head, delta: &Delta) -> Result<(), String> {
        if head.version != version {
            return Err(format!("it says version {}", head.version));
        }
        if head.prev != self.prev {
            return Err(format!("it follows a file with hash `{}`, but the one before has `{}`", head.prev, self.prev));
        }
        if head.writer.epoch < self.epoch {
            return Err(format!("epoch {} follows epoch {}", head.writer.epoch, self.epoch));
        }
        self.check_parts(delta)
    }

    fn check_parts(&self, delta: &Delta) -> Result<(), String> {
        let mut added = HashSet::new();
        for entry in &delta.add {
            if self.live.contains(&entry.path) || !added.insert(&entry.path) {
                return Err(format!("it adds `{}`, which is live already", entry.path));
            }
        }
        let mut removed = HashSet::new();
        for removal in &delta.remove {
            if !self.live.contains(&removal.path) || !removed.insert(&removal.path) {
                return Err(format!("it removes `{}`, which is not live", removal.path));
            }
        }
        for (node, lsn) in &delta.flushed {
            if self.flushed.get(node).is_some_and(|before| before > lsn) {
                return Err(format!("the flushed lsn of node {node} goes back to {lsn}"));
            }
        }
        Ok(())
    }

    fn apply(&mut self, bytes: &[u8], head: &Head, delta: Delta) {
        if !delta.remove.is_empty() {
            for removal in &delta.remove {
                self.live.remove(&removal.path);
            }
            self.parts.retain(|part| self.live.contains(&part.path));
        }
        self.live.extend(delta.add.iter().map(|entry| entry.path.clone()));
        self.parts.extend(delta.add);
        self.flushed.extend(delta.flushed);
        self.version = head.version;
        self.epoch = head.writer.epoch;
        self.node.clone_from(&head.writer.node);
        self.prev = hash(bytes);
    }
}

async fn read(objects: &dyn ObjectStore, version: u64) -> Result<Vec<u8>, Error> {
    let path = path_of(version);
    let got = async { objects.get(&path).await?.bytes().await }.await;
    got.map(Vec::from).map_err(|source| Error::Objects { path: path.to_string(), source })
}

/// Where the delta `version` lies.
fn path_of(version: u64) -> Path {
    Path::from(format!("{FOLDER}/{version:020}.json"))
}

/// XXH3-64 of `bytes`, 16 hex digits.
pub(super) fn hash(bytes: &[u8]) -> String {
    format!("{:016x}", twox_hash::XxHash3_64::oneshot(bytes))
}

fn parse(bytes: &[u8]) -> Result<(Head, Delta), String> {
    let text = std::str::from_utf8(bytes).map_err(|e| format!("it is not text: {e}"))?;
    let lines = text.strip_suffix('\n').and_then(|t| t.split_once('\n')).filter(|(_, body)| !body.contains('\n'));
    let (head, body) = lines.ok_or("it is not two lines")?;
    let head: Head = serde_json::from_str(head).map_err(|e| format!("its first line cannot be read: {e}"))?;
    let found = hash(body.as_bytes());
    if head.body_xxh3 != found {
        return Err(format!("its second line has hash {found}, not {}", head.body_xxh3));
    }
    let delta = serde_json::from_str(body).map_err(|e| format!("its second line cannot be read: {e}"))?;
    Ok((head, delta))
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    fn entry(path: &str) -> PartEntry {
        serde_json::from_value(serde_json::json!({
            "path": path, "level": 0, "hour": "2026-01-01T00", "rows": 1, "bytes": 1, "footer_bytes": 1,
            "start": [1, 1], "end": [1, 1], "ingest": [1, 1], "row_groups": [], "services": [], "lsn": [1, 1],
            "schema": 1, "file_xxh3": "0", "sum_xxh3": "0",
        }))
        .unwrap()
    }

    fn adding(path: &str) -> Delta {
        Delta { add: vec![entry(path)], flushed: [("N".to_owned(), 7)].into(), ..Delta::default() }
    }

    async fn three() -> (Arc<InMemory>, Clock) {
        let (objects, clock) = (Arc::new(InMemory::new()), Clock::manual(1_000_000_000, 1));
        let mut manifest = Manifest::load(objects.clone()).await.unwrap();
        manifest.claim(clock.ulid(), &clock).await.unwrap();
        manifest.commit(adding("spans/a"), &clock).await.unwrap();
        manifest.commit(adding("spans/b"), &clock).await.unwrap();
        (objects, clock)
    }

    #[tokio::test]
    async fn what_was_committed_is_loaded() {
        let (objects, _) = three().await;
        let manifest = Manifest::load(objects).await.unwrap();
        let paths: Vec<_> = manifest.parts().iter().map(|p| p.path.as_str()).collect();
        assert_eq!((manifest.version(), manifest.epoch(), paths), (3, 1, vec!["spans/a", "spans/b"]));
        assert_eq!(manifest.flushed()["N"], 7);
    }

    #[tokio::test]
    async fn the_writer_with_the_lower_epoch_commits_nothing() {
        let (objects, clock) = three().await;
        let mut old = Manifest::load(objects.clone()).await.unwrap();
        let mut new = Manifest::load(objects.clone()).await.unwrap();
        new.claim(clock.ulid(), &clock).await.unwrap();
        for path in ["spans/c", "spans/d"] {
            let error = old.commit(adding(path), &clock).await.unwrap_err();
            assert!(matches!(error, Error::Superseded { version: 4, epoch: 2, .. }), "{error}");
        }
        assert_eq!(Manifest::load(objects).await.unwrap().parts().len(), 2);
    }

    #[tokio::test]
    async fn a_flipped_byte_is_an_error_or_changes_no_part() {
        let (objects, _) = three().await;
        let right = Manifest::load(objects.clone()).await.unwrap();
        for version in 1..=3 {
            let path = path_of(version);
            let good = objects.get(&path).await.unwrap().bytes().await.unwrap();
            for at in 0..good.len() {
                let mut bad = good.to_vec();
                bad[at] ^= 1 << (at % 8);
                objects.put(&path, bad.into()).await.unwrap();
                if let Ok(read) = Manifest::load(objects.clone()).await {
                    assert_eq!((read.parts(), read.flushed()), (right.parts(), right.flushed()), "{version} {at}");
                }
            }
            objects.put(&path, good.into()).await.unwrap();
        }
        objects.delete(&path_of(2)).await.unwrap();
        let error = Manifest::load(objects).await.unwrap_err().to_string();
        assert!(error.contains("00000000000000000002.json` is damaged: it is missing"), "{error}");
    }
}
