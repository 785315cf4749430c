//! A statement taken apart into what several can share (gates.md 8, class decomposable).
//!
//! Duty: from the analysed plan of one statement to its filter, its keys, its aggregates, and what stands above them, all
//! over columns of `spans`. Guarantee: what is taken apart gives, put together again, the rows of the statement for any
//! spans and any division of them; anything else is refused with the reason. Left to others: who shares (`mod`), states
//! (`aggregation`).

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError, Result as EngineResult, ScalarValue};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Aggregate, BinaryExpr, Expr, LogicalPlan, Operator, TableScan, Volatility};

use crate::query::attributes::typing::is_text;
use crate::query::{scan, session};

/// The table.
pub(super) const SPANS: &str = "spans";

/// Aggregates whose partial states can be merged in any order.
const MERGEABLE: &[&str] = &[
    "approx_distinct",
    "approx_percentile_cont",
    "avg",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "error_rate",
    "exemplar",
    "exphist",
    "max",
    "min",
    "p50",
    "p90",
    "p95",
    "p99",
    "quantile",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "sum",
    "var",
    "var_pop",
    "var_samp",
    "var_sample",
    "var_population",
];

/// A statement in parts. Keys and aggregates are columns `k0`, `k1` … and `v0`, `v1` … of what stands above them.
#[derive(Clone, Debug, Default)]
pub(super) struct Decomposed {
    /// Conditions that a span must meet, beside those of `pinned`.
    pub filter: Vec<Expr>,
    /// Columns of few distinct texts, and the text that each must have.
    pub pinned: Vec<(Expr, String)>,
    /// GROUP BY.
    pub keys: Vec<Expr>,
    /// What is computed of each group.
    pub aggregates: Vec<Expr>,
    /// HAVING.
    pub having: Vec<Expr>,
    /// The columns of the result.
    pub outputs: Vec<(String, Expr)>,
}

/// The column of the key, or of the aggregate, `at`.
pub(super) fn placed(kind: char, at: usize) -> Expr {
    Expr::Column(Column::new_unqualified(format!("{kind}{at}")))
}

/// Takes `plan` apart, which is analysed and not optimised.
///
/// Errors: why that cannot be done.
pub(super) fn decompose(plan: &LogicalPlan) -> Result<Decomposed, String> {
    let mut parts = Decomposed::default();
    let known = parts.above(plan)?;
    let names = plan.schema().fields().iter().map(|field| field.name().clone());
    parts.outputs = names.zip(known).collect();
    Ok(parts)
}

impl Decomposed {
    /// What the columns of `plan` are made of, which is the aggregate or stands above it.
    fn above(&mut self, plan: &LogicalPlan) -> Result<Vec<Expr>, String> {
        match plan {
            LogicalPlan::Projection(node) => {
                let known = self.above(&node.input)?;
                node.expr.iter().map(|expr| steady_over(expr, node.input.schema(), &known)).collect()
            }
            LogicalPlan::Filter(node) => {
                let known = self.above(&node.input)?;
                self.having.push(steady_over(&node.predicate, node.input.schema(), &known)?);
                Ok(known)
            }
            LogicalPlan::SubqueryAlias(node) => self.above(&node.input),
            LogicalPlan::Aggregate(node) => self.aggregate(node),
            LogicalPlan::TableScan(_) => Err("it aggregates nothing".to_owned()),
            other => Err(because(other)),
        }
    }

    fn aggregate(&mut self, node: &Aggregate) -> Result<Vec<Expr>, String> {
        let known = self.below(&node.input)?;
        let schema = node.input.schema();
        for key in &node.group_expr {
            if matches!(key, Expr::GroupingSet(_)) {
                return Err("it groups by several sets of keys".to_owned());
            }
            self.keys.push(steady_over(key, schema, &known)?);
        }
        for expr in &node.aggr_expr {
            self.aggregates.push(mergeable(expr, schema, &known)?);
        }
        let keys = (0..self.keys.len()).map(|at| placed('k', at));
        Ok(keys.chain((0..self.aggregates.len()).map(|at| placed('v', at))).collect())
    }

    /// What the columns of `plan` are made of, which stands below the aggregate.
    fn below(&mut self, plan: &LogicalPlan) -> Result<Vec<Expr>, String> {
        match plan {
            LogicalPlan::Projection(node) => {
                let known = self.below(&node.input)?;
                node.expr.iter().map(|expr| steady_over(expr, node.input.schema(), &known)).collect()
            }
            LogicalPlan::Filter(node) => {
                let known = self.below(&node.input)?;
                let holds = steady_over(&node.predicate, node.input.schema(), &known)?;
                for conjunct in split_conjunction_owned(holds) {
                    match pinned(&conjunct) {
                        Some(pin) => self.pinned.push(pin),
                        None => self.filter.push(conjunct),
                    }
                }
                Ok(known)
            }
            LogicalPlan::SubqueryAlias(node) => self.below(&node.input),
            LogicalPlan::TableScan(node) => columns(node),
            LogicalPlan::Aggregate(_) => Err("it aggregates what it has aggregated".to_owned()),
            other => Err(because(other)),
        }
    }
}

