//! The rows in Parquet parts as a leaf of the physical plan.
//!
//! Duty: file scans over the parts that the manifest's time ranges leave, each with an access plan of its row groups:
//! one over the parts whose trace index answered, one over the rest. Guarantee: row counts are exact while no row group
//! is left out, so counting opens no file: rows of a part that is damaged count until the store has put it aside, also
//! with `on_corrupt_part: skip`, for they are stored and a count asks for no byte of them. Left to others: checking the
//! bytes (the view's object store), resolving columns in a file (`adapter`), where a trace is (`traces`).

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DFSchema, Result, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{CachedParquetFileReaderFactory, ParquetAccessPlan};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt as _;
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::RowSelection;

use super::adapter::SpanAdapterFactory;
use super::bounds::Bounds;
use super::brackets::Brackets;
use super::lookup::{Left, TraceLookupExec};
use super::offsets::WithOffsets;
use super::skip::SkipExec;
use super::traces::{Located, Pinned};
use super::{columns, table_schema};
use crate::store::View;
use crate::store::index::Found;
use crate::store::manifest::PartEntry;
use crate::store::part::Part;

/// Footers that are asked for at once.
const FOOTERS_AT_ONCE: usize = 32;
/// How long planning waits for them: a store that does not answer is the scan's to tell, and what has not come prunes
/// nothing.
const FOOTERS_WAIT: Duration = Duration::from_secs(1);

/// The URL under which a session knows the view's parts. Nothing else is registered.
pub fn store_url() -> ObjectStoreUrl {
    ObjectStoreUrl::parse("spans://parts").expect("a constant URL with scheme and host")
}

/// What filters say of a part's rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) bounds: &'a Bounds,
    pub(super) brackets: &'a Brackets,
}

/// The scan of the parts of `view` with `wanted` rows that are not `located`; `None` if none is left.
///
/// The conjuncts with brackets go with it for pruning only: rows that do not pass may come (sql.md 3.5).
pub(super) async fn plan(
    view: &View,
    session: &dyn Session,
    projection: &[usize],
    wanted: Wanted<'_>,
    located: &Located,
    limit: Option<usize>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Wanted { bounds, brackets } = wanted;
    let schema = brackets.schema();
    let mut files = Files::new(schema.clone());
    // Newest first: what people ask for is mostly recent, and a limit then stops early.
    let parts = view.parts.parts.iter().rev().filter(|part| bounds.may_hold_part(&part.entry));
    let parts: Vec<_> = parts.filter(|part| located.of(&part.entry.path).is_none()).collect();
    if brackets.require_any() && !parts.is_empty() {
        let mut open = Vec::new();
        for part in &parts {
            open.push(read_keys((*part).clone(), view.objects.clone()));
        }
        let read = futures::stream::iter(open).buffer_unordered(FOOTERS_AT_ONCE).collect::<Vec<()>>();
        drop(tokio::time::timeout(FOOTERS_WAIT, read).await);
    }
    for part in parts {
        let keys = if brackets.require_any() { part.known_keys() } else { None };
        if keys.is_none_or(|keys| brackets.may_hold_part(keys)) {
            let found = file(&part.entry, &schema, |at| {
                bounds.may_hold_group(&part.entry.row_groups[at])
                    && keys.is_none_or(|keys| brackets.may_hold_group(keys, at))
            });
            let words = part.schema_with_words(brackets.words());
            files.add(found.map(|(file, rows)| match words {
                Some(words) => (file.with_arrow_schema(words), rows),
                None => (file, rows),
            }));
        }
    }
    let mut source = source(session, schema.clone()).with_parquet_file_reader_factory(Arc::new(readers(view, session)));
    if let Some(filter) = conjunction(brackets.filters().iter().cloned()) {
        let columns = DFSchema::try_from(schema.as_ref().clone())?;
        source = source.with_predicate(session.create_physical_expr(filter, &columns)?);
    }
    files.scan(view, session, source, projection, limit)
}

