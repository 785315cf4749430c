//! The built-in functions.
//!
//! Duty: their table: names, parameters, what they give. Guarantee: a function is a total function of its arguments;
//! wrong types give null and a warning. Left to others: calls (`parse_call`, `eval`).

mod aggregate;
mod contexts;
mod convert;
mod lists;
mod numbers;
mod order;
mod patterns;
mod texts;

pub(super) use patterns::Pattern;

use std::borrow::Cow;

use bigdecimal::BigDecimal;

use super::Budget;
use super::ast::Node;
use super::compare::equal;
use super::eval::{Machine, elements, single};
use super::number;
use super::scope::Scope;
use super::value::{Context, Type, Value};

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
    Plain(fn(&mut Machine, &Arguments<'_>) -> Given),
    WithFunction(fn(&mut Machine, &Arguments<'_>, Option<Closure<'_>>) -> Given),
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
    let tables = [
        convert::TABLE,
        texts::TABLE,
        patterns::TABLE,
        lists::TABLE,
        order::TABLE,
        aggregate::TABLE,
        numbers::TABLE,
        contexts::TABLE,
    ];
    tables.into_iter().flatten()
}

pub(super) fn find(name: &str) -> Option<&'static Builtin> {
    all().find(|builtin| builtin.name == name)
}

/// Other names of parameters: function, other name, parameter.
pub(super) const ALIASES: &[(&str, &str, &str)] = &[
    ("context put", "keys", "key"),
    ("get value", "keys", "key"),
    ("list replace", "match", "position"),
    ("abs", "n", "number"),
];

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

/// The arguments of a call, by parameter.
pub(super) struct Arguments<'a>(pub(super) Vec<Cow<'a, Value>>);

impl Arguments<'_> {
    /// Null for an absent one.
    fn value(&self, index: usize) -> &Value {
        self.0.get(index).map_or(&Value::Null, |value| value.as_ref())
    }

    fn absent(&self, index: usize) -> bool {
        *self.value(index) == Value::Null
    }

    fn text(&self, index: usize) -> Result<&str, Failure> {
        match single(self.value(index)) {
            Value::String(text) => Ok(text),
            other => Err(wrong(other, "string")),
        }
    }

    fn optional_text(&self, index: usize) -> Result<Option<&str>, Failure> {
        if self.absent(index) { Ok(None) } else { self.text(index).map(Some) }
    }

    fn boolean(&self, index: usize) -> Result<bool, Failure> {
        match single(self.value(index)) {
            Value::Bool(value) => Ok(*value),
            other => Err(wrong(other, "boolean")),
        }
    }

    fn number(&self, index: usize) -> Result<&BigDecimal, Failure> {
        match single(self.value(index)) {
            Value::Number(value) => Ok(value),
            other => Err(wrong(other, "number")),
        }
    }

    fn whole(&self, index: usize) -> Result<i64, Failure> {
        let number = self.number(index)?;
        number::whole(number)
            .ok_or_else(|| Failure::Null(format!("expected a whole number, found {}", number::text(number))))
    }

    /// A list; another value is a list of itself, null is none.
    fn list(&self, index: usize) -> Result<&[Value], Failure> {
        match self.value(index) {
            Value::List(items) => Ok(items),
            Value::Null => Err(wrong(&Value::Null, "list")),
            single => Ok(std::slice::from_ref(single)),
        }
    }

    fn context(&self, index: usize) -> Result<&Context, Failure> {
        match single(self.value(index)) {
            Value::Context(entries) => Ok(entries),
            other => Err(wrong(other, "context")),
        }
    }

    /// All arguments from `first` on, each of which is a value.
    fn rest(&self, first: usize) -> impl Iterator<Item = &Value> {
        self.0.iter().skip(first).map(Cow::as_ref)
    }

    /// What an aggregate goes over: its only argument as a list, or its arguments.
    fn all(&self) -> Result<Vec<&Value>, Failure> {
        if self.0.len() == 1 { Ok(self.list(0)?.iter().collect()) } else { Ok(self.rest(0).collect()) }
    }
}

impl Machine {
    /// A copy, counted.
    fn copy(&mut self, value: &Value) -> Result<Value, Budget> {
        self.own(Cow::Borrowed(value))
    }

    /// Copies as a list, counted.
    fn copies<'v>(&mut self, values: impl IntoIterator<Item = &'v Value>) -> Given {
        self.spend(16)?;
        let copies = values.into_iter().map(|value| self.copy(value)).collect::<Result<Vec<_>, _>>()?;
        Ok(Value::List(copies))
    }

    /// A string, counted.
    fn string(&mut self, text: String) -> Given {
        self.spend(16 + text.len() as u64)?;
        Ok(Value::String(text))
    }

    /// Whether `a = b` is true.
    fn same(&mut self, a: &Value, b: &Value) -> Result<bool, Budget> {
        self.work(1 + elements(a).min(elements(b)))?;
        Ok(equal(a, b) == Some(true))
    }
}

/// A number, or null for one beyond the exponents.
fn numeric(number: Option<BigDecimal>, why: &str) -> Given {
    number.map(Value::Number).ok_or_else(|| Failure::Null(why.to_owned()))
}
