//! What a statement may be (sql.md 7, steps text to plan).
//!
//! Duty: from text to one parsed statement that only reads, within the caps; and the same check on its plan. Guarantee:
//! text that passes has one statement of an allowed kind, and nothing in it writes, also not within EXPLAIN or a common
//! table expression. Left to others: which names exist (`session`), which tables a plan may read (`sources`), rows and
//! time (`gateway`).

mod expansion;
mod inlining;

use std::ops::ControlFlow;

use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParserBuilder, Statement as Parsed};
use datafusion::sql::sqlparser::ast::{
    self, Expr, ObjectName, Query, Select, SetExpr, ShowStatementFilter, ShowStatementFilterPosition,
    ShowStatementOptions, TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::dialect::Postgres;
use super::error::{Code, Error, Position};
use super::nearest::nearest;
use super::params::Params;
use super::pg::compat;
use super::sources::Sources;
use super::table_functions::calls;
use super::translate::{place_of, translate};
use expansion::{Expansion, grouping_sets};

/// Longest text of a statement, in bytes.
pub const MAX_TEXT: usize = 64 << 10;
pub(super) const MAX_DEPTH: usize = 50;
pub(super) const MAX_NODES: usize = 5000;
const MAX_JOINS: usize = 16;
const MAX_BRANCHES: usize = 32;
const MAX_CTES: usize = 16;
const MAX_COLUMNS: usize = 500;
const MAX_IN_LIST: usize = 10_000;
/// Nodes that common table expressions may add where they are read more than once: a list of [`MAX_IN_LIST`] in one that
/// is read three times; those that subqueries within subqueries add; and those that expressions may gain over levels of
/// queries.
const MAX_COPIED: usize = 20_000;
const MAX_GROUPING_SETS: usize = 4096;

const ALLOWED: &str =
    "SELECT, WITH, VALUES, EXPLAIN [ANALYZE], DESCRIBE and SHOW TABLES, COLUMNS, FUNCTIONS can be run";

/// A statement that passed.
#[derive(Debug)]
pub struct Checked {
    /// The statement with its parameters in place.
    pub statement: Parsed,
    /// A table that has to exist for the rows to mean something: that of DESCRIBE and SHOW COLUMNS.
    pub must_exist: Option<String>,
    /// Whether a LIMIT may be put above it: not above EXPLAIN, which must stay the root.
    pub limitable: bool,
    /// Functions in arguments of table functions that read the clock: planning folds them away.
    pub clock: Vec<&'static str>,
    /// Placeholders that stand for arrays, of [`Params::Open`] of a client of PostgreSQL.
    pub arrays: Vec<String>,
}

/// Whose SQL a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// Ours.
    Own,
    /// That of a client of PostgreSQL, which says some things otherwise.
    Postgres,
}

/// Checks `sql` and sets `params` into it.
pub fn check(sql: &str, params: &Params) -> Result<Checked, Error> {
    check_of(Writer::Own, sql, params)
}

/// Checks `sql` of `writer` and sets `params` into it.
pub fn check_of(writer: Writer, sql: &str, params: &Params) -> Result<Checked, Error> {
    let tokens = tokens(sql)?;
    first_word(&tokens, sql)?;
    let mut statement = match writer {
        Writer::Own => parse(sql, tokens)?,
        Writer::Postgres => compat::parse(sql, tokens, parse)?,
    };
    let mut arrays = Vec::new();
    let mut bind = |inner: &mut ast::Statement| {
        params.bind(inner, sql)?;
        if writer == Writer::Postgres {
            arrays = compat::arrays(inner);
        }
        // Values can be arrays, and comparisons with arrays are written out: what is planned now may be larger.
        read_only(inner, sql)
    };
    let mut clock = Vec::new();
    let (must_exist, limitable) = match &mut statement {
        Parsed::Explain(explain) => {
            let inner = match explain.statement.as_mut() {
                Parsed::Statement(inner) if matches!(**inner, ast::Statement::Query(_)) => inner,
                other => {
                    let kind = kind_of(other);
                    return Err(not_allowed(&format!("EXPLAIN {kind}")).at(place_of_keyword(&kind, sql)));
                }
            };
            read_only(inner, sql)?;
            bind(inner)?;
            clock = calls::settle(inner, sql)?;
            (None, false)
        }
        Parsed::Statement(inner) => match inner.as_mut() {
            ast::Statement::Query(_) => {
                read_only(inner, sql)?;
                bind(inner)?;
                clock = calls::settle(inner, sql)?;
                (None, true)
            }
            listing => {
                params.bind(listing, sql)?;
                let (text, table) = listing_query(listing, sql)?;
                statement = parse(&text, tokens_of_ours(&text)?)?;
                (table, true)
            }
        },
        other => return Err(not_allowed(&kind_of(other))),
    };
    Ok(Checked { statement, must_exist, limitable, clock, arrays })
}

