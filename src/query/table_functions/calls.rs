//! Calls of table functions in a parsed statement.
//!
//! Duty: what may stand in their arguments, and names as people write them. Guarantee: an argument is made of literals
//! and of functions that cannot grow, so that folding it while planning costs nothing that its text does not; anything
//! else is refused where it stands. Left to others: the types of the arguments (`arguments`).

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, ObjectNamePart,
    Spanned as _, Statement, TableAlias, TableFactor, UnaryOperator, Value, VisitMut, VisitorMut, visit_expressions,
};

use super::NAMES;
use crate::query::condition::condition;
use crate::query::error::{Code, Error, Position};

/// Functions that give a constant of a constant and make it no longer.
const CONSTANT: &[&str] = &[
    "abs",
    "ago",
    "coalesce",
    "current_date",
    "current_timestamp",
    "date_bin",
    "date_trunc",
    "decode",
    "dur",
    "greatest",
    "hex",
    "least",
    "make_date",
    "now",
    "nullif",
    "span_id",
    "time_bucket",
    "to_date",
    "to_timestamp",
    "to_timestamp_micros",
    "to_timestamp_millis",
    "to_timestamp_nanos",
    "to_timestamp_seconds",
    "today",
    "trace_id",
];

/// Functions of ours that take conditions, as text.
const CONDITIONAL: [&str; 2] = ["compare", "critical_path_by"];

/// Of the constant ones, those that read the clock.
const CLOCK: &[&str] = &["ago", "current_date", "current_timestamp", "now", "today"];

/// Checks the calls of `statement`, which is `sql`, and gives them plain names and aliases.
///
/// Gives the functions in their arguments, and in the conditions there, that read the clock: the plan does not show
/// them. Errors: `sql.argument` for an argument that is no constant.
pub fn settle(statement: &mut Statement, sql: &str) -> Result<Vec<&'static str>, Error> {
    let mut calls = Calls { sql, clock: Vec::new() };
    match statement.visit(&mut calls) {
        ControlFlow::Continue(()) => Ok(calls.clock),
        ControlFlow::Break(error) => Err(*error),
    }
}

struct Calls<'a> {
    sql: &'a str,
    clock: Vec<&'static str>,
}

impl VisitorMut for Calls<'_> {
    type Break = Box<Error>;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        let checked = match factor {
            TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } => {
                plain(name);
                self.call(name, &args.args, *with_ordinality).map(|known| alias_as(alias, known))
            }
            TableFactor::Function { name, alias, args, with_ordinality, .. } => {
                plain(name);
                self.call(name, args, *with_ordinality).map(|known| alias_as(alias, known))
            }
            _ => Ok(()),
        };
        match checked {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }
}

/// One part without quotes, in lower case where it has none: the engine looks it up as it stands.
fn plain(name: &mut ObjectName) {
    let parts: Vec<&Ident> = name.0.iter().filter_map(|part| part.as_ident()).collect();
    let own = match parts.as_slice() {
        [own] => own,
        [schema, own] if schema.value.eq_ignore_ascii_case(crate::query::session::SCHEMA) => own,
        _ => return,
    };
    let value = if own.quote_style.is_some() { own.value.clone() } else { own.value.to_lowercase() };
    let ident = Ident { value, quote_style: None, span: own.span };
    name.0 = vec![ObjectNamePart::Identifier(ident)];
}

/// Without an alias its columns go by the name of the function, as in PostgreSQL.
fn alias_as(alias: &mut Option<TableAlias>, function: Option<&'static str>) {
    if alias.is_none()
        && let Some(function) = function
    {
        let name = Ident::new(function);
        *alias = Some(TableAlias { explicit: true, name, columns: Vec::new(), at: None });
    }
}

