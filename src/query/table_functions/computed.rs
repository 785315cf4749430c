//! A table that is computed from `spans` by a statement of ours.
//!
//! Duty: plan the statement in the session that asks, and put what comes after it on top. Guarantee: it reads what
//! `spans` is to the statement that asks, so a gate sees its window and no name reaches a row outside; texts of callers
//! stand in it as parsed expressions, never as text. Left to others: the statements, and the functions on their rows.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, TableType, cast};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{self, Value, ValueWithSpan, VisitMut, VisitorMut};

use super::gather::{GatherExec, Step};
use crate::query::dialect::Postgres;
use crate::query::params::instant_text;
use crate::query::sources::Sources;
use crate::query::{derived, guard};

/// See above.
#[derive(Debug)]
pub struct Computed {
    function: &'static str,
    sql: String,
    predicates: Vec<(&'static str, ast::Expr)>,
    schema: SchemaRef,
    step: Option<Step>,
}

impl Computed {
    /// What `sql` gives, in the types of `schema`; `predicates` stand for its `$name`.
    pub fn rows(
        function: &'static str,
        schema: SchemaRef,
        sql: String,
        predicates: Vec<(&'static str, ast::Expr)>,
    ) -> Arc<dyn TableProvider> {
        Arc::new(Self { function, sql, predicates, schema, step: None })
    }

    /// What `step`, whose rows have `schema`, makes of all rows of `sql`.
    pub fn gathered(
        function: &'static str,
        schema: SchemaRef,
        sql: String,
        predicates: Vec<(&'static str, ast::Expr)>,
        step: Step,
    ) -> Arc<dyn TableProvider> {
        Arc::new(Self { function, sql, predicates, schema, step: Some(step) })
    }
}

/// SQL for an instant, ns since 1970.
pub fn instant(ns: i64) -> String {
    format!("CAST('{}' AS TIMESTAMP WITH TIME ZONE)", instant_text(ns))
}

/// The statement, with the predicates in their places.
fn parsed(sql: &str, predicates: &[(&'static str, ast::Expr)]) -> Result<Statement> {
    let dialect = Postgres;
    let mut statements = DFParserBuilder::new(sql).with_dialect(&dialect).build()?.parse_statements()?;
    let Some(Statement::Statement(mut statement)) = statements.pop_front() else {
        return internal_err!("a statement of ours is none");
    };
    let mut fill = Fill(predicates);
    match statement.visit(&mut fill) {
        ControlFlow::Continue(()) => Ok(Statement::Statement(statement)),
        ControlFlow::Break(name) => internal_err!("{name} has no value"),
    }
}

/// Puts expressions in the place of `$name`.
struct Fill<'a>(&'a [(&'static str, ast::Expr)]);

impl VisitorMut for Fill<'_> {
    type Break = String;

    // After its children: an expression that was put in is not looked into.
    fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<Self::Break> {
        let ast::Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) = expr else {
            return ControlFlow::Continue(());
        };
        let given = self.0.iter().find(|(known, _)| name.strip_prefix('$') == Some(*known));
        match given {
            Some((_, predicate)) => {
                *expr = ast::Expr::Nested(Box::new(predicate.clone()));
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(name.clone()),
        }
    }
}

#[async_trait::async_trait]
impl TableProvider for Computed {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(state) = session.as_any().downcast_ref::<SessionState>() else {
            return internal_err!("a statement is planned in another session");
        };
        let plan = Box::pin(state.statement_to_plan(parsed(&self.sql, &self.predicates)?)).await?;
        // It holds expressions of callers.
        guard::check_plan(&plan, Sources::with(&[])).map_err(|error| DataFusionError::External(Box::new(error)))?;
        let Some(step) = &self.step else {
            let columns = plan.schema().columns();
            let typed = columns
                .into_iter()
                .zip(self.schema.fields())
                .map(|(column, field)| cast(Expr::Column(column), field.data_type().clone()).alias(field.name()));
            let plan = LogicalPlanBuilder::from(plan.clone()).project(typed.collect::<Vec<_>>())?;
            return derived::physical(session, plan, projection).await;
        };
        let input = session.create_physical_plan(&plan).await?;
        Ok(Arc::new(GatherExec::try_new(self.function, input, step.clone(), &self.schema, projection)?))
    }
}
