//! FEEL: compile once at deploy, evaluate anywhere.
//!
//! Duty: the expression language of conditions and mappings (bpmn.md 9). Guarantee: numbers are decimals of 34 digits;
//! evaluation is a function of expression, context and `now`, ends within its budget and never panics; what is not built
//! (dates and durations, ranges and functions as values) is refused by name when compiled. Left to others: what a value
//! means where it is used (`core`).
//!
//! The way of a text: `lex` and `parse` make a tree (`ast`), `eval` walks it over a `scope`; `print` writes it again.

mod ast;
mod builtins;
mod compare;
mod eval;
mod iterate;
mod json;
mod json_read;
mod lex;
mod number;
mod parse;
mod parse_call;
mod parse_test;
mod path;
mod power;
mod print;
mod provable;
mod scope;
#[cfg(test)]
mod tests;
mod transcendental;
mod value;

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

pub use json_read::JsonError;
pub use value::{Context, Type, Value};

use ast::Node;
use eval::Machine;
use parse::Parser;
use scope::{Bind, Scope};

/// Names known where an expression stands: they decide how a name with blanks is read.
pub type Names = BTreeSet<String>;

/// Longest text of an expression, in bytes.
pub const MAX_TEXT: usize = 64 * 1024;

/// Why an expression does not compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct Error {
    /// What kind of reason.
    pub kind: ErrorKind,
    /// In the expression, from 1, in Unicode scalar values.
    pub column: u32,
    /// What was found and what was expected.
    pub message: String,
}

/// Kinds of [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// It does not parse.
    Syntax,
    /// It calls a function that does not exist.
    UnknownFunction,
    /// It needs a part of the language that is not built yet.
    NotBuilt,
    /// It depends on chance (rule `feel-nondeterministic`).
    Nondeterministic,
    /// It is too long or nests too deep.
    Limit,
}

/// What went differently than meant while evaluating, e.g. a missing variable read as null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// One sentence.
    pub message: String,
}

/// Why an evaluation gave nothing: its budget (incident `expression-budget`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the expression took more than its budget: {what}")]
pub struct Budget {
    /// Operations or bytes, with the limit.
    pub what: String,
}

/// An expression, ready to be evaluated; cheap to clone. `Display` gives its canonical text.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    text: Arc<str>,
    root: Arc<Node>,
    reads: Names,
    needs: Names,
}

/// Compiles `text` (without a leading `=`).
///
/// Errors: it does not parse, names an unknown function, reads chance, or needs what is not built; with the column.
pub fn compile(text: &str, names: &Names) -> Result<Expr, Error> {
    if text.len() > MAX_TEXT {
        let message = format!("an expression of {} bytes; at most {MAX_TEXT}", text.len());
        return Err(Error { kind: ErrorKind::Limit, column: 1, message });
    }
    let mut parser = Parser::new(text, names);
    let root = parser.whole()?;
    Ok(Expr { text: text.into(), root: Arc::new(root), reads: parser.reads, needs: parser.needs })
}

impl Expr {
    /// Its value in `context` at `now_ms` (ms since 1970, UTC), and warnings.
    ///
    /// Errors: only the budget; what is wrong in any other way is null and a warning.
    pub fn eval(&self, context: &Context, now_ms: i64) -> Result<(Value, Vec<Warning>), Budget> {
        // read by `now()` and `today()`, which `compile` refuses until dates are built
        let _ = now_ms;
        let scope = Scope { bind: Bind::Names(context), outer: None };
        let mut machine = Machine::new();
        let value = machine.eval(&self.root, &scope)?;
        let value = machine.settle(value)?;
        Ok((value, machine.warnings))
    }

    /// Names it reads from the context. In a filter a name may also be a key of the element; it is among these.
    pub fn reads(&self) -> Names {
        self.reads.clone()
    }

    /// Of [`Expr::reads`], the names that cannot be keys of an element: outside filters, or known when compiled.
    pub fn needs(&self) -> &Names {
        &self.needs
    }

    /// The text as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The type of every result that is not null, where the text alone decides it.
    ///
    /// `Some` of anything but [`Type::Boolean`] in a condition is `condition-type`; the literal `null` is [`Type::Null`].
    pub fn provable_type(&self) -> Option<Type> {
        provable::provable_type(&self.root)
    }

    /// The types of the first comparison whose sides differ in type whatever the variables are; it is always null.
    pub fn mismatch(&self) -> Option<(Type, Type)> {
        provable::mismatch(&self.root)
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}
