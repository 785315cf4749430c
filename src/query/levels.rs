//! Queries within queries that say the same at each level.
//!
//! Duty: keep `SELECT x + 1 AS x FROM (SELECT x + 1 AS x FROM …)` as many levels as were written. Guarantee: the wrapped
//! rule never finds two projections that compute something equal. Left to others: what the rule does.
//!
//! DataFusion 55.2: `optimize_projections` drops a projection whose expressions equal those of the one below. That is
//! right for columns that are passed on, and wrong for everything computed, `b AS a, a AS b` too: of three levels one
//! is lost, of four two. So before the rule runs each projection's expressions get a name of their own within their
//! alias, where no name of a column changes by it, and lose it afterwards.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::logical_expr::expr::Alias;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// Name of the rule that needs it.
pub const RULE: &str = "optimize_projections";
/// Begins the names within aliases; no statement can say it, for it has a NUL.
const MARK: &str = "\0level ";

/// The engine's rule over plans whose projections all differ.
#[derive(Debug)]
pub struct Levels(pub Arc<dyn OptimizerRule + Send + Sync>);

impl OptimizerRule for Levels {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if !may_repeat(&plan)? {
            return self.0.rewrite(plan, config);
        }
        let marked = marked(plan)?;
        self.0.rewrite(marked, config)?.map_data(unmarked)
    }
}

/// Whether two projections compute columns of the same names: only they can be equal, now or once others are merged.
fn may_repeat(plan: &LogicalPlan) -> Result<bool> {
    let mut seen = HashSet::new();
    let mut repeats = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Projection(projection) = node
            && projection.expr.iter().any(is_computed)
        {
            let names: Vec<_> = projection.schema.iter().map(|(_, field)| field.name().clone()).collect();
            repeats |= !seen.insert(names);
        }
        Ok(if repeats { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(repeats)
}

const fn is_computed(expr: &Expr) -> bool {
    !matches!(expr, Expr::Column(_))
}

/// Each projection with a number of its own in what it computes.
fn marked(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut level = 0_usize;
    let mark = |node: LogicalPlan| {
        let LogicalPlan::Projection(mut projection) = node else { return Ok(Transformed::no(node)) };
        level += 1;
        let within = format!("{MARK}{level}");
        projection.expr = projection.expr.into_iter().map(|expr| with_mark(expr, &within)).collect();
        Ok(Transformed::yes(LogicalPlan::Projection(projection)))
    };
    Ok(plan.transform_up_with_subqueries(mark)?.data)
}

fn with_mark(expr: Expr, mark: &str) -> Expr {
    match expr {
        Expr::Column(_) => expr,
        Expr::Alias(Alias { expr, relation, name, metadata }) => {
            Expr::Alias(Alias { expr: Box::new(expr.alias(mark)), relation, name, metadata })
        }
        other => {
            let name = other.schema_name().to_string();
            other.alias(mark).alias(name)
        }
    }
}

/// The plan without numbers, also where the rule has moved them.
fn unmarked(plan: LogicalPlan) -> Result<LogicalPlan> {
    let unmark = |node: LogicalPlan| {
        node.map_expressions(|expr| {
            expr.transform_up(|expr| match expr {
                Expr::Alias(alias) if alias.name.starts_with(MARK) => Ok(Transformed::yes(*alias.expr)),
                // What had no alias gets none.
                Expr::Alias(alias) if is_own_name(&alias) => Ok(Transformed::yes(*alias.expr)),
                other => Ok(Transformed::no(other)),
            })
        })
    };
    Ok(plan.transform_up_with_subqueries(unmark)?.data)
}

/// Whether the alias says what its expression is called anyway.
fn is_own_name(alias: &Alias) -> bool {
    let is_plain = alias.relation.is_none() && alias.metadata.is_none() && is_computed(&alias.expr);
    is_plain && alias.expr.schema_name().to_string() == alias.name
}