/// The columns of a scan of `spans`.
fn columns(scan: &TableScan) -> Result<Vec<Expr>, String> {
    let is_ours = scan.table_name.schema().is_none_or(|schema| schema == session::SCHEMA);
    let table = scan.table_name.table();
    if !is_ours || table != SPANS {
        return Err(format!("it reads `{table}`"));
    }
    if scan.fetch.is_some() || !scan.filters.is_empty() {
        return Err("its scan is bounded".to_owned());
    }
    let column = |name: &String| Expr::Column(Column::new(Some(SPANS), name));
    Ok(scan.projected_schema.fields().iter().map(|field| column(field.name())).collect())
}

fn because(plan: &LogicalPlan) -> String {
    let what = match plan {
        LogicalPlan::Join(_) => "it joins",
        LogicalPlan::Sort(_) => "it sorts",
        LogicalPlan::Limit(_) => "it has a LIMIT",
        LogicalPlan::Distinct(_) => "it has a DISTINCT",
        LogicalPlan::Window(_) => "it has a window function",
        LogicalPlan::Union(_) => "it is a union",
        LogicalPlan::Unnest(_) => "it unnests",
        _ => "it is more than one aggregation of `spans`",
    };
    what.to_owned()
}

/// `expr` with what is `known` in the place of the columns of `schema`.
fn over(expr: &Expr, schema: &DFSchema, known: &[Expr]) -> Result<Expr, String> {
    let resolved = || -> EngineResult<Expr> {
        let bare = expr.clone().unalias_nested().data;
        let found = bare.transform_down(|inner| match inner {
            Expr::Column(column) => {
                let at = schema.index_of_column(&column)?;
                let known = known.get(at).cloned();
                let known = known.ok_or_else(|| DataFusionError::Plan(format!("no column {at}")))?;
                Ok(Transformed::new(known, true, TreeNodeRecursion::Jump))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(found.data)
    };
    resolved().map_err(|error| format!("it cannot be taken apart: {error}"))
}

fn steady_over(expr: &Expr, schema: &DFSchema, known: &[Expr]) -> Result<Expr, String> {
    let expr = over(expr, schema, known)?;
    steady(&expr)?;
    Ok(expr)
}

/// Errors: `expr` is more than a function of one row.
fn steady(expr: &Expr) -> Result<(), String> {
    let mut odd = None;
    let walked = expr.apply(|inner| {
        odd = match inner {
            Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
                Some(format!("`{}` may give something else each time", call.func.name()))
            }
            Expr::Column(_)
            | Expr::Literal(..)
            | Expr::BinaryExpr(_)
            | Expr::Like(_)
            | Expr::SimilarTo(_)
            | Expr::Not(_)
            | Expr::IsNotNull(_)
            | Expr::IsNull(_)
            | Expr::IsTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNotFalse(_)
            | Expr::IsNotUnknown(_)
            | Expr::Negative(_)
            | Expr::Between(_)
            | Expr::Case(_)
            | Expr::Cast(_)
            | Expr::TryCast(_)
            | Expr::ScalarFunction(_)
            | Expr::InList(_) => None,
            _ => Some("it asks more than one row at a time".to_owned()),
        };
        Ok(if odd.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    match (walked, odd) {
        (Err(error), _) => Err(error.to_string()),
        (_, Some(why)) => Err(why),
        _ => Ok(()),
    }
}

/// The aggregate `expr` over columns of `spans`.
fn mergeable(expr: &Expr, schema: &DFSchema, known: &[Expr]) -> Result<Expr, String> {
    let expr = over(expr, schema, known)?;
    let Expr::AggregateFunction(call) = &expr else { return Err("it computes with its aggregates below".to_owned()) };
    let name = call.func.name();
    if !MERGEABLE.contains(&name) {
        return Err(format!("states of `{name}` are not merged"));
    }
    if call.params.distinct {
        return Err(format!("`{name}` is asked for DISTINCT values"));
    }
    // The order within a group tells a percentile which side it counts from.
    if (!call.params.order_by.is_empty() && name != "approx_percentile_cont") || call.params.null_treatment.is_some() {
        return Err(format!("`{name}` is asked in an order"));
    }
    let sorted = call.params.order_by.iter().map(|sort| &sort.expr);
    call.params.args.iter().chain(call.params.filter.as_deref()).chain(sorted).try_for_each(steady)?;
    Ok(expr)
}

/// The column and the text of `column = 'text'`, where the column is one of few distinct texts.
fn pinned(conjunct: &Expr) -> Option<(Expr, String)> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = conjunct else { return None };
    let side = |column: &Expr, text: &Expr| Some((few_texts(column)?, literal_text(text)?));
    side(left, right).or_else(|| side(right, left))
}

/// The column under casts from text to text, if it is one of few distinct texts.
fn few_texts(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Cast(cast) if is_text(cast.field.data_type()) => few_texts(&cast.expr),
        Expr::Column(column) => {
            let field = scan::table_schema().field_with_name(&column.name).ok()?;
            (value_type(field.data_type()).is_some_and(is_text)).then(|| expr.clone())
        }
        _ => None,
    }
}

fn literal_text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Cast(cast) if is_text(cast.field.data_type()) => literal_text(&cast.expr),
        Expr::Literal(ScalarValue::Dictionary(_, value), _) => value.try_as_str().flatten().map(str::to_owned),
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
        _ => None,
    }
}

/// What a dictionary is of.
pub(super) fn value_type(of: &DataType) -> Option<&DataType> {
    match of {
        DataType::Dictionary(_, value) => Some(value.as_ref()),
        _ => None,
    }
}
