//! What the expressions of a plan become once columns are replaced by what they stand for.
//!
//! Duty: count, over the levels of a plan, the nodes that an expression has with each column written out by the
//! expression below it. Guarantee: a count is never too small for a plan of our planner, saturates, and costs no more than
//! the plan is large: the optimizer writes columns out in one go that nothing can stop, and `x + x` of `x + x` of … doubles
//! with each level. Left to others: the cap on the count (`guard`), what is copied while the plan is made (`expansion`).
//!
//! DataFusion 55.2 writes out where it moves a filter: `push_down_filter` puts the expressions of a projection, and the
//! group keys of an aggregate, in the place of a predicate's columns, level by level; the physical `FilterPushdown` does
//! it again with predicates and with those that a top-k, a hash join, `min` and `max` set up, through each
//! `ProjectionExec`. Both take joins, sorts, DISTINCT and the partition keys of windows as they are, and put a predicate
//! into each branch of a union. A filter stays above what an aggregate or a window computes, which no expression can say
//! for one row, above unnested lists, and above a recursive query. Projections are merged only where each column is used
//! once (`merge_consecutive_projections`), which makes no more of them; they count, for any filter above may name them.

use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion, TreeNodeVisitor};
use datafusion::common::{Column, DFSchemaRef, JoinType, Result};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison};
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, Subquery};

/// Nodes that expressions of `plan` gain when their columns are written out: the most of one that a SELECT gives, or all
/// that filters, joins and orders gain, whichever is more.
pub fn gained(plan: &LogicalPlan) -> Result<usize> {
    let mut walk = Walk::default();
    plan.visit(&mut walk)?;
    Ok(walk.gained.of_one.max(walk.gained.moved))
}

/// Counts while a plan is walked from its leaves up.
#[derive(Default)]
struct Walk<'a> {
    /// The walk of the query around this subquery.
    outer: Option<&'a Walk<'a>>,
    /// Outputs of nodes whose parents are still ahead: of a node that is reached, the last ones are its inputs.
    levels: Vec<Level>,
    /// Nodes of the plan and of its expressions, as they are.
    size: usize,
    gained: Gained,
}

/// The columns of a node.
struct Level {
    schema: DFSchemaRef,
    /// Nodes of each one, written out.
    columns: Vec<usize>,
}

impl Level {
    fn of(&self, column: &Column) -> Option<usize> {
        self.schema.maybe_index_of_column(column).and_then(|at| self.columns.get(at)).copied()
    }
}

#[derive(Clone, Copy, Default)]
struct Gained {
    /// The most of one expression.
    of_one: usize,
    /// Of all that filters can be made of.
    moved: usize,
}

impl Gained {
    fn add(&mut self, other: Self) {
        self.of_one = self.of_one.max(other.of_one);
        self.moved = self.moved.saturating_add(other.moved);
    }
}

/// Nodes of an expression; subqueries count as what they hold.
#[derive(Clone, Copy, Default)]
struct Nodes {
    own: usize,
    written_out: usize,
}

impl Nodes {
    fn add(&mut self, own: usize, written_out: usize) {
        self.own = self.own.saturating_add(own);
        self.written_out = self.written_out.saturating_add(written_out);
    }

    fn gained(self) -> usize {
        self.written_out.saturating_sub(self.own)
    }
}

impl<'n> TreeNodeVisitor<'n> for Walk<'_> {
    type Node = LogicalPlan;

    fn f_up(&mut self, node: &'n LogicalPlan) -> Result<TreeNodeRecursion> {
        let from = self.levels.len().saturating_sub(node.inputs().len());
        let (mut exprs, mut gained) = (Vec::new(), Gained::default());
        node.apply_expressions(|expr| {
            let (mut nodes, within) = self.nodes(expr, from)?;
            // It names each key once a set, and no filter is made of it.
            if matches!(expr, Expr::GroupingSet(_)) {
                nodes.written_out = nodes.own;
            }
            exprs.push(nodes);
            gained.add(within);
            Ok(TreeNodeRecursion::Continue)
        })?;
        match node {
            LogicalPlan::Filter(_) | LogicalPlan::Join(_) | LogicalPlan::Sort(_) => {
                exprs.iter().for_each(|expr| gained.add(Gained { of_one: 0, moved: expr.gained() }));
            }
            _ => exprs.iter().for_each(|expr| gained.add(Gained { of_one: expr.gained(), moved: 0 })),
        }
        self.gained.add(gained);
        let own = exprs.iter().fold(1, |own: usize, expr| own.saturating_add(expr.own));
        self.size = self.size.saturating_add(own);
        let columns = self.outputs(node, from, &exprs)?;
        self.levels.truncate(from);
        self.levels.push(Level { schema: node.schema().clone(), columns });
        Ok(TreeNodeRecursion::Continue)
    }
}

