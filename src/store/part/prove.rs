//! A part that was put, read back before the manifest names it (storage.md 6, `verify_writes`).
//!
//! Duty: [`put_verified`]. Guarantee: with `verify_writes: pages` one page of every column was read from where the part
//! is and decoded; the footer's blocks were compared with their checksums by [`super::put`] in any case. Left to others:
//! writing it again under another name.

use std::sync::Arc;

use object_store::ObjectStore;

use super::{EncodedPart, Error, Opened, PartStore, put};
use crate::store::Config;
use crate::store::config::VerifyWrites;
use crate::store::manifest::PartEntry;

/// Rows that are decoded: fewer than a page of a flat column has.
const ROWS: usize = 1024;

/// Puts `part` as [`super::put`] does, and proves it as `config` says.
///
/// Errors: those of [`super::put`]; [`Error::Corrupt`] if a page cannot be decoded.
pub async fn put_verified(
    objects: &Arc<dyn ObjectStore>,
    part: &EncodedPart,
    config: &Config,
) -> Result<PartEntry, Error> {
    let entry = put(objects.as_ref(), part).await?;
    if config.verify_writes == VerifyWrites::Pages {
        let reads = PartStore::new(objects.clone());
        reads.register(&entry);
        let opened = Opened::open(Arc::new(reads), &entry).await?;
        let first = opened.rows(vec![0], None, ROWS)?.next().await?;
        let wanted = opened.group_rows().next().unwrap_or(0).min(ROWS);
        if first.map_or(0, |rows| rows.num_rows()) != wanted {
            return Err(Error::corrupt(&entry.path, "its first pages do not have the rows that were written"));
        }
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use ulid::Ulid;

    use super::super::{ARRIVAL, PartSpec, Source, WalRange, encode, sums};
    use super::*;
    use crate::store::{manifest, samples};

    #[tokio::test]
    async fn with_pages_a_page_that_does_not_decode_is_found_before_the_commit() {
        let ulid = Ulid::from_parts(1_700_000_000_000, 7);
        let wal = WalRange { node: ulid, epoch: 1, from: 1, to: 9, index: 0, of: 1 };
        let hour = "2023-11-14T22".to_owned();
        let spec = PartSpec { ulid, level: 0, hour, stray: false, sort: ARRIVAL, source: Source::Log(wal) };
        let config = Config::at("unused");
        let good = encode(&[samples::batch(3, 3_000).with_ingest_time(1_000)], &spec, &config).unwrap();
        // What a defect of an encoder leaves: checksums that fit, and a first page that nobody can read.
        let mut file = good.file.to_vec();
        file[4..40].fill(0xff);
        let sum = sums::of(&file);
        let (file_xxh3, sum_xxh3) = (manifest::hash(&file), manifest::hash(&sum));
        let entry = PartEntry { file_xxh3, sum_xxh3, ..good.entry.clone() };
        let bad = EncodedPart { entry, file: file.into(), sum: sum.into(), index: good.index.clone() };
        let pages = Config { verify_writes: VerifyWrites::Pages, ..config.clone() };
        let put = async |part: &EncodedPart, config: &Config| {
            let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            put_verified(&objects, part, config).await.map(drop)
        };
        put(&good, &pages).await.unwrap();
        put(&bad, &config).await.unwrap();
        let error = put(&bad, &pages).await.unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    }
}