/// Checks that nothing in `plan` writes or changes settings, also within EXPLAIN, that it reads `sources` alone, its
/// width, and what its expressions become over its levels.
pub fn check_plan(plan: &LogicalPlan, sources: Sources<'_>) -> Result<(), Error> {
    let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let verify = |plan: &LogicalPlan| options.verify_plan(plan).map_err(|_| not_allowed("a statement that writes"));
    verify(plan)?;
    match plan {
        LogicalPlan::Explain(explain) => verify(&explain.plan)?,
        LogicalPlan::Analyze(analyze) => verify(&analyze.input)?,
        _ => {}
    }
    sources.check(plan)?;
    if plan.schema().fields().len() > MAX_COLUMNS {
        return Err(too_complex("output columns", MAX_COLUMNS));
    }
    match inlining::gained(plan) {
        Ok(..=MAX_COPIED) => Ok(()),
        Ok(_) => Err(too_complex("nodes in expressions once their columns are written out", MAX_COPIED)),
        Err(error) => Err(Error::new(Code::Internal, "internal error").hint(error.to_string())),
    }
}

/// Whether `sql`, which passed, begins with DESCRIBE or SHOW: it was replaced by a query over the names.
pub fn is_listing(sql: &str) -> bool {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().unwrap_or_default();
    let first = tokens.iter().find(|t| !matches!(t.token, Token::Whitespace(_) | Token::SemiColon));
    let listing = ["DESCRIBE", "DESC", "SHOW"];
    first.is_some_and(|t| match &t.token {
        Token::Word(word) => listing.iter().any(|start| word.value.eq_ignore_ascii_case(start)),
        _ => false,
    })
}

/// Errors: `sql.too_complex` for a text that is too long to be looked at.
pub(super) fn fits(sql: &str) -> Result<(), Error> {
    match sql.len() {
        ..=MAX_TEXT => Ok(()),
        bytes => Err(Error::new(Code::TooComplex, format!("the statement has {bytes} bytes; at most 64 KiB"))
            .hint("pass long values as parameters")),
    }
}

pub(super) fn tokens(sql: &str) -> Result<Vec<TokenWithSpan>, Error> {
    fits(sql)?;
    if let Some(at) = sql.find('\0') {
        let line = sql[..at].matches('\n').count() as u64 + 1;
        let column = sql[..at].rsplit('\n').next().unwrap_or_default().chars().count() as u64 + 1;
        return Err(Error::new(Code::Syntax, "the statement has a NUL byte")
            .hint("remove it")
            .at(Position::at(sql, line, column)));
    }
    let tokens =
        Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().map_err(|error| {
            Error::new(Code::Syntax, error.message)
                .hint("close the quote or comment that begins here")
                .at(Position::at(sql, error.location.line, error.location.column))
        })?;
    one_statement(&tokens, sql)?;
    before_parsing(&tokens, sql)?;
    Ok(tokens)
}

fn tokens_of_ours(sql: &str) -> Result<Vec<TokenWithSpan>, Error> {
    Tokenizer::new(&PostgreSqlDialect {}, sql)
        .tokenize_with_location()
        .map_err(|error| Error::new(Code::Internal, "internal error").hint(error.message))
}

fn one_statement(tokens: &[TokenWithSpan], sql: &str) -> Result<(), Error> {
    let meant = |token: &&TokenWithSpan| !matches!(token.token, Token::Whitespace(_) | Token::EOF);
    let mut ended = false;
    let mut any = false;
    for token in tokens.iter().filter(meant) {
        match token.token {
            Token::SemiColon => ended = any,
            _ if ended => {
                let at = Position::at(sql, token.span.start.line, token.span.start.column);
                return Err(Error::new(Code::NotAllowed, "more than one statement")
                    .hint("send them one by one")
                    .at(at));
            }
            _ => any = true,
        }
    }
    match any {
        true => Ok(()),
        false => Err(Error::new(Code::Syntax, "the statement is empty").hint("try `SELECT * FROM spans LIMIT 10`")),
    }
}

