//! What may run: the checks before the engine sees a statement (sql.md 7).
//!
//! Duty: size, exactly one statement, kind, and parameters bound into the syntax tree. Guarantee: what passes reads and
//! nothing else; a second check on the plan (`gateway`) holds what text cannot show. Left to others: limits while
//! running (`gateway`), names (the session's allow-list).

use std::ops::ControlFlow;

use datafusion::sql::parser::{DFParserBuilder, Statement as EngineStatement};
use datafusion::sql::sqlparser::ast::{Expr, Statement, Value, visit_expressions, visit_expressions_mut};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::ParserError;

use super::error::{Code, Error};
use super::params::Params;

/// Largest text of a statement.
pub const MAX_TEXT_BYTES: usize = 64 << 10;
const MAX_DEPTH: usize = 50;
const MAX_EXPRESSIONS: usize = 5_000;
const MAX_IN_LIST: usize = 10_000;
const ALLOWED: &str = "SELECT, WITH, VALUES, EXPLAIN, DESCRIBE and SHOW are allowed: spans arrive over OTLP only";

/// A statement that may be planned.
#[derive(Debug)]
pub struct Checked {
    /// With parameters bound.
    pub statement: EngineStatement,
    /// Whether its rows are spans' and so capped; plans and descriptions are not.
    pub is_query: bool,
}

/// Checks `sql` and binds `params` into it.
pub fn check(sql: &str, params: &Params) -> Result<Checked, Error> {
    if sql.len() > MAX_TEXT_BYTES {
        let message = format!("the statement has {} bytes, the limit is {MAX_TEXT_BYTES}", sql.len());
        return Err(Error::new(Code::TooComplex, message, "pass values as parameters"));
    }
    let mut statements = parse(sql)?;
    let Some(mut statement) = statements.pop_front() else {
        return Err(Error::new(Code::Syntax, "the statement is empty", "try: SELECT * FROM spans LIMIT 10"));
    };
    if !statements.is_empty() {
        return Err(Error::new(Code::NotAllowed, "there is more than one statement", "send one statement at a time"));
    }
    let is_query = kind(&statement)?;
    complexity(&statement)?;
    bind(&mut statement, params)?;
    Ok(Checked { statement, is_query })
}

fn parse(sql: &str) -> Result<std::collections::VecDeque<EngineStatement>, Error> {
    let parsed = DFParserBuilder::new(sql)
        .with_dialect(&PostgreSqlDialect {})
        .with_recursion_limit(MAX_DEPTH)
        .build()
        .and_then(|mut parser| parser.parse_statements());
    parsed.map_err(|error| match error.find_root() {
        datafusion::common::DataFusionError::SQL(error, _) => Error::syntax(sql, error),
        other => Error::syntax(sql, &ParserError::ParserError(other.to_string())),
    })
}

/// Whether the statement is a query; an error if it may not run.
fn kind(statement: &EngineStatement) -> Result<bool, Error> {
    let refused = |what: &str| Err(Error::new(Code::NotAllowed, format!("{what} is not allowed"), ALLOWED));
    match statement {
        EngineStatement::Statement(inner) => match inner.as_ref() {
            Statement::Query(_) => Ok(true),
            Statement::ExplainTable { .. }
            | Statement::ShowTables { .. }
            | Statement::ShowColumns { .. }
            | Statement::ShowFunctions { .. } => Ok(false),
            Statement::Explain { statement, .. } if matches!(statement.as_ref(), Statement::Query(_)) => Ok(false),
            other => refused(&first_words(&other.to_string())),
        },
        EngineStatement::Explain(explain) => match explain.statement.as_ref() {
            EngineStatement::Statement(inner) if matches!(inner.as_ref(), Statement::Query(_)) => Ok(false),
            other => refused(&format!("EXPLAIN of {}", first_words(&other.to_string()))),
        },
        other => refused(&first_words(&other.to_string())),
    }
}

fn first_words(text: &str) -> String {
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ").to_uppercase()
}

fn inner(statement: &EngineStatement) -> Option<&Statement> {
    match statement {
        EngineStatement::Statement(inner) => Some(inner),
        EngineStatement::Explain(explain) => inner(&explain.statement),
        _ => None,
    }
}

