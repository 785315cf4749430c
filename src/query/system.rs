//! Relations for operators: schema `system`, and `drop_ledger` (sql.md 4).
//!
//! Duty: parts, their columns, log segments, memory, damage and drops as tables. Guarantee: all references to one of
//! them in a statement read the same rows, and `system.parts` are the parts that `spans` of that statement reads. Left to
//! others: what the files hold (`store`).

mod promotions;

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::OnceCell;

use super::lazy::{Lazy, Rows};
use super::sources::Own;
use crate::span::schema::timestamp;
use crate::store::verify::Depth;
use crate::store::{Error, Files, View, ledger, part};

/// `drop_ledger` by its other name, in the schema `system`.
pub const DROPS: &str = "drops";
/// Footers that are read at once.
const FOOTERS: usize = 8;

/// The tables of the schema `system` over `view`; those about files only where it has files.
pub fn tables(view: &View) -> Vec<(&'static str, Arc<dyn TableProvider>)> {
    let of = |relation: Relation| -> (&'static str, Arc<dyn TableProvider>) {
        let once = Arc::new((view.clone(), OnceCell::new()));
        // A statement that reads it twice reads the same.
        let rows = move || -> Rows {
            let once = once.clone();
            Box::pin(async move { once.1.get_or_try_init(|| relation.rows(&once.0)).await.cloned() })
        };
        (relation.name(), Arc::new(Own::new(Lazy::new(relation.schema(), rows))))
    };
    let every = [Relation::Parts, Relation::PartColumns, Relation::Promotions, Relation::Memory];
    let mut tables: Vec<_> = every.into_iter().map(of).collect();
    if view.files.is_some() {
        tables.extend([of(Relation::WalSegments), of(Relation::Files), of(Relation::Damage)]);
    }
    tables.extend(drops(view).map(|drops| (DROPS, drops)));
    tables
}

/// The drop ledger; `None` where the view has no files.
pub fn drops(view: &View) -> Option<Arc<dyn TableProvider>> {
    let drops: Arc<dyn PartitionStream> = Arc::new(Drops { files: view.files.clone()? });
    let table = StreamingTable::try_new(ledger::schema().clone(), vec![drops]);
    Some(Arc::new(Own::new(table.expect("the stream has the schema of the table"))))
}

#[derive(Clone, Copy, Debug)]
enum Relation {
    Parts,
    PartColumns,
    Promotions,
    WalSegments,
    Files,
    Memory,
    Damage,
}

impl Relation {
    const fn name(self) -> &'static str {
        match self {
            Self::Parts => "parts",
            Self::PartColumns => "part_columns",
            Self::Promotions => "promotions",
            Self::WalSegments => "wal_segments",
            Self::Files => "files",
            Self::Memory => "memory",
            Self::Damage => "damage",
        }
    }

    fn schema(self) -> SchemaRef {
        let text = |name| Field::new(name, DataType::Utf8, false);
        // Signed, so that sums and differences of them stay BIGINT.
        let number = |name| Field::new(name, DataType::Int64, false);
        let ns = |name| Field::new(name, timestamp(TimeUnit::Nanosecond), false);
        let us = |name| Field::new(name, timestamp(TimeUnit::Microsecond), false);
        let fields = match self {
            Self::Parts => vec![
                text("path"),
                Field::new("level", DataType::Int64, false),
                text("hour"),
                number("rows"),
                number("bytes"),
                ns("min_start"),
                ns("max_start"),
                ns("max_end"),
                us("min_ingest"),
                us("max_ingest"),
            ],
            Self::PartColumns => vec![text("path"), text("column_name"), number("bytes"), number("uncompressed_bytes")],
            Self::Promotions => promotions::fields(),
            Self::WalSegments => vec![
                text("path"),
                number("first_lsn"),
                number("last_lsn").with_nullable(true),
                number("bytes"),
                number("spans"),
            ],
            Self::Files => vec![text("path"), text("kind"), number("bytes")],
            Self::Memory => vec![
                number("rows"),
                number("bytes"),
                number("first_lsn").with_nullable(true),
                number("last_lsn").with_nullable(true),
                ns("min_start").with_nullable(true),
                ns("max_start").with_nullable(true),
                us("min_ingest").with_nullable(true),
                us("max_ingest").with_nullable(true),
            ],
            Self::Damage => vec![
                text("severity"),
                text("file"),
                text("place").with_nullable(true),
                text("problem"),
                text("next_move"),
            ],
        };
        Arc::new(Schema::new(fields))
    }

    async fn rows(self, view: &View) -> Result<RecordBatch> {
        let columns = match self {
            Self::Parts => parts(view),
            Self::PartColumns => part_columns(view).await?,
            Self::Promotions => promotions::rows(view).await?,
            Self::WalSegments => wal_segments(view).await?,
            Self::Files => files(view).await?,
            Self::Memory => memory(view),
            Self::Damage => damage(view).await?,
        };
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn numbers(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values.map(signed)))
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn ns(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from_iter(values).with_timezone("UTC"))
}