impl Walk<'_> {
    /// The columns of `node`, whose inputs begin at `from` and whose expressions are `exprs`.
    fn outputs(&self, node: &LogicalPlan, from: usize, exprs: &[Nodes]) -> Result<Vec<usize>> {
        let inputs = &self.levels[from..];
        let passed = |inputs: &[Level]| -> Vec<usize> {
            inputs.iter().flat_map(|input| input.columns.iter().copied()).collect()
        };
        let mut columns: Vec<usize> = match node {
            LogicalPlan::Projection(_) => exprs.iter().map(|expr| expr.written_out).collect(),
            LogicalPlan::Distinct(Distinct::On(on)) => {
                exprs.iter().skip(on.on_expr.len()).take(on.select_expr.len()).map(|expr| expr.written_out).collect()
            }
            LogicalPlan::Aggregate(aggregate) => {
                let keys = grouping_set_to_exprlist(&aggregate.group_expr)?.into_iter();
                // What subqueries of theirs hold was counted.
                keys.map(|key| self.counted(key, from, &mut Vec::new()).map(|nodes| nodes.written_out))
                    .collect::<Result<Vec<_>>>()?
            }
            LogicalPlan::Union(_) | LogicalPlan::RecursiveQuery(_) => {
                let each = |at: usize| inputs.iter().map(move |input| input.columns.get(at).copied().unwrap_or(1));
                (0..node.schema().fields().len()).map(|at| each(at).fold(0, usize::saturating_add)).collect()
            }
            LogicalPlan::Unnest(unnest) => {
                let below = |at: &usize| inputs.first().and_then(|input| input.columns.get(*at)).copied();
                unnest.dependency_indices.iter().map(|at| below(at).unwrap_or(1)).collect()
            }
            LogicalPlan::Join(join) => match join.join_type {
                JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                    passed(inputs.get(1..).unwrap_or(&[]))
                }
                _ => passed(inputs),
            },
            LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) => Vec::new(),
            _ => passed(inputs),
        };
        // What else there is, is computed here, and no filter moves below.
        columns.resize(node.schema().fields().len(), 1);
        Ok(columns)
    }

    /// Nodes of `expr`, and what expressions of its subqueries gain. The inputs that it is over begin at `from`.
    fn nodes(&self, expr: &Expr, from: usize) -> Result<(Nodes, Gained)> {
        let mut subqueries = Vec::new();
        let mut nodes = self.counted(expr, from, &mut subqueries)?;
        let mut gained = Gained::default();
        for subquery in subqueries {
            let mut within = Walk { outer: Some(self), ..Walk::default() };
            subquery.subquery.visit(&mut within)?;
            nodes.add(within.size, within.size);
            gained.add(within.gained);
        }
        Ok((nodes, gained))
    }

    /// Nodes of `expr` but for its subqueries, which are put into `subqueries`.
    fn counted<'e>(&self, expr: &'e Expr, from: usize, subqueries: &mut Vec<&'e Subquery>) -> Result<Nodes> {
        let mut nodes = Nodes::default();
        expr.apply(|expr| {
            let written_out = match expr {
                // It is dropped where its expression is moved.
                Expr::Alias(_) => return Ok(TreeNodeRecursion::Continue),
                Expr::Column(column) => largest(self.levels[from..].iter(), column),
                Expr::OuterReferenceColumn(_, column) => self.outer(column),
                Expr::ScalarSubquery(subquery)
                | Expr::Exists(Exists { subquery, .. })
                | Expr::InSubquery(InSubquery { subquery, .. })
                | Expr::SetComparison(SetComparison { subquery, .. }) => {
                    subqueries.push(subquery);
                    1
                }
                _ => 1,
            };
            nodes.add(1, written_out);
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(nodes)
    }

    /// A column of a query around, or of what stands left of LATERAL.
    fn outer(&self, column: &Column) -> usize {
        largest(std::iter::successors(Some(self), |walk| walk.outer).flat_map(|walk| walk.levels.iter()), column)
    }
}

/// Nodes of `column` written out: the most that a column of this name has in `levels`, or any column where none has it.
fn largest<'l>(levels: impl Iterator<Item = &'l Level> + Clone, column: &Column) -> usize {
    let named = levels.clone().filter_map(|level| level.of(column)).max();
    named.or_else(|| levels.flat_map(|level| level.columns.iter().copied()).max()).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests;
