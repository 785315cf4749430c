//! The manifest: numbered deltas that name the live parts (storage.md 8).
//!
//! Duty: [`Manifest`] reads the newest checkpoint and the deltas behind it, and commits one delta at a time. Guarantee: a
//! file that is damaged, missing or out of its chain is replaced from the parts themselves, which is told, or is an
//! error, never a shorter list of parts in silence; of two writers the one with the lower epoch commits nothing. Left to
//! others: the files that the entries name (`part`).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::Lsn;
use crate::clock::Clock;
use crate::error::Class;

mod checkpoint;
mod footers;
mod load;
#[cfg(test)]
mod tests;

pub use checkpoint::{EVERY as CHECKPOINT_EVERY, KEPT as CHECKPOINTS_KEPT};
pub use footers::Recovery;
pub use load::Unreadable;

const FOLDER: &str = "manifest";
/// How long the file of a removed part stays for readers outside the process (storage.md 5.3).
pub const DELETE_GRACE_NS: i64 = 600 * 1_000_000_000;

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

/// Line 1 of the file of a delta or a checkpoint.
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
    /// The chain is broken, and more of it than is replaced without being asked.
    #[error(
        "`{path}` is damaged: {problem}; nothing was changed; restore the file from a copy, or let `weavergen store \
         repair` name the parts anew from what they say of themselves"
    )]
    Damaged {
        /// The delta or checkpoint.
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
    /// Nonce of the newest delta; empty before the first, and where a checkpoint stands for it.
    nonce: String,
    parts: Vec<PartEntry>,
    live: HashSet<String>,
    /// Removals whose files may still be there, by path.
    removed: BTreeMap<String, Removal>,
    flushed: BTreeMap<String, Lsn>,
    /// Highest store position of any part ever named.
    max_ingest_us: i64,
    /// When the newest delta was written.
    written_ns: Option<i64>,
    /// Version of the newest readable checkpoint; 0 = none.
    checkpoint: u64,
    /// Files that do not count.
    unreadable: Vec<Unreadable>,
    /// What was put in the place of unreadable versions, until a checkpoint holds it.
    recovered: Option<Recovery>,
    /// Hash of the newest delta's file; empty before the first.
    prev: String,
    /// Puts of `version + 1` whose outcome is unknown.
    pending: Vec<(Vec<u8>, Delta)>,
    /// Set once another writer was met.
    stopped: Option<(u64, String, u64)>,
}

impl Manifest {
    /// Reads the manifest. Up to [`load::AUTOMATIC`] unreadable versions are replaced from the parts
    /// ([`Manifest::recovered`]). Errors: [`Error::Damaged`] names the first file beyond that.
    pub async fn load(objects: Arc<dyn ObjectStore>) -> Result<Self, Error> {
        load::load(&objects, load::AUTOMATIC).await
    }

    /// As [`Manifest::load`], however many versions are unreadable.
    pub async fn rebuild(objects: Arc<dyn ObjectStore>) -> Result<Self, Error> {
        load::load(&objects, u64::MAX).await
    }

    fn empty(objects: Arc<dyn ObjectStore>) -> Self {
        Self {
            objects,
            version: 0,
            epoch: 0,
            node: String::new(),
            nonce: String::new(),
            parts: Vec::new(),
            live: HashSet::new(),
            removed: BTreeMap::new(),
            flushed: BTreeMap::new(),
            max_ingest_us: 0,
            written_ns: None,
            checkpoint: 0,
            unreadable: Vec::new(),
            recovered: None,
            prev: String::new(),
            pending: Vec::new(),
            stopped: None,
        }
    }

    /// Becomes the writer: commits `{node, epoch + 1}` with no parts but those that were found in the place of unreadable
    /// versions. Errors: [`Error::Superseded`] if another writer did so first.
    pub async fn claim(&mut self, node: Ulid, clock: &Clock) -> Result<u64, Error> {
        self.claim_as(node, clock.ulid(), clock).await
    }