/// The scan of the parts of `view` that are `located` and may hold one of the traces `pinned` within `bounds`; `None` if
/// none does.
///
/// The decoder looks for the ids: other columns are decoded for rows of these traces only (sql.md 6.2).
pub(super) fn lookup(
    view: &View,
    session: &dyn Session,
    projection: &[usize],
    bounds: &Bounds,
    pinned: &Pinned,
    located: &Located,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let mut left = Left { traces: pinned.len(), ..Left::default() };
    let mut wanted = Vec::new();
    for part in view.parts.parts.iter().rev() {
        let Some(found) = located.of(&part.entry.path) else { continue };
        left.asked += 1;
        let found = within(&part.entry, bounds, found);
        let rows = found.rows();
        if rows > 0 {
            left.parts += 1;
            left.row_groups += found.groups.len();
            left.rows += rows;
            wanted.push((&part.entry, found));
        }
    }
    // The spans of a trace lie in zones of as many services: where one part has most of them, several threads decode it.
    let pieces = match &view.skipped {
        None => session.config().target_partitions().div_ceil(wanted.len().max(1)),
        // There a part is one partition, which ends at damage.
        Some(_) => 1,
    };
    let mut files = Files::new(table_schema().clone());
    for (part, found) in wanted {
        found.split(pieces).iter().for_each(|piece| files.add(Some(file_of(part, piece))));
    }
    let schema = DFSchema::try_from(table_schema().as_ref().clone())?;
    let source = source(session, table_schema().clone())
        .with_parquet_file_reader_factory(Arc::new(WithOffsets(Arc::new(readers(view, session)))))
        .with_predicate(session.create_physical_expr(pinned.filter(), &schema)?)
        .with_pushdown_filters(true)
        .with_bloom_filter_on_read(false)
        .with_enable_page_index(false);
    let scan = files.scan(view, session, source, projection, None)?;
    Ok(scan.map(|scan| Arc::new(TraceLookupExec::new(scan, left)) as Arc<dyn ExecutionPlan>))
}

/// A footer that cannot be read fails the scan, which says so.
async fn read_keys(part: Arc<Part>, objects: Arc<dyn ObjectStore>) {
    drop(part.keys(objects.as_ref()).await);
}

fn source(session: &dyn Session, schema: SchemaRef) -> ParquetSource {
    let options = session.table_options().parquet.clone();
    ParquetSource::new(schema).with_table_parquet_options(options)
}

fn readers(view: &View, session: &dyn Session) -> CachedParquetFileReaderFactory {
    let metadata = session.runtime_env().cache_manager.get_file_metadata_cache();
    CachedParquetFileReaderFactory::new(view.objects.clone(), metadata)
}

/// The files of a scan and how many rows they hand out.
struct Files {
    schema: SchemaRef,
    files: Vec<PartitionedFile>,
    rows: Precision<usize>,
}

impl Files {
    /// None yet; they are read as `schema`.
    fn new(schema: SchemaRef) -> Self {
        Self { schema, files: Vec::new(), rows: Precision::Exact(0) }
    }

    fn add(&mut self, file: Option<(PartitionedFile, Precision<usize>)>) {
        let Some((file, rows)) = file else { return };
        self.rows = self.rows.add(&rows);
        self.files.push(file);
    }

