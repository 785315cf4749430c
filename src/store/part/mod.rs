//! Parquet parts: writing them, and reading them with every block checked.
//!
//! Duty: [`encode_behind`] or a [`Writer`], and [`put`], make a part (storage.md 7), [`PartStore`] reads parts, [`Opened`] gives
//! their rows for other parts, [`Part`] keeps what the footer says of its attribute keys. Guarantee: a part's rows are the
//! rows that were encoded; only the order inside one attribute list may differ. Left to others: putting promoted values
//! back for SQL (`query`), which rows make a part (`store/flush.rs`, `store/compact`), which parts are live
//! (`store/manifest.rs`).
//!
//! Key-values of the footer, each one JSON object, final:
//!
//! | key | content |
//! |---|---|
//! | `wg.format` | `{"format":1,"level":0,"ulid":"…","hour":"YYYY-MM-DDTHH","sort":"…"}`, a text of [`ARRIVAL`] and the like; of a stray part also `"stray":true` |
//! | `wg.keys` | `{"complete":bool,"attr":[KEY],"res":[KEY],"scope":[KEY]}` with KEY as [`KeyEntry`] |
//! | `wg.wal` | of a flush: `{"node":"…","epoch":1,"from":1,"to":9,"index":0,"of":2}`: see [`WalRange`] |
//! | `wg.inputs` | of a compaction: `{"inputs":["…"],"index":0,"of":2,"from":1,"to":9}`: see [`Inputs`] |
//! | `wg.stats` | `{"rows":1,"traces":1,"start":[min,max],"end":[min,max],"ingest":[min,max],"hash":"16 hex digits"}` |

mod arranged;
mod check;
mod chunk;
mod columns;
mod cut;
mod encode;
mod group;
mod join;
mod keys;
mod objects;
mod order;
mod piece;
mod promote;
mod prove;
mod promoted;
mod read;
mod reread;
mod reshape;
mod salvage;
mod read_back;
mod recent;
mod split;
mod sums;
mod take_over;
mod tally;
mod totals;
mod writer;

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use parquet::arrow::parquet_to_arrow_schema;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use tokio::sync::OnceCell;
use ulid::Ulid;

use super::index;
use super::manifest::PartEntry;
use crate::error::Class;
use crate::span::schema;

pub use check::{Depth, Problem, check};
pub use chunk::{Words, ids_of};
pub(in crate::store) use columns::ZONE_ROWS;
#[cfg(test)]
pub use encode::encode;
pub use encode::{encode_behind, row_hash};
pub use group::{is_empty, joined, worded};
pub use keys::{KeyEntry, Keys, Level};
pub use objects::PartStore;
pub use order::{BUCKET_NS, sorted};
pub use promote::Promotion;
pub use prove::put_verified;
pub use read::Opened;
pub use read_back::{read_back, source};
pub use reread::{Reread, reread};
pub use salvage::{Salvaged, salvage};
pub use sums::path_of as sum_path;
pub use take_over::Whole;
pub use totals::Totals;
pub use writer::Writer;

/// Version of the span schema that parts are written with.
pub const SCHEMA_VERSION: u32 = 1;

/// The log records whose rows are in one output set of a flush.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalRange {
    /// `node.id`.
    pub node: Ulid,
    /// Epoch of the writer.
    pub epoch: u64,
    /// First lsn of the generation.
    pub from: u64,
    /// Last lsn of the generation.
    pub to: u64,
    /// Place of this part among those of the generation, from 0.
    pub index: u32,
    /// How many parts the generation has.
    pub of: u32,
}

impl WalRange {
    fn to_json(&self) -> serde_json::Value {
        let Self { node, epoch, from, to, index, of } = self;
        serde_json::json!({
            "node": node.to_string(), "epoch": epoch, "from": from, "to": to, "index": index, "of": of,
        })
    }
}

/// The files of the part `path`: itself, its checksums, its trace index. Only the first two are there for sure.
pub fn files_of(path: &str) -> [String; 3] {
    [path.to_owned(), sum_path(path), index::path_of(path)]
}

