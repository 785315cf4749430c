//! Statements as clients of PostgreSQL write them.
//!
//! Duty: from text to a tree that the engine plans: qualified functions, `= ANY (…)`, COLLATE, OPERATOR(…), and what
//! tools ask of the catalogue. Guarantee: the tree goes through the guard's own checks afterwards, as any other does; a
//! statement that does not name the catalogue keeps its meaning and its places. Left to others: which names exist
//! (`catalogue`).
//!
//! The rules are those of datafusion-pg-catalog. Most of them, and its replacements of whole statements, are for
//! statements that read the catalogue; where those name rows of ours as well, what is said of these stays (`reads`).

use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::common::DataFusionError;
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, Expr, SetExpr, UnaryOperator, Value, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_pg_catalog::sql::rules::{
    AliasDuplicatedProjectionRewrite, CurrentUserVariableToSessionUserFunctionCall, FixArrayLiteral,
    FixVersionColumnName, PrependUnqualifiedPgTableName, ResolveUnqualifiedIdentifier, RewriteArrayAnyAllOperation,
    RewritePgCatalogOperator, SqlStatementRewriteRule, StripCallableQualifier, StripCollate,
};

use super::casts::{casts, function};
use super::forms::{escapes, forms};
use super::identify::{reading, showing};
use super::known::{known, search_path};
use super::nothing::nothing;
use super::objects::{Of, type_name};
use super::reads::{Reads, qualify, reads};
use super::subqueries::subqueries;
use crate::query::error::{Code, Error};
use crate::query::guard::folded;
use crate::query::translate::translate;

static CATALOGUE: LazyLock<PostgresCompatibilityParser> = LazyLock::new(PostgresCompatibilityParser::new);

/// The tree of `sql`, whose tokens are within the caps; `parse` is the guard's own way to one.
///
/// Errors: `sql.syntax`; those of `parse`.
pub fn parse(
    sql: &str,
    tokens: Vec<TokenWithSpan>,
    parse: impl FnOnce(&str, Vec<TokenWithSpan>) -> Result<Parsed, Error>,
) -> Result<Parsed, Error> {
    let may_read_catalogue = names_catalogue(&tokens);
    let mut parsed = parse(sql, tokens)?;
    let Some(query) = query_of(&mut parsed) else { return Ok(parsed) };
    let reads = if may_read_catalogue { reads(query) } else { Reads::default() };
    if reads.catalogue {
        if let Some(known) = known(query) {
            *query = known;
            return Ok(parsed);
        }
        if let Some(nothing) = nothing(query) {
            *query = nothing;
            return Ok(parsed);
        }
        // What is replaced is known by its text: the tree is not changed before.
        if !search_path(query)
            && calls_deep(query) <= MOST_DEEP
            && let Some(replaced) = replaced(sql, query)?
        {
            *query = replaced;
        }
        forms(query);
        qualify(query);
        for rule in rules_of_catalogue() {
            rewrite(query, rule);
        }
        casts(query);
        subqueries(query);
        rewrite(query, &FixVersionColumnName);
        let _: ControlFlow<()> = query.visit(&mut NoFunction);
        return Ok(parsed);
    }
    forms(query);
    for rule in plain_rules() {
        rewrite(query, rule);
    }
    if reads.casts {
        casts(query);
    }
    Ok(parsed)
}

/// What stands in place of `statement`, the tree of `sql`, where tools are known to ask just that.
fn replaced(sql: &str, statement: &ast::Statement) -> Result<Option<ast::Statement>, Error> {
    let failed = |error| translate(&DataFusionError::SQL(Box::new(error), None), sql, None);
    let mut statements = CATALOGUE.parse(sql).map_err(failed)?;
    match (statements.pop(), statements.is_empty()) {
        // Where nothing was replaced, its rules alone make the same of the tree as it is.
        (Some(other), true) => {
            Ok((other.to_string() != CATALOGUE.rewrite(statement.clone()).to_string()).then_some(other))
        }
        _ => Err(Error::new(Code::NotAllowed, "more than one statement").hint("send them one by one")),
    }
}

/// Calls within calls of a text that is read once more as the crate reads it, in twice the time for each.
const MOST_DEEP: usize = 10;

