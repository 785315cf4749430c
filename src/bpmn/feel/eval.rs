//! Tree to value.
//!
//! Duty: what an expression gives in a scope. Guarantee: the only failure is the budget; everything else that goes wrong
//! is null and a warning. Variables are read in place and copied only into results. Left to others: paths and filters
//! (`path`), loops (`iterate`), functions (`builtins`).

use std::borrow::Cow;

use super::ast::{Argument, Kind, Node, Operator, Range, Relation, Test};
use super::builtins::{Arguments, Closure, Failure, Pattern, Run};
use super::compare::{all, any, order, relate};
use super::scope::{Bind, Scope};
use super::value::{Context, Value};
use super::{Budget, Warning, number};

/// Operations of one evaluation.
const MAX_OPERATIONS: u64 = 1_000_000;
/// Bytes of the values that one evaluation makes, by [`Value::size`].
const MAX_BYTES: u64 = 10 * 1024 * 1024;
/// How deep lists and contexts of a result nest.
pub(super) const MAX_DEPTH: usize = 128;
/// Warnings kept; more say nothing new.
const MAX_WARNINGS: usize = 100;

/// One evaluation: what it used and what it noticed.
pub(super) struct Machine {
    /// The pattern used last, compiled.
    pub(super) pattern: Option<Pattern>,
    operations: u64,
    bytes: u64,
    pub(super) warnings: Vec<Warning>,
    /// Inside `is defined` and `get or else`, where missing is no surprise.
    quiet: u32,
}

pub(super) type Eval<'s> = Result<Cow<'s, Value>, Budget>;

impl Machine {
    pub(super) fn new() -> Machine {
        Machine { pattern: None, operations: 0, bytes: 0, warnings: Vec::new(), quiet: 0 }
    }

    /// Counts operations.
    pub(super) fn work(&mut self, operations: usize) -> Result<(), Budget> {
        self.operations = self.operations.saturating_add(operations as u64);
        if self.operations > MAX_OPERATIONS {
            return Err(Budget { what: "1,000,000 operations".to_owned() });
        }
        Ok(())
    }

