//! Making an index again from its part.
//!
//! Duty: [`Indexes::rebuild`]. Guarantee: the file is the one that was written with the part, and it takes the place of
//! a damaged one at once. Left to others: which parts need it ([`Indexes::take_wanted`]).

use std::ops::Range;
use std::sync::Arc;

use arrow::array::Array as _;
use arrow::datatypes::DataType;
use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use ulid::Ulid;

use super::{Indexes, TraceFacts, path};
use crate::error::Class;
use crate::store::manifest::PartEntry;
use crate::store::part::{self, Error};

impl Indexes {
    /// Makes the indexes again that were found unusable since the last call, until `stop`; a failure is logged. Gives back
    /// the paths of parts whose rows cannot be read for it, though their blocks may have their checksums.
    pub async fn rebuild_wanted(&self, parts: &Arc<dyn ObjectStore>, stop: impl Fn() -> bool) -> Vec<String> {
        let mut damaged = Vec::new();
        for part in self.take_wanted() {
            if stop() {
                break;
            }
            match self.rebuild(parts, &part).await {
                Ok(()) => tracing::info!(part = part.path, "the trace index is made again"),
                Err(error) => {
                    tracing::warn!(part = part.path, %error, "the trace index cannot be made again");
                    // The next lookup asks for it again, unless the part is damaged for good.
                    if error.class() != Class::Unavailable {
                        self.give_up(&part.path);
                        damaged.push(part.path);
                    }
                }
            }
        }
        damaged
    }

    /// Makes the index of `part` from its rows, which are read from `parts` (a [`part::PartStore`]), and puts it durably.
    ///
    /// Errors: the part cannot be read, or the index not be put; the old one is as it was then.
    pub async fn rebuild(&self, parts: &Arc<dyn ObjectStore>, part: &PartEntry) -> Result<(), Error> {
        let bytes = made(parts, part).await?;
        let path = path(part);
        let put = self.objects().put_opts(&Path::from(path.as_str()), bytes.into(), PutMode::Overwrite.into()).await;
        put.map_err(|source| Error::Objects { path, source })?;
        self.forget(&part.path);
        Ok(())
    }
}

/// The index of `part`.
async fn made(parts: &Arc<dyn ObjectStore>, part: &PartEntry) -> Result<Bytes, Error> {
    let corrupt = |problem: &str| Error::Corrupt { path: part.path.clone(), problem: problem.to_owned() };
    let path = Path::from(part.path.as_str());
    let name = path.filename().and_then(|name| name.strip_suffix(".parquet"));
    let ulid = name.and_then(|name| Ulid::from_string(name).ok()).ok_or_else(|| corrupt("its name is no ULID"))?;
    let metadata = Arc::new(part::footer(parts.as_ref(), part).await?);
    let file = File { objects: parts.clone(), path, metadata: metadata.clone() };
    let metadata = ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::new())?;
    let columns = ProjectionMask::columns(metadata.parquet_schema(), ["trace_id"]);
    let mut facts = TraceFacts::default();
    for group in 0..metadata.metadata().num_row_groups() {
        let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(file.clone(), metadata.clone());
        let mut rows = builder.with_projection(columns.clone()).with_row_groups(vec![group]).build()?;
        while let Some(rows) = rows.try_next().await? {
            if rows.column_by_name("trace_id").is_none_or(|ids| *ids.data_type() != DataType::FixedSizeBinary(16)) {
                return Err(corrupt("it has no column `trace_id` of the type that spans have"));
            }
            facts.add(group, &rows);
        }
    }
    Ok(facts.finish(ulid))
}

/// The part, for the Parquet reader.
#[derive(Clone)]
struct File {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    metadata: Arc<ParquetMetaData>,
}

impl AsyncFileReader for File {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        Box::pin(async move {
            let read = self.objects.get_range(&self.path, range).await;
            read.map_err(|error| ParquetError::External(Box::new(error)))
        })
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let metadata = self.metadata.clone();
        Box::pin(async move { Ok(metadata) })
    }
}