/// How many calls stand within each other at most.
fn calls_deep(statement: &ast::Statement) -> usize {
    #[derive(Default)]
    struct Calls {
        open: usize,
        most: usize,
    }

    impl Visitor for Calls {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            self.open += usize::from(matches!(expr, Expr::Function(_)));
            self.most = self.most.max(self.open);
            ControlFlow::Continue(())
        }

        fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            self.open -= usize::from(matches!(expr, Expr::Function(_)));
            ControlFlow::Continue(())
        }
    }

    let mut calls = Calls::default();
    let _ = statement.visit(&mut calls);
    calls.most
}

/// Rules for statements that read the catalogue, in the order of datafusion-pg-catalog. The one that puts NULL in place of
/// subqueries and the one for casts are ours: `subqueries`, `casts`.
fn rules_of_catalogue() -> [&'static dyn SqlStatementRewriteRule; 9] {
    [
        &AliasDuplicatedProjectionRewrite,
        &ResolveUnqualifiedIdentifier,
        &RewriteArrayAnyAllOperation,
        &PrependUnqualifiedPgTableName,
        &StripCallableQualifier,
        &FixArrayLiteral,
        &CurrentUserVariableToSessionUserFunctionCall,
        &StripCollate,
        &RewritePgCatalogOperator,
    ]
}

/// Rules that keep the meaning of every statement.
fn plain_rules() -> [&'static dyn SqlStatementRewriteRule; 4] {
    [&StripCallableQualifier, &CurrentUserVariableToSessionUserFunctionCall, &StripCollate, &RewritePgCatalogOperator]
}

fn rewrite(statement: &mut ast::Statement, rule: &dyn SqlStatementRewriteRule) {
    *statement = rule.rewrite(statement.clone());
}

