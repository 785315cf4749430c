//! Brackets while SQL becomes a plan.
//!
//! Duty: `container['k']` and `container->>'k'` become [`Attr`]; operators and aggregates, whose signatures the engine
//! checks at once, get their brackets in the type they need. Guarantee: expressions without brackets pass unchanged.
//! Left to others: IN, BETWEEN, LIKE, CASE, CAST and functions (`rule`).

use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawAggregateExpr, RawBinaryExpr, RawFieldAccessExpr, RawWindowExpr,
};
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess, WindowFunctionDefinition};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::attr::{Attr, Origin};
use super::is_container;
use super::typing::{Need, Types, Use, need, operands};
use crate::span::pinned::ScalarType;

/// Plans brackets; installed before the engine's own planners, which would read them as struct fields.
#[derive(Debug)]
pub struct AttributePlanner {
    types: Types,
}

impl AttributePlanner {
    /// With the pinned types of `types`.
    pub fn new(types: Types) -> Self {
        Self { types }
    }
}

impl ExprPlanner for AttributePlanner {
    fn plan_field_access(
        &self,
        raw: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        if !is_container(&raw.expr.get_type(schema)?) {
            return Ok(PlannerResult::Original(raw));
        }
        match &raw.field_access {
            GetFieldAccess::NamedStructField { name } => {
                if let Some(Some(key)) = name.try_as_str() {
                    return Ok(PlannerResult::Planned(self.types.bracket(key).on(raw.expr)));
                }
            }
            GetFieldAccess::ListIndex { key } => {
                if let Some(key) = text(key) {
                    return Ok(PlannerResult::Planned(self.types.bracket(key).on(raw.expr)));
                }
            }
            GetFieldAccess::ListRange { .. } => {}
        }
        plan_err!("an attribute key is a text literal: attributes['http.route']")
    }

    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = raw;
        if op == BinaryOperator::LongArrow && is_container(&left.get_type(schema)?) {
            let Some(key) = text(&right) else {
                return plan_err!("an attribute key is a text literal: attributes->>'http.route'");
            };
            return Ok(PlannerResult::Planned(Attr::new(key, ScalarType::Text, Origin::Fixed).on(left)));
        }
        let (left, right) = match how(&op) {
            Some(how) => operands(how, left, right, schema)?,
            None => (left, right),
        };
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }

    fn plan_aggregate(&self, mut raw: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        if let Some(what) = aggregate_need(raw.func.name()) {
            raw.args = raw.args.into_iter().map(|arg| need(arg, what)).collect();
            for sort in &mut raw.order_by {
                // percentile_cont(q) WITHIN GROUP (ORDER BY x): x is both argument and order.
                if raw.func.supports_within_group_clause() {
                    sort.expr = need(std::mem::take(&mut sort.expr), what);
                }
            }
        }
        Ok(PlannerResult::Original(raw))
    }

    fn plan_window(&self, mut raw: RawWindowExpr) -> Result<PlannerResult<RawWindowExpr>> {
        if let WindowFunctionDefinition::AggregateUDF(function) = &raw.func_def
            && let Some(what) = aggregate_need(function.name())
        {
            raw.args = raw.args.into_iter().map(|arg| need(arg, what)).collect();
        }
        Ok(PlannerResult::Original(raw))
    }
}

fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value @ (ScalarValue::Utf8(_) | ScalarValue::Utf8View(_) | ScalarValue::LargeUtf8(_)), _) => {
            value.try_as_str().flatten()
        }
        _ => None,
    }
}

fn how(op: &BinaryOperator) -> Option<Use> {
    Some(match op {
        BinaryOperator::Eq
        | BinaryOperator::NotEq
        | BinaryOperator::Lt
        | BinaryOperator::LtEq
        | BinaryOperator::Gt
        | BinaryOperator::GtEq => Use::Comparison,
        BinaryOperator::Plus
        | BinaryOperator::Minus
        | BinaryOperator::Multiply
        | BinaryOperator::Divide
        | BinaryOperator::Modulo => Use::Arithmetic,
        BinaryOperator::StringConcat
        | BinaryOperator::PGRegexMatch
        | BinaryOperator::PGRegexIMatch
        | BinaryOperator::PGRegexNotMatch
        | BinaryOperator::PGRegexNotIMatch
        | BinaryOperator::PGLikeMatch
        | BinaryOperator::PGILikeMatch
        | BinaryOperator::PGNotLikeMatch
        | BinaryOperator::PGNotILikeMatch => Use::Text,
        BinaryOperator::And | BinaryOperator::Or => Use::Logic,
        _ => return None,
    })
}

/// What an aggregate needs of its arguments; `None`: it takes them as they are.
fn aggregate_need(name: &str) -> Option<Need> {
    Some(match name {
        "sum"
        | "avg"
        | "median"
        | "stddev"
        | "stddev_pop"
        | "var"
        | "var_pop"
        | "corr"
        | "covar_samp"
        | "covar_pop"
        | "approx_median"
        | "approx_percentile_cont"
        | "percentile_cont"
        | "p50"
        | "p90"
        | "p95"
        | "p99"
        | "quantile"
        | "exphist"
        | "exemplar" => Need::Number { exact: false },
        name if name.starts_with("regr_") => Need::Number { exact: false },
        "bool_and" | "bool_or" => Need::Bool,
        "string_agg" => Need::Text,
        _ => return None,
    })
}
