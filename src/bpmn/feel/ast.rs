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

/// What stands for one parameter of a call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Argument {
    Absent,
    Value(Node),
    /// `function(a, b) expr`: only as an argument of a built-in.
    Function(Vec<String>, Box<Node>),
}

/// What follows a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Key(String),
    Filter(Node),
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