fn us(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter(values).with_timezone("UTC"))
}

fn parts(view: &View) -> Vec<ArrayRef> {
    let all = || view.parts.parts.iter().map(|part| &part.entry);
    vec![
        texts(all().map(|part| part.path.as_str())),
        Arc::new(Int64Array::from_iter_values(all().map(|part| i64::from(part.level)))),
        texts(all().map(|part| part.hour.as_str())),
        numbers(all().map(|part| part.rows)),
        numbers(all().map(|part| part.bytes)),
        ns(all().map(|part| Some(part.start[0]))),
        ns(all().map(|part| Some(part.start[1]))),
        ns(all().map(|part| Some(part.end[1]))),
        us(all().map(|part| Some(part.ingest[0]))),
        us(all().map(|part| Some(part.ingest[1]))),
    ]
}

/// Bytes of each column of each part, leaves of a list together, as the footers count them.
async fn part_columns(view: &View) -> Result<Vec<ArrayRef>> {
    let footers = stream::iter(view.parts.parts.clone()).map(|of| {
        let objects = view.objects.clone();
        async move {
            let footer = part::footer(objects.as_ref(), &of.entry).await;
            footer.map(|footer| (of, footer)).map_err(|error| DataFusionError::External(Box::new(error)))
        }
    });
    let footers: Vec<_> = footers.buffered(FOOTERS).try_collect().await?;
    let (mut path, mut name, mut bytes, mut plain) = (vec![], vec![], vec![], vec![]);
    for (part, footer) in &footers {
        let first = path.len();
        for column in footer.row_groups().iter().flat_map(|group| group.columns()) {
            let of = column.column_path().parts().first().map_or("", String::as_str);
            let size = |of: i64| u64::try_from(of).unwrap_or(0);
            let (packed, unpacked) = (size(column.compressed_size()), size(column.uncompressed_size()));
            match (first..path.len()).find(|&at| name[at] == of) {
                Some(at) => {
                    bytes[at] += packed;
                    plain[at] += unpacked;
                }
                None => {
                    path.push(part.entry.path.as_str());
                    name.push(of);
                    bytes.push(packed);
                    plain.push(unpacked);
                }
            }
        }
    }
    Ok(vec![texts(path.into_iter()), texts(name.into_iter()), numbers(bytes.into_iter()), numbers(plain.into_iter())])
}

async fn wal_segments(view: &View) -> Result<Vec<ArrayRef>> {
    let all = with_files(view, |files| files.segments()).await?;
    let last = Int64Array::from_iter(all.iter().map(|segment| segment.last_lsn.map(signed)));
    Ok(vec![
        texts(all.iter().map(|segment| segment.path.as_str())),
        numbers(all.iter().map(|segment| segment.first_lsn)),
        Arc::new(last),
        numbers(all.iter().map(|segment| segment.bytes)),
        numbers(all.iter().map(|segment| segment.spans)),
    ])
}

