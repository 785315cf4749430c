//! What a statement reads: the catalogue, or rows of ours.
//!
//! Duty: tell statements and subqueries about the catalogue from all others, and put those of its subqueries that the
//! engine does not plan into forms that it does. Guarantee: nothing that reads rows of ours, or hangs on them, is changed:
//! it is planned as it is written, or refused. Left to others: the other rules (`compat`).

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, ArrayElemTypeDef, BinaryOperator, CastKind, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments,
    Ident, LimitClause, ObjectName, Query, SelectItem, SetExpr, TableFactor, Value, Visit, VisitMut, Visitor,
    VisitorMut,
};
use datafusion_pg_catalog::pg_catalog::PG_CATALOG_TABLES;

use super::absent;
use super::catalogue::NAME;
use super::tables::USERS;

/// Types that are written as names of the catalogue.
const TYPES: [&str; 7] = ["regclass", "regtype", "regproc", "regprocedure", "regnamespace", "regrole", "regoper"];
/// Who belongs to which role, and labels of types: there are none.
const EMPTY: [&str; 2] = ["pg_auth_members", "pg_enum"];
/// Aggregates by which a subquery has one row for each row outside.
pub(super) const AGGREGATES: [&str; 9] =
    ["count", "max", "min", "sum", "avg", "bool_and", "bool_or", "string_agg", "array_agg"];

/// What a statement names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Relations of the catalogue.
    pub catalogue: bool,
    /// Relations of ours, or those that are not known.
    pub ours: bool,
    /// Casts to numbers of objects.
    pub casts: bool,
}

/// What `statement` reads.
pub fn reads(statement: &ast::Statement) -> Reads {
    let mut names = Names::default();
    let _: ControlFlow<()> = statement.visit(&mut names);
    names.reads(statement)
}

/// Puts the schema before names of the catalogue that datafusion-pg-catalog does not know.
pub fn qualify(statement: &mut ast::Statement) {
    struct Qualify(Names);
    impl VisitorMut for Qualify {
        type Break = ();

        fn pre_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<()> {
            if let [one] = parts(name).as_slice()
                && !self.0.expressions.contains_key(one)
                && (one == USERS || absent::has(NAME, one))
            {
                *name = ObjectName::from(vec![Ident::new(NAME), Ident::new(one)]);
            }
            ControlFlow::Continue(())
        }
    }
    let mut names = Names::default();
    let _: ControlFlow<()> = Visit::visit(&*statement, &mut names);
    let _: ControlFlow<()> = VisitMut::visit(statement, &mut Qualify(names));
}

/// Puts subqueries of the catalogue in `statement` into forms that the engine plans.
pub fn subqueries(statement: &mut ast::Statement) {
    let mut names = Names::default();
    let _: ControlFlow<()> = Visit::visit(&*statement, &mut names);
    let _: ControlFlow<()> = VisitMut::visit(statement, &mut Subqueries(names));
}

/// Names that a statement gives.
#[derive(Debug, Default)]
struct Names {
    /// Common table expressions, and whether they read rows of ours.
    expressions: HashMap<String, bool>,
    /// What rows of ours are called.
    ours: HashSet<String>,
}

impl Names {
    fn reads<T: Visit>(&self, of: &T) -> Reads {
        let mut look = Look { names: self, found: Reads::default() };
        let _: ControlFlow<()> = of.visit(&mut look);
        look.found
    }

