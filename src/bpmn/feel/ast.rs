//! The tree of an expression.
//!
//! Duty: the closed set of nodes. Guarantee: chains of one operator are flat, so the height of a tree is bounded by the
//! nesting of its text and not by its length. Left to others: text to tree (`parse`), tree to text (`print`), values
//! (`eval`).

use super::builtins::Builtin;
use super::value::{Type, Value};

/// One node.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Literal(Value),
    Name(String),
    /// `?`: what stands left of `in`.
    Input,
    List(Vec<Node>),
    Context(Vec<(String, Node)>),
    Or(Vec<Node>),
    And(Vec<Node>),
    Compare(Relation, Box<[Node; 2]>),
    /// Value, from, to.
    Between(Box<[Node; 3]>),
    In(Box<Node>, Vec<Test>),
    InstanceOf(Box<Node>, Kind),
    /// Operators of one precedence, from left to right.
    Arithmetic(Box<Node>, Vec<(Operator, Node)>),
    Negate(Box<Node>),
    Path(Box<Node>, Vec<Step>),
    /// Condition, then, else.
    If(Box<[Node; 3]>),
    For(Vec<Iteration>, Box<Node>),
    Some(Vec<Iteration>, Box<Node>),
    Every(Vec<Iteration>, Box<Node>),
    Call(&'static Builtin, Vec<Argument>),
}

impl Node {
    /// The nodes right below it, in the order of the text.
    pub(super) fn children(&self) -> Vec<&Node> {
        match self {
            Node::Literal(_) | Node::Name(_) | Node::Input => Vec::new(),
            Node::List(items) | Node::Or(items) | Node::And(items) => items.iter().collect(),
            Node::Context(entries) => entries.iter().map(|(_, value)| value).collect(),
            Node::Compare(_, sides) => sides.iter().collect(),
            Node::Between(parts) | Node::If(parts) => parts.iter().collect(),
            Node::In(value, tests) => {
                std::iter::once(value.as_ref()).chain(tests.iter().flat_map(Test::nodes)).collect()
            }
            Node::InstanceOf(value, _) | Node::Negate(value) => vec![value],
            Node::Arithmetic(first, rest) => {
                std::iter::once(first.as_ref()).chain(rest.iter().map(|(_, node)| node)).collect()
            }
            Node::Path(base, steps) => {
                std::iter::once(base.as_ref()).chain(steps.iter().filter_map(Step::filter)).collect()
            }
            Node::For(iterations, body) | Node::Some(iterations, body) | Node::Every(iterations, body) => {
                let domains = iterations.iter().flat_map(|i| std::iter::once(&i.from).chain(&i.to));
                domains.chain(std::iter::once(body.as_ref())).collect()
            }
            Node::Call(_, arguments) => arguments.iter().filter_map(Argument::node).collect(),
        }
    }
}

/// What stands for one parameter of a call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Argument {
    Absent,
    Value(Node),
    /// `function(a, b) expr`: only as an argument of a built-in.
    Function(Vec<String>, Box<Node>),
}

impl Argument {
    fn node(&self) -> Option<&Node> {
        match self {
            Argument::Absent => None,
            Argument::Value(node) => Some(node),
            Argument::Function(_, body) => Some(body),
        }
    }
}

/// What follows a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Key(String),
    Filter(Node),
}

impl Step {
    fn filter(&self) -> Option<&Node> {
        match self {
            Step::Key(_) => None,
            Step::Filter(filter) => Some(filter),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Relation {
    pub(super) fn text(self) -> &'static str {
        match self {
            Relation::Equal => "=",
            Relation::Unequal => "!=",
            Relation::Less => "<",
            Relation::AtMost => "<=",
            Relation::Greater => ">",
            Relation::AtLeast => ">=",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Power,
}

impl Operator {
    pub(super) fn text(self) -> &'static str {
        match self {
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            Operator::Power => "**",
        }
    }

    /// How strongly it binds; operators of one number stand in one chain.
    pub(super) fn precedence(self) -> u8 {
        match self {
            Operator::Add | Operator::Subtract => 4,
            Operator::Multiply | Operator::Divide => 5,
            Operator::Power => 6,
        }
    }
}

/// One test after `in`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    /// `-`.
    Any,
    Not(Vec<Test>),
    Relation(Relation, Node),
    Range(Range),
    /// The node, and whether `?` stands in it: then its own truth decides.
    Value(Node, bool),
}

impl Test {
    fn nodes(&self) -> Vec<&Node> {
        match self {
            Test::Any => Vec::new(),
            Test::Not(tests) => tests.iter().flat_map(Test::nodes).collect(),
            Test::Relation(_, node) | Test::Value(node, _) => vec![node],
            Test::Range(range) => vec![&range.from, &range.to],
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Range {
    pub(super) from: Node,
    pub(super) from_included: bool,
    pub(super) to: Node,
    pub(super) to_included: bool,
}

/// `name in from`, or `name in from..to`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Iteration {
    pub(super) name: String,
    pub(super) from: Node,
    pub(super) to: Option<Node>,
}

/// The type after `instance of`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Any,
    Of(Type),
    ListOf(Box<Kind>),
}
