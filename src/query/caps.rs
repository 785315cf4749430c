//! Caps on what a statement can make out of little (sql.md 7, growth).
//!
//! Duty: put the functions of a plan under their caps, `||` too; refuse patterns that are not known, too long or too
//! large, and constants that would be copied for each row. Guarantee: it sees the plan, so that functions which the
//! engine's planner writes itself (`[a, b]`, `a || b`, OVERLAY) are found too; it runs before constants are folded, so
//! that none is made beyond a cap. Left to others: the caps themselves (`functions::capped`), aggregates (`session`
//! registers them capped), recursion (`gateway`).

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::{Like, ScalarFunction, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF, Subquery,
    WindowFunctionDefinition,
};
use datafusion::optimizer::{AnalyzerRule, OptimizerConfig, OptimizerRule};
use datafusion::physical_expr::create_physical_expr;

use super::functions::argument;
use super::functions::capped::concat::{ConcatOperator, joins};
use super::functions::capped::regexp::{check_like, check_regexp};
use super::functions::capped::windows::{Given, Over};
use super::functions::capped::{Capped, Growth, SHORT, is_copied};
use super::memory::Account;
use super::size::bytes_of;

/// Rows of a batch.
pub const BATCH_ROWS: usize = 8192;

/// The analyzer rule; runs after type coercion. What functions make is charged to the account of the statement.
#[derive(Debug)]
pub struct Caps(pub Account);

impl AnalyzerRule for Caps {
    fn name(&self) -> &'static str {
        "caps"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(|node| capped_node(node, &self.0))?.data)
    }
}

fn capped_node(plan: LogicalPlan, account: &Account) -> Result<Transformed<LogicalPlan>> {
    // A scan's filters are over its own columns.
    let schema = match plan.inputs().as_slice() {
        [] => plan.schema().as_ref().clone(),
        inputs => merge_schema(inputs),
    };
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(|expr| capped(expr, &schema, account))?;
        Ok(if expr.transformed { expr.update_data(|expr| name.restore(expr)) } else { expr })
    })
}

fn capped(expr: Expr, schema: &DFSchema, account: &Account) -> Result<Transformed<Expr>> {
    match expr {
        // Put around a value that had it from an earlier look at the plan.
        Expr::ScalarFunction(mut call) if call.func.inner().is::<Given>() && call.args.iter().all(Given::is) => {
            Ok(call.args.pop().map_or_else(|| Transformed::no(Expr::ScalarFunction(call)), Transformed::yes))
        }
        Expr::ScalarSubquery(subquery) if subquery.outer_ref_columns.is_empty() && gives_copies(&subquery) => {
            let func = Arc::new(ScalarUDF::from(Given::to("(SELECT …)")));
            Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction {
                func,
                args: vec![Expr::ScalarSubquery(subquery)],
            })))
        }
        Expr::ScalarFunction(call) => {
            check_patterns(&call, schema)?;
            let under = call.func.inner().as_ref() as &dyn std::any::Any;
            match Growth::of(call.func.name()) {
                Some(growth) if !under.is::<Capped>() => {
                    let func = Arc::new(ScalarUDF::from(Capped::new(call.func, growth, account.clone())));
                    Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args: call.args })))
                }
                _ => Ok(Transformed::no(Expr::ScalarFunction(call))),
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right }) => {
            let (of, other) = (left.get_type(schema)?, right.get_type(schema)?);
            if of != other || !joins(&of) {
                return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right })));
            }
            let func = Arc::new(ScalarUDF::from(ConcatOperator::new(account.clone())));
            Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args: vec![*left, *right] })))
        }
        Expr::BinaryExpr(binary) => {
            match binary.op {
                Operator::RegexMatch | Operator::RegexNotMatch => check_regexp_in("`~`", &binary.right, "")?,
                Operator::RegexIMatch | Operator::RegexNotIMatch => check_regexp_in("`~*`", &binary.right, "i")?,
                Operator::LikeMatch | Operator::ILikeMatch | Operator::NotLikeMatch | Operator::NotILikeMatch => {
                    check_like_in(&binary.right)?;
                }
                _ => {}
            }
            Ok(Transformed::no(Expr::BinaryExpr(binary)))
        }
        Expr::Like(like) => {
            check_like_in(&like.pattern)?;
            Ok(Transformed::no(Expr::Like(like)))
        }
        Expr::SimilarTo(like) => {
            let Like { pattern, case_insensitive, .. } = &like;
            check_regexp_in("SIMILAR TO", pattern, if *case_insensitive { "i" } else { "" })?;
            Ok(Transformed::no(Expr::SimilarTo(like)))
        }
        Expr::WindowFunction(window) => windowed(*window, schema),
        other => Ok(Transformed::no(other)),
    }
}

/// Whether the value of `subquery` is made again for each row that gets it. One that is correlated becomes a join.
fn gives_copies(subquery: &Subquery) -> bool {
    subquery.subquery.schema().fields().first().is_some_and(|field| is_copied(field.data_type()))
}

/// Puts a window whose values may be long under its cap.
fn windowed(mut window: WindowFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let is_long = |of: &DataType| joins(of) || of.is_nested();
    let of = Expr::from(window.clone()).get_type(schema)?;
    match (&mut window.fun, window.params.args.first_mut()) {
        (WindowFunctionDefinition::AggregateUDF(function), _) if is_long(&of) && !function.inner().is::<Over>() => {
            *function = Arc::new(Over::window(function, window.params.filter.is_some()).into());
        }
        (WindowFunctionDefinition::WindowUDF(function), Some(given)) if is_long(&of) && !Given::is(given) => {
            let func = Arc::new(ScalarUDF::from(Given::to(function.name())));
            *given = Expr::ScalarFunction(ScalarFunction { func, args: vec![given.clone()] });
        }
        _ => return Ok(Transformed::no(Expr::from(window))),
    }
    Ok(Transformed::yes(Expr::from(window)))
}

