//! Checkpoints of the manifest: the full state of one version in one file (storage.md 8).
//!
//! Duty: `manifest/ckpt-{version:020}.json.zst`, written every [`EVERY`] versions; the last [`KEPT`] stay. Guarantee: a
//! checkpoint that is damaged anywhere is told as such and never used. What it makes needless is deleted only after it
//! is durable: once [`KEPT`] checkpoints are there, the deltas up to the oldest of them. So two damaged checkpoints cost a
//! longer read, and only when all are damaged is a state rebuilt from the parts. Left to others: reading (`load.rs`),
//! when it is due (`upkeep.rs`).
//!
//! The file, final: one zstd frame with content checksum over two lines of JSON, LF-ended, as those of a delta.
//!
//! | line | content |
//! |---|---|
//! | head | `{"version","prev","writer","time","body_xxh3"}`; `prev` is the hash of the delta `version`, which the next delta follows; `body_xxh3` is the hash of line 2 |
//! | body | `{"parts":[…],"removed":[…],"flushed":{…},"max_ingest":µs}`: live parts as in a delta's `add`, in the order they were committed; removals whose files may still be there; as in a delta; highest store position of any part ever named |

use std::collections::BTreeMap;
use std::io::Read as _;

use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutMode};
use serde::{Deserialize, Serialize};

use super::{Error, FOLDER, Head, Manifest, PartEntry, Removal, parse_lines};
use crate::clock::Clock;
use crate::store::{Lsn, part};

/// Versions from one checkpoint to the next.
pub const EVERY: u64 = 128;
/// Checkpoints that stay.
pub const KEPT: usize = 3;

const LEVEL: i32 = 3;
/// More text than this is no manifest: about a million parts.
const MOST_TEXT: u64 = 1 << 30;

/// Line 2.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Body {
    pub(super) parts: Vec<PartEntry>,
    pub(super) removed: Vec<Removal>,
    pub(super) flushed: BTreeMap<String, Lsn>,
    pub(super) max_ingest: i64,
}

/// Where the checkpoint of `version` lies.
pub(super) fn path_of(version: u64) -> Path {
    Path::from(format!("{FOLDER}/ckpt-{version:020}.json.zst"))
}

/// The version of the checkpoint that has the file name `name`.
pub(super) fn version_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("ckpt-")?.strip_suffix(".json.zst")?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

fn encode(head: &Head, body: &str) -> std::io::Result<Vec<u8>> {
    let head = serde_json::to_string(head).map_err(std::io::Error::other)?;
    let mut frame = zstd::stream::Encoder::new(Vec::new(), LEVEL)?;
    // The head has no hash of its own.
    frame.include_checksum(true)?;
    std::io::Write::write_all(&mut frame, format!("{head}\n{body}\n").as_bytes())?;
    frame.finish()
}

/// What the checkpoint of `version` says. Errors: what is wrong with `bytes`, as half a sentence.
pub(super) fn decode(version: u64, bytes: &[u8]) -> Result<(Head, Body), String> {
    let not_zstd = |e: std::io::Error| format!("it cannot be decompressed: {e}");
    let mut text = Vec::new();
    // Bytes behind the frame are an error too: they would be its checksum, were the flag that announces it flipped.
    let frame = zstd::stream::Decoder::new(bytes).map_err(not_zstd)?;
    frame.take(MOST_TEXT).read_to_end(&mut text).map_err(not_zstd)?;
    let (head, body): (Head, Body) = parse_lines(&text)?;
    match head.version == version {
        true => Ok((head, body)),
        false => Err(format!("it says version {}", head.version)),
    }
}

impl Manifest {
    /// Whether [`Manifest::checkpoint`] is due.
    pub fn checkpoint_is_due(&self) -> bool {
        self.version >= self.checkpoint.saturating_add(EVERY) || self.recovered.is_some() || !self.unreadable.is_empty()
    }

    /// Writes the state as a checkpoint, durably, then deletes what it makes needless. A failure leaves the manifest as
    /// it was, and the same may be tried again.
    pub async fn checkpoint(&mut self, clock: &Clock) -> Result<(), Error> {
        let version = self.version;
        let path = path_of(version);
        let misfit = |problem: String| Error::Misfit { version, problem };
        let body = Body {
            parts: self.parts.clone(),
            removed: self.removed.values().cloned().collect(),
            flushed: self.flushed.clone(),
            max_ingest: self.max_ingest_us,
        };
        let body = serde_json::to_string(&body).map_err(|e| misfit(e.to_string()))?;
        let head = self.head(version, &body, clock.ulid(), clock).map_err(misfit)?;
        let bytes = encode(&head, &body).map_err(|e| misfit(e.to_string()))?;
        // The state of one version is the same whoever writes it, so a half-known earlier try is replaced.
        let put = self.objects.put_opts(&path, bytes.into(), PutMode::Overwrite.into()).await;
        put.map_err(|source| Error::Objects { path: path.to_string(), source })?;
        self.checkpoint = version;
        self.put_aside().await?;
        self.recovered = None;
        self.trim().await
    }

    /// Moves what the checkpoint stands for, and what fitted nowhere, to quarantine.
    async fn put_aside(&mut self) -> Result<(), Error> {
        let unplaced = self.recovered.iter().flat_map(|recovery| &recovery.unplaced);
        let unplaced = unplaced.flat_map(|path| [path.clone(), part::sum_path(path)]);
        let aside: Vec<String> = self.unreadable.iter().map(|file| file.path.clone()).chain(unplaced).collect();
        for path in aside {
            part::put_aside(self.objects.as_ref(), &path)
                .await
                .map_err(|source| Error::Objects { path: path.clone(), source })?;
        }
        self.unreadable.clear();
        Ok(())
    }

    /// Deletes checkpoints beyond the newest [`KEPT`], and the deltas that no kept one needs.
    async fn trim(&self) -> Result<(), Error> {
        let objects_error = |path: String| move |source| Error::Objects { path, source };
        let listed: Vec<_> =
            self.objects.list(Some(&Path::from(FOLDER))).try_collect().await.map_err(objects_error(FOLDER.into()))?;
        let name = |meta: &object_store::ObjectMeta| meta.location.filename().unwrap_or_default().to_owned();
        let mut checkpoints: Vec<u64> = listed.iter().filter_map(|meta| version_of(&name(meta))).collect();
        checkpoints.sort_unstable();
        let Some(needless) = checkpoints.len().checked_sub(KEPT) else { return Ok(()) };
        let mut deltas: Vec<u64> = listed.iter().filter_map(|meta| super::version_of(&name(meta))).collect();
        deltas.sort_unstable();
        let oldest = checkpoints[needless];
        let paths = checkpoints[..needless].iter().copied().map(path_of);
        // Ascending: a cut leaves no gap above what is kept.
        let paths = paths.chain(deltas.into_iter().take_while(|version| *version <= oldest).map(super::path_of));
        for path in paths {
            match self.objects.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(Error::Objects { path: path.to_string(), source }),
            }
        }
        Ok(())
    }
}