/// What would build a tree too deep to walk: the parser bounds nesting, but not chains of operators.
fn before_parsing(tokens: &[TokenWithSpan], sql: &str) -> Result<(), Error> {
    let (mut operators, mut branches) = (0, 1);
    for token in tokens {
        match &token.token {
            Token::Word(word) => match word.keyword {
                Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => branches += 1,
                Keyword::AND | Keyword::OR | Keyword::NOT | Keyword::IS | Keyword::LIKE | Keyword::COLLATE => {
                    operators += 1;
                }
                _ => {}
            },
            Token::Whitespace(_)
            | Token::Comma
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Placeholder(_)
            | Token::EOF => {}
            _ => operators += 1,
        }
        let at = || Position::at(sql, token.span.start.line, token.span.start.column);
        if operators > 2 * MAX_NODES {
            return Err(too_complex("expression nodes", MAX_NODES).at(at()));
        }
        if branches > MAX_BRANCHES {
            return Err(too_complex("union branches", MAX_BRANCHES).at(at()));
        }
    }
    Ok(())
}

fn first_word(tokens: &[TokenWithSpan], sql: &str) -> Result<(), Error> {
    const STARTS: &[&str] = &["SELECT", "WITH", "VALUES", "EXPLAIN", "DESCRIBE", "DESC", "SHOW"];
    let Some(first) = tokens.iter().find(|t| !matches!(t.token, Token::Whitespace(_) | Token::SemiColon)) else {
        return Ok(());
    };
    let at = Position::at(sql, first.span.start.line, first.span.start.column);
    match &first.token {
        Token::Word(word) if STARTS.iter().any(|start| word.value.eq_ignore_ascii_case(start)) => Ok(()),
        Token::LParen => Ok(()),
        Token::Word(word) if word.keyword != Keyword::NoKeyword && word.quote_style.is_none() => {
            Err(not_allowed(&word.value.to_uppercase()).at(at))
        }
        other => {
            let found = other.to_string();
            let near = nearest(&found, STARTS.iter().copied());
            let hint = match near.first() {
                Some(start) => format!("did you mean `{start}`?"),
                None => format!("expected: {}", STARTS.join(", ")),
            };
            let shown: String = found.chars().take(60).collect();
            Err(Error::new(Code::Syntax, format!("unexpected `{shown}`")).hint(hint).at(at))
        }
    }
}

fn parse(sql: &str, tokens: Vec<TokenWithSpan>) -> Result<Parsed, Error> {
    let dialect = Postgres;
    let parser = DFParserBuilder::new(tokens).with_dialect(&dialect).with_recursion_limit(MAX_DEPTH);
    let mut statements =
        parser.build().and_then(|mut parser| parser.parse_statements()).map_err(|e| translate(&e, sql, None))?;
    match (statements.pop_front(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        (Some(_), false) => Err(Error::new(Code::NotAllowed, "more than one statement").hint("send them one by one")),
        (None, _) => Err(Error::new(Code::Syntax, "the statement is empty").hint("try `SELECT * FROM spans LIMIT 10`")),
    }
}

fn read_only(statement: &ast::Statement, sql: &str) -> Result<(), Error> {
    let mut walk = Walk::default();
    let outcome = match statement.visit(&mut walk) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => walk.within_caps(),
    };
    // The tree does not carry the places of every kind of node.
    outcome.map_err(|error| match error.code {
        Code::NotAllowed => {
            let at = place_of_keyword(error.message.split('`').nth(1).unwrap_or_default(), sql);
            error.at(at)
        }
        _ => error,
    })
}

/// Where the first word of `kind` stands in `sql`.
fn place_of_keyword(kind: &str, sql: &str) -> Option<Position> {
    place_of(kind.split(' ').next().unwrap_or_default(), sql)
}

#[derive(Default)]
struct Walk {
    nodes: usize,
    listed: usize,
    joins: usize,
    ctes: usize,
    expansion: Expansion,
}

