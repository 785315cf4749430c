//! The built-in functions.
//!
//! Duty: their table: names, parameters, what they give. Guarantee: a function is a total function of its arguments;
//! wrong types give null and a warning. Left to others: calls (`parse_call`, `eval`).

mod convert;

use super::Budget;
use super::ast::Node;
use super::eval::{Machine, single};
use super::scope::Scope;
use super::value::{Type, Value};

/// One function.
pub(super) struct Builtin {
    pub(super) name: &'static str,
    pub(super) parameters: &'static [&'static str],
    /// How many of the parameters must be given.
    pub(super) required: usize,
    /// Any number of further arguments.
    pub(super) rest: bool,
    /// The parameter that may be `function(…) …`.
    pub(super) function: Option<usize>,
    /// A missing first argument is no surprise.
    pub(super) quiet: bool,
    /// The type of every result that is not null.
    pub(super) gives: Option<Type>,
    pub(super) run: Run,
}

/// How it is called; absent arguments are null, absent last ones are left out.
#[derive(Clone, Copy)]
pub(super) enum Run {
    Plain(fn(&mut Machine, Vec<Value>) -> Given),
    WithFunction(fn(&mut Machine, Vec<Value>, Option<Closure<'_>>) -> Given),
}

pub(super) type Given = Result<Value, Failure>;

/// Why a function gives no value.
pub(super) enum Failure {
    Budget(Budget),
    /// Null, and why.
    Null(String),
}

impl From<Budget> for Failure {
    fn from(budget: Budget) -> Failure {
        Failure::Budget(budget)
    }
}

/// `function(a, b) body` where it stands.
#[derive(Clone, Copy)]
pub(super) struct Closure<'s> {
    pub(super) parameters: &'s [String],
    pub(super) body: &'s Node,
    pub(super) scope: &'s Scope<'s>,
}

impl Builtin {
    const fn new(name: &'static str, parameters: &'static [&'static str], required: usize, run: Run) -> Builtin {
        Builtin { name, parameters, required, rest: false, function: None, quiet: false, gives: None, run }
    }

    const fn gives(self, kind: Type) -> Builtin {
        Builtin { gives: Some(kind), ..self }
    }

    const fn rest(self) -> Builtin {
        Builtin { rest: true, ..self }
    }

    const fn function(self, parameter: usize) -> Builtin {
        Builtin { function: Some(parameter), ..self }
    }

    const fn quiet(self) -> Builtin {
        Builtin { quiet: true, ..self }
    }

    /// How it is written, for messages.
    pub(super) fn signature(&self) -> String {
        let mut text = format!("`{}(", self.name);
        for (i, parameter) in self.parameters.iter().enumerate() {
            text.push_str(if i > 0 { ", " } else { "" });
            text.push_str(parameter);
            text.push_str(if i >= self.required { "?" } else { "" });
        }
        text.push_str(if self.rest { ", …)`" } else { ")`" });
        text
    }
}

impl std::fmt::Debug for Builtin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Builtin {
    fn eq(&self, other: &Builtin) -> bool {
        self.name == other.name
    }
}

/// Every function that is built.
pub(super) fn all() -> impl Iterator<Item = &'static Builtin> {
    [convert::TABLE].into_iter().flatten()
}

pub(super) fn find(name: &str) -> Option<&'static Builtin> {
    all().find(|builtin| builtin.name == name)
}

/// Functions whose result is chance.
pub(super) const NONDETERMINISTIC: &[&str] = &["random number", "uuid"];

/// Functions of bpmn.md 9 that are refused by name until they are built.
pub(super) const NOT_BUILT: &[&str] = &[
    "date",
    "time",
    "date and time",
    "duration",
    "years and months duration",
    "now",
    "today",
    "day of year",
    "day of week",
    "month of year",
    "week of year",
    "last day of month",
    "before",
    "after",
    "meets",
    "met by",
    "overlaps",
    "overlaps before",
    "overlaps after",
    "finishes",
    "finished by",
    "includes",
    "during",
    "starts",
    "started by",
    "coincides",
];

/// Null, and that `value` is no `wanted`.
fn wrong(value: &Value, wanted: &str) -> Failure {
    Failure::Null(format!("expected a {wanted}, found {}", value.kind()))
}

fn argument(arguments: &[Value], index: usize) -> &Value {
    arguments.get(index).unwrap_or(&Value::Null)
}

fn text(arguments: &[Value], index: usize) -> Result<&str, Failure> {
    match single(argument(arguments, index)) {
        Value::String(text) => Ok(text),
        other => Err(wrong(other, "string")),
    }
}

/// The text there, or `None` for an absent one.
fn optional_text(arguments: &[Value], index: usize) -> Result<Option<&str>, Failure> {
    if *argument(arguments, index) == Value::Null { Ok(None) } else { text(arguments, index).map(Some) }
}

fn boolean(arguments: &[Value], index: usize) -> Result<bool, Failure> {
    match single(argument(arguments, index)) {
        Value::Bool(value) => Ok(*value),
        other => Err(wrong(other, "boolean")),
    }
}
