//! A condition that stands in an argument (sql.md 5.3).
//!
//! Duty: from text to one parsed expression over `spans`. Guarantee: it passed the caps of statements, is about one
//! row, has no subquery and no placeholder, and nothing stands behind it. Left to others: its names and types, by which
//! it is planned.

use std::ops::ControlFlow;

use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::ast::{Expr, Function, Query, Value, Visit, Visitor};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::dialect::Postgres;
use super::error::{Code, Error};
use super::guard::{MAX_DEPTH, MAX_NODES, tokens, too_complex};
use super::translate::translate;
use super::{allow, functions};

/// The condition `text`, which stands for rows of `spans`: one expression, without subqueries and within the caps.
pub fn condition(text: &str) -> Result<Expr, Error> {
    let tokens = tokens(text)?;
    let broken = |error: &DataFusionError| Error { position: None, ..translate(error, text, None) };
    let dialect = Postgres;
    let mut parser = Parser::new(&dialect).with_recursion_limit(MAX_DEPTH).with_tokens_with_locations(tokens);
    let expr = parser.parse_expr().map_err(|e| broken(&DataFusionError::SQL(Box::new(e), None)))?;
    let rest = parser.peek_token().token;
    if rest != Token::EOF {
        return Err(Error::new(Code::Syntax, format!("unexpected `{rest}`")).hint("one condition is expected"));
    }
    let mut walk = Condition::default();
    match expr.visit(&mut walk) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) if walk.nodes > MAX_NODES => Err(too_complex("expression nodes", MAX_NODES)),
        ControlFlow::Continue(()) => Ok(expr),
    }
}

/// Walks an expression that stands for itself.
#[derive(Default)]
struct Condition {
    nodes: usize,
}

impl Visitor for Condition {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Self::Break> {
        let error = Error::new(Code::NotAllowed, "a condition has no subqueries");
        ControlFlow::Break(Box::new(error.hint("name columns of `spans`, attributes and literals")))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        self.nodes += 1;
        match expr {
            Expr::Function(call) if !of_one_row(call) => {
                let message = format!("`{}` is about more than one row", call.name);
                let hint = "a condition holds for a span or not: name its columns, attributes and literals";
                ControlFlow::Break(Box::new(Error::new(Code::NotAllowed, message).hint(hint)))
            }
            Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
                let error = Error::new(Code::Argument, format!("`{expr}` has no value within a condition"));
                ControlFlow::Break(Box::new(error.hint("give the whole condition as a parameter")))
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Whether a function takes values of one row and gives one.
fn of_one_row(call: &Function) -> bool {
    let name = call.name.to_string().to_lowercase();
    let gathers = allow::aggregate(&name) || functions::aggregates().iter().any(|function| function.name() == name);
    call.over.is_none() && !gathers && name != "unnest"
}