/// Files of parts, manifest, indexes and catalogue, `kind` as [`crate::store::files::FileInfo`] says.
async fn files(view: &View) -> Result<Vec<ArrayRef>> {
    let Some(files) = &view.files else { return Ok(vec![]) };
    let all = files.stored().await.map_err(unreadable)?;
    Ok(vec![
        texts(all.iter().map(|file| file.path.as_str())),
        texts(all.iter().map(|file| file.kind)),
        numbers(all.iter().map(|file| file.bytes)),
    ])
}

/// One row: what is not in parts yet.
fn memory(view: &View) -> Vec<ArrayRef> {
    let rows = &view.memory;
    let start = rows.iter().filter_map(|rows| rows.starts);
    let (mut min, mut max) = (None, None);
    for range in start {
        min = Some(min.map_or(range.min_ns, |min: i64| min.min(range.min_ns)));
        max = Some(max.map_or(range.max_ns, |max: i64| max.max(range.max_ns)));
    }
    let (first, last) = (rows.first(), rows.last());
    let lsn = |of: Option<&Arc<crate::store::Rows>>| -> ArrayRef {
        Arc::new(Int64Array::from(vec![of.map(|rows| signed(rows.lsn))]))
    };
    vec![
        numbers(std::iter::once(rows.iter().map(|rows| rows.batch.rows() as u64).sum())),
        numbers(std::iter::once(rows.iter().map(|rows| rows.bytes).sum())),
        lsn(first),
        lsn(last),
        ns(std::iter::once(min)),
        ns(std::iter::once(max)),
        us(std::iter::once(first.map(|rows| rows.ingest_us))),
        us(std::iter::once(last.map(|rows| rows.ingest_us))),
    ]
}

async fn damage(view: &View) -> Result<Vec<ArrayRef>> {
    let Some(files) = &view.files else { return Ok(vec![]) };
    let report = files.verify(Depth::Quick).await.map_err(unreadable)?;
    let all = || report.findings.iter();
    let place = StringArray::from_iter(all().map(|finding| finding.place.as_deref()));
    Ok(vec![
        texts(all().map(|finding| finding.severity.as_str())),
        texts(all().map(|finding| finding.file.as_str())),
        Arc::new(place),
        texts(all().map(|finding| finding.problem.as_str())),
        texts(all().map(|finding| finding.next.as_str())),
    ])
}

async fn with_files<T: Send + 'static>(
    view: &View,
    read: impl FnOnce(&Files) -> Result<T, Error> + Send + 'static,
) -> Result<T> {
    let files = view.files.clone().ok_or_else(|| DataFusionError::Internal("no files".to_owned()))?;
    let done = tokio::task::spawn_blocking(move || read(&files)).await;
    done.map_err(|e| DataFusionError::External(Box::new(e)))?.map_err(unreadable)
}

/// A file of the data folder cannot be read: told as such, it says nothing of the engine.
fn unreadable(error: impl std::fmt::Display) -> DataFusionError {
    let error = super::Error::new(super::Code::PartCorrupt, error.to_string());
    DataFusionError::External(Box::new(error.hint("see the permissions of the data folder and the system's log")))
}

/// The drop ledger, segment by segment: a million rows are not held at once.
#[derive(Debug)]
struct Drops {
    files: Arc<Files>,
}

impl PartitionStream for Drops {
    fn schema(&self) -> &SchemaRef {
        ledger::schema()
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (files, of_segment) = (self.files.clone(), self.files.clone());
        let paths = async move {
            let paths = blocking(move || files.drop_segments()).await?;
            Ok::<_, DataFusionError>(stream::iter(paths.into_iter().map(Ok::<PathBuf, DataFusionError>)))
        };
        let batches = stream::once(paths).try_flatten().and_then(move |path: PathBuf| {
            let files = of_segment.clone();
            async move {
                let batches = blocking(move || files.drops(&path)).await?;
                Ok::<_, DataFusionError>(stream::iter(batches.into_iter().map(Ok::<RecordBatch, DataFusionError>)))
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(ledger::schema().clone(), batches.try_flatten()))
    }
}

async fn blocking<T: Send + 'static>(read: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(read).await;
    done.map_err(|e| DataFusionError::External(Box::new(e)))?.map_err(|e| unreadable(format!("the drop ledger: {e}")))
}