    /// Whether a relation is one of the catalogue; `None` = it is a function, whose arguments say it.
    fn is_catalogue(&self, factor: &TableFactor) -> Option<bool> {
        let TableFactor::Table { name, args, .. } = factor else { return None };
        let parts = parts(name);
        match parts.as_slice() {
            [.., schema, _] if schema == "pg_catalog" || schema == "information_schema" => Some(true),
            _ if args.is_some() => None,
            [name] => Some(match self.expressions.get(name) {
                Some(reads_ours) => !reads_ours,
                None => PG_CATALOG_TABLES.contains(&name.as_str()) || name == USERS || absent::has(NAME, name),
            }),
            _ => Some(false),
        }
    }
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for expression in query.with.iter().flat_map(|with| &with.cte_tables) {
            let reads_ours = self.reads(&expression.query).ours;
            self.expressions.insert(folded(&expression.alias.name), reads_ours);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let is_ours = match factor {
            TableFactor::Table { .. } => self.is_catalogue(factor) == Some(false),
            TableFactor::Derived { subquery, .. } => self.reads(subquery).ours,
            _ => false,
        };
        if is_ours {
            self.ours.extend(called(factor));
        }
        ControlFlow::Continue(())
    }
}

struct Look<'a> {
    names: &'a Names,
    found: Reads,
}

impl Visitor for Look<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match self.names.is_catalogue(factor) {
            Some(true) => self.found.catalogue = true,
            Some(false) => self.found.ours = true,
            None => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Cast { data_type, .. } = expr {
            let name = data_type.to_string().to_lowercase();
            self.found.casts |= TYPES.contains(&name.trim_start_matches("pg_catalog."));
        }
        ControlFlow::Continue(())
    }
}

/// Qualifiers that a query uses, and those that it gives.
#[derive(Debug, Default)]
struct Qualifiers {
    used: HashSet<String>,
    given: HashSet<String>,
}

impl Visitor for Qualifiers {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
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
            false if aggregates(query, &given) => Hangs::AsPlanned,
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
                    let limit = Some(Expr::Value(Value::Number("1".to_owned(), false).into()));
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
            Expr::Nested(inner)
            | Expr::Cast { expr: inner, .. }
            | Expr::UnaryOp { expr: inner, .. }
            | Expr::IsNull(inner)
            | Expr::IsNotNull(inner) => self.projected(inner),
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
            _ => {}
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
    let nested = |expr: &Expr| Box::new(Expr::Nested(Box::new(expr.clone())));
    let condition = match &select.selection {
        Some(selection) => Expr::BinaryOp { left: nested(selection), op: BinaryOperator::And, right: nested(told) },
        None => told.clone(),
    };
    let mut query = query.clone();
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = vec![SelectItem::UnnamedExpr(Expr::Value(Value::Number("1".to_owned(), false).into()))];
        select.selection = Some(condition);
    }
    Some(Box::new(query))
}