    /// The same under a nonce that the caller has drawn: by it a later start knows whether this put came through.
    pub async fn claim_as(&mut self, node: Ulid, nonce: Ulid, clock: &Clock) -> Result<u64, Error> {
        let (node_before, epoch_before) = (std::mem::replace(&mut self.node, node.to_string()), self.epoch);
        self.epoch = self.epoch.saturating_add(1);
        let mut delta = self.recovered.as_ref().map(|recovery| recovery.delta.clone()).unwrap_or_default();
        let delete_after = clock.now_ns().saturating_add(DELETE_GRACE_NS);
        delta.remove.iter_mut().for_each(|removal| removal.delete_after = delete_after);
        let claimed = self.put(delta, nonce, clock).await;
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
        if self.holds(&delta) {
            return Ok(self.version);
        }
        let version = self.version + 1;
        self.check_parts(&delta).map_err(|problem| Error::Misfit { version, problem })?;
        self.put(delta, clock.ulid(), clock).await
    }

    async fn put(&mut self, delta: Delta, mut nonce: Ulid, clock: &Clock) -> Result<u64, Error> {
        loop {
            if let Some(error) = self.superseded() {
                return Err(error);
            }
            let version = self.version + 1;
            let bytes = self.encode(version, &delta, nonce, clock)?;
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
                    Some(_) => nonce = clock.ulid(),
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

    /// Node of the newest writer, as the newest head tells it; empty without one.
    pub fn writer(&self) -> &str {
        &self.node
    }

    /// Nonce of the newest delta; empty before the first, and where a checkpoint stands for it.
    pub fn nonce(&self) -> &str {
        &self.nonce
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

    /// Newest store position in any part ever named, µs since 1970; 0 without parts.
    pub fn max_ingest_us(&self) -> i64 {
        self.max_ingest_us
    }

    /// The delta in `objects` that named the part `path` live; `None` once its file is gone or damaged.
    ///
    /// Errors: [`Error::Objects`].
    pub async fn origin(objects: &Arc<dyn ObjectStore>, path: &str) -> Result<Option<Delta>, Error> {
        load::origin(objects, path).await
    }

    /// Removals whose files may still be there, by path.
    pub fn removed(&self) -> impl Iterator<Item = &Removal> {
        self.removed.values()
    }

    /// The files of the removed part `path` are gone.
    pub fn forget(&mut self, path: &str) {
        self.removed.remove(path);
    }

    /// When the newest delta was written, ns since 1970; `None` = never.
    pub fn written_ns(&self) -> Option<i64> {
        self.written_ns
    }

    /// Files that do not count; the writer moves them to quarantine.
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// What was put in the place of versions that cannot be read, until a checkpoint holds it.
    pub fn recovered(&self) -> Option<&Recovery> {
        self.recovered.as_ref()
    }

    fn encode(&self, version: u64, delta: &Delta, nonce: Ulid, clock: &Clock) -> Result<Vec<u8>, Error> {
        let misfit = |problem: String| Error::Misfit { version, problem };
        let body = serde_json::to_string(delta).map_err(|e| misfit(e.to_string()))?;
        let head = self.head(version, &body, nonce, clock).map_err(misfit)?;
        let head = serde_json::to_string(&head).map_err(|e| misfit(e.to_string()))?;
        Ok(format!("{head}\n{body}\n").into_bytes())
    }

    /// Line 1 of a file whose line 2 is `body`.
    fn head(&self, version: u64, body: &str, nonce: Ulid, clock: &Clock) -> Result<Head, String> {
        let time = jiff::Timestamp::from_nanosecond(clock.now_ns().into()).map_err(|e| e.to_string())?;
        let writer = Writer { node: self.node.clone(), epoch: self.epoch, nonce: nonce.to_string() };
        let body_xxh3 = hash(body.as_bytes());
        Ok(Head { version, prev: self.prev.clone(), writer, time: time.to_string(), body_xxh3 })
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
        let (head, _): (Head, Delta) = parse_lines(&bytes).map_err(damaged)?;
        self.stopped = Some((version, head.writer.node, head.writer.epoch));
        Ok(None)
    }

    fn settle(&mut self, bytes: &[u8], delta: Delta) {
        let (head, _): (Head, Delta) = parse_lines(bytes).expect("these bytes were encoded here");
        self.pending.clear();
        let removes = !delta.remove.is_empty();
        self.apply(hash(bytes), &head, delta);
        if removes {
            self.tidy();
        }
    }

    fn superseded(&self) -> Option<Error> {
        let (version, node, epoch) = self.stopped.clone()?;
        Some(Error::Superseded { version, node, epoch, ours: self.epoch })
    }

    fn check(&self, head: &Head, delta: &Delta) -> Result<(), String> {
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
            if self.removed.contains_key(&entry.path) {
                return Err(format!("it adds `{}`, which was removed before", entry.path));
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

    /// Applies a delta whose file has `hash`. Parts that leave stay in `parts` until [`Manifest::tidy`]. Behind a version
    /// that could not be read a delta may repeat or miss something: what it adds is live once, what it removes is not.
    fn apply(&mut self, hash: String, head: &Head, delta: Delta) {
        for removal in delta.remove {
            self.live.remove(&removal.path);
            self.removed.insert(removal.path.clone(), removal);
        }
        for entry in delta.add {
            self.max_ingest_us = self.max_ingest_us.max(entry.ingest[1]);
            if self.live.insert(entry.path.clone()) {
                self.parts.push(entry);
            }
        }
        for (node, lsn) in delta.flushed {
            let flushed = self.flushed.entry(node).or_default();
            *flushed = lsn.max(*flushed);
        }
        self.version = head.version;
        self.epoch = head.writer.epoch;
        self.node.clone_from(&head.writer.node);
        self.nonce.clone_from(&head.writer.nonce);
        self.written_ns = written_ns(head);
        self.prev = hash;
    }

    /// The state of a checkpoint.
    fn restore(&mut self, head: Head, body: checkpoint::Body) {
        self.written_ns = written_ns(&head);
        (self.version, self.checkpoint, self.prev) = (head.version, head.version, head.prev);
        (self.node, self.epoch) = (head.writer.node, head.writer.epoch);
        // The head has one of its own.
        self.nonce.clear();
        self.live = body.parts.iter().map(|entry| entry.path.clone()).collect();
        self.parts = body.parts;
        self.removed = body.removed.into_iter().map(|removal| (removal.path.clone(), removal)).collect();
        (self.flushed, self.max_ingest_us) = (body.flushed, body.max_ingest);
    }

    fn tidy(&mut self) {
        self.parts.retain(|part| self.live.contains(&part.path));
    }

    /// Takes over what was found in the place of versions that cannot be read.
    fn adopt(&mut self, recovery: Recovery) {
        let delta = recovery.delta.clone();
        let writer = Writer { node: self.node.clone(), epoch: self.epoch, nonce: String::new() };
        let head =
            Head { version: self.version, prev: String::new(), writer, time: String::new(), body_xxh3: String::new() };
        let (prev, written_ns) = (self.prev.clone(), self.written_ns);
        self.apply(prev, &head, delta);
        self.written_ns = written_ns;
        self.tidy();
        self.recovered = Some(recovery);
    }
}

fn written_ns(head: &Head) -> Option<i64> {
    let time: jiff::Timestamp = head.time.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
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

/// The version of the delta that has the file name `name`.
fn version_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json").filter(|digits| digits.len() == 20)?;
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Whether a file of the folder `manifest/` with this name is a delta or a checkpoint.
pub fn is_name(name: &str) -> bool {
    version_of(name).or_else(|| checkpoint::version_of(name)).is_some()
}

/// XXH3-64 of `bytes`, 16 hex digits.
pub(super) fn hash(bytes: &[u8]) -> String {
    format!("{:016x}", twox_hash::XxHash3_64::oneshot(bytes))
}

/// The two lines of a file of the manifest. Errors: what is wrong with it, as half a sentence.
fn parse_lines<Body: DeserializeOwned>(bytes: &[u8]) -> Result<(Head, Body), String> {
    let text = std::str::from_utf8(bytes).map_err(|e| format!("it is not text: {e}"))?;
    let lines = text.strip_suffix('\n').and_then(|t| t.split_once('\n')).filter(|(_, body)| !body.contains('\n'));
    let (head, body) = lines.ok_or("it is not two lines")?;
    let head: Head = serde_json::from_str(head).map_err(|e| format!("its first line cannot be read: {e}"))?;
    let found = hash(body.as_bytes());
    if head.body_xxh3 != found {
        return Err(format!("its second line has hash {found}, not {}", head.body_xxh3));
    }
    let body = serde_json::from_str(body).map_err(|e| format!("its second line cannot be read: {e}"))?;
    Ok((head, body))
}
