//! The rows in Parquet parts as a leaf of the physical plan.
//!
//! Duty: one file scan over the parts that the manifest's time ranges leave, each with an access plan of its row
//! groups. Guarantee: row counts are exact while no row group is left out, so counting opens no file. Left to others:
//! checking the bytes (the view's object store), resolving columns in a file (`adapter`).

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Result, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{CachedParquetFileReaderFactory, ParquetAccessPlan};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_plan::ExecutionPlan;

use super::adapter::SpanAdapterFactory;
use super::bounds::Bounds;
use super::{columns, table_schema};
use crate::store::View;
use crate::store::manifest::PartEntry;

/// The URL under which a session knows the view's parts. Nothing else is registered.
pub fn store_url() -> ObjectStoreUrl {
    ObjectStoreUrl::parse("spans://parts").expect("a constant URL with scheme and host")
}

/// The scan of the parts of `view` within `bounds`; `None` if none is left.
pub(super) fn plan(
    view: &View,
    session: &dyn Session,
    projection: &[usize],
    bounds: &Bounds,
    limit: Option<usize>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let mut files = Vec::new();
    let mut total = Statistics::new_unknown(table_schema());
    total.num_rows = Precision::Exact(0);
    // Newest first: what people ask for is mostly recent, and a limit then stops early.
    for part in view.parts.parts.iter().rev().filter(|part| bounds.may_hold_part(&part.entry)) {
        let Some((file, rows)) = file(&part.entry, bounds) else { continue };
        total.num_rows = total.num_rows.add(&rows);
        files.push(file);
    }
    if files.is_empty() {
        return Ok(None);
    }
    let metadata = session.runtime_env().cache_manager.get_file_metadata_cache();
    let readers = Arc::new(CachedParquetFileReaderFactory::new(view.objects.clone(), metadata));
    let source = ParquetSource::new(table_schema().clone())
        .with_table_parquet_options(session.table_options().parquet.clone())
        .with_parquet_file_reader_factory(readers);
    let groups = deal(files, session.config().target_partitions());
    let config = FileScanConfigBuilder::new(store_url(), Arc::new(source))
        .with_file_groups(groups)
        .with_statistics(total)
        .with_projection_indices(Some(projection.to_vec()))?
        .with_limit(limit)
        .with_expr_adapter(Some(Arc::new(SpanAdapterFactory)))
        .build();
    Ok(Some(DataSourceExec::from_data_source(config)))
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
    let statistics = statistics(part, rows, whole);
    let footer = usize::try_from(part.footer_bytes).unwrap_or(0).saturating_add(8);
    let mut file = PartitionedFile::new(part.path.clone(), part.bytes)
        .with_metadata_size_hint(footer)
        .with_statistics(Arc::new(statistics));
    if !whole {
        file = file.with_extension(access);
    }
    Some((file, rows))
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
