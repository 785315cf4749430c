//! A second reading of a part, from its source (storage.md 12.3).
//!
//! Duty: [`reread`]. Guarantee: the verdict is that of the hash of all bytes, of which [`READ`] are in memory at once; a
//! `.sum` that is damaged or gone beside a whole part is written anew. Left to others: which parts are suspected, and what
//! becomes of a damaged one (`suspect.rs`, `repair.rs`).

use std::hash::Hasher as _;

use object_store::path::Path;
use object_store::{Error as ObjectError, ObjectStore, ObjectStoreExt as _};
use twox_hash::XxHash3_64;

use super::{Error, fetch, sums};
use crate::store::local::is_unreadable;
use crate::store::manifest::{self, PartEntry};

/// Bytes of one read: whole blocks, and so few that no share of memory counts them.
pub(super) const READ: u64 = 16 * sums::BLOCK;

/// What a second reading of a part says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reread {
    /// It is the file that was written, and so is its `.sum`, by now.
    Whole,
    /// It is not, as half a sentence.
    Damaged(String),
}

/// Reads the part `entry` again, all of it, piece by piece.
///
/// Errors: what the object store says, bytes that the disk cannot give among it.
pub async fn reread(objects: &dyn ObjectStore, entry: &PartEntry) -> Result<Reread, Error> {
    let damaged = |problem: &str| Ok(Reread::Damaged(problem.to_owned()));
    let failed = |source| match source {
        ObjectError::NotFound { .. } => damaged("the file is missing"),
        source => Err(Error::Objects { path: entry.path.clone(), source }),
    };
    let at = Path::from(entry.path.as_str());
    match objects.head(&at).await {
        Ok(meta) if meta.size == entry.bytes => {}
        Ok(_) => return damaged("its bytes are not those that were written"),
        Err(source) => return failed(source),
    }
    let (mut whole, mut sum, mut from) = (XxHash3_64::default(), Vec::new(), 0);
    while from < entry.bytes {
        let to = entry.bytes.min(from + READ);
        match objects.get_range(&at, from..to).await {
            Ok(bytes) => {
                whole.write(&bytes);
                sum.extend(sums::of(&bytes));
            }
            Err(source) => return failed(source),
        }
        from = to;
    }
    if format!("{:016x}", whole.finish()) != entry.file_xxh3 {
        return damaged("its bytes are not those that were written");
    }
    let path = sums::path_of(&entry.path);
    match fetch(objects, &path).await {
        Err(error) if !is_missing(&error) && !is_unreadable(&error) => return Err(error),
        Ok(there) if manifest::hash(&there) == entry.sum_xxh3 => {}
        _ if manifest::hash(&sum) != entry.sum_xxh3 => {
            return damaged("its checksum file is not the one that was written");
        }
        _ => {
            let put = objects.put(&Path::from(path.as_str()), sum.into()).await;
            put.map_err(|source| Error::Objects { path, source })?;
        }
    }
    Ok(Reread::Whole)
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Objects { source: ObjectError::NotFound { .. }, .. })
}