fn complexity(statement: &EngineStatement) -> Result<(), Error> {
    let Some(statement) = inner(statement) else { return Ok(()) };
    let mut count = 0_usize;
    let too_complex = |what: String| ControlFlow::Break(Error::new(Code::TooComplex, what, "split the statement"));
    let visited = visit_expressions(statement, |expr| {
        count += 1;
        if let Expr::InList { list, .. } = expr {
            if list.len() > MAX_IN_LIST {
                return too_complex(format!("an IN list has {} entries, the limit is {MAX_IN_LIST}", list.len()));
            }
            // The entries of a list are few kinds of the same thing: they have a cap of their own.
            count = count.saturating_sub(list.len());
        }
        if count > MAX_EXPRESSIONS {
            return too_complex(format!("the statement has more than {MAX_EXPRESSIONS} expressions"));
        }
        ControlFlow::Continue(())
    });
    match visited {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Puts values in the place of `$1` and `$name` in the syntax tree, never into the text.
fn bind(statement: &mut EngineStatement, params: &Params) -> Result<(), Error> {
    let statement = match statement {
        EngineStatement::Statement(inner) => inner,
        EngineStatement::Explain(explain) => return bind(&mut explain.statement, params),
        _ => return Ok(()),
    };
    let bound = visit_expressions_mut(statement.as_mut(), |expr| {
        let Expr::Value(value) = expr else { return ControlFlow::Continue(()) };
        let Value::Placeholder(name) = &value.value else { return ControlFlow::Continue(()) };
        match params.literal(name) {
            Some(literal) => {
                *expr = literal;
                ControlFlow::Continue(())
            }
            None => {
                let message = format!("parameter {name} has no value");
                ControlFlow::Break(Error::new(Code::Argument, message, "give it in `params` (or -p name=value)"))
            }
        }
    });
    match bound {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(sql: &str) -> Option<Code> {
        check(sql, &Params::default()).err().map(|error| error.code)
    }

    #[test]
    fn statements_that_read_pass() {
        for sql in [
            "select 1",
            "with a as (select 1) select * from a",
            "values (1), (2)",
            "explain select 1",
            "explain analyze select 1",
            "describe spans",
            "show tables",
            "select * from spans; ",
        ] {
            assert_eq!(code(sql), None, "{sql}");
        }
    }

    #[test]
    fn statements_that_do_anything_else_are_refused_by_kind() {
        for sql in [
            "insert into spans values (1)",
            "update spans set name = 'x'",
            "delete from spans",
            "drop table spans",
            "truncate spans",
            "create table x (a int)",
            "create table x as select 1",
            "create view v as select 1",
            "create external table x stored as parquet location '/etc/passwd'",
            "copy (select 1) to '/tmp/x.parquet'",
            "copy spans to stdout",
            "set datafusion.execution.batch_size = 1",
            "reset datafusion.execution.batch_size",
            "show all",
            "begin",
            "commit",
            "prepare p as select 1",
            "execute p",
            "deallocate p",
            "grant select on spans to x",
            "explain insert into spans values (1)",
            "explain analyze insert into spans select * from spans",
            "explain create table x as select 1",
            "explain explain delete from spans",
            "call f()",
            "use other",
            "vacuum",
            "analyze spans",
            "create function f() returns int return 1",
            "alter table spans add column x int",
            "merge into spans using spans s on true when matched then delete",
            "load data inpath '/x' into table spans",
            "attach database 'x' as y",
            "listen x",
        ] {
            let code = code(sql);
            assert!(matches!(code, Some(Code::NotAllowed | Code::Syntax)), "{sql}: {code:?}");
        }
    }

    #[test]
    fn one_statement_of_bounded_size_and_depth() {
        assert_eq!(code("select 1; select 2"), Some(Code::NotAllowed));
        assert_eq!(code("select 1; drop table spans"), Some(Code::NotAllowed));
        assert_eq!(code("   -- nothing"), Some(Code::Syntax));
        assert_eq!(code(&format!("select '{}'", "x".repeat(70_000))), Some(Code::TooComplex));
        assert_eq!(code(&format!("select {}1{}", "(".repeat(200), ")".repeat(200))), Some(Code::TooComplex));
        assert_eq!(code(&format!("select 1 {}", "+1".repeat(20_000))), Some(Code::TooComplex));
        let list = vec!["1"; 10_001].join(",");
        assert_eq!(code(&format!("select 1 where 1 in ({list})")), Some(Code::TooComplex));
    }

    #[test]
    fn a_syntax_error_has_its_place_and_what_was_expected() {
        let error = check("select *\nfrom spans wher x", &Params::default()).map(|_| ()).unwrap_err();
        assert_eq!(error.code, Code::Syntax);
        let place = error.position.unwrap();
        assert_eq!((place.line, place.column, place.offset), (2, 17, 25), "{error:?}");
        assert!(error.hint.unwrap().contains("expected"));
    }

    #[test]
    fn a_missing_parameter_is_named() {
        let error = check("select $1, $who", &Params::default()).map(|_| ()).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (Code::Argument, "parameter $1 has no value"));
    }
}