/// The part that a file belongs to; `None` for files that belong to none.
pub fn ulid_of(path: &str) -> Option<Ulid> {
    let (stem, _) = path.rsplit('/').next()?.split_once('.')?;
    Ulid::from_string(stem).ok()
}

/// The parts whose rows are in one output set of a compaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// Names of the inputs.
    pub ulids: Vec<Ulid>,
    /// Lowest and highest lsn among them.
    pub lsn: [u64; 2],
    /// Place of this part among the outputs, from 0.
    pub index: u32,
    /// How many outputs there are.
    pub of: u32,
}

impl Inputs {
    fn to_json(&self) -> serde_json::Value {
        let Self { ulids, lsn: [from, to], index, of } = self;
        let ulids: Vec<String> = ulids.iter().map(Ulid::to_string).collect();
        serde_json::json!({ "inputs": ulids, "index": index, "of": of, "from": from, "to": to })
    }
}

/// Where the rows of a part come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// From the log: a flush.
    Log(WalRange),
    /// From other parts: a compaction.
    Parts(Inputs),
}

impl Source {
    /// First and last lsn.
    fn lsn(&self) -> [u64; 2] {
        match self {
            Self::Log(wal) => [wal.from, wal.to],
            Self::Parts(inputs) => inputs.lsn,
        }
    }

    /// Key and value of the footer.
    fn metadata(&self) -> (&'static str, String) {
        match self {
            Self::Log(wal) => (SOURCE_KEYS[0], wal.to_json().to_string()),
            Self::Parts(inputs) => (SOURCE_KEYS[1], inputs.to_json().to_string()),
        }
    }
}

/// A footer has one of these.
const SOURCE_KEYS: [&str; 2] = ["wg.wal", "wg.inputs"];

/// The sort rule of rows as they arrived.
pub const ARRIVAL: &str = "arrival";
/// Rows sorted within each row group: as they are flushed, and where compaction takes whole row groups over.
pub const SORTED_GROUPS: &str = "row groups: start_time div 5min, service_name, name, start_time";
/// Rows sorted by compaction (storage.md 9).
pub const SORTED: &str = "start_time div 5min, service_name, name, start_time";

/// What a part is, apart from its rows.
#[derive(Clone, Debug)]
pub struct PartSpec {
    /// Its name; the time in it is the write time.
    pub ulid: Ulid,
    /// 0 or 1.
    pub level: u8,
    /// `YYYY-MM-DDTHH` of the folder.
    pub hour: String,
    /// Its rows are of other hours than the folder's (storage.md 6.1).
    pub stray: bool,
    /// How its rows are sorted: [`ARRIVAL`], [`SORTED_GROUPS`] or [`SORTED`].
    pub sort: &'static str,
    /// Where its rows come from.
    pub source: Source,
}

/// A part in memory, ready to be put.
#[derive(Clone, Debug)]
pub struct EncodedPart {
    /// As the manifest will name it.
    pub entry: PartEntry,
    /// The Parquet file.
    pub file: Bytes,
    /// Its block hashes.
    pub sum: Bytes,
    /// Its trace index.
    pub index: Bytes,
}

/// Why a part could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Bytes on disk are not those that were written (storage.md 12.3).
    #[error("part `{path}` is damaged: {problem}; `weavergen store verify --deep` lists what is affected")]
    Corrupt {
        /// The part.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The rows or the spec cannot become a part.
    #[error("no part was written: {0}")]
    Unfit(String),
    /// An Arrow kernel failed.
    #[error("no part was written: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// The Parquet writer failed.
    #[error("no part was written: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// The object store failed.
    #[error("`{path}`: {source}; the same is tried again")]
    Objects {
        /// What was read or written.
        path: String,
        /// What the object store said.
        source: object_store::Error,
    },
}

impl Error {
    /// What the caller can do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Objects { .. } => Class::Unavailable,
            Self::Corrupt { .. } | Self::Unfit(_) | Self::Arrow(_) | Self::Parquet(_) => Class::Internal,
        }
    }

    fn corrupt(path: &str, problem: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), problem: problem.into() }
    }
}

