//! Subqueries of the catalogue.
//!
//! Duty: put those that the engine does not plan into forms that it does. Guarantee: nothing that reads rows of ours, or
//! hangs on them, is changed: it is planned as it is written, or refused. Left to others: what reads what (`reads`), the
//! other rules (`compat`).

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, ArrayElemTypeDef, BinaryOperator, CastKind, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments,
    GroupByExpr, LimitClause, Query, Select, SelectItem, SetExpr, Value, Visit, VisitMut, Visitor, VisitorMut,
    visit_relations,
};

use super::aggregates;
use super::casts::function;
use super::reads::{Names, called, parts};
use crate::query::guard::folded;

/// Who belongs to which role, and labels of types: there are none.
const EMPTY: [&str; 2] = ["pg_auth_members", "pg_enum"];

/// Puts subqueries of the catalogue in `statement` into forms that the engine plans.
pub fn subqueries(statement: &mut ast::Statement) {
    let mut names = Names::default();
    let _: ControlFlow<()> = Visit::visit(&*statement, &mut names);
    let _: ControlFlow<()> = VisitMut::visit(statement, &mut Subqueries(names));
}

/// Qualifiers that a query uses, and those that it gives.
#[derive(Debug, Default)]
struct Qualifiers {
    used: HashSet<String>,
    given: HashSet<String>,
}

impl Visitor for Qualifiers {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &ast::TableFactor) -> ControlFlow<()> {
        self.given.extend(called(factor));
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(parts) = expr
            && let [.., qualifier, _] = parts.as_slice()
        {
            self.used.insert(folded(qualifier));
        }
        ControlFlow::Continue(())
    }
}

/// How a subquery hangs on the query around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hangs {
    Not,
    OnCatalogue,
    /// On the catalogue, in a way that the engine plans.
    AsPlanned,
    OnOurs,
}

struct Subqueries(Names);

impl Subqueries {
    /// How `query` hangs on what is around it; `None` where it reads rows of ours, or nothing of the catalogue.
    fn of_catalogue(&self, query: &Query) -> Option<Hangs> {
        let reads = self.0.reads(query);
        let given = given(query);
        let outer = outer(query, &given);
        let hangs = match outer.iter().any(|name| self.0.ours.contains(name)) {
            true => Hangs::OnOurs,
            false if outer.is_empty() => Hangs::Not,
            false if is_joined(query, &given) => Hangs::AsPlanned,
            false => Hangs::OnCatalogue,
        };
        (!reads.ours && (reads.catalogue || hangs == Hangs::OnCatalogue)).then_some(hangs)
    }

    fn projected(&self, expr: &mut Expr) {
        match expr {
            Expr::Subquery(query) => match self.of_catalogue(query) {
                // A tool shows one of many facts by it, and that the engine does not plan it is no reason to show none.
                Some(Hangs::OnCatalogue) => *expr = Expr::Value(Value::Null.into()),
                Some(Hangs::Not) if query.limit_clause.is_none() && query.fetch.is_none() => {
                    let limit = Some(number("1"));
                    query.limit_clause = Some(LimitClause::LimitOffset { limit, offset: None, limit_by: vec![] });
                }
                _ => {}
            },
            Expr::Case { operand, conditions, else_result, .. } => {
                let results = conditions.iter_mut().flat_map(|when| [&mut when.condition, &mut when.result]);
                let others = operand.iter_mut().chain(else_result).map(AsMut::as_mut);
                results.chain(others).for_each(|expr| self.projected(expr));
            }
            Expr::BinaryOp { left, right, .. } => {
                self.projected(left);
                self.projected(right);
            }
            Expr::IsNull(_) | Expr::IsNotNull(_) => {
                let counting = self.null_check(expr).and_then(|(query, is_null)| counting(query, is_null));
                match (counting, &mut *expr) {
                    (Some(counting), expr) => *expr = counting,
                    (None, Expr::IsNull(inner) | Expr::IsNotNull(inner)) => self.projected(inner),
                    (None, _) => {}
                }
            }
            Expr::Nested(inner) | Expr::Cast { expr: inner, .. } | Expr::UnaryOp { expr: inner, .. } => {
                self.projected(inner);
            }
            // `ARRAY(SELECT …)` of the groups of a role, of options of a relation.
            Expr::Function(call) => match &mut call.args {
                FunctionArguments::Subquery(query) => {
                    let hangs = self.of_catalogue(query);
                    if hangs == Some(Hangs::OnCatalogue) || hangs.is_some() && names_empty(query) {
                        *expr = no_texts();
                    }
                }
                FunctionArguments::List(list) => {
                    for argument in &mut list.args {
                        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument {
                            self.projected(expr);
                        }
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn body(&self, body: &mut SetExpr) {
        match body {
            SetExpr::Select(select) => {
                for item in &mut select.projection {
                    if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                        self.projected(expr);
                    }
                }
                if let Some(condition) = &mut select.selection {
                    self.condition(condition);
                }
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left);
                self.body(right);
            }
            _ => {}
        }
    }

    /// A condition that is a subquery holds where one of its rows does.
    fn condition(&self, expr: &mut Expr) {
        match expr {
            Expr::BinaryOp { left, op: BinaryOperator::And | BinaryOperator::Or, right } => {
                self.condition(left);
                self.condition(right);
            }
            Expr::Nested(inner) => self.condition(inner),
            Expr::Subquery(query) if self.of_catalogue(query) == Some(Hangs::OnCatalogue) => {
                if let Some(subquery) = existing(query) {
                    *expr = Expr::Exists { subquery, negated: false };
                }
            }
            Expr::IsNull(_) | Expr::IsNotNull(_) => {
                let exists = self.null_check(expr).and_then(|(query, negated)| {
                    let told = Expr::IsNotNull(nested(value(query)?));
                    Some(Expr::Exists { subquery: among(query, &told), negated })
                });
                if let Some(exists) = exists {
                    *expr = exists;
                }
            }
            _ => {}
        }
    }

    /// The subquery of `(subquery) IS [NOT] NULL` that the engine does not plan, and whether NULL is asked for.
    fn null_check<'a>(&self, expr: &'a Expr) -> Option<(&'a Query, bool)> {
        let (of, is_null) = match expr {
            Expr::IsNull(of) => (of, true),
            Expr::IsNotNull(of) => (of, false),
            _ => return None,
        };
        match of.as_ref() {
            Expr::Subquery(query) if self.of_catalogue(query) == Some(Hangs::OnCatalogue) => {
                Some((query.as_ref(), is_null))
            }
            _ => None,
        }
    }
}

impl VisitorMut for Subqueries {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.body(&mut query.body);
        ControlFlow::Continue(())
    }
}

/// `SELECT condition FROM … WHERE …` with the condition among those of its rows.
fn existing(query: &Query) -> Option<Box<Query>> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let [SelectItem::UnnamedExpr(told @ Expr::BinaryOp { op: BinaryOperator::Eq, .. })] = select.projection.as_slice()
    else {
        return None;
    };
    Some(among(query, told))
}

