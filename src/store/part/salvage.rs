//! What can still be read of a damaged part (storage.md 12.3).
//!
//! Duty: [`salvage`], a new part of the row groups that are whole. Guarantee: a row group goes into it only if all its
//! blocks have their checksums and all its pages decode, with all its rows in their order; what is left out is counted.
//! Left to others: whether the part is damaged at its source ([`super::reread`]), putting and naming the new one.

use std::sync::Arc;

use arrow::compute::concat_batches;
use object_store::ObjectStore;
use ulid::Ulid;

use super::{ARRIVAL, EncodedPart, Error, Inputs, Opened, PartSpec, PartStore, Source, Writer};
use crate::store::Config;
use crate::store::manifest::PartEntry;

/// Rows of a damaged part that could be read, and how many could not.
#[derive(Debug)]
pub struct Salvaged<P = EncodedPart> {
    /// The rows that were read, to be put; `None` without any.
    pub part: Option<P>,
    /// The others.
    pub lost: u64,
}

/// Reads what is whole of the part `entry` into one with the name `ulid`. It is held in memory.
///
/// Errors: those of the object store and of the writer, and want of memory; damage is none.
pub async fn salvage(
    objects: Arc<dyn ObjectStore>,
    entry: &PartEntry,
    ulid: Ulid,
    config: &Config,
) -> Result<Salvaged, Error> {
    let reads = PartStore::new(objects);
    reads.register(entry);
    let Some(opened) = whole(Opened::open(Arc::new(reads), entry).await)? else {
        return Ok(Salvaged { part: None, lost: entry.rows });
    };
    let mut writer = Writer::try_new(opened.promotion().clone(), config)?;
    let schema = opened.promotion().schema();
    for (group, rows) in opened.group_rows().enumerate() {
        let read = async {
            let mut stream = opened.rows(vec![group], None, rows)?;
            let mut batches = Vec::new();
            while let Some(batch) = stream.next().await? {
                batches.push(batch);
            }
            Ok(concat_batches(&schema, &batches)?)
        };
        if let Some(batch) = whole(read.await)?.filter(|batch| batch.num_rows() == rows) {
            writer.write(&batch)?;
        }
    }
    let lost = entry.rows.saturating_sub(writer.rows());
    if writer.rows() == 0 {
        return Ok(Salvaged { part: None, lost });
    }
    let was = super::ulid_of(&entry.path).into_iter().collect();
    let spec = PartSpec {
        ulid,
        level: entry.level,
        hour: entry.hour.clone(),
        stray: entry.stray,
        sort: if entry.level == 0 { ARRIVAL } else { super::SORTED },
        source: Source::Parts(Inputs { ulids: was, lsn: entry.lsn, index: 0, of: 1 }),
    };
    Ok(Salvaged { part: Some(writer.finish(&spec)?), lost })
}

/// `None` for what is damaged or gone. Whatever else went wrong, for want of memory perhaps, proves nothing of the rows.
fn whole<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(Error::Corrupt { .. } | Error::Objects { source: object_store::Error::NotFound { .. }, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use arrow::error::ArrowError;

    use super::*;

    #[test]
    fn only_what_proves_damage_leaves_rows_out() {
        assert!(whole::<()>(Err(Error::corrupt("spans/x", "a block"))).unwrap().is_none());
        let memory = Error::Arrow(ArrowError::MemoryError("no".to_owned()));
        let failed = object_store::Error::Generic { store: "x", source: "EIO".into() };
        let failed = Error::Objects { path: "spans/x".to_owned(), source: failed };
        for error in [memory, failed, Error::Unfit("x".to_owned())] {
            let told = error.to_string();
            assert_eq!(whole::<()>(Err(error)).unwrap_err().to_string(), told);
        }
    }
}
