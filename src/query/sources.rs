//! Tables that a statement may read (sql.md 7, step plan).
//!
//! Duty: look at what a plan's scans really read, whatever they are called. Guarantee: a plan that passes reads tables of
//! our types, and those that other modules registered, and nothing else, also within EXPLAIN, views and subqueries. Left
//! to others: which names there are (`session`), statements that write (`guard`).

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::catalog::default_table_source::DefaultTableSource;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::common::Result as EngineResult;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{Expr, LogicalPlan, TableProviderFilterPushDown, TableSource, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::error::{Code, Error};
use super::events::NestedTable;
use super::lazy::Lazy;
use super::pg::catalogue;
use super::red::RedTable;
use super::table::SpanTable;
use super::table_functions::Computed;
use super::traces::TracesTable;

/// A table that was made here, of a type that others make as well: over any other one of that type nothing is known.
#[derive(Debug)]
pub struct Own<T: ?Sized>(Arc<T>);

impl<T> Own<T> {
    /// `table`, which was made here.
    pub fn new(table: T) -> Self {
        Self(Arc::new(table))
    }
}

impl Own<dyn TableProvider> {
    /// `table`, which was made here, of whatever type.
    pub fn of(table: Arc<dyn TableProvider>) -> Self {
        Self(table)
    }
}

#[async_trait::async_trait]
impl<T: TableProvider + ?Sized> TableProvider for Own<T> {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        self.0.table_type()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> EngineResult<Vec<TableProviderFilterPushDown>> {
        self.0.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        self.0.scan(session, projection, filters, limit).await
    }
}

/// The tables of a session.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// Those of other modules.
    extra: &'a [(String, Arc<dyn TableProvider>)],
    catalogue: bool,
}

impl<'a> Sources<'a> {
    /// Ours, and `extra` of other modules.
    pub const fn with(extra: &'a [(String, Arc<dyn TableProvider>)]) -> Self {
        Self { extra, catalogue: false }
    }

    /// Those of `pg_catalog` too, where `catalogue` says that the session has them.
    #[must_use]
    pub const fn and_catalogue(self, catalogue: bool) -> Self {
        Self { catalogue, ..self }
    }

    /// Checks all that `plan` reads.
    ///
    /// Errors: `sql.not_allowed` for a table that is neither ours nor registered by a module.
    pub fn check(&self, plan: &LogicalPlan) -> Result<(), Error> {
        match self.foreign(plan) {
            Ok(None) => Ok(()),
            Ok(Some(name)) => Err(Error::new(Code::NotAllowed, format!("`{name}` is not a table of this store"))
                .hint("`SHOW TABLES` lists what can be read")),
            Err(error) => Err(Error::new(Code::Internal, "internal error").hint(error.to_string())),
        }
    }

