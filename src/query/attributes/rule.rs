//! Brackets once the plan stands.
//!
//! Duty: the rest of "needed" (IN, BETWEEN, LIKE, CASE, CAST, functions), and id literals, before the engine coerces
//! types: it would cast text to a number and fail at the first value that is none. Guarantee: names of result columns
//! do not change. Left to others: operators and aggregates (`planner`).

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{Between, InList, InSubquery, Like};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Case, Cast, Expr, ExprSchemable, LogicalPlan, Operator, TryCast};
use datafusion::optimizer::AnalyzerRule;

use super::attr::{Attr, Origin, arrow_type};
use super::containers::as_json;
use super::is_container;
use super::typing::{self, Need, Use, against, against_all, need, need_of_branches, operands};
use crate::query::functions::numeric;
use crate::span::pinned::ScalarType;

/// The analyzer rule; runs before type coercion.
#[derive(Debug)]
pub struct AttributeTypes;

impl AnalyzerRule for AttributeTypes {
    fn name(&self) -> &'static str {
        "attribute_types"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(rewrite_node)?.data)
    }
}

fn rewrite_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    let rewritten = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(|expr| rewrite(expr, &schema))?;
        Ok(if expr.transformed { expr.update_data(|expr| name.restore(expr)) } else { expr })
    })?;
    if rewritten.transformed { rewritten.map_data(LogicalPlan::recompute_schema) } else { Ok(rewritten) }
}

fn rewrite(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let before = expr.clone();
    let after = typed(expr, schema)?;
    Ok(if after == before { Transformed::no(after) } else { Transformed::yes(after) })
}

fn typed(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (left, right) = match how(op) {
                Some(how) => operands(how, *left, *right, schema)?,
                None => (*left, *right),
            };
            Expr::BinaryExpr(BinaryExpr { left: Box::new(left), op, right: Box::new(right) })
        }
        Expr::Like(like) => Expr::Like(text_operands(like)),
        Expr::SimilarTo(like) => Expr::SimilarTo(text_operands(like)),
        Expr::InList(InList { expr, list, negated }) => {
            let list = list.into_iter().map(|item| against(item, &expr, schema)).collect::<Result<Vec<_>>>()?;
            let expr = against_all(*expr, &list, schema)?;
            let list = list.into_iter().map(|item| against(item, &expr, schema)).collect::<Result<Vec<_>>>()?;
            Expr::InList(InList { expr: Box::new(expr), list, negated })
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            let inner = subquery.subquery.schema();
            let column = Expr::from(datafusion::common::Column::from(inner.qualified_field(0)));
            let expr = against(*expr, &column, inner)?;
            Expr::InSubquery(InSubquery { expr: Box::new(expr), subquery, negated })
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let low = against(*low, &expr, schema)?;
            let high = against(*high, &expr, schema)?;
            let expr = against_all(*expr, &[low.clone(), high.clone()], schema)?;
            let (low, high) = (against(low, &expr, schema)?, against(high, &expr, schema)?);
            Expr::Between(Between { expr: Box::new(expr), negated, low: Box::new(low), high: Box::new(high) })
        }
        Expr::Cast(Cast { expr, field }) => match cast(&expr, field.data_type()) {
            Some(cast) => cast,
            None => Expr::Cast(Cast { expr: whole(expr, field.data_type(), schema), field }),
        },
        Expr::TryCast(TryCast { expr, field }) => match cast(&expr, field.data_type()) {
            Some(cast) => cast,
            None => Expr::TryCast(TryCast { expr: whole(expr, field.data_type(), schema), field }),
        },
        Expr::Not(inner) => Expr::Not(Box::new(need(*inner, Need::Bool))),
        Expr::IsTrue(inner) => Expr::IsTrue(Box::new(need(*inner, Need::Bool))),
        Expr::IsFalse(inner) => Expr::IsFalse(Box::new(need(*inner, Need::Bool))),
        Expr::IsNotTrue(inner) => Expr::IsNotTrue(Box::new(need(*inner, Need::Bool))),
        Expr::IsNotFalse(inner) => Expr::IsNotFalse(Box::new(need(*inner, Need::Bool))),
        Expr::Negative(inner) => Expr::Negative(Box::new(need(*inner, Need::Number { exact: false }))),
        Expr::Case(inner) => case(inner, schema)?,
        Expr::ScalarFunction(call) if typing::is_value_choice(call.func.name()) => {
            match need_of_branches(call.args.iter(), schema) {
                Some(what) => need(Expr::ScalarFunction(call), what),
                None => Expr::ScalarFunction(call),
            }
        }
        Expr::ScalarFunction(mut call) => {
            let what = if numeric::is_numeric(call.func.name()) {
                Some(Need::Number { exact: false })
            } else if is_text_function(call.func.name()) {
                Some(Need::Text)
            } else {
                None
            };
            if let Some(what) = what {
                call.args = call.args.into_iter().map(|arg| need(arg, what)).collect();
            }
            Expr::ScalarFunction(call)
        }
        other => other,
    })
}