/// Those rows of `query` for which `told` holds.
fn among(query: &Query, told: &Expr) -> Box<Query> {
    let mut query = query.clone();
    if let SetExpr::Select(select) = query.body.as_mut() {
        let condition = match &select.selection {
            Some(selection) => Expr::BinaryOp { left: nested(selection), op: BinaryOperator::And, right: nested(told) },
            None => told.clone(),
        };
        select.projection = vec![SelectItem::UnnamedExpr(number("1"))];
        select.selection = Some(condition);
    }
    Box::new(query)
}

fn nested(expr: &Expr) -> Box<Expr> {
    Box::new(Expr::Nested(Box::new(expr.clone())))
}

fn number(text: &str) -> Expr {
    Expr::Value(Value::Number(text.to_owned(), false).into())
}

/// `(SELECT count(value) FROM …) > 0` for `(SELECT value FROM …) IS NOT NULL`, or `= 0` for its contrary, where the engine
/// makes a join of that.
fn counting(query: &Query, is_null: bool) -> Option<Expr> {
    let count = function("count", vec![value(query)?.clone()]);
    let mut counting = query.clone();
    if let SetExpr::Select(select) = counting.body.as_mut() {
        select.projection = vec![SelectItem::UnnamedExpr(count)];
    }
    is_joined(&counting, &given(&counting)).then(|| Expr::BinaryOp {
        left: Box::new(Expr::Subquery(Box::new(counting))),
        op: if is_null { BinaryOperator::Eq } else { BinaryOperator::Gt },
        right: Box::new(number("0")),
    })
}

/// What a subquery gives of each of its rows, where it is one SELECT that gives them all.
fn value(query: &Query) -> Option<&Expr> {
    match plain(query)?.projection.as_slice() {
        [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] => {
            (!aggregates::any(value)).then_some(value)
        }
        _ => None,
    }
}

/// A query that is one SELECT without groups and without anything that chooses among its rows but a condition.
fn plain(query: &Query) -> Option<&Select> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let is_plain = matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty())
        && select.having.is_none()
        && select.distinct.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none();
    is_plain.then_some(select.as_ref())
}

/// Whether a subquery has one row for each row outside by an aggregate, and is compared with that for equality: the engine
/// makes a join of it.
fn is_joined(query: &Query, given: &HashSet<String>) -> bool {
    let Some(select) = plain(query) else { return false };
    let [SelectItem::UnnamedExpr(Expr::Function(call)) | SelectItem::ExprWithAlias { expr: Expr::Function(call), .. }] =
        select.projection.as_slice()
    else {
        return false;
    };
    // Outside of the conditions it must stand for itself.
    let conditions = select.selection.as_ref();
    let mut apart = query.clone();
    if let SetExpr::Select(select) = apart.body.as_mut() {
        select.selection = None;
    }
    aggregates::is_planned(call)
        && outer(&apart, given).is_empty()
        && conditions.is_some_and(|condition| is_equal(condition, given))
}

fn is_equal(condition: &Expr, given: &HashSet<String>) -> bool {
    match condition {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => is_equal(left, given) && is_equal(right, given),
        Expr::Nested(inner) => is_equal(inner, given),
        Expr::BinaryOp { op: BinaryOperator::Eq, .. } => true,
        other => outer(other, given).is_empty(),
    }
}

/// Names by which `query` calls what it reads.
fn given(query: &Query) -> HashSet<String> {
    let mut qualifiers = Qualifiers::default();
    let _: ControlFlow<()> = query.visit(&mut qualifiers);
    qualifiers.given
}

/// Qualifiers in `of` that are not `given`.
fn outer<T: Visit>(of: &T, given: &HashSet<String>) -> Vec<String> {
    let mut qualifiers = Qualifiers::default();
    let _: ControlFlow<()> = of.visit(&mut qualifiers);
    qualifiers.used.difference(given).cloned().collect()
}

fn names_empty(query: &Query) -> bool {
    let found =
        visit_relations(query, |name| match parts(name).last().is_some_and(|name| EMPTY.contains(&name.as_str())) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        });
    found.is_break()
}

/// `ARRAY[]::text[]`.
fn no_texts() -> Expr {
    Expr::Cast {
        kind: CastKind::DoubleColon,
        expr: Box::new(Expr::Array(ast::Array { elem: Vec::new(), named: true })),
        data_type: DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(DataType::Text), None)),
        array: false,
        format: None,
    }
}

#[cfg(test)]
mod tests;
