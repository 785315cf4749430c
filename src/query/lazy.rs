//! A table whose rows are made when a statement reads it.
//!
//! Duty: columns, and a function that gives the rows; a sentence for those who read it, where there is one. Guarantee: each
//! scan asks anew, so a statement sees what holds when it begins. Left to others: the rows; tables that read less by the
//! filters of a statement have a type of their own.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::default_table_source::DefaultTableSource;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::future::BoxFuture;

/// All rows of the table, with its columns.
pub type Rows = BoxFuture<'static, Result<RecordBatch>>;

/// The table.
pub struct Lazy {
    schema: SchemaRef,
    rows: Arc<dyn Fn() -> Rows + Send + Sync>,
    notice: Option<String>,
}

impl Lazy {
    /// A table with the columns of `schema` and what `rows` gives.
    pub fn new(schema: SchemaRef, rows: impl Fn() -> Rows + Send + Sync + 'static) -> Self {
        Self { schema, rows: Arc::new(rows), notice: None }
    }

    /// A table without rows; an answer that reads it says `notice`.
    pub fn empty(schema: SchemaRef, notice: String) -> Self {
        let none = schema.clone();
        let rows = move || -> Rows { Box::pin(std::future::ready(Ok(RecordBatch::new_empty(none.clone())))) };
        Self { notice: Some(notice), ..Self::new(schema, rows) }
    }
}

impl fmt::Debug for Lazy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lazy").field("schema", &self.schema).field("notice", &self.notice).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl TableProvider for Lazy {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = (self.rows)().await?;
        MemTable::try_new(self.schema.clone(), vec![vec![rows]])?.scan(session, projection, filters, limit).await
    }
}

/// What the tables that `plan` reads have to say, each sentence once.
pub(super) fn notices(plan: &LogicalPlan) -> Result<Vec<String>> {
    let mut found = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let source: &dyn std::any::Any = scan.source.as_ref();
            let table = source.downcast_ref::<DefaultTableSource>().map(|source| source.table_provider.as_ref());
            let table = table.and_then(|table| (table as &dyn std::any::Any).downcast_ref::<Lazy>());
            if let Some(notice) = table.and_then(|table| table.notice.as_ref())
                && !found.contains(notice)
            {
                found.push(notice.clone());
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}
