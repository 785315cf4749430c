//! What a part says of itself, without a manifest (storage.md 7.3, 8).
//!
//! Duty: [`source`], from the footer alone, and [`read_back`], the entry that the manifest would have. Guarantee: an entry
//! comes back only of a file that is whole: every block has its checksum, every page decodes, and the rows are those that
//! the footer counts. Left to others: which parts are live (`manifest::footers`).

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::file::metadata::ParquetMetaData;
use serde::de::DeserializeOwned;
use ulid::Ulid;

use super::check::{self, Promoted};
use super::encode::{Facts, STATS_KEY};
use super::{ARRIVAL, Error, Inputs, PartSpec, Source, WalRange, decode_footer, fetch, metadata_text, sums};
use crate::store::manifest::PartEntry;

const TRAILER: u64 = 8;

/// Where the rows of the part `path` come from. Its bytes are not checked.
pub async fn source(objects: &dyn ObjectStore, path: &str) -> Result<Source, Error> {
    let at = Path::from(path);
    let told = |source| match source {
        object_store::Error::NotFound { .. } => Error::corrupt(path, "the file is missing"),
        source => Error::Objects { path: path.to_owned(), source },
    };
    let bytes = objects.head(&at).await.map_err(told)?.size;
    let trailer = bytes.checked_sub(TRAILER).ok_or_else(|| Error::corrupt(path, "it has no footer"))?;
    let length = objects.get_range(&at, trailer..bytes).await.map_err(told)?;
    let length = length.get(..4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes);
    let footer = trailer.checked_sub(length.into()).ok_or_else(|| Error::corrupt(path, "it has no footer"))?;
    let footer = objects.get_range(&at, footer..bytes).await.map_err(told)?;
    source_of(path, &decode_footer(path, &footer)?)
}

/// The entry of the part `path`.
///
/// Errors: [`Error::Corrupt`] where the file or its `.sum` is missing or not whole.
pub async fn read_back(objects: &dyn ObjectStore, path: &str) -> Result<PartEntry, Error> {
    let missing = |error| match error {
        Error::Objects { path: missing, source: object_store::Error::NotFound { .. } } => {
            Error::corrupt(path, format!("`{missing}` is missing"))
        }
        other => other,
    };
    let sum = fetch(objects, &sums::path_of(path)).await.map_err(missing)?;
    let file = fetch(objects, path).await.map_err(missing)?;
    let of_thread = path.to_owned();
    let entry = tokio::task::spawn_blocking(move || entry(&of_thread, &file, &sum)).await;
    entry.map_err(|e| Error::corrupt(path, format!("decoding it failed: {e}")))?
}

fn entry(path: &str, file: &Bytes, sum: &Bytes) -> Result<PartEntry, Error> {
    if sums::of(file) != **sum {
        return Err(Error::corrupt(path, "its blocks do not have their checksums"));
    }
    let corrupt = |what: String| Error::corrupt(path, what);
    let loaded = ArrowReaderMetadata::load(file, Default::default()).map_err(|e| corrupt(e.to_string()))?;
    let metadata = loaded.metadata();
    let mut facts = Facts::default();
    let mut promoted = Promoted::of(metadata);
    for group in 0..metadata.num_row_groups() {
        facts.add(&check::read_group(file, &loaded, group, &mut promoted).map_err(corrupt)?);
    }
    let claimed: serde_json::Value = json(path, metadata, STATS_KEY)?;
    if facts.stats() != claimed {
        return Err(corrupt(format!("its rows are not those that `{STATS_KEY}` counts")));
    }
    let format: Format = json(path, metadata, "wg.format")?;
    let ulid = Ulid::from_string(&format.ulid).map_err(|e| corrupt(format!("`wg.format`: {e}")))?;
    let source = source_of(path, metadata)?;
    // The order of the rows is no part of an entry.
    let spec = PartSpec { ulid, level: format.level, hour: format.hour, stray: format.stray, sort: ARRIVAL, source };
    let entry = facts.entry(&spec, file, sum);
    match entry.path == path {
        true => Ok(entry),
        false => Err(corrupt(format!("it was written as `{}`", entry.path))),
    }
}

/// `wg.format`, as far as it is needed here.
#[derive(serde::Deserialize)]
struct Format {
    level: u8,
    ulid: String,
    hour: String,
    #[serde(default)]
    stray: bool,
}

/// `wg.wal`
#[derive(serde::Deserialize)]
struct Wal {
    node: String,
    epoch: u64,
    from: u64,
    to: u64,
    index: u32,
    of: u32,
}

/// `wg.inputs`
#[derive(serde::Deserialize)]
struct Of {
    inputs: Vec<String>,
    index: u32,
    of: u32,
    from: u64,
    to: u64,
}

fn source_of(path: &str, metadata: &ParquetMetaData) -> Result<Source, Error> {
    let ulid = |text: &String| Ulid::from_string(text).map_err(|e| Error::corrupt(path, format!("`{text}`: {e}")));
    if metadata_text(metadata, "wg.inputs").is_some() {
        let Of { inputs, index, of, from, to } = json(path, metadata, "wg.inputs")?;
        let ulids = inputs.iter().map(ulid).collect::<Result<_, _>>()?;
        return Ok(Source::Parts(Inputs { ulids, lsn: [from, to], index, of }));
    }
    let Wal { node, epoch, from, to, index, of } = json(path, metadata, "wg.wal")?;
    Ok(Source::Log(WalRange { node: ulid(&node)?, epoch, from, to, index, of }))
}

fn json<T: DeserializeOwned>(path: &str, metadata: &ParquetMetaData, key: &str) -> Result<T, Error> {
    let text =
        metadata_text(metadata, key).ok_or_else(|| Error::corrupt(path, format!("its footer has no `{key}`")))?;
    serde_json::from_str(text).map_err(|e| Error::corrupt(path, format!("`{key}`: {e}")))
}
