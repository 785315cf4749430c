//! Whether the index of a part, or of a day, is what was written.
//!
//! Duty: [`check`] and [`check_day`], for `weavergen store verify`. Guarantee: without a problem every block and the
//! footer have their checksums, and the index is that of its part. Left to others: whether it says what the rows say,
//! which only making it again tells.

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::fences::{Fences, footer_of};
use super::{Damage, block, path};
use crate::store::manifest::PartEntry;

/// What is wrong with the index of `part` in `objects`, which are rooted at the dataset's folder. A part that was
/// written without an index needs none.
pub async fn check(objects: &dyn ObjectStore, part: &PartEntry) -> Option<String> {
    let read = async { objects.get(&Path::from(path(part))).await?.bytes().await }.await;
    match read {
        Ok(file) => {
            whole(&file, |footer, bytes| Fences::read(footer, bytes, part)).err().map(|damage| damage.to_string())
        }
        Err(object_store::Error::NotFound { .. }) if part.index.is_none() => None,
        Err(object_store::Error::NotFound { .. }) => Some("the file is missing".to_owned()),
        Err(error) => Some(format!("it cannot be read: {error}")),
    }
}

/// The same of the index of a day, the file `path`.
pub async fn check_day(objects: &dyn ObjectStore, path: &str) -> Option<String> {
    let read = async { objects.get(&Path::from(path)).await?.bytes().await }.await;
    match read {
        Ok(file) => whole(&file, Fences::read_day).err().map(|damage| damage.to_string()),
        // Its day has left meanwhile.
        Err(object_store::Error::NotFound { .. }) => None,
        Err(error) => Some(format!("it cannot be read: {error}")),
    }
}

fn whole(file: &[u8], read: impl FnOnce(&[u8], u64) -> Result<Fences, Damage>) -> Result<(), Damage> {
    let fences = read(footer_of(file)?, file.len() as u64)?;
    for at in 0..fences.len() {
        let bytes = fences.bytes_of(at);
        block::read(&file[bytes.start as usize..bytes.end as usize], fences.seed, fences.first(at), |_, _| {})?;
    }
    Ok(())
}
