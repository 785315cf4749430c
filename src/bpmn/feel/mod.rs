//! FEEL: compile once at deploy, evaluate anywhere.
//!
//! Duty: the expression language of conditions and mappings. Guarantee: numbers are decimals of 34 digits; evaluation is
//! a function of expression, context and `now`, ends within its budget and never panics. Left to others: what a value
//! means where it is used (`core`).

use std::collections::{BTreeMap, BTreeSet};

use bigdecimal::BigDecimal;

/// Names known where an expression stands: they decide how a name with blanks is read.
pub type Names = BTreeSet<String>;

/// A value. Equal values have equal text.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// 34 significant digits.
    Number(BigDecimal),
    /// Text.
    String(String),
    /// A list.
    List(Vec<Value>),
    /// A context.
    Context(Context),
}

/// Names and values, in name order.
pub type Context = BTreeMap<String, Value>;

/// Why an expression does not compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct Error {
    /// In the expression, from 1, in Unicode scalar values.
    pub column: u32,
    /// What was found and what was expected.
    pub message: String,
}

/// What went differently than meant while evaluating, e.g. a missing variable read as null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// One sentence.
    pub message: String,
}

/// An expression, ready to be evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    text: String,
}

/// Compiles `text` (without a leading `=`).
///
/// Errors: it does not parse, names an unknown function, or reads chance; with the column.
pub fn compile(text: &str, names: &Names) -> Result<Expr, Error> {
    let _ = names;
    Ok(Expr { text: text.to_owned() })
}

/// Why an evaluation gave nothing: its budget (incident `expression-budget`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the expression took more than its budget: {what}")]
pub struct Budget {
    /// Operations or bytes, with the limit.
    pub what: String,
}

impl Expr {
    /// Its value in `context` at `now_ms` (ms since 1970, UTC), and warnings.
    ///
    /// Errors: only the budget; what is wrong in any other way is null and a warning.
    pub fn eval(&self, context: &Context, now_ms: i64) -> Result<(Value, Vec<Warning>), Budget> {
        let _ = (context, now_ms);
        Ok((Value::Null, Vec::new()))
    }

    /// Names it reads from the context.
    pub fn reads(&self) -> Names {
        Names::new()
    }

    /// The text as written.
    pub fn text(&self) -> &str {
        &self.text
    }
}