impl Walk {
    fn within_caps(&self) -> Result<(), Error> {
        if self.nodes.saturating_sub(self.listed) > MAX_NODES {
            return Err(too_complex("expression nodes", MAX_NODES));
        }
        if self.joins > MAX_JOINS {
            return Err(too_complex("joins", MAX_JOINS));
        }
        if self.ctes > MAX_CTES {
            return Err(too_complex("common table expressions", MAX_CTES));
        }
        if self.expansion.copied() > MAX_COPIED {
            return Err(too_complex("nodes in what is planned more than once", MAX_COPIED));
        }
        Ok(())
    }
}

impl Visitor for Walk {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        self.ctes += query.with.as_ref().map_or(0, |with| with.cte_tables.len());
        self.expansion.begins(query, folded);
        if !query.locks.is_empty() {
            return ControlFlow::Break(Box::new(not_allowed("FOR UPDATE")));
        }
        match written(&query.body) {
            Some(what) => ControlFlow::Break(Box::new(not_allowed(what))),
            None => ControlFlow::Continue(()),
        }
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Self::Break> {
        self.expansion.ends();
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Self::Break> {
        self.expansion.relation(&parts(relation).join("."));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        // Joins in parentheses are not among those of the SELECT.
        if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
            self.joins += table_with_joins.joins.len();
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        self.expansion.select(select, folded);
        let joins: usize = select.from.iter().map(|from| from.joins.len() + 1).sum();
        self.joins += joins.saturating_sub(1);
        if select.into.is_some() {
            return ControlFlow::Break(Box::new(not_allowed("INTO")));
        }
        if grouping_sets(&select.group_by) > MAX_GROUPING_SETS {
            return ControlFlow::Break(Box::new(too_complex("grouping sets", MAX_GROUPING_SETS)));
        }
        match select.projection.len() > MAX_COLUMNS {
            true => ControlFlow::Break(Box::new(too_complex("output columns", MAX_COLUMNS))),
            false => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        self.nodes += 1;
        self.expansion.node_begins();
        if let Expr::InList { list, .. } = expr {
            if list.len() > MAX_IN_LIST {
                return ControlFlow::Break(Box::new(too_complex("values in an IN list", MAX_IN_LIST)));
            }
            self.listed += list.iter().filter_map(constant).sum::<usize>();
        }
        if let Expr::Array(ast::Array { elem, .. }) = expr {
            if elem.len() > MAX_IN_LIST {
                return ControlFlow::Break(Box::new(too_complex("values in an array", MAX_IN_LIST)));
            }
            self.listed += elem.iter().filter_map(constant).sum::<usize>();
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<Self::Break> {
        self.expansion.node_ends();
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &ast::Statement) -> ControlFlow<Self::Break> {
        match statement {
            ast::Statement::Query(_) => ControlFlow::Continue(()),
            other => ControlFlow::Break(Box::new(not_allowed(&first_words(&other.to_string())))),
        }
    }
}

/// Nodes of a value as it is written, or as a bound one is set in: `1`, `(-1)`, `'…'::timestamptz`. `None` for what is
/// more than that: it could hold a tree.
fn constant(expr: &Expr) -> Option<usize> {
    let number = |expr: &Expr| match expr {
        Expr::Value(_) => Some(1),
        Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => matches!(**expr, Expr::Value(_)).then_some(2),
        _ => None,
    };
    match expr {
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => number(inner).map(|nodes| nodes + 1),
        _ => number(expr),
    }
}

fn written(body: &SetExpr) -> Option<&'static str> {
    match body {
        SetExpr::Insert(_) => Some("INSERT"),
        SetExpr::Update(_) => Some("UPDATE"),
        SetExpr::Delete(_) => Some("DELETE"),
        SetExpr::Merge(_) => Some("MERGE"),
        SetExpr::Table(_) => Some("TABLE"),
        SetExpr::SetOperation { left, right, .. } => written(left).or_else(|| written(right)),
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => None,
    }
}

/// The query over `information_schema` that answers DESCRIBE and SHOW, and the table that must exist.
fn listing_query(statement: &ast::Statement, sql: &str) -> Result<(String, Option<String>), Error> {
    const COLUMNS: &str = "SELECT column_name, data_type, is_nullable FROM information_schema.columns";
    match statement {
        ast::Statement::ExplainTable { table_name, .. } => {
            let (filter, name) = columns_of(table_name);
            Ok((format!("{COLUMNS} WHERE {filter} ORDER BY ordinal_position"), Some(name)))
        }
        ast::Statement::ShowColumns { show_options, .. } => {
            let table = show_options.show_in.as_ref().and_then(|show_in| show_in.parent_name.as_ref());
            let Some(table) = table else {
                return Err(Error::new(Code::Syntax, "SHOW COLUMNS of which table?").hint("`SHOW COLUMNS FROM spans`"));
            };
            let (filter, name) = columns_of(table);
            let like = like(show_options, "column_name")?;
            Ok((format!("{COLUMNS} WHERE {filter} AND {like} ORDER BY ordinal_position"), Some(name)))
        }
        ast::Statement::ShowTables { show_options, .. } => {
            let like = like(show_options, "table_name")?;
            let text = "SELECT table_schema, table_name, table_type FROM information_schema.tables";
            Ok((format!("{text} WHERE {like} ORDER BY table_schema, table_name"), None))
        }
        ast::Statement::ShowFunctions { filter } => {
            let like = filter.as_ref().map_or(Ok("true".to_owned()), |filter| pattern(filter, "routine_name"))?;
            let text = "SELECT DISTINCT routine_name AS function_name, function_type FROM information_schema.routines";
            Ok((format!("{text} WHERE {like} ORDER BY function_name"), None))
        }
        other => {
            let at = Position::at(sql, 1, sql.chars().take_while(|c| c.is_whitespace()).count() as u64 + 1);
            Err(not_allowed(&first_words(&other.to_string())).at(at.filter(|_| !sql.trim_start().is_empty())))
        }
    }
}

fn columns_of(table: &ObjectName) -> (String, String) {
    let parts = parts(table);
    let name = parts.last().cloned().unwrap_or_default();
    let schema = parts.len().checked_sub(2).and_then(|at| parts.get(at)).cloned();
    // As a statement resolves it.
    let schema = schema.unwrap_or_else(|| super::session::SCHEMA.to_owned());
    (format!("table_name = {} AND table_schema = {}", text(&name), text(&schema)), parts.join("."))
}

/// Names in a qualified name, as a statement resolves it.
pub(super) fn parts(name: &ObjectName) -> Vec<String> {
    name.0.iter().filter_map(|part| part.as_ident()).map(folded).collect()
}

/// The name that `ident` means: unquoted ones are in lower case.
pub(super) fn folded(ident: &ast::Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

fn like(options: &ShowStatementOptions, column: &str) -> Result<String, Error> {
    match &options.filter_position {
        None => Ok("true".to_owned()),
        Some(ShowStatementFilterPosition::Infix(filter) | ShowStatementFilterPosition::Suffix(filter)) => {
            pattern(filter, column)
        }
    }
}

fn pattern(filter: &ShowStatementFilter, column: &str) -> Result<String, Error> {
    match filter {
        ShowStatementFilter::Like(like) | ShowStatementFilter::NoKeyword(like) => {
            Ok(format!("{column} LIKE {}", text(like)))
        }
        ShowStatementFilter::ILike(like) => Ok(format!("{column} ILIKE {}", text(like))),
        ShowStatementFilter::Where(_) => Err(Error::new(Code::NotAllowed, "`SHOW … WHERE` cannot be run")
            .hint("select from `information_schema.tables`, `.columns` or `.routines`")),
    }
}

/// A text literal.
fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

fn kind_of(statement: &Parsed) -> String {
    match statement {
        Parsed::Statement(inner) => first_words(&inner.to_string()),
        Parsed::CreateExternalTable(_) => "CREATE EXTERNAL TABLE".to_owned(),
        Parsed::CopyTo(_) => "COPY".to_owned(),
        Parsed::Explain(_) => "EXPLAIN".to_owned(),
        Parsed::Reset(_) => "RESET".to_owned(),
    }
}

fn first_words(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    words.take_while(|word| word.chars().all(|c| c.is_ascii_uppercase())).take(2).collect::<Vec<_>>().join(" ")
}

fn not_allowed(what: &str) -> Error {
    Error::new(Code::NotAllowed, format!("`{what}` cannot be run: SQL here only reads")).hint(ALLOWED)
}

pub(super) fn too_complex(what: &str, cap: usize) -> Error {
    Error::new(Code::TooComplex, format!("the statement has more than {cap} {what}"))
        .hint("split it, or select from fewer tables and columns at a time")
}