fn query_of(parsed: &mut Parsed) -> Option<&mut ast::Statement> {
    match parsed {
        Parsed::Statement(statement) => Some(statement),
        Parsed::Explain(explain) => match explain.statement.as_mut() {
            Parsed::Statement(statement) => Some(statement),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a statement has words of the catalogue, and is to be looked at; EXPLAIN and listings never are, for the guard
/// reads them itself.
fn names_catalogue(tokens: &[TokenWithSpan]) -> bool {
    let words = tokens.iter().filter_map(|token| match &token.token {
        Token::Word(word) => Some(word.value.to_ascii_lowercase()),
        _ => None,
    });
    let mut words = words.peekable();
    if words.peek().is_some_and(|first| ["explain", "describe", "desc", "show"].contains(&first.as_str())) {
        return false;
    }
    words.any(|word| word.starts_with("pg_") || word.starts_with("reg") || word == "information_schema")
}

/// Puts patterns and comparisons with arrays into forms that the engine plans, once parameters are in their places. The names of
/// placeholders that stand for arrays, where they still are placeholders.
pub fn arrays(statement: &mut ast::Statement) -> Vec<String> {
    escapes(statement);
    let mut any = AnyAll::default();
    let _: ControlFlow<()> = statement.visit(&mut any);
    if any.left {
        rewrite(statement, &RewriteArrayAnyAllOperation);
    }
    any.placeholders
}

/// Bytes of text that comparisons written out element by element may grow by: chains of them double at each link.
const MOST_WRITTEN_OUT: usize = 1 << 20;

#[derive(Default)]
struct AnyAll {
    placeholders: Vec<String>,
    /// Bytes of text that were added.
    written_out: usize,
    /// Whether some are over arrays that are not written out.
    left: bool,
}

/// An array that is written out, or a placeholder for one.
enum Array<'a> {
    Elements(&'a [Expr]),
    Placeholder(&'a str),
}

fn array(expr: &Expr) -> Option<Array<'_>> {
    match expr {
        Expr::Nested(inner) => array(inner),
        Expr::Cast { expr, .. } => array(expr),
        Expr::Array(array) => Some(Array::Elements(&array.elem)),
        Expr::Value(value) => match &value.value {
            Value::Placeholder(name) => Some(Array::Placeholder(name)),
            _ => None,
        },
        _ => None,
    }
}

impl AnyAll {
    /// Whether `left` may be written out so many times more.
    fn has_room(&mut self, left: &Expr, times: usize) -> bool {
        // Once it is full, what is looked at is large.
        if self.written_out <= MOST_WRITTEN_OUT {
            self.written_out = self.written_out.saturating_add(left.to_string().len().saturating_mul(times));
        }
        self.written_out <= MOST_WRITTEN_OUT
    }
}

impl VisitorMut for AnyAll {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let (left, op, right, all) = match &*expr {
            Expr::AnyOp { left, compare_op, right, .. } => (left, compare_op, right, false),
            Expr::AllOp { left, compare_op, right } => (left, compare_op, right, true),
            _ => return ControlFlow::Continue(()),
        };
        let compared = |right: Expr| Expr::BinaryOp { left: left.clone(), op: op.clone(), right: Box::new(right) };
        let rewritten = match array(right) {
            None => {
                self.left = true;
                return ControlFlow::Continue(());
            }
            Some(Array::Placeholder(name)) => {
                self.placeholders.push(name.trim_start_matches('$').to_owned());
                compared(Expr::Value(Value::Placeholder(name.to_owned()).into()))
            }
            Some(Array::Elements(elements)) => {
                let listed = |negated| Expr::InList { expr: left.clone(), list: elements.to_vec(), negated };
                match (&op, all, elements) {
                    (_, _, []) => Expr::Value(Value::Boolean(all).into()),
                    (BinaryOperator::Eq, false, _) => listed(false),
                    (BinaryOperator::NotEq, true, _) => listed(true),
                    (_, _, [_, rest @ ..]) if !self.has_room(left, rest.len()) => {
                        self.left = true;
                        return ControlFlow::Continue(());
                    }
                    (_, _, [first, rest @ ..]) => {
                        let join = if all { BinaryOperator::And } else { BinaryOperator::Or };
                        let joined = |left: Expr, right: &Expr| Expr::BinaryOp {
                            left: Box::new(left),
                            op: join.clone(),
                            right: Box::new(compared(right.clone())),
                        };
                        Expr::Nested(Box::new(rest.iter().fold(compared(first.clone()), joined)))
                    }
                }
            }
        };
        *expr = rewritten;
        ControlFlow::Continue(())
    }
}

/// Columns of functions hold names here, where `0` stands for none in PostgreSQL: that is `-` as a name.
struct NoFunction;

const OF_FUNCTIONS: [&str; 9] =
    ["amproc", "typinput", "typoutput", "typreceive", "typsend", "typmodin", "typmodout", "typanalyze", "amhandler"];

impl VisitorMut for NoFunction {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::BinaryOp { left, op: BinaryOperator::Eq | BinaryOperator::NotEq, right } = expr else {
            return ControlFlow::Continue(());
        };
        // `proc.oid = typ.typreceive` of Npgsql.
        by_name(left, right);
        by_name(right, left);
        let is_function = name(left).is_some_and(|name| OF_FUNCTIONS.contains(&name.as_str()));
        if is_function && right.to_string() == "0" {
            **right = Expr::Value(Value::SingleQuotedString("-".to_owned()).into());
        } else if is_function && name(right).as_deref() == Some(reading(Of::Function)) {
            **right = function(showing(Of::Function), vec![right.as_ref().clone()]);
        }
        ControlFlow::Continue(())
    }
}

/// Where the number of a function is compared with a column that holds a name, its name is.
fn by_name(number: &mut Expr, function: &Expr) {
    if let (Expr::CompoundIdentifier(number), Expr::CompoundIdentifier(_)) = (number, function)
        && name(function).is_some_and(|name| OF_FUNCTIONS.contains(&name.as_str()))
        && let Some(last) = number.last_mut()
        && last.value.eq_ignore_ascii_case("oid")
    {
        *last = ast::Ident::new("proname");
    }
}

/// Names of columns as PostgreSQL gives them, where `statement` says them: `None` = where there is a `*`, or it is not
/// one SELECT.
pub fn names(statement: &ast::Statement) -> Option<Vec<String>> {
    let name = |item: &ast::SelectItem| match item {
        ast::SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        ast::SelectItem::UnnamedExpr(expr) => Some(name(expr).unwrap_or_else(|| "?column?".to_owned())),
        _ => None,
    };
    projection(statement)?.iter().map(name).collect()
}

/// What the first SELECT of `statement` gives.
pub fn projection(statement: &ast::Statement) -> Option<&[ast::SelectItem]> {
    let ast::Statement::Query(query) = statement else { return None };
    let mut body = query.body.as_ref();
    loop {
        body = match body {
            SetExpr::Query(inner) => inner.body.as_ref(),
            SetExpr::SetOperation { left, .. } => left.as_ref(),
            SetExpr::Select(select) => return Some(&select.projection),
            _ => return None,
        }
    }
}

fn name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(folded(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded),
        Expr::Nested(inner) => name(inner),
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => name(expr),
        Expr::Function(call) => call.name.0.last().and_then(|part| part.as_ident()).map(folded),
        Expr::Cast { expr, data_type, .. } => name(expr).or_else(|| Some(type_name(&data_type.to_string()).0)),
        Expr::Case { .. } => Some("case".to_owned()),
        Expr::Extract { .. } => Some("extract".to_owned()),
        Expr::Substring { .. } => Some("substring".to_owned()),
        Expr::Trim { .. } => Some("btrim".to_owned()),
        Expr::Ceil { .. } => Some("ceil".to_owned()),
        Expr::Floor { .. } => Some("floor".to_owned()),
        Expr::Position { .. } => Some("position".to_owned()),
        Expr::Overlay { .. } => Some("overlay".to_owned()),
        Expr::Exists { .. } => Some("exists".to_owned()),
        Expr::Array(_) => Some("array".to_owned()),
        Expr::TypedString(text) => Some(type_name(&text.data_type.to_string()).0),
        Expr::Interval(_) => Some("interval".to_owned()),
        // `attributes['http.route']` is about that key.
        Expr::CompoundFieldAccess { root, access_chain } => match access_chain.last() {
            Some(ast::AccessExpr::Subscript(ast::Subscript::Index { index: Expr::Value(key) })) => match &key.value {
                Value::SingleQuotedString(key) => Some(key.clone()),
                _ => name(root),
            },
            Some(ast::AccessExpr::Dot(part)) => name(part),
            _ => name(root),
        },
        _ => None,
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
    fn a_chain_of_comparisons_with_arrays_does_not_double_at_each_link() {
        let chain = " < ANY (ARRAY[1, 1])".repeat(30);
        let mut statement = tree(&format!("SELECT 1 WHERE 1{chain}"));
        let mut any = AnyAll::default();
        let _: ControlFlow<()> = VisitMut::visit(&mut statement, &mut any);
        assert!(any.left && statement.to_string().len() < 2 * MOST_WRITTEN_OUT);
    }

    #[test]
    fn comparisons_with_arrays_become_lists_and_chains() {
        let cases = [
            ("a = ANY (ARRAY[1, 2])", "a IN (1, 2)"),
            ("a = ANY ((ARRAY[1, 2])::int[])", "a IN (1, 2)"),
            ("a <> ALL (ARRAY['x'])", "a NOT IN ('x')"),
            ("a < ANY (ARRAY[1, 2])", "(a < 1 OR a < 2)"),
            ("a > ALL (ARRAY[1, 2])", "(a > 1 AND a > 2)"),
            ("a = ANY (ARRAY[])", "false"),
            ("a = ALL (ARRAY[])", "true"),
        ];
        for (from, to) in cases {
            let mut statement = tree(&format!("SELECT 1 WHERE {from}"));
            assert!(arrays(&mut statement).is_empty());
            assert_eq!(statement.to_string(), format!("SELECT 1 WHERE {to}"), "{from}");
        }
        let mut open = tree("SELECT 1 WHERE a = ANY ($2::text[])");
        assert_eq!(arrays(&mut open), ["2"]);
        assert_eq!(open.to_string(), "SELECT 1 WHERE a = $2");
    }

    #[test]
    fn columns_have_the_names_of_postgresql() {
        let named = |sql: &str| names(&tree(sql));
        let of = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            named("SELECT 1, count(*), Name, s.kind, 'a'::text, CASE WHEN true THEN 1 END, x AS \"Y\" FROM spans s"),
            of(&["?column?", "count", "name", "kind", "text", "case", "Y"])
        );
        assert_eq!(
            named(
                "SELECT attributes['http.route'], extract(epoch from a), 1::int, '{}'::varchar(9)[], (f(a)).n FROM spans"
            ),
            of(&["http.route", "extract", "int4", "varchar", "n"])
        );
        assert_eq!(named("SELECT * FROM spans"), None);
        assert_eq!(named("VALUES (1)"), None);
    }
}
