//! The parts and the manifest as the log side uses them: the one seam to `part` and `manifest`.
//!
//! Duty: open the object store of the data folder, become its writer, put parts, commit. Guarantee: a part is named only
//! after it is durable. Left to others: formats (`part`, `manifest`), when to flush (`flush.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::ObjectStore;
use ulid::Ulid;

use super::folder::Folder;
use super::local::SyncedLocal;
use super::manifest::{self, Delta, Manifest, PartEntry};
use super::part::{self, Part, PartSpec, PartStore, WalRange};
use super::split::Set;
use super::{Config, Error, Lsn, PartSet};
use crate::clock::Clock;
use crate::disk::Disk;

/// The parts and the manifest, owned by the flush.
#[derive(Debug)]
pub struct Shelf {
    manifest: Manifest,
    objects: Arc<dyn ObjectStore>,
    reads: PartStore,
    node: Ulid,
    clock: Clock,
    config: Config,
}

impl Shelf {
    /// Reads the manifest of `folder`; changes nothing.
    pub async fn open(folder: &Folder, disk: &Disk, clock: &Clock, config: &Config) -> Result<Self, Error> {
        let local = SyncedLocal::new(&folder.root, disk.clone(), clock.clone());
        let objects: Arc<dyn ObjectStore> = Arc::new(local);
        let manifest = Manifest::load(objects.clone()).await.map_err(|e| parts_error(&e))?;
        let reads = PartStore::new(objects.clone());
        manifest.parts().iter().for_each(|entry| reads.register(entry));
        Ok(Self { manifest, objects, reads, node: folder.node, clock: clock.clone(), config: config.clone() })
    }

    /// Becomes the writer: an older one commits nothing more.
    pub async fn claim(&mut self) -> Result<(), Error> {
        self.manifest.claim(self.node, &self.clock).await.map(|_| ()).map_err(|e| manifest_error(&e))
    }

    /// Where readers find the bytes of the parts, checked.
    pub fn reads(&self) -> Arc<dyn ObjectStore> {
        Arc::new(self.reads.clone())
    }

    /// Version of the manifest.
    pub fn version(&self) -> u64 {
        self.manifest.version()
    }

    /// Highest lsn whose rows are in parts; 0 = none.
    pub fn flushed(&self) -> Lsn {
        self.manifest.flushed_lsn(self.node)
    }

    /// Newest store position in any part, µs; 0 without parts.
    pub fn max_ingest_us(&self) -> i64 {
        self.manifest.max_ingest_us()
    }

    /// The live parts.
    pub fn parts(&self) -> PartSet {
        PartSet { parts: self.manifest.parts().iter().map(|entry| Arc::new(Part::new(entry.clone()))).collect() }
    }

    /// The writer's time, ns.
    pub fn now_ns(&self) -> i64 {
        self.clock.now_ns()
    }

    /// Writes `set`, number `index` of `of` of the generation `[from, to]`, as a durable part that no manifest names yet.
    pub async fn put(&self, set: &Set, from: Lsn, to: Lsn, index: u32, of: u32) -> Result<PartEntry, Error> {
        let wal = WalRange { node: self.node, epoch: self.manifest.epoch(), from, to, index, of };
        let spec = PartSpec { ulid: self.clock.ulid(), level: 0, hour: hour_text(set.hour), wal };
        let encoded = part::encode(&set.batches, &spec, &self.config).map_err(|e| parts_error(&e))?;
        let entry = part::put(self.objects.as_ref(), &encoded).await.map_err(|e| parts_error(&e))?;
        // Before any snapshot names it.
        self.reads.register(&entry);
        Ok(entry)
    }

    /// Names `parts` live and all rows up to `flushed` in parts.
    pub async fn commit(&mut self, parts: Vec<PartEntry>, flushed: Lsn) -> Result<(), Error> {
        let flushed = BTreeMap::from([(self.node.to_string(), flushed)]);
        let delta = Delta { add: parts, remove: Vec::new(), flushed };
        self.manifest.commit(delta, &self.clock).await.map(|_| ()).map_err(|e| manifest_error(&e))
    }
}

/// `YYYY-MM-DDTHH` of an hour since 1970.
fn hour_text(hour: i64) -> String {
    // A start time is an i64 of ns, so every hour lies in jiff's range.
    let start = jiff::Timestamp::from_second(hour.saturating_mul(3600)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    start.strftime("%Y-%m-%dT%H").to_string()
}

fn manifest_error(error: &manifest::Error) -> Error {
    match error {
        manifest::Error::Superseded { .. } => Error::Superseded { detail: error.to_string() },
        other => parts_error(other),
    }
}

fn parts_error(error: &dyn std::error::Error) -> Error {
    Error::Parts { detail: error.to_string() }
}
