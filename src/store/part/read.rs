//! Rows of a part, for those who write them into another one.
//!
//! Duty: [`Opened`], a part whose footer was read, and streams of its rows. Guarantee: every byte was checked against
//! the part's block hashes; columns come as the file has them, all text with dictionaries, or in the form of another
//! part ([`Opened::reshape`]); an error names the part. Left to others: SQL over parts (`query`), which rows are wanted.

use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::schema::types::SchemaDescriptor;

use super::columns::{file_schema, group_schema};
use super::keys::{self, Keys};
use super::promote::Promotion;
use super::reshape::reshape;
use super::totals::Totals;
use super::{Error, footer, metadata_text, sort_of};
use crate::store::manifest::PartEntry;

/// A part whose footer was read.
#[derive(Debug)]
pub struct Opened {
    /// What the manifest says of it.
    pub entry: PartEntry,
    /// Its attribute keys.
    pub keys: Keys,
    /// What its footer claims.
    pub totals: Totals,
    promotion: Promotion,
    bytes: PartBytes,
    metadata: ArrowReaderMetadata,
}

/// The bytes of a part as the Parquet reader asks for them.
#[derive(Clone, Debug)]
struct PartBytes {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    metadata: Arc<ParquetMetaData>,
}

impl AsyncFileReader for PartBytes {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move { self.objects.get_range(&self.path, range).await.map_err(|e| ParquetError::External(Box::new(e))) }
            .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move { self.objects.get_ranges(&self.path, &ranges).await.map_err(|e| ParquetError::External(Box::new(e))) }
            .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        let metadata = self.metadata.clone();
        async move { Ok(metadata) }.boxed()
    }
}

/// Rows of a part, batch by batch.
#[derive(Debug)]
pub struct RowStream<'a> {
    part: &'a Opened,
    stream: ParquetRecordBatchStream<PartBytes>,
}

impl Opened {
    /// Reads the footer of the part `entry`; `objects` is a [`super::PartStore`].
    pub async fn open(objects: Arc<dyn ObjectStore>, entry: &PartEntry) -> Result<Self, Error> {
        let path = &entry.path;
        let of_file = match footer(&*objects, entry).await {
            Err(Error::Objects { source, .. }) => Err(unread(path, ParquetError::External(Box::new(source)))),
            footer => footer.map(Arc::new),
        }?;
        let bytes = PartBytes { objects, path: Path::from(path.as_str()), metadata: of_file.clone() };
        let loaded = ArrowReaderMetadata::try_new(of_file, ArrowReaderOptions::new());
        let metadata = loaded.map_err(|error| unread(path, error))?;
        let text = metadata_text(metadata.metadata(), keys::METADATA_KEY);
        let text = text.ok_or_else(|| Error::corrupt(path, "its footer has no `wg.keys`"))?;
        let keys: Keys = serde_json::from_str(text).map_err(|e| Error::corrupt(path, format!("`wg.keys`: {e}")))?;
        let totals = Totals::claimed(path, metadata.metadata(), &keys)?;
        let promotion = Promotion::of_file(&keys, metadata.schema());
        if metadata.schema().fields() != file_schema(&promotion.0).fields() {
            return Err(Error::corrupt(path, "its columns are not those that `wg.keys` and the span schema name"));
        }
        if metadata.metadata().num_row_groups() != entry.row_groups.len() {
            return Err(Error::corrupt(path, "it has another number of row groups than the manifest says"));
        }
        // What has a dictionary in the file keeps it.
        let options = ArrowReaderOptions::new().with_schema(group_schema(&promotion.0));
        let metadata = ArrowReaderMetadata::try_new(metadata.metadata().clone(), options);
        let metadata = metadata.map_err(|error| unread(path, error))?;
        Ok(Self { entry: entry.clone(), keys, totals, promotion, bytes, metadata })
    }

    /// The columns its file has besides the stored ones.
    pub fn promotion(&self) -> &Promotion {
        &self.promotion
    }

    /// How its columns are read.
    pub(super) fn metadata(&self) -> &ArrowReaderMetadata {
        &self.metadata
    }