/// Whether a subquery has one row for each row outside by an aggregate, and is compared with that for equality: the engine
/// makes a join of it.
fn aggregates(query: &Query, given: &HashSet<String>) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let [SelectItem::UnnamedExpr(Expr::Function(call)) | SelectItem::ExprWithAlias { expr: Expr::Function(call), .. }] =
        select.projection.as_slice()
    else {
        return false;
    };
    let is_plain = matches!(&select.group_by, ast::GroupByExpr::Expressions(by, _) if by.is_empty())
        && select.having.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none();
    let is_aggregate = parts(&call.name).last().is_some_and(|name| AGGREGATES.contains(&name.as_str()));
    // Outside of the conditions it must stand for itself.
    let conditions = select.selection.as_ref();
    let mut apart = query.clone();
    if let SetExpr::Select(select) = apart.body.as_mut() {
        select.selection = None;
    }
    is_plain
        && is_aggregate
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
    struct Names(bool);
    impl Visitor for Names {
        type Break = ();

        fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
            self.0 |= parts(name).last().is_some_and(|name| EMPTY.contains(&name.as_str()));
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(false);
    let _: ControlFlow<()> = query.visit(&mut names);
    names.0
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

/// By which name columns of a relation are qualified.
fn called(factor: &TableFactor) -> Option<String> {
    let alias = match factor {
        TableFactor::Table { alias, name, .. } => {
            return alias.as_ref().map(|alias| folded(&alias.name)).or_else(|| parts(name).pop());
        }
        TableFactor::Derived { alias, .. }
        | TableFactor::TableFunction { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::NestedJoin { alias, .. } => alias,
        _ => return None,
    };
    alias.as_ref().map(|alias| folded(&alias.name))
}

pub(super) fn parts(name: &ObjectName) -> Vec<String> {
    name.0.iter().filter_map(|part| part.as_ident()).map(folded).collect()
}

/// The name that `ident` means: unquoted ones are in lower case.
pub(super) fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn tree(sql: &str) -> ast::Statement {
        Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().pop().unwrap()
    }

    #[test]
    fn a_statement_is_about_the_catalogue_where_it_reads_it() {
        let of = |sql: &str| {
            let Reads { catalogue, ours, casts } = reads(&tree(sql));
            (catalogue, ours, casts)
        };
        assert_eq!(of("SELECT 1 AS pg_total, 'pg_class', pg_backend_pid() FROM spans pg_class"), (false, true, false));
        assert_eq!(of("SELECT * FROM pg_class c, spans"), (true, true, false));
        assert_eq!(
            of("SELECT * FROM spans WHERE name IN (SELECT relname FROM pg_catalog.pg_class)"),
            (true, true, false)
        );
        assert_eq!(of("WITH pg_class AS (SELECT * FROM spans) SELECT * FROM pg_class"), (false, true, false));
        assert_eq!(of("WITH a AS (SELECT * FROM pg_class) SELECT * FROM a"), (true, false, false));
        assert_eq!(of("SELECT word FROM pg_catalog.pg_get_keywords()"), (true, false, false));
        assert_eq!(of("SELECT 'spans'::regclass, x::pg_catalog.regtype"), (false, false, true));
    }

    #[test]
    fn subqueries_of_the_catalogue_are_changed_and_those_of_ours_are_not() {
        let changed = |sql: &str| {
            let mut statement = tree(sql);
            subqueries(&mut statement);
            statement.to_string()
        };
        for same in [
            "SELECT (SELECT count(*) FROM spans) AS pg_total FROM pg_class",
            "SELECT (SELECT count(*) FROM spans WHERE name = c.relname) FROM pg_class AS c",
            "SELECT (SELECT relname FROM pg_class AS c WHERE c.relname = s.name) FROM spans AS s",
            "WITH a AS (SELECT * FROM spans) SELECT (SELECT max(a.name) FROM a) FROM pg_class",
            "SELECT (SELECT count(*) FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0) FROM pg_class AS c",
            "SELECT c.relname FROM pg_class AS c WHERE (SELECT count(*) = 1 FROM spans WHERE name = c.relname)",
        ] {
            assert_eq!(changed(same), same);
        }
        for (from, to) in [
            (
                "SELECT (SELECT d.adbin FROM pg_attrdef AS d WHERE d.adrelid = a.attrelid) FROM pg_attribute AS a",
                "SELECT NULL FROM pg_attribute AS a",
            ),
            (
                "SELECT (SELECT max(pg_class.oid) FROM pg_class)",
                "SELECT (SELECT max(pg_class.oid) FROM pg_class LIMIT 1)",
            ),
            (
                "SELECT (SELECT oid FROM pg_class WHERE relname = $1)",
                "SELECT (SELECT oid FROM pg_class WHERE relname = $1 LIMIT 1)",
            ),
            (
                "SELECT ARRAY(SELECT b.rolname FROM pg_auth_members AS m JOIN pg_roles AS b ON m.roleid = b.oid WHERE \
                 m.member = r.oid) AS memberof FROM pg_roles AS r",
                "SELECT ARRAY[]::TEXT[] AS memberof FROM pg_roles AS r",
            ),
            (
                "SELECT t.typname FROM pg_type AS t WHERE (t.typrelid = 0 OR (SELECT c.relkind = 'c' FROM pg_class AS c \
                 WHERE c.oid = t.typrelid))",
                "SELECT t.typname FROM pg_type AS t WHERE (t.typrelid = 0 OR EXISTS (SELECT 1 FROM pg_class AS c WHERE \
                 (c.oid = t.typrelid) AND (c.relkind = 'c')))",
            ),
        ] {
            assert_eq!(changed(from), to);
        }
    }
}