    /// The name of a table that may not be read, if `plan` reads one.
    fn foreign(&self, plan: &LogicalPlan) -> EngineResult<Option<String>> {
        let mut found = None;
        plan.apply_with_subqueries(|node| {
            found = match node {
                LogicalPlan::TableScan(scan) if !self.holds(&scan.source)? => Some(scan.table_name.to_string()),
                // Its plan is no input of it.
                LogicalPlan::Explain(explain) => self.foreign(&explain.plan)?,
                LogicalPlan::Extension(extension) => Some(extension.node.name().to_owned()),
                _ => None,
            };
            Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        Ok(found)
    }

    fn holds(&self, source: &Arc<dyn TableSource>) -> EngineResult<bool> {
        let source: &dyn Any = source.as_ref();
        let Some(DefaultTableSource { table_provider: table }) = source.downcast_ref() else { return Ok(false) };
        // A view is what it reads.
        if let Some(plan) = table.get_logical_plan().map(Cow::into_owned) {
            return Ok(self.foreign(&plan)?.is_none());
        }
        let of: &dyn Any = table.as_ref();
        let is_ours = of.is::<SpanTable>()
            || of.is::<TracesTable>()
            || of.is::<NestedTable>()
            || of.is::<RedTable>()
            // What it reads is checked when it is planned.
            || of.is::<Computed>()
            || of.is::<Own<Lazy>>()
            || of.is::<Own<MemTable>>()
            || of.is::<Own<StreamingTable>>()
            // The rows of the round before, of a recursive query.
            || of.is::<CteWorkTable>()
            || (self.catalogue && of.is::<catalogue::Table>());
        Ok(is_ours || self.extra.iter().any(|(_, known)| Arc::ptr_eq(known, table)))
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::datasource::{ViewTable, provider_as_source};
    use datafusion::logical_expr::{Analyze, LogicalPlanBuilder, col, exists, lit, scalar_subquery, table_scan};

    use super::*;
    use crate::query::guard;
    use crate::store::View;

    fn foreign() -> Arc<dyn TableProvider> {
        let schema = Arc::new(Schema::new(vec![Field::new("password", DataType::Utf8, true)]));
        Arc::new(MemTable::try_new(schema, vec![vec![]]).unwrap())
    }

    fn scan(name: &str, table: &Arc<dyn TableProvider>) -> LogicalPlanBuilder {
        LogicalPlanBuilder::scan(name, provider_as_source(table.clone()), None).unwrap()
    }

    fn checked(plan: &LogicalPlan, extra: &[(String, Arc<dyn TableProvider>)]) -> Result<(), Error> {
        guard::check_plan(plan, Sources::with(extra))
    }

    #[test]
    fn a_plan_over_a_foreign_table_is_refused_whatever_the_table_is_called_and_wherever_it_stands() {
        let (ours, foreign): (Arc<dyn TableProvider>, _) = (Arc::new(SpanTable::new(View::empty())), foreign());
        let sneaked = || scan("spans", &foreign);
        let over_ours = || scan("spans", &ours);
        let below = |builder: LogicalPlanBuilder| Arc::new(builder.build().unwrap());
        let view: Arc<dyn TableProvider> = Arc::new(ViewTable::new(sneaked().build().unwrap(), None));
        let raw_view = {
            // As a table and not written out, as the builder does.
            let mut plan = over_ours().build().unwrap();
            let LogicalPlan::TableScan(scan) = &mut plan else { panic!("{plan}") };
            scan.source = provider_as_source(view.clone());
            plan
        };
        let no_provider = table_scan(Some("spans"), &foreign.schema(), None).unwrap().build().unwrap();
        let cases = [
            sneaked().build().unwrap(),
            sneaked().filter(lit(true)).unwrap().alias("spans").unwrap().build().unwrap(),
            over_ours().cross_join(sneaked().build().unwrap()).unwrap().build().unwrap(),
            over_ours()
                .project([lit(1).alias("a")])
                .unwrap()
                .union(sneaked().project([lit(1).alias("a")]).unwrap().build().unwrap())
                .unwrap()
                .build()
                .unwrap(),
            over_ours().filter(exists(below(sneaked()))).unwrap().build().unwrap(),
            over_ours()
                .project([scalar_subquery(below(sneaked().limit(0, Some(1)).unwrap()))])
                .unwrap()
                .build()
                .unwrap(),
            over_ours()
                .filter(exists(below(over_ours().filter(exists(below(sneaked()))).unwrap())))
                .unwrap()
                .build()
                .unwrap(),
            sneaked().explain(false, false).unwrap().build().unwrap(),
            sneaked().explain(false, true).unwrap().build().unwrap(),
            scan("spans", &view).build().unwrap(),
            raw_view,
            no_provider,
        ];
        assert!(cases.iter().any(|plan| matches!(plan, LogicalPlan::Analyze(Analyze { .. }))));
        for plan in &cases {
            let error = checked(plan, &[]).expect_err(&format!("{}", plan.display_indent()));
            assert_eq!(error.code, Code::NotAllowed, "{error:?}");
            assert!(error.message.contains("is not a table of this store"), "{error:?}");
            // Another table of the same module does not help.
            assert!(checked(plan, &[("spans".to_owned(), self::foreign())]).is_err());
        }
        let registered = [("spans".to_owned(), foreign.clone())];
        for plan in cases.iter().take(cases.len() - 1) {
            checked(plan, &registered).unwrap();
        }
        checked(&over_ours().filter(col("duration_ns").gt(lit(1))).unwrap().build().unwrap(), &[]).unwrap();
    }
}