impl Calls<'_> {
    /// The function that is called, if it is one of ours.
    fn call(&mut self, name: &ObjectName, args: &[FunctionArg], numbered: bool) -> Result<Option<&'static str>, Error> {
        let written = name.to_string();
        // Of others the engine says that they do not exist.
        let Some(function) = NAMES.iter().copied().find(|known| *known == written) else { return Ok(None) };
        if numbered {
            return Err(Error::new(Code::NotAllowed, "not supported: WITH ORDINALITY")
                .hint("`row_number() OVER ()` numbers rows"));
        }
        for arg in args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => {
                    self.constant(function, expr)?;
                    self.within_condition(function, expr);
                }
                other => {
                    let message = format!("`{function}` takes its arguments by their place, not `{other}`");
                    return Err(Error::new(Code::Argument, message).hint(usage(function)));
                }
            }
        }
        Ok(Some(function))
    }

    /// Notes the functions in the text of a condition that read the clock.
    fn within_condition(&mut self, function: &str, expr: &Expr) {
        let Expr::Value(value) = expr else { return };
        // What is no condition is told when the call is planned.
        let text = if CONDITIONAL.contains(&function) { value.value.clone().into_string() } else { None };
        let Some(Ok(condition)) = text.map(|text| condition(&text)) else { return };
        let _: ControlFlow<()> = visit_expressions(&condition, |inner: &Expr| {
            if let Expr::Function(call) = inner {
                self.note_clock(&call.name.to_string().to_lowercase());
            }
            ControlFlow::Continue(())
        });
    }

    fn note_clock(&mut self, name: &str) {
        if let Some(clock) = CLOCK.iter().find(|clock| **clock == name)
            && !self.clock.contains(clock)
        {
            self.clock.push(clock);
        }
    }

    fn constant(&mut self, function: &'static str, expr: &Expr) -> Result<(), Error> {
        let fits = match expr {
            Expr::Value(value) => !matches!(value.value, Value::Placeholder(_)),
            Expr::TypedString(_) => true,
            Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => return self.constant(function, inner),
            Expr::UnaryOp { op: UnaryOperator::Plus | UnaryOperator::Minus, expr: inner } => {
                return self.constant(function, inner);
            }
            Expr::Interval(interval) => return self.constant(function, &interval.value),
            Expr::BinaryOp {
                left,
                op:
                    BinaryOperator::Plus
                    | BinaryOperator::Minus
                    | BinaryOperator::Multiply
                    | BinaryOperator::Divide
                    | BinaryOperator::Modulo
                    | BinaryOperator::StringConcat,
                right,
            } => {
                self.constant(function, left)?;
                return self.constant(function, right);
            }
            Expr::Function(call) => return self.function(function, expr, call),
            _ => false,
        };
        if fits { Ok(()) } else { Err(self.varies(function, expr)) }
    }

    fn function(&mut self, function: &'static str, expr: &Expr, call: &Function) -> Result<(), Error> {
        let name = call.name.to_string().to_lowercase();
        let is_plain = call.over.is_none()
            && call.filter.is_none()
            && call.within_group.is_empty()
            && call.null_treatment.is_none();
        if !is_plain || !CONSTANT.contains(&name.as_str()) {
            return Err(self.varies(function, expr));
        }
        self.note_clock(&name);
        match &call.args {
            FunctionArguments::None => Ok(()),
            FunctionArguments::List(list) if list.clauses.is_empty() && list.duplicate_treatment.is_none() => {
                list.args.iter().try_for_each(|arg| match arg {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(inner)) => self.constant(function, inner),
                    _ => Err(self.varies(function, expr)),
                })
            }
            _ => Err(self.varies(function, expr)),
        }
    }

    fn varies(&self, function: &str, expr: &Expr) -> Error {
        let start = expr.span().start;
        let shown: String = expr.to_string().chars().take(60).collect();
        Error::new(Code::Argument, format!("an argument of `{function}` is no constant: `{shown}`"))
            .hint(format!(
                "literals, parameters, arithmetic and {} of them; to use rows, join or filter what the function gives",
                CONSTANT
                    .iter()
                    .filter(|name| ["ago", "now", "trace_id", "to_timestamp"].contains(name))
                    .copied()
                    .collect::<Vec<_>>()
                    .join(", ")
            ))
            .at(Position::at(self.sql, start.line, start.column))
    }
}

fn usage(function: &str) -> String {
    super::FUNCTIONS
        .iter()
        .find(|known| known.name == function)
        .map_or_else(String::new, |known| known.usage.to_owned())
}