/// Puts the part, then its `.sum` and trace index, all create-only and durable, and reads the footer back.
///
/// A name that exists with the same bytes counts as put: the try before was cut off after its success. A part is not read
/// for that, only its footer is: it says where every page lies and what the rows add up to.
pub async fn put(objects: &dyn ObjectStore, part: &EncodedPart) -> Result<PartEntry, Error> {
    let entry = &part.entry;
    let footer = usize::try_from(entry.footer_bytes).unwrap_or(usize::MAX);
    let files = [
        (entry.path.clone(), &part.file, footer),
        (sums::path_of(&entry.path), &part.sum, usize::MAX),
        (index::path(entry), &part.index, usize::MAX),
    ];
    for (path, bytes, tail) in files {
        let at = Path::from(path.as_str());
        match objects.put_opts(&at, bytes.clone().into(), PutMode::Create.into()).await {
            Ok(_) => {}
            Err(object_store::Error::AlreadyExists { .. }) => {
                if !ends_as(objects, &path, bytes, tail).await? {
                    return Err(Error::corrupt(&path, "another file has its name"));
                }
            }
            Err(source) => return Err(Error::Objects { path, source }),
        }
    }
    let sum = fetch(objects, &sums::path_of(&entry.path)).await?;
    let sums = sums::Sums::read(&sum, entry)?;
    let blocks = sums.blocks_of(entry.bytes - entry.footer_bytes..entry.bytes);
    let range = sums.span(&blocks);
    let read = objects.get_range(&Path::from(entry.path.as_str()), range.clone()).await;
    let read = read.map_err(|source| Error::Objects { path: entry.path.clone(), source })?;
    sums.check(&entry.path, &read, blocks)?;
    Ok(entry.clone())
}

/// Whether the object `path` is as long as `bytes` and has its last `tail`.
async fn ends_as(objects: &dyn ObjectStore, path: &str, bytes: &Bytes, tail: usize) -> Result<bool, Error> {
    let failed = |source| Error::Objects { path: path.to_owned(), source };
    let at = Path::from(path);
    let (from, len) = (bytes.len().saturating_sub(tail), bytes.len() as u64);
    if objects.head(&at).await.map_err(failed)?.size != len {
        return Ok(false);
    }
    Ok(from == bytes.len() || objects.get_range(&at, from as u64..len).await.map_err(failed)? == bytes[from..])
}

/// Whether an object store's error is one of the local disk.
pub fn is_local(error: &object_store::Error) -> bool {
    matches!(
        error,
        object_store::Error::Generic { store: super::local::STORE, .. } | object_store::Error::JoinError { .. }
    )
}

/// Moves the file `path` to `quarantine/`; one that is not there is fine.
pub async fn put_aside(objects: &dyn ObjectStore, path: &str) -> object_store::Result<()> {
    let name = path.rsplit('/').next().unwrap_or(path);
    match objects.rename(&Path::from(path), &Path::from(format!("quarantine/{name}"))).await {
        Err(object_store::Error::NotFound { .. }) => Ok(()),
        moved => moved,
    }
}

async fn fetch(objects: &dyn ObjectStore, path: &str) -> Result<Bytes, Error> {
    let got = async { objects.get(&Path::from(path)).await?.bytes().await }.await;
    got.map_err(|source| Error::Objects { path: path.to_owned(), source })
}

/// A live part.
#[derive(Debug)]
pub struct Part {
    /// What the manifest says of it.
    pub entry: PartEntry,
    footer: OnceCell<(Keys, SchemaRef)>,
}

impl Part {
    /// The part that `entry` names; nothing is read yet.
    pub fn new(entry: PartEntry) -> Self {
        Self { entry, footer: OnceCell::new() }
    }

    /// The attribute keys of the part; read from its footer at the first call. `objects` is a [`PartStore`].
    pub async fn keys(&self, objects: &dyn ObjectStore) -> Result<&Keys, Error> {
        self.footer.get_or_try_init(|| self.read_footer(objects)).await.map(|(keys, _)| keys)
    }