fn text_operands(mut like: Like) -> Like {
    like.expr = Box::new(need(*like.expr, Need::Text));
    like.pattern = Box::new(need(*like.pattern, Need::Text));
    like
}

/// A cast of a bracket reads the stored value in the type asked for; NULL where that is not representable.
fn cast(expr: &Expr, to: &DataType) -> Option<Expr> {
    let (attr, container) = Attr::in_expr(expr)?;
    if attr.origin() == Origin::Fixed {
        // Its own type was asked for first; only the step to the second type must not fail.
        return Some(try_cast(expr.clone(), to));
    }
    let of = match to {
        DataType::Boolean => ScalarType::Bool,
        of if of.is_integer() => ScalarType::Int,
        of if of.is_floating() => ScalarType::Double,
        _ => ScalarType::Text,
    };
    let typed = Attr::new(attr.key(), of, Origin::Fixed).on(container.clone());
    Some(if *to == arrow_type(of) { typed } else { try_cast(typed, to) })
}

/// What is cast where a container as a whole is cast to text: its JSON, as wires without containers show it.
fn whole(expr: Box<Expr>, to: &DataType, schema: &DFSchema) -> Box<Expr> {
    let is_whole = to.is_string() && expr.get_type(schema).is_ok_and(|of| is_container(&of));
    if is_whole { Box::new(as_json(*expr)) } else { expr }
}

fn try_cast(expr: Expr, to: &DataType) -> Expr {
    let field = Arc::new(arrow::datatypes::Field::new("cast", to.clone(), true));
    Expr::TryCast(TryCast { expr: Box::new(expr), field })
}

fn case(mut case: Case, schema: &DFSchema) -> Result<Expr> {
    if let Some(operand) = case.expr.take() {
        let whens: Vec<Expr> = case.when_then_expr.iter().map(|(when, _)| (**when).clone()).collect();
        let operand = against_all(*operand, &whens, schema)?;
        for (when, _) in &mut case.when_then_expr {
            **when = against(std::mem::take(&mut **when), &operand, schema)?;
        }
        case.expr = Some(Box::new(operand));
    }
    let results = case.when_then_expr.iter().map(|(_, then)| then.as_ref()).chain(case.else_expr.as_deref());
    let what = need_of_branches(results, schema);
    let case = Expr::Case(case);
    Ok(match what {
        Some(what) => need(case, what),
        None => case,
    })
}

fn how(op: Operator) -> Option<Use> {
    Some(match op {
        Operator::Eq
        | Operator::NotEq
        | Operator::Lt
        | Operator::LtEq
        | Operator::Gt
        | Operator::GtEq
        | Operator::IsDistinctFrom
        | Operator::IsNotDistinctFrom => Use::Comparison,
        Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo => Use::Arithmetic,
        Operator::RegexMatch
        | Operator::RegexIMatch
        | Operator::RegexNotMatch
        | Operator::RegexNotIMatch
        | Operator::LikeMatch
        | Operator::ILikeMatch
        | Operator::NotLikeMatch
        | Operator::NotILikeMatch
        | Operator::StringConcat => Use::Text,
        Operator::And | Operator::Or => Use::Logic,
        _ => return None,
    })
}

fn is_text_function(name: &str) -> bool {
    matches!(
        name,
        "ascii"
            | "bit_length"
            | "btrim"
            | "character_length"
            | "concat"
            | "concat_ws"
            | "contains"
            | "ends_with"
            | "find_in_set"
            | "initcap"
            | "left"
            | "levenshtein"
            | "lower"
            | "lpad"
            | "ltrim"
            | "octet_length"
            | "regexp_count"
            | "regexp_instr"
            | "regexp_like"
            | "regexp_match"
            | "regexp_replace"
            | "repeat"
            | "replace"
            | "reverse"
            | "right"
            | "rpad"
            | "rtrim"
            | "split_part"
            | "starts_with"
            | "strpos"
            | "substr"
            | "substr_index"
            | "translate"
            | "upper"
    )
}
