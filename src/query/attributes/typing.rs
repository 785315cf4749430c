//! The type of a bracket (sql.md 3.2).
//!
//! Duty: pinned, then needed, else text. Guarantee: an attribute never makes an operator fail on a value: it is read in
//! the type that the operator needs, and what is not representable is NULL. Left to others: where in a statement the
//! rules are applied (`planner` while it becomes a plan, `rule` afterwards).

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::compute::can_cast_types;
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::{Case, Expr, ExprSchemable, TryCast};

use super::attr::{Attr, Origin};
use super::convert::canonical_int;
use crate::query::functions::ids;
use crate::span::pinned::{self, ScalarType};

/// Integers beyond this are not doubles.
const MAX_SAFE_INT: u64 = 1 << 53;

/// Types that the configuration and the loaded registry give to keys, over the pinned ones.
#[derive(Clone, Debug, Default)]
pub struct Types(Arc<BTreeMap<String, ScalarType>>);

impl Types {
    /// The section `query.attribute_types`, over the registry's types.
    pub fn new(known: Arc<BTreeMap<String, ScalarType>>) -> Self {
        Self(known)
    }

    /// The bracket for `key`, pinned if its type is known, else free and read as text.
    pub fn bracket(&self, key: &str) -> Attr {
        match self.0.get(key).copied().or_else(|| pinned::type_of(key)) {
            Some(of) => Attr::new(key, of, Origin::Pinned),
            None => Attr::new(key, ScalarType::Text, Origin::Free),
        }
    }
}

/// What the use of a value asks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A number; `exact` where a double would round the other side.
    Number {
        /// Read as BIGINT.
        exact: bool,
    },
    /// A truth value.
    Bool,
    /// Text.
    Text,
}

/// What one side of an operator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// It holds brackets without a type of their own.
    Free,
    /// A number; `exact` for an integer literal that no double equals.
    Number {
        exact: bool,
    },
    Bool,
    Text,
    /// A trace or span id of so many bytes.
    Id(i32),
    Other,
}

/// The operators that give or take types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// `=`, `<` and the like.
    Comparison,
    /// `+`, `*` and the like.
    Arithmetic,
    /// `||`, `~` and the like.
    Text,
    /// AND, OR.
    Logic,
}

/// Both operands in the types that `how` needs.
pub fn operands(how: Use, left: Expr, right: Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
    match how {
        Use::Comparison => {
            let left = against(left, &right, schema)?;
            let right = against(right, &left, schema)?;
            Ok((left, right))
        }
        Use::Arithmetic => {
            let exact = [side(&left, schema), side(&right, schema)].contains(&Side::Number { exact: true });
            let fits = |other| matches!(other, Side::Free | Side::Number { .. } | Side::Text);
            if fits(side(&left, schema)) && fits(side(&right, schema)) {
                return Ok((need(left, Need::Number { exact }), need(right, Need::Number { exact })));
            }
            Ok((left, right))
        }
        Use::Text => Ok((need(left, Need::Text), need(right, Need::Text))),
        Use::Logic => Ok((need(left, Need::Bool), need(right, Need::Bool))),
    }
}

/// `expr` in the type that a comparison with `other` needs.
pub fn against(expr: Expr, other: &Expr, schema: &DFSchema) -> Result<Expr> {
    if let (Expr::Literal(value, _), Side::Id(bytes)) = (&expr, side(other, schema))
        && let Some(Some(text)) = value.try_as_str()
    {
        return ids::literal(text, bytes);
    }
    if !holds_attr(&expr) {
        return Ok(expr);
    }
    Ok(match side(other, schema) {
        Side::Number { exact } => need(expr, Need::Number { exact }),
        Side::Bool => need(expr, Need::Bool),
        // A pinned number is compared as a number with text that reads as one.
        Side::Text if reads_as_number(other) && is_number(&expr, schema) => expr,
        Side::Text if holds_attr(other) && is_number(&expr, schema) => expr,
        Side::Text | Side::Free => {
            if is_number(&expr, schema) && holds_attr(other) {
                return Ok(expr);
            }
            need(expr, Need::Text)
        }
        Side::Id(_) => expr,
        Side::Other => as_time(expr, other, schema),
    })
}

/// `expr` as the time that `other` is; what is none is NULL.
fn as_time(expr: Expr, other: &Expr, schema: &DFSchema) -> Expr {
    let Some(of) = time(other, schema) else { return expr };
    let text = need(expr.clone(), Need::Text);
    match text.get_type(schema) {
        Ok(read) if is_text(&read) => Expr::TryCast(TryCast::new(Box::new(text), of)),
        _ => expr,
    }
}

/// The type of a time, a date or an interval, if `expr` is one.
fn time(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    let of = expr.get_type(schema).ok()?;
    (of.is_temporal() && can_cast_types(&DataType::Utf8View, &of)).then_some(of)
}

