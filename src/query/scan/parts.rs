//! The rows in Parquet parts as a leaf of the physical plan.
//!
//! Duty: file scans over the parts that the manifest's time ranges leave, each with an access plan of its row groups:
//! one over the parts whose trace index answered, one over the rest. Guarantee: row counts are exact while no row group
//! is left out, so counting opens no file. Left to others: checking the bytes (the view's object store), resolving
//! columns in a file (`adapter`), where a trace is (`traces`).

use std::ops::Range;
use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DFSchema, Result, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{CachedParquetFileReaderFactory, ParquetAccessPlan};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_plan::ExecutionPlan;
use parquet::arrow::arrow_reader::RowSelection;

use super::adapter::SpanAdapterFactory;
use super::bounds::Bounds;
use super::lookup::{Left, TraceLookupExec};
use super::offsets::WithOffsets;
use super::skip::SkipExec;
use super::traces::{Located, Pinned};
use super::{columns, table_schema};
use crate::store::View;
use crate::store::index::Found;
use crate::store::manifest::PartEntry;

/// The URL under which a session knows the view's parts. Nothing else is registered.
pub fn store_url() -> ObjectStoreUrl {
    ObjectStoreUrl::parse("spans://parts").expect("a constant URL with scheme and host")
}

/// The scan of the parts of `view` within `bounds` that are not `located`; `None` if none is left.
pub(super) fn plan(
    view: &View,
    session: &dyn Session,
    projection: &[usize],
    bounds: &Bounds,
    located: &Located,
    limit: Option<usize>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let mut files = Files::default();
    // Newest first: what people ask for is mostly recent, and a limit then stops early.
    for part in view.parts.parts.iter().rev().filter(|part| bounds.may_hold_part(&part.entry)) {
        if located.of(&part.entry.path).is_none() {
            files.add(file(&part.entry, bounds));
        }
    }
    let source = source(session).with_parquet_file_reader_factory(Arc::new(readers(view, session)));
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
    let (mut files, mut left) = (Files::default(), Left { traces: pinned.len(), ..Left::default() });
    for part in view.parts.parts.iter().rev() {
        let Some(found) = located.of(&part.entry.path) else { continue };
        left.asked += 1;
        files.add(file_of(&part.entry, bounds, found, &mut left));
    }
    let schema = DFSchema::try_from(table_schema().as_ref().clone())?;
    let source = source(session)
        .with_parquet_file_reader_factory(Arc::new(WithOffsets(readers(view, session))))
        .with_predicate(session.create_physical_expr(pinned.filter(), &schema)?)
        .with_pushdown_filters(true)
        .with_bloom_filter_on_read(false)
        .with_enable_page_index(false);
    let scan = files.scan(view, session, source, projection, None)?;
    Ok(scan.map(|scan| Arc::new(TraceLookupExec::new(scan, left)) as Arc<dyn ExecutionPlan>))
}

fn source(session: &dyn Session) -> ParquetSource {
    let options = session.table_options().parquet.clone();
    ParquetSource::new(table_schema().clone()).with_table_parquet_options(options)
}

fn readers(view: &View, session: &dyn Session) -> CachedParquetFileReaderFactory {
    let metadata = session.runtime_env().cache_manager.get_file_metadata_cache();
    CachedParquetFileReaderFactory::new(view.objects.clone(), metadata)
}

/// The files of a scan and how many rows they hand out.
struct Files {
    files: Vec<PartitionedFile>,
    rows: Precision<usize>,
}

impl Default for Files {
    fn default() -> Self {
        Self { files: Vec::new(), rows: Precision::Exact(0) }
    }
}

impl Files {
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
        let mut total = Statistics::new_unknown(table_schema());
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

/// The file with its access plan and statistics, and how many rows it hands out; `None` if no row group is left.
fn file(part: &PartEntry, bounds: &Bounds) -> Option<(PartitionedFile, Precision<usize>)> {
    let mut access = ParquetAccessPlan::new_all(part.row_groups.len());
    let mut kept = 0;
    for (at, group) in part.row_groups.iter().enumerate() {
        if bounds.may_hold_group(group) {
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
    Some(opened(part, rows, (!whole).then_some(access)))
}

/// As [`file`], with the zones that may hold the traces sought; what they are is added to `left`.
fn file_of(
    part: &PartEntry,
    bounds: &Bounds,
    found: &Found,
    left: &mut Left,
) -> Option<(PartitionedFile, Precision<usize>)> {
    let mut access = ParquetAccessPlan::new_none(part.row_groups.len());
    let mut rows = 0;
    for group in &found.groups {
        if part.row_groups.get(group.number).is_some_and(|entry| bounds.may_hold_group(entry)) {
            access.scan(group.number);
            left.row_groups += 1;
            let named = group.ranges.iter().map(Range::len).sum::<usize>();
            rows += named;
            if named < group.rows {
                let zones = RowSelection::from_consecutive_ranges(group.ranges.iter().cloned(), group.rows);
                access.scan_selection(group.number, zones);
            }
        }
    }
    if rows == 0 {
        return None;
    }
    left.parts += 1;
    left.rows += rows;
    Some(opened(part, Precision::Inexact(rows), Some(access)))
}

/// The file, of which `rows` are read: all, or those of `access`.
fn opened(
    part: &PartEntry,
    rows: Precision<usize>,
    access: Option<ParquetAccessPlan>,
) -> (PartitionedFile, Precision<usize>) {
    let footer = usize::try_from(part.footer_bytes).unwrap_or(0).saturating_add(8);
    let mut file = PartitionedFile::new(part.path.clone(), part.bytes)
        .with_metadata_size_hint(footer)
        .with_statistics(Arc::new(statistics(part, rows, access.is_none())));
    if let Some(access) = access {
        file = file.with_extension(access);
    }
    (file, rows)
}

/// What the manifest knows of a part's columns; bounds stay right, but not exact, when row groups are left out.
fn statistics(part: &PartEntry, rows: Precision<usize>, whole: bool) -> Statistics {
    let mut statistics = Statistics::new_unknown(table_schema());
    statistics.num_rows = rows;
    statistics.total_byte_size = Precision::Inexact(usize::try_from(part.bytes).unwrap_or(usize::MAX));
    let utc = || Some("UTC".into());
    let ns = |at| ScalarValue::TimestampNanosecond(Some(at), utc());
    let us = |at| ScalarValue::TimestampMicrosecond(Some(at), utc());
    let mut set = |name: &str, min: ScalarValue, max: ScalarValue| {
        let at = table_schema().index_of(name).expect("a column of the table");
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