    /// The attribute keys of the part, if they have been read.
    pub fn known_keys(&self) -> Option<&Keys> {
        self.footer.get().map(|(keys, _)| keys)
    }

    /// The columns of the file, of which those of the promoted texts `words` (level and key) are read with their
    /// dictionaries; `None` if the keys have not been read or none of `words` is promoted text.
    pub fn schema_with_words(&self, words: &[(Level, String)]) -> Option<SchemaRef> {
        let (_, file) = self.footer.get()?;
        let mut fields = file.fields().to_vec();
        let mut has_any = false;
        for (level, key) in words {
            let Some((at, field)) = file.column_with_name(&columns::promoted_name(*level, key)) else { continue };
            if *field.data_type() == DataType::Utf8View {
                fields[at] = Arc::new(field.clone().with_data_type(schema::word()));
                has_any = true;
            }
        }
        has_any.then(|| Arc::new(Schema::new_with_metadata(fields, file.metadata().clone())))
    }

    async fn read_footer(&self, objects: &dyn ObjectStore) -> Result<(Keys, SchemaRef), Error> {
        let path = &self.entry.path;
        let metadata = footer(objects, &self.entry).await?;
        let text = metadata_text(&metadata, keys::METADATA_KEY);
        let text = text.ok_or_else(|| Error::corrupt(path, "its footer has no `wg.keys`"))?;
        let keys = serde_json::from_str(text).map_err(|e| Error::corrupt(path, format!("`wg.keys`: {e}")))?;
        let file = metadata.file_metadata();
        let schema = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata());
        Ok((keys, Arc::new(schema.map_err(|error| Error::corrupt(path, error.to_string()))?)))
    }
}

/// The footer of the part that `entry` names. `objects` is a [`PartStore`], so its bytes are checked.
pub async fn footer(objects: &dyn ObjectStore, entry: &PartEntry) -> Result<ParquetMetaData, Error> {
    let path = &entry.path;
    let tail = entry.bytes.saturating_sub(entry.footer_bytes)..entry.bytes;
    let footer = objects.get_range(&Path::from(path.as_str()), tail).await;
    let footer = footer.map_err(|source| Error::Objects { path: path.clone(), source })?;
    decode_footer(path, &footer)
}

/// `footer` is metadata and trailer.
fn decode_footer(path: &str, footer: &[u8]) -> Result<ParquetMetaData, Error> {
    const TRAILER: usize = 8;
    let metadata = footer.len().checked_sub(TRAILER).map(|end| &footer[..end]);
    let metadata = metadata.ok_or_else(|| Error::corrupt(path, "it has no footer"))?;
    ParquetMetaDataReader::decode_metadata(metadata).map_err(|e| Error::corrupt(path, e.to_string()))
}

/// How the rows of the part with this footer are sorted.
fn sort_of(metadata: &ParquetMetaData) -> &'static str {
    let format = metadata_text(metadata, "wg.format").and_then(|text| serde_json::from_str(text).ok());
    let format: serde_json::Value = format.unwrap_or_default();
    [SORTED_GROUPS, SORTED].into_iter().find(|sort| format["sort"] == *sort).unwrap_or(ARRIVAL)
}

/// The value of `key` among the key-values of a footer.
fn metadata_text<'a>(metadata: &'a ParquetMetaData, key: &str) -> Option<&'a str> {
    let pairs = metadata.file_metadata().key_value_metadata().into_iter().flatten();
    pairs.filter(|kv| kv.key == key).find_map(|kv| kv.value.as_deref())
}

/// `wg.stats` of rows with the columns of a file.
#[cfg(test)]
pub fn stats_of(groups: &[arrow::array::RecordBatch]) -> serde_json::Value {
    let mut facts = encode::Facts::default();
    groups.iter().for_each(|group| facts.add(group));
    facts.stats()
}

/// The `.sum` of `file`.
#[cfg(test)]
pub fn sum_of(file: &[u8]) -> Vec<u8> {
    sums::of(file)
}

#[cfg(test)]
mod tests;