/// `expr` in the type that comparisons with all of `others` need.
pub fn against_all(expr: Expr, others: &[Expr], schema: &DFSchema) -> Result<Expr> {
    let sides: Vec<Side> = others.iter().map(|other| side(other, schema)).collect();
    let text_only_as_number = |(other, side): (&Expr, &Side)| *side != Side::Text || reads_as_number(other);
    if holds_attr(&expr) && is_number(&expr, schema) && !others.iter().zip(&sides).all(text_only_as_number) {
        return Ok(need(expr, Need::Text));
    }
    let exact = sides.contains(&Side::Number { exact: true });
    let first = sides.iter().position(|side| !matches!(side, Side::Other | Side::Free));
    match first.map(|at| sides[at]) {
        Some(Side::Number { .. }) if holds_attr(&expr) => Ok(need(expr, Need::Number { exact })),
        Some(_) => against(expr, &others[first.expect("it was found")], schema),
        None => match others.iter().find(|other| time(other, schema).is_some()) {
            Some(other) => against(expr, other, schema),
            None => Ok(expr),
        },
    }
}

/// Gives the brackets that make up the value of `expr` the type that `what` asks for.
pub fn need(expr: Expr, what: Need) -> Expr {
    match expr {
        Expr::Alias(mut alias) => {
            alias.expr = Box::new(need(*alias.expr, what));
            Expr::Alias(alias)
        }
        Expr::Negative(inner) => Expr::Negative(Box::new(need(*inner, what))),
        Expr::Case(case) => Expr::Case(Case {
            expr: case.expr,
            when_then_expr: case
                .when_then_expr
                .into_iter()
                .map(|(when, then)| (when, Box::new(need(*then, what))))
                .collect(),
            else_expr: case.else_expr.map(|other| Box::new(need(*other, what))),
        }),
        Expr::ScalarFunction(mut call) => {
            if let Some(attr) = Attr::of(&call.func) {
                let container = call.args.swap_remove(0);
                return retype(attr, what).on(container);
            }
            if is_value_choice(call.func.name()) {
                call.args = call.args.into_iter().map(|arg| need(arg, what)).collect();
            }
            Expr::ScalarFunction(call)
        }
        other => other,
    }
}

/// Functions that hand out one of their arguments.
pub fn is_value_choice(function: &str) -> bool {
    matches!(function, "coalesce" | "nvl" | "nullif" | "greatest" | "least")
}

fn retype(attr: &Attr, what: Need) -> Attr {
    let of = match (attr.origin(), what) {
        (Origin::Fixed, _) => return attr.clone(),
        (_, Need::Text) => ScalarType::Text,
        (Origin::Pinned, Need::Number { .. } | Need::Bool) if attr.scalar_type() != ScalarType::Text => {
            return attr.clone();
        }
        (_, Need::Number { exact: true }) => ScalarType::Int,
        (_, Need::Number { exact: false }) => ScalarType::Double,
        (_, Need::Bool) => ScalarType::Bool,
    };
    if of == attr.scalar_type() {
        return attr.clone();
    }
    Attr::new(attr.key(), of, Origin::Fixed)
}

/// Whether the value of `expr` is, or may be, that of a bracket.
pub fn holds_attr(expr: &Expr) -> bool {
    any_value(expr, &|_| true)
}

fn any_value(expr: &Expr, wanted: &impl Fn(&Attr) -> bool) -> bool {
    match expr {
        Expr::Alias(alias) => any_value(&alias.expr, wanted),
        Expr::Negative(inner) => any_value(inner, wanted),
        Expr::Case(case) => {
            case.when_then_expr.iter().any(|(_, then)| any_value(then, wanted))
                || case.else_expr.as_ref().is_some_and(|other| any_value(other, wanted))
        }
        Expr::ScalarFunction(call) => match Attr::of(&call.func) {
            Some(attr) => wanted(attr),
            None => is_value_choice(call.func.name()) && call.args.iter().any(|arg| any_value(arg, wanted)),
        },
        _ => false,
    }
}

fn side(expr: &Expr, schema: &DFSchema) -> Side {
    if any_value(expr, &|attr| attr.origin() == Origin::Free) {
        return Side::Free;
    }
    if let Expr::Literal(ScalarValue::Int64(Some(value)), _) = expr {
        return Side::Number { exact: value.unsigned_abs() > MAX_SAFE_INT };
    }
    match expr.get_type(schema) {
        Ok(of) if of.is_numeric() => Side::Number { exact: false },
        Ok(DataType::Boolean) => Side::Bool,
        Ok(DataType::FixedSizeBinary(bytes)) => Side::Id(bytes),
        Ok(of) if is_text(&of) => Side::Text,
        _ => Side::Other,
    }
}

fn is_number(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(side(expr, schema), Side::Number { .. })
}

fn reads_as_number(expr: &Expr) -> bool {
    let Expr::Literal(value, _) = expr else { return false };
    value.try_as_str().flatten().is_some_and(|text| canonical_int(text).is_some())
}

/// Whether values of type `of` are text, also those of a dictionary.
pub(in crate::query) fn is_text(of: &DataType) -> bool {
    match of {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

/// The common need of the branches of a CASE or of a choice among values, if one of them is no bracket.
pub fn need_of_branches<'a>(branches: impl Iterator<Item = &'a Expr>, schema: &DFSchema) -> Option<Need> {
    branches.map(|branch| side(branch, schema)).find_map(|side| match side {
        Side::Number { exact } => Some(Need::Number { exact }),
        Side::Bool => Some(Need::Bool),
        Side::Text => Some(Need::Text),
        _ => None,
    })
}