    /// Counts bytes of values that are about to be made.
    pub(super) fn spend(&mut self, bytes: u64) -> Result<(), Budget> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_BYTES {
            return Err(Budget { what: "10 MiB of values".to_owned() });
        }
        Ok(())
    }

    /// A value of its own; a copy is counted.
    pub(super) fn own(&mut self, value: Cow<'_, Value>) -> Result<Value, Budget> {
        if let Cow::Borrowed(value) = &value {
            self.spend(value.size())?;
        }
        Ok(value.into_owned())
    }

    /// A result that may go around a loop or leave: not nested too deep.
    pub(super) fn settle(&mut self, value: Cow<'_, Value>) -> Result<Value, Budget> {
        if value.deeper_than(MAX_DEPTH) {
            return Err(Budget { what: format!("{MAX_DEPTH} levels of lists and contexts in each other") });
        }
        self.own(value)
    }

    pub(super) fn warn(&mut self, message: impl FnOnce() -> String) {
        if self.quiet > 0 || self.warnings.len() >= MAX_WARNINGS {
            return;
        }
        let warning = Warning { message: message() };
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Null, and why.
    pub(super) fn null<'s>(&mut self, message: impl FnOnce() -> String) -> Eval<'s> {
        self.warn(message);
        Ok(Cow::Owned(Value::Null))
    }

    pub(super) fn eval<'s>(&mut self, node: &'s Node, scope: &'s Scope<'s>) -> Eval<'s> {
        self.work(1)?;
        match node {
            Node::Literal(value) => Ok(Cow::Borrowed(value)),
            Node::Name(name) => self.name(name, scope),
            Node::Input => Ok(Cow::Borrowed(scope.input().unwrap_or(&Value::Null))),
            Node::List(items) => self.list(items, scope),
            Node::Context(entries) => self.context(entries, scope),
            Node::Or(items) => self.junction(items, scope, true),
            Node::And(items) => self.junction(items, scope, false),
            Node::Compare(relation, sides) => self.compare(*relation, sides, scope),
            Node::Between(parts) => self.between(parts, scope),
            Node::In(value, tests) => self.within(value, tests, scope),
            Node::InstanceOf(value, kind) => self.instance(value, kind, scope),
            Node::Arithmetic(first, rest) => self.arithmetic(first, rest, scope),
            Node::Negate(inner) => self.negate(inner, scope),
            Node::Path(base, steps) => self.path(base, steps, scope),
            Node::If(parts) => self.choose(parts, scope),
            Node::For(iterations, body) => self.collect(iterations, body, scope),
            Node::Some(iterations, body) => self.quantify(iterations, body, scope, true),
            Node::Every(iterations, body) => self.quantify(iterations, body, scope, false),
            Node::Call(builtin, arguments) => self.call(builtin, arguments, scope),
        }
    }

    fn name<'s>(&mut self, name: &str, scope: &'s Scope<'s>) -> Eval<'s> {
        match scope.find(name) {
            Some(value) => Ok(Cow::Borrowed(value)),
            None => self.null(|| format!("no variable `{name}`")),
        }
    }

    fn list<'s>(&mut self, items: &'s [Node], scope: &'s Scope<'s>) -> Eval<'s> {
        self.spend(16)?;
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            let value = self.eval(item, scope)?;
            values.push(self.own(value)?);
        }
        Ok(Cow::Owned(Value::List(values)))
    }

    fn context<'s>(&mut self, entries: &'s [(String, Node)], scope: &'s Scope<'s>) -> Eval<'s> {
        self.spend(16)?;
        let mut values = Context::new();
        for (key, node) in entries {
            self.spend(16 + key.len() as u64)?;
            let value = {
                let inner = scope.inner(Bind::Names(&values));
                let value = self.eval(node, &inner)?;
                self.own(value)?
            };
            values.insert(key.clone(), value);
        }
        Ok(Cow::Owned(Value::Context(values)))
    }

    /// `or` if `wanted`, else `and`: decided by the first `wanted`.
    fn junction<'s>(&mut self, items: &'s [Node], scope: &'s Scope<'s>, wanted: bool) -> Eval<'s> {
        let mut result = Some(!wanted);
        for item in items {
            let value = self.eval(item, scope)?;
            match self.truth(&value) {
                Some(value) if value == wanted => return Ok(Cow::Owned(Value::Bool(wanted))),
                Some(_) => {}
                None => result = None,
            }
        }
        Ok(Cow::Owned(three(result)))
    }

    /// Its truth; `None` for what is not boolean.
    pub(super) fn truth(&mut self, value: &Value) -> Option<bool> {
        match single(value) {
            Value::Bool(value) => Some(*value),
            Value::Null => None,
            other => {
                let kind = other.kind();
                self.warn(|| format!("expected a boolean, found a {kind}"));
                None
            }
        }
    }

    fn compare<'s>(&mut self, relation: Relation, sides: &'s [Node; 2], scope: &'s Scope<'s>) -> Eval<'s> {
        let left = self.eval(&sides[0], scope)?;
        let right = self.eval(&sides[1], scope)?;
        let result = self.relate(relation, &left, &right)?;
        Ok(Cow::Owned(three(result)))
    }

    pub(super) fn relate(&mut self, relation: Relation, left: &Value, right: &Value) -> Result<Option<bool>, Budget> {
        self.work(elements(left).min(elements(right)))?;
        let (left, right) = match relation {
            Relation::Equal | Relation::Unequal => (left, right),
            _ => (single(left), single(right)),
        };
        let result = relate(relation, left, right);
        if result.is_none() && *left != Value::Null && *right != Value::Null {
            let (left, right) = (left.kind(), right.kind());
            self.warn(|| format!("`{}` does not compare a {left} with a {right}", relation.text()));
        }
        Ok(result)
    }

    fn between<'s>(&mut self, parts: &'s [Node; 3], scope: &'s Scope<'s>) -> Eval<'s> {
        let value = self.eval(&parts[0], scope)?;
        let from = self.eval(&parts[1], scope)?;
        let to = self.eval(&parts[2], scope)?;
        let above = self.relate(Relation::AtLeast, &value, &from)?;
        let below = self.relate(Relation::AtMost, &value, &to)?;
        Ok(Cow::Owned(three(all([above, below]))))
    }

    fn within<'s>(&mut self, value: &'s Node, tests: &'s [Test], scope: &'s Scope<'s>) -> Eval<'s> {
        let value = self.eval(value, scope)?;
        let inner = scope.inner(Bind::Input(&value));
        let result = self.any_test(&value, tests, &inner)?;
        Ok(Cow::Owned(three(result)))
    }

    fn any_test<'s>(&mut self, value: &Value, tests: &'s [Test], scope: &'s Scope<'s>) -> Result<Option<bool>, Budget> {
        let mut results = Vec::with_capacity(tests.len());
        for test in tests {
            results.push(self.test(value, test, scope)?);
        }
        Ok(any(results))
    }

    fn test<'s>(&mut self, value: &Value, test: &'s Test, scope: &'s Scope<'s>) -> Result<Option<bool>, Budget> {
        match test {
            Test::Any => Ok(Some(true)),
            Test::Not(tests) => Ok(self.any_test(value, tests, scope)?.map(|found| !found)),
            Test::Relation(relation, node) => {
                let other = self.eval(node, scope)?;
                self.relate(*relation, value, &other)
            }
            Test::Range(range) => self.in_range(value, range, scope),
            Test::Value(node, input) => {
                let other = self.eval(node, scope)?;
                match other.as_ref() {
                    Value::Bool(truth) if *input => Ok(Some(*truth)),
                    Value::Null if *input => Ok(None),
                    Value::List(items) => {
                        let same = match value {
                            Value::List(_) => self.relate(Relation::Equal, value, &other)?,
                            _ => Some(false),
                        };
                        let mut results = vec![same];
                        for item in items {
                            results.push(self.relate(Relation::Equal, value, item)?);
                        }
                        Ok(any(results))
                    }
                    other => self.relate(Relation::Equal, value, other),
                }
            }
        }
    }

    fn in_range<'s>(&mut self, value: &Value, range: &'s Range, scope: &'s Scope<'s>) -> Result<Option<bool>, Budget> {
        let from = self.eval(&range.from, scope)?;
        let to = self.eval(&range.to, scope)?;
        let above = if range.from_included { Relation::AtLeast } else { Relation::Greater };
        let below = if range.to_included { Relation::AtMost } else { Relation::Less };
        if order(single(&from), single(&to)).is_some_and(|order| order.is_gt()) {
            self.warn(|| "the range ends before it begins".to_owned());
        }
        Ok(all([self.relate(above, value, &from)?, self.relate(below, value, &to)?]))
    }

    fn instance<'s>(&mut self, value: &'s Node, kind: &Kind, scope: &'s Scope<'s>) -> Eval<'s> {
        let value = self.eval(value, scope)?;
        self.work(elements(&value))?;
        Ok(Cow::Owned(Value::Bool(is_instance(&value, kind))))
    }

    fn arithmetic<'s>(&mut self, first: &'s Node, rest: &'s [(Operator, Node)], scope: &'s Scope<'s>) -> Eval<'s> {
        let mut left = self.eval(first, scope)?;
        for (operator, node) in rest {
            let right = self.eval(node, scope)?;
            left = Cow::Owned(self.operate(*operator, &left, &right)?);
        }
        Ok(left)
    }

    fn operate(&mut self, operator: Operator, left: &Value, right: &Value) -> Result<Value, Budget> {
        self.work(1)?;
        let (left, right) = (single(left), single(right));
        let result = match (operator, left, right) {
            (Operator::Add, Value::String(a), Value::String(b)) => {
                self.spend(16 + a.len() as u64 + b.len() as u64)?;
                return Ok(Value::String([a.as_str(), b].concat()));
            }
            (_, Value::Null, _) | (_, _, Value::Null) => {
                let text = operator.text();
                self.warn(|| format!("`{text}` with null is null"));
                return Ok(Value::Null);
            }
            (Operator::Add, Value::Number(a), Value::Number(b)) => number::add(a, b),
            (Operator::Subtract, Value::Number(a), Value::Number(b)) => number::subtract(a, b),
            (Operator::Multiply, Value::Number(a), Value::Number(b)) => number::multiply(a, b),
            (Operator::Divide, Value::Number(a), Value::Number(b)) => number::divide(a, b),
            (Operator::Power, Value::Number(a), Value::Number(b)) => {
                self.work(10)?;
                super::power::power(a, b)
            }
            (_, left, right) => {
                let (left, right) = (left.kind(), right.kind());
                self.warn(|| format!("`{}` does not join a {left} and a {right}", operator.text()));
                return Ok(Value::Null);
            }
        };
        self.spend(16)?;
        if result.is_none() {
            self.warn(|| format!("`{left} {} {right}` has no result", operator.text()));
        }
        Ok(result.map_or(Value::Null, Value::Number))
    }

    fn negate<'s>(&mut self, inner: &'s Node, scope: &'s Scope<'s>) -> Eval<'s> {
        let value = self.eval(inner, scope)?;
        match single(&value) {
            Value::Number(value) => Ok(Cow::Owned(Value::Number(number::negate(value)))),
            other => {
                let kind = other.kind();
                self.null(|| format!("`-` needs a number, found {kind}"))
            }
        }
    }

    fn choose<'s>(&mut self, parts: &'s [Node; 3], scope: &'s Scope<'s>) -> Eval<'s> {
        let condition = self.eval(&parts[0], scope)?;
        let chosen = if self.truth(&condition) == Some(true) { &parts[1] } else { &parts[2] };
        self.eval(chosen, scope)
    }

    fn call<'s>(
        &mut self,
        builtin: &'static super::builtins::Builtin,
        arguments: &'s [Argument],
        scope: &'s Scope<'s>,
    ) -> Eval<'s> {
        let mut values = Vec::with_capacity(arguments.len());
        let mut closure = None;
        for (i, argument) in arguments.iter().enumerate() {
            let quiet = u32::from(builtin.quiet && i == 0);
            self.quiet += quiet;
            let value = match argument {
                Argument::Absent => Ok(Cow::Owned(Value::Null)),
                Argument::Value(node) => self.eval(node, scope),
                Argument::Function(parameters, body) => {
                    closure = Some(Closure { parameters, body, scope });
                    Ok(Cow::Owned(Value::Null))
                }
            };
            self.quiet -= quiet;
            values.push(value?);
        }
        let values = Arguments(values);
        let result = match builtin.run {
            Run::Plain(run) => run(self, &values),
            Run::WithFunction(run) => run(self, &values, closure),
        };
        match result {
            Ok(value) => Ok(Cow::Owned(value)),
            Err(Failure::Budget(budget)) => Err(budget),
            Err(Failure::Null(why)) => self.null(|| format!("`{}`: {why}", builtin.name)),
        }
    }
}

/// Null for `None`.
pub(super) fn three(value: Option<bool>) -> Value {
    value.map_or(Value::Null, Value::Bool)
}

/// A list of one element counts as that where one value is wanted.
pub(super) fn single(value: &Value) -> &Value {
    match value {
        Value::List(items) if items.len() == 1 => &items[0],
        value => value,
    }
}

/// How many steps a walk over it takes, at least.
pub(super) fn elements(value: &Value) -> usize {
    match value {
        Value::List(items) => 1 + items.iter().map(elements).sum::<usize>(),
        Value::Context(entries) => 1 + entries.values().map(elements).sum::<usize>(),
        Value::String(text) => 1 + text.len() / 64,
        _ => 1,
    }
}

fn is_instance(value: &Value, kind: &Kind) -> bool {
    match (kind, value) {
        (_, Value::Null) => false,
        (Kind::Any, _) => true,
        (Kind::Of(kind), value) => value.kind() == *kind,
        (Kind::ListOf(inner), Value::List(items)) => items.iter().all(|item| is_instance(item, inner)),
        (Kind::ListOf(_), _) => false,
    }
}
