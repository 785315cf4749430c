//! What can still be read of a damaged part (storage.md 12.3).
//!
//! Duty: [`salvage`], a new part of the row groups that are whole. Guarantee: a row group goes into it only if all its
//! blocks have their checksums and all its pages decode, with all its rows in their order; what is left out is counted. It
//! is read in batches, and may become several groups, so that one with more text than an array can hold is not taken for
//! damaged. Left to others: whether the part is damaged at its source ([`super::reread`]), putting and naming the new one.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use object_store::ObjectStore;
use ulid::Ulid;

use super::{EncodedPart, Error, Inputs, Opened, PartSpec, PartStore, Source, Writer};
use crate::store::Config;
use crate::store::local::is_unreadable;
use crate::store::manifest::PartEntry;

/// Rows that are read at once at most.
const BATCH_ROWS: usize = 8192;
/// Arrow bytes of a row group that is written, about; twice as many are in memory. Far below the 2 GiB that the offsets of
/// an array reach.
const GROUP_BYTES: usize = 16 << 20;
/// By so much batches shrink until their text fits.
const SHRINK: usize = 32;

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
    salvage_by(objects, entry, ulid, config, GROUP_BYTES).await
}

/// The same, with row groups of about `group_bytes`.
async fn salvage_by(
    objects: Arc<dyn ObjectStore>,
    entry: &PartEntry,
    ulid: Ulid,
    config: &Config,
    group_bytes: usize,
) -> Result<Salvaged, Error> {
    let reads = PartStore::new(objects);
    reads.register(entry);
    let Some(opened) = whole(Opened::open(Arc::new(reads), entry).await)? else {
        return Ok(Salvaged { part: None, lost: entry.rows });
    };
    let mut writer = Writer::try_new(opened.promotion().clone(), config)?;
    let by_bytes = group_bytes / usize::try_from(opened.row_bytes()).unwrap_or(usize::MAX).max(1);
    let batch_rows = by_bytes.clamp(1, BATCH_ROWS);
    for (group, rows) in opened.group_rows().enumerate() {
        if let Some(batch_rows) = readable(&opened, group, rows, batch_rows).await? {
            copy(&opened, group, batch_rows, group_bytes, &mut writer).await?;
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
        sort: opened.sort(),
        source: Source::Parts(Inputs { ulids: was, lsn: entry.lsn, index: 0, of: 1 }),
    };
    Ok(Salvaged { part: Some(writer.finish(&spec)?), lost })
}

/// How many rows at a time, at most `most`, all `rows` of `group` can be read; `None` if they cannot.
async fn readable(opened: &Opened, group: usize, rows: usize, most: usize) -> Result<Option<usize>, Error> {
    let mut batch_rows = most;
    loop {
        let read = async {
            let (mut stream, mut found) = (opened.rows(vec![group], None, batch_rows)?, 0);
            while let Some(batch) = stream.next().await? {
                found += batch.num_rows();
            }
            Ok(found)
        };
        match whole(read.await)? {
            Some(found) if found == rows => return Ok(Some(batch_rows)),
            // The reader tells text that does not fit into an array as it tells damage.
            _ if batch_rows > 1 => batch_rows = (batch_rows / SHRINK).max(1),
            _ => return Ok(None),
        }
    }
}

/// Writes the rows of `group`, which was found readable; should it have decayed since, those before the damage.
async fn copy(
    opened: &Opened,
    group: usize,
    batch_rows: usize,
    group_bytes: usize,
    writer: &mut Writer,
) -> Result<(), Error> {
    let mut stream = opened.rows(vec![group], None, batch_rows)?;
    let (mut pending, mut bytes) = (Vec::new(), 0);
    while let Some(batch) = whole(stream.next().await)?.flatten() {
        let size = batch.get_array_memory_size();
        if bytes > 0 && bytes + size > group_bytes {
            write(writer, &mut pending)?;
            bytes = 0;
        }
        bytes += size;
        pending.push(batch);
    }
    write(writer, &mut pending)
}

fn write(writer: &mut Writer, pending: &mut Vec<RecordBatch>) -> Result<(), Error> {
    if let Some(first) = pending.first() {
        writer.write(&concat_batches(&first.schema(), pending.iter())?)?;
    }
    pending.clear();
    Ok(())
}

/// `None` for what is damaged, gone, or on a bad sector. Whatever else went wrong, for want of memory perhaps, proves
/// nothing of the rows.
fn whole<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(Error::Corrupt { .. } | Error::Objects { source: object_store::Error::NotFound { .. }, .. }) => Ok(None),
        Err(error) if is_unreadable(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ARRIVAL;
    use arrow::error::ArrowError;
    use object_store::memory::InMemory;

    use super::*;
    use crate::store::part::{WalRange, encode, put};
    use crate::store::samples;

    #[test]
    fn only_what_proves_damage_leaves_rows_out() {
        assert!(whole::<()>(Err(Error::corrupt("spans/x", "a block"))).unwrap().is_none());
        let of_disk = Box::new(std::io::Error::from_raw_os_error(5));
        let of_disk = object_store::Error::Generic { store: "SyncedLocal", source: of_disk };
        // As a part's reader tells it.
        let of_part = Error::Objects { path: "spans/x".to_owned(), source: of_disk };
        let of_reader = object_store::Error::Generic { store: "PartStore", source: Box::new(of_part) };
        let unread = Error::Objects { path: "spans/x".to_owned(), source: of_reader };
        assert!(whole::<()>(Err(unread)).unwrap().is_none());
        let memory = Error::Arrow(ArrowError::MemoryError("no".to_owned()));
        let failed = object_store::Error::Generic { store: "x", source: "EIO".into() };
        let failed = Error::Objects { path: "spans/x".to_owned(), source: failed };
        for error in [memory, failed, Error::Unfit("x".to_owned())] {
            let told = error.to_string();
            assert_eq!(whole::<()>(Err(error)).unwrap_err().to_string(), told);
        }
    }

    #[tokio::test]
    async fn a_row_group_that_is_too_large_comes_back_in_several_with_all_its_rows_in_order() {
        const ROWS: i64 = 300;
        let starts: Vec<i64> = (0..ROWS).map(|row| samples::NOW_NS - row).collect();
        let ulid = |n| Ulid::from_parts(1_700_000_000_000, n);
        let wal = WalRange { node: ulid(1), epoch: 1, from: 1, to: 1, index: 0, of: 1 };
        let (hour, source) = ("2023-11-14T22".to_owned(), Source::Log(wal));
        let spec = PartSpec { ulid: ulid(2), level: 0, hour, stray: false, sort: ARRIVAL, source };
        let config = Config::at("unused");
        let rows = samples::varied(7, &starts, samples::NOW_NS / 1000);
        let damaged = encode(&[rows], &spec, &config).unwrap();
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        put(objects.as_ref(), &damaged).await.unwrap();
        let read = async |entry: &PartEntry| {
            let reads = PartStore::new(objects.clone());
            reads.register(entry);
            let opened = Opened::open(Arc::new(reads), entry).await.unwrap();
            let mut stream = opened.rows((0..entry.row_groups.len()).collect(), None, 100).unwrap();
            let mut batches = Vec::new();
            while let Some(batch) = stream.next().await.unwrap() {
                batches.push(batch);
            }
            samples::texts(&batches, &[])
        };
        let before = read(&damaged.entry).await;
        assert_eq!(before.len(), ROWS as usize);
        let groups_of = [(GROUP_BYTES, 1..2), (20 << 10, 2..ROWS as usize), (1, ROWS as usize..ROWS as usize + 1)];
        for (at, (group_bytes, groups)) in groups_of.into_iter().enumerate() {
            let salvaged =
                salvage_by(objects.clone(), &damaged.entry, ulid(3 + at as u128), &config, group_bytes).await;
            let Salvaged { part: Some(part), lost: 0 } = salvaged.unwrap() else { panic!("all rows are whole") };
            put(objects.as_ref(), &part).await.unwrap();
            assert!(groups.contains(&part.entry.row_groups.len()), "{}: {groups:?}", part.entry.row_groups.len());
            assert_eq!(read(&part.entry).await, before, "{group_bytes}");
        }
    }
}