    /// How its rows are sorted.
    pub fn sort(&self) -> &'static str {
        sort_of(self.metadata.metadata())
    }

    /// Bytes that a row takes in the file once decompressed, about.
    pub fn row_bytes(&self) -> u64 {
        let groups = self.metadata.metadata().row_groups();
        let bytes: i64 = groups.iter().map(RowGroupMetaData::total_byte_size).sum();
        u64::try_from(bytes).unwrap_or(0) / self.entry.rows.max(1)
    }

    /// Rows of each row group.
    pub fn group_rows(&self) -> impl Iterator<Item = usize> {
        self.metadata.metadata().row_groups().iter().map(|group| usize::try_from(group.num_rows()).unwrap_or(0))
    }

    /// Numbers of the row groups with start times in `first..=last`, ns.
    pub fn groups_in(&self, first: i64, last: i64) -> Vec<usize> {
        let groups = self.entry.row_groups.iter().enumerate();
        groups.filter(|(_, group)| group.start[0] <= last && group.start[1] >= first).map(|(at, _)| at).collect()
    }

    /// All bytes of the file.
    pub(super) async fn fetch(&self) -> Result<Bytes, Error> {
        let read = self.bytes.objects.get_range(&self.bytes.path, 0..self.entry.bytes).await;
        read.map_err(|error| unread(&self.entry.path, ParquetError::External(Box::new(error))))
    }

    /// The rows of `groups`, `batch_rows` at a time, in the file's order; of all columns, or of those named, which may be
    /// leaves of lists (`attributes.list.item.key`).
    pub fn rows(
        &self,
        groups: Vec<usize>,
        columns: Option<&[&str]>,
        batch_rows: usize,
    ) -> Result<RowStream<'_>, Error> {
        let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(self.bytes.clone(), self.metadata.clone());
        let mask = match columns {
            Some(names) => mask(builder.parquet_schema(), names),
            None => ProjectionMask::all(),
        };
        let builder = builder.with_row_groups(groups).with_projection(mask).with_batch_size(batch_rows);
        let stream = builder.build().map_err(|error| unread(&self.entry.path, error))?;
        Ok(RowStream { part: self, stream })
    }

    /// Rows of [`Opened::rows`], all columns, in the form of a part with the promotion `to`, whose columns are
    /// `schema`.
    pub fn reshape(&self, batch: &RecordBatch, to: &Promotion, schema: &SchemaRef) -> Result<RecordBatch, Error> {
        reshape(batch, &self.promotion, to, schema)
    }
}

impl RowStream<'_> {
    /// The next rows; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        self.stream.try_next().await.map_err(|error| unread(&self.part.entry.path, error))
    }
}

/// The columns `names`. Names of promoted columns have dots, which the reader's own lookup takes for levels.
pub(super) fn mask(schema: &SchemaDescriptor, names: &[&str]) -> ProjectionMask {
    let is_wanted = |leaf: &usize| {
        let path = schema.column(*leaf).path().parts().to_vec();
        names.iter().any(|name| path[0] == *name || (path.len() > 1 && path.join(".") == *name))
    };
    ProjectionMask::leaves(schema, (0..schema.num_columns()).filter(is_wanted))
}

/// Damage if the part store found it or the pages cannot be decoded; else the object store's failure, to be tried
/// again.
pub(super) fn unread(path: &str, error: ParquetError) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(at) = cause {
        if let Some(Error::Corrupt { problem, .. }) = at.downcast_ref::<Error>() {
            return Error::corrupt(path, problem.clone());
        }
        cause = at.source();
    }
    match error {
        ParquetError::External(source) => match source.downcast::<object_store::Error>() {
            Ok(source) => Error::Objects { path: path.to_owned(), source: *source },
            Err(other) if is_of_machine(&*other) => {
                let source = object_store::Error::Generic { store: "decoder", source: other };
                Error::Objects { path: path.to_owned(), source }
            }
            Err(other) => Error::corrupt(path, other.to_string()),
        },
        other => Error::corrupt(path, other.to_string()),
    }
}

/// Whether a decoder failed for want of something, and not because of the bytes.
fn is_of_machine(error: &(dyn std::error::Error + 'static)) -> bool {
    let of_io = |error: &std::io::Error| error.raw_os_error().is_some() || error.kind() == ErrorKind::OutOfMemory;
    // zstd tells its want of memory in words alone.
    error.downcast_ref::<std::io::Error>().is_some_and(|e| of_io(e) || e.to_string().contains("not enough memory"))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_decoder_without_memory_proves_no_damage() {
        let told = |error: io::Error| unread("spans/x", ParquetError::External(Box::new(error)));
        let zstd = io::Error::other("Allocation error : not enough memory");
        for error in [ErrorKind::OutOfMemory.into(), io::Error::from_raw_os_error(5), zstd] {
            let error = told(error);
            assert!(matches!(error, Error::Objects { .. }), "{error}");
        }
        let error = told(io::Error::other("Data corruption detected"));
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    }
}
