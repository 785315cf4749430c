//! Casts between names and numbers of objects.
//!
//! Duty: `'spans'::regclass`, `oid::regtype::text` and their like become calls of functions (`identify`). Guarantee: such
//! a number is a number wherever it is compared, and its name where it is a column of the answer or cast to text. Left to
//! others: which objects there are (`objects`).

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, GroupByExpr,
    Ident, ObjectName, SelectItem, SetExpr, TableFactor, Value, Visit, VisitMut, Visitor, VisitorMut,
};

use super::identify::{reading, showing};
use super::objects::{Of, type_name};
use super::reads::parts;
use crate::query::guard::folded;

/// Puts functions in place of such casts in `statement`.
pub fn casts(statement: &mut ast::Statement) {
    let mut tables = Tables::default();
    let _: ControlFlow<()> = Visit::visit(&*statement, &mut tables);
    let _: ControlFlow<()> = VisitMut::visit(statement, &mut Casts(tables.0));
    if let ast::Statement::Query(query) = statement {
        shown(&mut query.body);
    }
}

/// Columns of the answer are names.
fn shown(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            let is_grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
            for item in &mut select.projection {
                if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                    while let Expr::Nested(inner) = expr {
                        *expr = std::mem::replace(inner.as_mut(), Expr::Value(Value::Null.into()));
                    }
                    show(expr, is_grouped);
                }
            }
        }
        SetExpr::Query(query) => shown(&mut query.body),
        SetExpr::SetOperation { left, right, .. } => {
            shown(left);
            shown(right);
        }
        _ => {}
    }
}

/// The kind of objects that a type is about.
pub(super) fn kind(of: &DataType) -> Option<Of> {
    Of::named(&single(of)?)
}

fn is_text(of: &DataType) -> bool {
    single(of).is_some_and(|name| ["text", "varchar", "name"].contains(&name.as_str()))
}

/// What `pg_type` calls a type that is no array.
fn single(of: &DataType) -> Option<String> {
    let (name, is_array) = type_name(&of.to_string());
    (!is_array).then_some(name)
}

/// Makes a number that was read for it a name; whether it was one. Where rows are grouped by it, it stays within.
fn show(expr: &mut Expr, is_grouped: bool) -> bool {
    let Expr::Function(call) = expr else { return false };
    let called = parts(&call.name).pop().unwrap_or_default();
    match Of::ALL.into_iter().find(|of| reading(*of) == called) {
        Some(of) => {
            // A name is looked up for its number first: it may be none.
            let stays = is_grouped || !is_column(call);
            let mut shown = vec![if stays { Expr::Function(call.clone()) } else { argument(call) }];
            // Of types it has a second argument.
            if of == Of::Type {
                shown.push(Expr::Value(Value::Null.into()));
            }
            *expr = function(showing(of), shown);
            true
        }
        None => false,
    }
}

fn argument(call: &Function) -> Expr {
    match &call.args {
        FunctionArguments::List(list) => match list.args.as_slice() {
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] => argument.clone(),
            _ => Expr::Function(call.clone()),
        },
        _ => Expr::Function(call.clone()),
    }
}

fn is_column(call: &Function) -> bool {
    matches!(argument(call), Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

/// A call of `name`.
pub fn function(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|of| FunctionArg::Unnamed(FunctionArgExpr::Expr(of))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// Tables of the catalogue by what a statement calls them.
#[derive(Default)]
struct Tables(HashMap<String, String>);

impl Visitor for Tables {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias, args: None, .. } = factor
            && let Some(table) = parts(name).pop()
        {
            let called = alias.as_ref().map_or_else(|| table.clone(), |alias| folded(&alias.name));
            self.0.insert(called, table);
        }
        ControlFlow::Continue(())
    }
}

struct Casts(HashMap<String, String>);

impl VisitorMut for Casts {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        // The number of the table that a row is in, by which comments are found.
        if let Expr::CompoundIdentifier(names) = expr
            && let [qualifier, column] = names.as_slice()
            && folded(column) == "tableoid"
            && let Some(table) = self.0.get(&folded(qualifier)).filter(|table| table.starts_with("pg_"))
        {
            let table = Expr::Value(Value::SingleQuotedString(format!("pg_catalog.{table}")).into());
            *expr = function(reading(Of::Relation), vec![table]);
            return ControlFlow::Continue(());
        }
        let Expr::Cast { expr: inner, data_type, .. } = expr else { return ControlFlow::Continue(()) };
        if let Some(of) = kind(data_type) {
            *expr = function(reading(of), vec![inner.as_ref().clone()]);
        } else if is_text(data_type) {
            let mut shown = inner.as_ref().clone();
            while let Expr::Nested(inner) = shown {
                shown = *inner;
            }
            if show(&mut shown, false) {
                *expr = shown;
            }
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    #[test]
    fn casts_are_calls_and_columns_are_names() {
        for (from, to) in [
            ("SELECT 1 WHERE a = 'pg_class'::regclass", "SELECT 1 WHERE a = regclassin('pg_class')"),
            ("SELECT 'x.y'::pg_catalog.regclass", "SELECT regclassout(regclassin('x.y'))"),
            ("SELECT (a.oid::regclass) AS r", "SELECT regclassout(a.oid) AS r"),
            ("SELECT CAST(CAST(oid AS REGTYPE) AS TEXT) || 'x'", "SELECT format_type(oid, NULL) || 'x'"),
            ("SELECT CAST(CAST($1 AS REGCLASS) AS OID)", "SELECT CAST(regclassin($1) AS OID)"),
            ("SELECT oid::regproc::pg_catalog.text", "SELECT regprocout(oid)"),
            (
                "SELECT 1 FROM (SELECT x::regnamespace AS n) a UNION SELECT y::regrole",
                "SELECT 1 FROM (SELECT regnamespacein(x) AS n) a UNION SELECT regroleout(y)",
            ),
            (
                "SELECT a::regtype, count(*) FROM b GROUP BY a::regtype",
                "SELECT format_type(regtypein(a), NULL), count(*) FROM b GROUP BY regtypein(a)",
            ),
            (
                "SELECT 1 FROM pg_catalog.pg_type t, spans s WHERE a = t.tableoid AND s.tableoid = 1",
                "SELECT 1 FROM pg_catalog.pg_type t, spans s WHERE a = regclassin('pg_catalog.pg_type') AND s.tableoid = 1",
            ),
            ("SELECT a::text, b::bigint", "SELECT a::TEXT, b::BIGINT"),
        ] {
            let mut statement = Parser::parse_sql(&PostgreSqlDialect {}, from).unwrap().pop().unwrap();
            casts(&mut statement);
            assert_eq!(statement.to_string(), to);
        }
    }
}
