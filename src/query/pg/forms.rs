//! Forms of PostgreSQL that the engine does not have.
//!
//! Duty: columns of the same name, LIKE with an ESCAPE of its own, arrays and bytes as quoted text, EXISTS as a column, names
//! with the database in front. Guarantee: each keeps its meaning, in statements about rows of ours too. Left to others: what
//! only statements about the catalogue say (`compat`, `reads`).

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, ArrayElemTypeDef, BinaryOperator, DataType, Expr, Ident, LimitClause, ObjectName, Query, Select, SelectItem,
    SetExpr, TableFactor, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::login::DATABASES;
use super::parameter::{elements, interval};
use super::reads::parts;
use crate::query::guard::folded;

/// Puts forms that the engine has in place of those in `statement` that it has not.
pub fn forms(statement: &mut ast::Statement) {
    let _: ControlFlow<()> = VisitMut::visit(statement, &mut Forms);
}

struct Forms;

impl VisitorMut for Forms {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        body(&mut query.body);
        if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause {
            for rows in limit.iter_mut().chain(offset.iter_mut().map(|offset| &mut offset.value)) {
                if let Some(count) = quoted(rows).filter(|text| text.parse::<u64>().is_ok()).map(str::to_owned) {
                    *rows = Expr::Value(Value::Number(count, false).into());
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<()> {
        if name.0.len() == 3 && parts(name).first().is_some_and(|first| DATABASES.contains(&first.as_str())) {
            name.0.remove(0);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Cast { expr: inner, data_type, .. } => {
                if let Some(value) = quoted(inner).and_then(|text| value(text, data_type)) {
                    *expr = value;
                }
            }
            Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => {
                if let Some(array) = quoted(right).and_then(elements).map(array) {
                    **right = array;
                }
            }
            Expr::Interval(interval) => {
                if let Some(words) = quoted(&interval.value).and_then(words) {
                    *interval.value = Expr::Value(Value::SingleQuotedString(words).into());
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Puts a backslash in place of any other escape of LIKE, once values are in their places. A pattern that is not known
/// stays as it is.
pub fn escapes(statement: &mut ast::Statement) {
    struct Escapes;
    impl VisitorMut for Escapes {
        type Break = ();

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } = expr
                && let Some(Value::SingleQuotedString(escape)) = escape_char.as_ref().map(|escape| &escape.value)
                && escape != "\\"
            {
                let mut changed = pattern.clone();
                if escaped(&mut changed, escape) {
                    *pattern = changed;
                    *escape_char = None;
                }
            }
            ControlFlow::Continue(())
        }
    }
    let _: ControlFlow<()> = VisitMut::visit(statement, &mut Escapes);
}

/// Puts backslashes into the literals of `pattern`; whether it is made of literals and open values.
fn escaped(pattern: &mut Expr, escape: &str) -> bool {
    match pattern {
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => escaped(inner, escape),
        Expr::BinaryOp { left, op: BinaryOperator::StringConcat, right } => {
            escaped(left, escape) && escaped(right, escape)
        }
        Expr::Value(value) => match &mut value.value {
            Value::SingleQuotedString(text) => {
                *text = with_backslashes(text, escape);
                true
            }
            Value::Null | Value::Placeholder(_) => true,
            _ => false,
        },
        _ => false,
    }
}

/// `pattern`, in which `escape` stands before what is meant as it is, with a backslash there.
fn with_backslashes(pattern: &str, escape: &str) -> String {
    let escape = escape.chars().next();
    let mut written = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == escape => {
                let Some(meant) = chars.next() else { break };
                written.extend(['\\', meant]);
            }
            '\\' => written.push_str("\\\\"),
            c => written.push(c),
        }
    }
    written
}

/// An interval with colons in words; `None` = it has none.
fn words(text: &str) -> Option<String> {
    text.contains(':').then(|| interval(text))?
}

/// The text of a quoted literal.
fn quoted(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Nested(inner) => quoted(inner),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// `'{a,b}'::text[]` and `'\x00ff'::bytea`, in which the engine sees a text.
fn value(text: &str, of: &DataType) -> Option<Expr> {
    match of {
        DataType::Array(ArrayElemTypeDef::SquareBracket(item, _)) => {
            let elements = elements(text)?;
            // Without elements it says nothing of its type.
            match elements.is_empty() {
                true => Some(cast(array(elements), of)),
                false => {
                    let Expr::Array(mut whole) = array(elements) else { return None };
                    whole.elem = whole.elem.into_iter().map(|element| cast(element, item)).collect();
                    Some(Expr::Array(whole))
                }
            }
        }
        DataType::Interval { .. } => {
            let words = Expr::Value(Value::SingleQuotedString(words(text)?).into());
            Some(cast(words, of))
        }
        DataType::Bytea => {
            let hex = text.strip_prefix("\\x")?;
            let is_hex = hex.len().is_multiple_of(2) && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_hex.then(|| Expr::Value(Value::HexStringLiteral(hex.to_owned()).into()))
        }
        _ => None,
    }
}

fn cast(expr: Expr, to: &DataType) -> Expr {
    let (kind, expr, data_type) = (ast::CastKind::DoubleColon, Box::new(expr), to.clone());
    Expr::Cast { kind, expr, data_type, array: false, format: None }
}

fn array(elements: Vec<Option<String>>) -> Expr {
    let element = |element: Option<String>| Expr::Value(element.map_or(Value::Null, Value::SingleQuotedString).into());
    Expr::Array(ast::Array { elem: elements.into_iter().map(element).collect(), named: true })
}

fn body(of: &mut SetExpr) {
    match of {
        SetExpr::Select(select) => columns(select),
        SetExpr::SetOperation { left, right, .. } => {
            body(left);
            body(right);
        }
        // A query within one is visited by itself.
        _ => {}
    }
}

fn columns(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
            && let Expr::Exists { subquery, negated } = expr
            && let Some(counted) = counted(subquery, *negated)
        {
            *expr = counted;
        }
    }
    // Two columns may have one name, as two values that are NULL do; in the engine they may not. Clients hear of the names
    // that the text gives (`compat::names`).
    let is_unnamed = |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(expr) if !is_column(expr));
    let are_many = select.projection.iter().filter(|item| is_unnamed(item)).count() > 1;
    let mut known = HashSet::new();
    for (at, item) in select.projection.iter_mut().enumerate() {
        let alias = Ident::with_quote('"', format!("?column? {at}"));
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let name = match &*expr {
                    Expr::Identifier(ident) => folded(ident),
                    other => other.to_string(),
                };
                if !known.insert(name) || are_many && is_constant(expr) {
                    let expr = std::mem::replace(expr, Expr::Value(Value::Null.into()));
                    *item = SelectItem::ExprWithAlias { expr, alias };
                }
            }
            SelectItem::ExprWithAlias { alias: name, .. } if !known.insert(folded(name)) => *name = alias,
            _ => {}
        }
    }
}

const fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

/// Whether it is made of literals and placeholders alone: nothing else in a statement names its column.
fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) | Expr::TypedString(_) => true,
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } | Expr::UnaryOp { expr: inner, .. } => is_constant(inner),
        Expr::BinaryOp { left, right, .. } => is_constant(left) && is_constant(right),
        Expr::Array(array) => array.elem.iter().all(is_constant),
        _ => false,
    }
}