fn check_patterns(call: &ScalarFunction, schema: &DFSchema) -> Result<()> {
    let name = call.func.name();
    let Some(pattern) = call.args.get(1).filter(|_| name.starts_with("regexp_")) else { return Ok(()) };
    let what = format!("`{name}`");
    let mut flags = String::new();
    for (at, arg) in call.args.iter().enumerate().skip(2) {
        let replacement = name == "regexp_replace" && at == 2;
        if !replacement && arg.get_type(schema)?.is_string() {
            flags.push_str(&known(&what, "flags", arg)?.unwrap_or_default());
        }
    }
    check_regexp_in(&what, pattern, &flags)
}

fn check_regexp_in(what: &str, pattern: &Expr, flags: &str) -> Result<()> {
    match known(what, "pattern", pattern)? {
        Some(pattern) => check_regexp(what, &pattern, flags),
        None => Ok(()),
    }
}

fn check_like_in(pattern: &Expr) -> Result<()> {
    match known("LIKE", "pattern", pattern)? {
        Some(pattern) => check_like("LIKE", &pattern),
        None => Ok(()),
    }
}

/// The text of an expression that no row changes; `None` is NULL.
fn known(what: &str, part: &str, expr: &Expr) -> Result<Option<String>> {
    let unknown = || {
        argument(format!(
            "the {part} of {what} must be known before it runs: a literal, a parameter, or joined from them"
        ))
    };
    if let Expr::Literal(value, _) = expr {
        return Ok(text_of(value));
    }
    let varies = expr.exists(|inner| {
        Ok(matches!(
            inner,
            Expr::Column(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::ScalarSubquery(_)
                | Expr::Placeholder(_)
                | Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
        ))
    })?;
    if varies {
        return Err(unknown());
    }
    let planning = PhysicalPlanningContext::default();
    let physical = create_physical_expr(expr, &DFSchema::empty(), &ExecutionProps::new(), &planning)?;
    // A constant has a value without any row.
    match physical.evaluate(&RecordBatch::new_empty(Arc::new(Schema::empty())))? {
        ColumnarValue::Scalar(value) => Ok(text_of(&value)),
        ColumnarValue::Array(_) => Err(unknown()),
    }
}

fn text_of(value: &ScalarValue) -> Option<String> {
    value.try_as_str().flatten().map(str::to_owned)
}

/// The optimizer rule that refuses large constants; runs after constants are folded.
#[derive(Debug)]
pub struct Constants;

impl OptimizerRule for Constants {
    fn name(&self) -> &'static str {
        "constants"
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let joined = has_rows(&plan)?;
        let mut unnested: *const LogicalPlan = std::ptr::null();
        plan.apply_with_subqueries(|node| {
            // Without rows to copy it for it is one value.
            let rows = joined || node.inputs().iter().any(|input| !matches!(input, LogicalPlan::EmptyRelation(_)));
            let is_unnested = std::ptr::eq(unnested, node);
            if rows {
                node.apply_expressions(|expr| match expr {
                    // A list that becomes rows is read once, not copied for them.
                    Expr::Literal(ScalarValue::List(_), _) if is_unnested => Ok(TreeNodeRecursion::Continue),
                    Expr::Alias(alias) if is_unnested && is_list(&alias.expr) => Ok(TreeNodeRecursion::Continue),
                    expr => expr.apply(small),
                })?;
            }
            unnested = match node {
                LogicalPlan::Unnest(unnest) => Arc::as_ptr(&unnest.input),
                _ => std::ptr::null(),
            };
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(Transformed::no(plan))
    }
}

fn is_list(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::List(_), _))
}

/// Whether there are rows anywhere in `plan`: a join or a subquery may copy a constant for them from elsewhere.
fn has_rows(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= matches!(
            node,
            LogicalPlan::TableScan(_) | LogicalPlan::Join(_) | LogicalPlan::Unnest(_) | LogicalPlan::RecursiveQuery(_)
        );
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// The engine copies a constant for each row of a batch.
fn small(expr: &Expr) -> Result<TreeNodeRecursion> {
    // It takes the array as one value.
    if let Expr::ScalarFunction(call) = expr
        && call.func.name().starts_with("array_has")
    {
        let is_list = |arg: &&Expr| matches!(arg, Expr::Literal(ScalarValue::List(_), _));
        call.args.iter().filter(|arg| !is_list(arg)).try_for_each(|arg| arg.apply(small).map(|_| ()))?;
        return Ok(TreeNodeRecursion::Jump);
    }
    if let Expr::Literal(value, _) = expr {
        let bytes = match value {
            // It may be a row of a larger array, as of an aggregate.
            ScalarValue::Struct(row) => bytes_of(&(row.clone() as ArrayRef)),
            value => value.size().saturating_sub(size_of::<ScalarValue>()) as u64,
        };
        if bytes > SHORT {
            return Err(argument(format!(
                "a constant of {bytes} bytes would be copied for each row; at most {SHORT}: shorten it"
            )));
        }
    }
    Ok(TreeNodeRecursion::Continue)
}