    /// `None` without files.
    fn scan(
        self,
        view: &View,
        session: &dyn Session,
        source: ParquetSource,
        projection: &[usize],
        limit: Option<usize>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if self.files.is_empty() {
            return Ok(None);
        }
        let mut total = Statistics::new_unknown(&self.schema);
        total.num_rows = self.rows;
        let partitions = session.config().target_partitions();
        let parts = self.files.len();
        let groups = match &view.skipped {
            None => deal(self.files, partitions),
            Some(_) => self.files.into_iter().map(|file| FileGroup::new(vec![file])).collect(),
        };
        let config = FileScanConfigBuilder::new(store_url(), Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(total)
            .with_projection_indices(Some(projection.to_vec()))?
            .with_limit(limit)
            // Or a partition would read files of others, and end with those at damage.
            .with_preserve_order(view.skipped.is_some())
            .with_expr_adapter(Some(Arc::new(SpanAdapterFactory)))
            .build();
        let scan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(config);
        Ok(Some(match &view.skipped {
            None => scan,
            Some(skipped) => Arc::new(SkipExec::try_new(scan, parts, partitions, skipped.clone())?),
        }))
    }
}

/// The file with the row groups that `may_hold` wanted rows and its statistics, and how many rows it hands out; `None` if
/// no row group is left.
fn file(
    part: &PartEntry,
    schema: &Schema,
    may_hold: impl Fn(usize) -> bool,
) -> Option<(PartitionedFile, Precision<usize>)> {
    let mut access = ParquetAccessPlan::new_all(part.row_groups.len());
    let mut kept = 0;
    for at in 0..part.row_groups.len() {
        if may_hold(at) {
            kept += 1;
        } else {
            access.skip(at);
        }
    }
    if kept == 0 && !part.row_groups.is_empty() {
        return None;
    }
    let whole = kept == part.row_groups.len();
    let rows = usize::try_from(part.rows).ok()?;
    let rows = if whole { Precision::Exact(rows) } else { Precision::Inexact(rows) };
    Some(opened(part, schema, rows, (!whole).then_some(access)))
}

/// Those of the row groups `found` that may hold wanted rows.
fn within(part: &PartEntry, bounds: &Bounds, found: &Found) -> Found {
    let may_hold = |number: usize| part.row_groups.get(number).is_some_and(|entry| bounds.may_hold_group(entry));
    Found { groups: found.groups.iter().filter(|group| may_hold(group.number)).cloned().collect() }
}

/// As [`file`], with the zones `found`.
fn file_of(part: &PartEntry, found: &Found) -> (PartitionedFile, Precision<usize>) {
    let mut access = ParquetAccessPlan::new_none(part.row_groups.len());
    for group in &found.groups {
        access.scan(group.number);
        if group.ranges.iter().map(Range::len).sum::<usize>() < group.rows {
            let zones = RowSelection::from_consecutive_ranges(group.ranges.iter().cloned(), group.rows);
            access.scan_selection(group.number, zones);
        }
    }
    opened(part, table_schema(), Precision::Inexact(found.rows()), Some(access))
}

/// The file, of which `rows` are read: all, or those of `access`.
fn opened(
    part: &PartEntry,
    schema: &Schema,
    rows: Precision<usize>,
    access: Option<ParquetAccessPlan>,
) -> (PartitionedFile, Precision<usize>) {
    let footer = usize::try_from(part.footer_bytes).unwrap_or(0).saturating_add(8);
    let mut file = PartitionedFile::new(part.path.clone(), part.bytes)
        .with_metadata_size_hint(footer)
        .with_statistics(Arc::new(statistics(part, schema, rows, access.is_none())));
    if let Some(access) = access {
        file = file.with_extension(access);
    }
    (file, rows)
}

/// What the manifest knows of a part's columns; bounds stay right, but not exact, when row groups are left out.
fn statistics(part: &PartEntry, schema: &Schema, rows: Precision<usize>, whole: bool) -> Statistics {
    let mut statistics = Statistics::new_unknown(schema);
    statistics.num_rows = rows;
    statistics.total_byte_size = Precision::Inexact(usize::try_from(part.bytes).unwrap_or(usize::MAX));
    let utc = || Some("UTC".into());
    let ns = |at| ScalarValue::TimestampNanosecond(Some(at), utc());
    let us = |at| ScalarValue::TimestampMicrosecond(Some(at), utc());
    let mut set = |name: &str, min: ScalarValue, max: ScalarValue| {
        let at = schema.index_of(name).expect("a column of the table");
        let precise = |value| if whole { Precision::Exact(value) } else { Precision::Inexact(value) };
        statistics.column_statistics[at] = ColumnStatistics {
            null_count: Precision::Exact(0),
            min_value: precise(min),
            max_value: precise(max),
            ..ColumnStatistics::new_unknown()
        };
    };
    set("start_time", ns(part.start[0]), ns(part.start[1]));
    set(columns::END_TIME, ns(part.end[0]), ns(part.end[1]));
    set("ingest_time", us(part.ingest[0]), us(part.ingest[1]));
    statistics
}

/// At most `partitions` groups of about equal size, the order kept within each.
fn deal(files: Vec<PartitionedFile>, partitions: usize) -> Vec<FileGroup> {
    let count = partitions.clamp(1, files.len());
    let mut groups = vec![Vec::new(); count];
    let mut sizes = vec![0_u64; count];
    for file in files {
        let least = (0..count).min_by_key(|&i| sizes[i]).expect("count is at least 1");
        sizes[least] += file.object_meta.size;
        groups[least].push(file);
    }
    groups.into_iter().map(FileGroup::new).collect()
}
