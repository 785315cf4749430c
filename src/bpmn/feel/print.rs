//! Tree to text.
//!
//! Duty: the canonical text of an expression. Guarantee: it parses to the same tree whatever names are known. Left to
//! others: values (`value`).

use std::fmt::{self, Display, Formatter, Write};

use super::ast::{Argument, Iteration, Kind, Node, Range, Step, Test};
use super::lex::is_plain_name;
use super::value::quoted;

/// A name, in backquotes unless it is one word. Backquotes cannot stand in a name.
fn name(f: &mut impl Write, name: &str) -> fmt::Result {
    if is_plain_name(name) { f.write_str(name) } else { write!(f, "`{name}`") }
}

/// A key of a context, quoted unless it is one word.
pub(super) fn key(f: &mut impl Write, key: &str) -> fmt::Result {
    if is_plain_name(key) { f.write_str(key) } else { quoted(f, key) }
}

/// How strongly a node binds; 8 never needs brackets, 0 always does inside another.
fn precedence(node: &Node) -> u8 {
    match node {
        Node::If(_) | Node::For(..) | Node::Some(..) | Node::Every(..) => 0,
        Node::Or(_) => 1,
        Node::And(_) => 2,
        Node::Compare(..) | Node::Between(_) | Node::In(..) | Node::InstanceOf(..) => 3,
        Node::Arithmetic(_, rest) => rest.first().map_or(8, |(operator, _)| operator.precedence()),
        Node::Negate(_) => 7,
        Node::Literal(super::Value::Number(n)) if n.sign() == bigdecimal::num_bigint::Sign::Minus => 7,
        _ => 8,
    }
}

/// `node` where operators of at least `least` stand without brackets.
struct At<'n>(&'n Node, u8);

impl Display for At<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if precedence(self.0) < self.1 { write!(f, "({})", self.0) } else { self.0.fmt(f) }
    }
}

fn separated<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    by: &str,
    one: impl Fn(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            f.write_str(by)?;
        }
        one(f, item)?;
    }
    Ok(())
}

impl Display for Node {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Node::Literal(value) => value.fmt(f),
            Node::Name(text) => name(f, text),
            Node::Input => f.write_char('?'),
            Node::List(items) => {
                f.write_char('[')?;
                separated(f, items, ", ", |f, item| item.fmt(f))?;
                f.write_char(']')
            }
            Node::Context(entries) => {
                f.write_char('{')?;
                separated(f, entries, ", ", |f, (text, value)| {
                    key(f, text)?;
                    write!(f, ": {value}")
                })?;
                f.write_char('}')
            }
            Node::Or(items) => separated(f, items, " or ", |f, item| At(item, 2).fmt(f)),
            Node::And(items) => separated(f, items, " and ", |f, item| At(item, 3).fmt(f)),
            Node::Compare(relation, sides) => {
                write!(f, "{} {} {}", At(&sides[0], 4), relation.text(), At(&sides[1], 4))
            }
            Node::Between(parts) => {
                write!(f, "{} between {} and {}", At(&parts[0], 4), At(&parts[1], 4), At(&parts[2], 4))
            }
            Node::In(value, tests) => {
                write!(f, "{} in (", At(value, 4))?;
                separated(f, tests, ", ", |f, test| test.fmt(f))?;
                f.write_char(')')
            }
            Node::InstanceOf(value, kind) => write!(f, "{} instance of {kind}", At(value, 4)),
            Node::Arithmetic(first, rest) => {
                let inner = precedence(self) + 1;
                At(first, inner).fmt(f)?;
                rest.iter().try_for_each(|(operator, node)| write!(f, " {} {}", operator.text(), At(node, inner)))
            }
            // the blank keeps two signs apart
            Node::Negate(inner) => write!(f, "-{}", At(inner, 7)),
            Node::Path(base, steps) => {
                At(base, 8).fmt(f)?;
                steps.iter().try_for_each(|step| step.fmt(f))
            }
            Node::If(parts) => write!(f, "if {} then {} else {}", parts[0], parts[1], parts[2]),
            Node::For(iterations, body) => looped(f, "for", iterations, "return", body),
            Node::Some(iterations, body) => looped(f, "some", iterations, "satisfies", body),
            Node::Every(iterations, body) => looped(f, "every", iterations, "satisfies", body),
            Node::Call(builtin, arguments) => {
                write!(f, "{}(", builtin.name)?;
                let gap = arguments.contains(&Argument::Absent);
                let given: Vec<_> = arguments.iter().enumerate().filter(|(_, a)| **a != Argument::Absent).collect();
                separated(f, &given, ", ", |f, (i, argument)| {
                    if gap {
                        write!(f, "{}: ", builtin.parameters[*i])?;
                    }
                    argument.fmt(f)
                })?;
                f.write_char(')')
            }
        }
    }
}

fn looped(f: &mut Formatter<'_>, word: &str, iterations: &[Iteration], join: &str, body: &Node) -> fmt::Result {
    write!(f, "{word} ")?;
    separated(f, iterations, ", ", |f, iteration| {
        name(f, &iteration.name)?;
        write!(f, " in {}", iteration.from)?;
        iteration.to.as_ref().map_or(Ok(()), |to| write!(f, "..{to}"))
    })?;
    write!(f, " {join} {body}")
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Step::Key(key) => {
                f.write_char('.')?;
                name(f, key)
            }
            Step::Filter(filter) => write!(f, "[{filter}]"),
        }
    }
}

impl Display for Test {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Test::Any => f.write_char('-'),
            Test::Not(tests) => {
                f.write_str("not(")?;
                separated(f, tests, ", ", |f, test| test.fmt(f))?;
                f.write_char(')')
            }
            Test::Relation(relation, node) => write!(f, "{} {}", relation.text(), At(node, 4)),
            Test::Range(range) => range.fmt(f),
            // a call of `not` would read as a negated test
            Test::Value(node, _) => write!(f, "({node})"),
        }
    }
}

impl Display for Range {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char(if self.from_included { '[' } else { '(' })?;
        // without brackets the `[` of a path could read as the end of the range
        let to = if matches!(self.to, Node::Path(..)) { 9 } else { 8 };
        write!(f, "{}..{}", At(&self.from, 8), At(&self.to, to))?;
        f.write_char(if self.to_included { ']' } else { ')' })
    }
}

impl Display for Argument {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Argument::Absent => Ok(()),
            Argument::Value(node) => node.fmt(f),
            Argument::Function(parameters, body) => {
                f.write_str("function(")?;
                separated(f, parameters, ", ", |f, parameter| name(f, parameter))?;
                write!(f, ") {body}")
            }
        }
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Any => f.write_str("Any"),
            Kind::Of(kind) => kind.fmt(f),
            Kind::ListOf(inner) => write!(f, "list<{inner}>"),
        }
    }
}
