//! Which filters the Parquet decoder applies itself, and in which order it visits row groups.
//!
//! Duty: [`Decoding`], a rule over physical plans (sql.md 6.2, 6.3). Below a sort with a limit it asks each scan for the
//! row groups that come first in that order, so that the limit's own filter ends the scan early, and has filters hand on
//! what passes as soon as the limit could be filled; below any limit it lets the decoder filter, so that wide columns are
//! decoded for rows that pass only. Guarantee: answers do not change: the sort stays, and so does each filter, since a
//! decoder drops in silence what it cannot evaluate on a file (3.5); no order is declared. Left to others: the filters
//! themselves, lookups by trace id (`parts`).
//!
//! It runs after the engine has put the filters of a statement into the scans, which as yet only prune by them, and before
//! it puts those in that change while a statement runs.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions, SortOrderPushdownResult,
};

use super::TraceLookupExec;
use super::offsets::WithOffsets;
use crate::query::hints::Pushdown;

/// Columns by which row groups are visited in order: there the page index is left aside, since a selection of pages
/// would keep the engine from visiting and dropping row groups while it runs.
const IN_ORDER: [&str; 2] = ["start_time", "duration_ns"];

/// See above.
#[derive(Debug)]
pub struct Decoding(pub Pushdown);

impl PhysicalOptimizerRule for Decoding {
    fn name(&self) -> &str {
        "decoding"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let filter = self.0 != Pushdown::Off;
        let rewritten = plan.transform_down(|node| {
            if node.is::<TraceLookupExec>() {
                return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
            }
            if let Some(sort) = node.downcast_ref::<SortExec>()
                && let Some(fetch) = sort.fetch()
            {
                let below = Below { order: Some(sort.expr().to_vec()), filter, sorted: Some(fetch) };
                let input = below.applied(sort.input())?;
                return if input.transformed {
                    with_inputs(&node, vec![input.data])
                } else {
                    Ok(Transformed::no(node))
                };
            }
            let limited = node.is::<GlobalLimitExec>() || node.is::<LocalLimitExec>();
            if limited || node.downcast_ref::<FilterExec>().is_some_and(|filter| filter.fetch().is_some()) {
                return Below { order: None, filter, sorted: None }.applied(&node);
            }
            if self.0 == Pushdown::On && node.is::<DataSourceExec>() {
                return Below { order: None, filter, sorted: None }.applied(&node);
            }
            Ok(Transformed::no(node))
        })?;
        Ok(rewritten.data)
    }
}

fn with_inputs(
    node: &Arc<dyn ExecutionPlan>,
    inputs: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let recomputed = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Ok(Transformed::yes(node.clone().replace_children(inputs, recomputed)?))
}

/// What is asked of the scans below a node.
struct Below {
    /// In terms of the node's columns.
    order: Option<Vec<PhysicalSortExpr>>,
    filter: bool,
    /// Rows that the sort above keeps.
    sorted: Option<usize>,
}

impl Below {
    /// `node` with its scans changed, as far down as rows pass through it one by one.
    fn applied(&self, node: &Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
        if let Some(scan) = node.downcast_ref::<DataSourceExec>() {
            return self.scan(node, scan);
        }
        let below = if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
            self.through(|at| projection.expr().get(at)?.expr.downcast_ref::<Column>().cloned())
        } else if let Some(filter) = node.downcast_ref::<FilterExec>() {
            let (input, kept) = (filter.input().schema(), filter.projection());
            self.through(|at| {
                let at = kept.as_ref().map_or(Some(at), |kept| kept.get(at).copied())?;
                Some(Column::new(input.fields().get(at)?.name(), at))
            })
        } else if node.is::<UnionExec>()
            || node.is::<RepartitionExec>()
            || node.is::<CoalescePartitionsExec>()
            || node.is::<CooperativeExec>()
            || node.is::<GlobalLimitExec>()
            || node.is::<LocalLimitExec>()
        {
            Self { order: self.order.clone(), ..*self }
        } else {
            return Ok(Transformed::no(node.clone()));
        };
        let children = node.children().into_iter().map(|child| below.applied(child)).collect::<Result<Vec<_>>>()?;
        if children.iter().all(|child| !child.transformed) {
            return Ok(Transformed::no(node.clone()));
        }
        with_inputs(node, children.into_iter().map(|child| child.data).collect())?.map_data(|node| self.handed_on(node))
    }

    /// `node`, which collects no more rows than the sort above needs before it may tell its scans what comes too late.
    ///
    /// The engine's filter collects a whole batch: of rare rows most of the data was read before the sort saw any. Where
    /// scans cannot be told, batches stay large.
    fn handed_on(&self, node: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(fetch) = self.sorted.filter(|_| self.order.is_some()) else { return Ok(node) };
        match node.downcast_ref::<FilterExec>() {
            Some(filter) => Ok(Arc::new(filter.with_batch_size(filter.batch_size().min(fetch.max(1)))?)),
            None => Ok(node),
        }
    }

    /// The same of the node below, whose column for one of this node's `to` gives.
    fn through(&self, to: impl Fn(usize) -> Option<Column>) -> Self {
        let moved = |sort: &PhysicalSortExpr| {
            let column = to(sort.expr.downcast_ref::<Column>()?.index())?;
            Some(PhysicalSortExpr::new(Arc::new(column), sort.options))
        };
        let order = self.order.as_ref().and_then(|order| order.iter().map(moved).collect());
        Self { order, ..*self }
    }

    fn scan(
        &self,
        node: &Arc<dyn ExecutionPlan>,
        scan: &DataSourceExec,
    ) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
        if scan.downcast_to_file_source::<ParquetSource>().is_none() {
            return Ok(Transformed::no(node.clone()));
        }
        let mut visited = node.clone();
        if let Some(order) = &self.order
            && let SortOrderPushdownResult::Inexact { inner } = node.try_pushdown_sort(order)?
        {
            visited = inner;
        }
        let first = self.order.as_ref().and_then(|order| order.first()?.expr.downcast_ref::<Column>().cloned());
        let in_order = first.is_some_and(|column| IN_ORDER.contains(&column.name()));
        let Some((config, source)) =
            visited.downcast_ref::<DataSourceExec>().and_then(|scan| scan.downcast_to_file_source::<ParquetSource>())
        else {
            return Ok(Transformed::no(node.clone()));
        };
        let mut source = source.clone().with_pushdown_filters(self.filter).with_reorder_filters(true);
        if in_order {
            source = source.with_enable_page_index(false);
            // No page is left out by the index, but of columns that the filter does not read only the pages of rows that
            // pass are fetched.
            if let Some(readers) = source.parquet_file_reader_factory().cloned() {
                source = source.with_parquet_file_reader_factory(Arc::new(WithOffsets(readers)));
            }
        }
        let config = FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source)).build();
        let scan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(config);
        Ok(Transformed::yes(scan))
    }
}
