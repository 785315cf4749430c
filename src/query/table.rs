//! The table `spans`.
//!
//! Duty: one view of the store as a table of the engine. Guarantee: all references to it in a statement read the same
//! rows. Left to others: planning the scan (`scan`), brackets (`attributes`).

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::scan;
use crate::store::View;

/// `spans` over one view.
#[derive(Debug)]
pub struct SpanTable {
    view: View,
}

impl SpanTable {
    /// The table over `view`.
    pub fn new(view: View) -> Self {
        Self { view }
    }
}

#[async_trait::async_trait]
impl TableProvider for SpanTable {
    fn schema(&self) -> SchemaRef {
        scan::table_schema().clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // Inexact: the scan only leaves out what cannot match, the filter stays above it.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let limit = limit.filter(|_| filters.is_empty());
        scan::plan(&self.view, session, projection, filters, limit).await
    }
}