/// `EXISTS (…)` as a column: how many of the first row there are.
fn counted(query: &Query, negated: bool) -> Option<Expr> {
    let text = format!("SELECT (SELECT count(*) {} 0 FROM (SELECT 1) AS found)", if negated { "=" } else { ">" });
    let ast::Statement::Query(template) = Parser::parse_sql(&PostgreSqlDialect {}, &text).ok()?.pop()? else {
        return None;
    };
    let SetExpr::Select(select) = *template.body else { return None };
    let [SelectItem::UnnamedExpr(Expr::Subquery(mut counting))] =
        <[SelectItem; 1]>::try_from(select.projection).ok()?
    else {
        return None;
    };
    let SetExpr::Select(outer) = counting.body.as_mut() else { return None };
    let TableFactor::Derived { subquery, .. } = &mut outer.from.first_mut()?.relation else { return None };
    **subquery = query.clone();
    if subquery.limit_clause.is_none() && subquery.fetch.is_none() {
        let limit = Some(Expr::Value(Value::Number("1".to_owned(), false).into()));
        subquery.limit_clause = Some(LimitClause::LimitOffset { limit, offset: None, limit_by: vec![] });
    }
    Some(Expr::Subquery(counting))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_has_not_is_said_otherwise() {
        for (from, to) in [
            ("SELECT '05:00:00'::interval", "SELECT '5 hours 0 minutes 0 seconds'::INTERVAL"),
            ("SELECT a FROM b LIMIT '3'", "SELECT a FROM b LIMIT 3"),
            ("SELECT '\\x00fF'::bytea, b", "SELECT X'00fF', b"),
            ("SELECT '{1,NULL}'::int[]", "SELECT ARRAY['1'::INT, NULL::INT]"),
            ("SELECT '{}'::text[]", "SELECT ARRAY[]::TEXT[]"),
            ("SELECT 1 WHERE a = ANY ('{x,\"y,z\"}')", "SELECT 1 WHERE a = ANY(ARRAY['x', 'y,z'])"),
            ("SELECT 1 FROM \"default\".public.spans", "SELECT 1 FROM public.spans"),
            ("SELECT 1 FROM other.public.spans", "SELECT 1 FROM other.public.spans"),
            ("SELECT NULL, NULL, a", "SELECT NULL AS \"?column? 0\", NULL AS \"?column? 1\", a"),
            ("SELECT $1::int, count(*)", "SELECT $1::INT AS \"?column? 0\", count(*)"),
            ("SELECT 1, a", "SELECT 1, a"),
            ("SELECT count(*), A, count(*), a", "SELECT count(*), A, count(*) AS \"?column? 2\", a AS \"?column? 3\""),
            ("SELECT a AS x, b AS X, c AS \"X\"", "SELECT a AS x, b AS \"?column? 1\", c AS \"X\""),
            (
                "SELECT EXISTS (SELECT 1 FROM t) AS e",
                "SELECT (SELECT count(*) > 0 FROM (SELECT 1 FROM t LIMIT 1) AS found) AS e",
            ),
        ] {
            let mut statement = Parser::parse_sql(&PostgreSqlDialect {}, from).unwrap().pop().unwrap();
            forms(&mut statement);
            assert_eq!(statement.to_string(), to);
        }
    }

    #[test]
    fn an_escape_of_like_becomes_a_backslash() {
        assert_eq!(with_backslashes("a/_b/%c%", "/"), "a\\_b\\%c%");
        assert_eq!(with_backslashes("a\\//", "/"), "a\\\\\\/");
        assert_eq!(with_backslashes("100\\%", ""), "100\\\\%");
        for (from, to) in [
            ("SELECT a LIKE 'x/_' || ('%') ESCAPE '/'", "SELECT a LIKE 'x\\_' || ('%')"),
            ("SELECT a LIKE CAST('x/_' AS TEXT) || $1 ESCAPE '/'", "SELECT a LIKE CAST('x\\_' AS TEXT) || $1"),
            ("SELECT a LIKE b ESCAPE '/'", "SELECT a LIKE b ESCAPE '/'"),
        ] {
            let mut statement = Parser::parse_sql(&PostgreSqlDialect {}, from).unwrap().pop().unwrap();
            escapes(&mut statement);
            assert_eq!(statement.to_string(), to);
        }
    }
}
