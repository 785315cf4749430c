//! Selectors of spans (gates.md 13).
//!
//! Duty: text to paths of steps with their tests. Guarantee: what is not understood is a fault with its column and never
//! selects more than was written; nothing recurses, and no text becomes more than [`MOST_PATHS`] paths of [`MOST_STAGES`]
//! stages. Left to others: what a step becomes (`statement`, `predicate`).
//!
//! A column counts characters of the text, from 1.

mod read;
#[cfg(test)]
mod tests;

/// Longest selector, in bytes.
const MOST_BYTES: usize = 4096;
/// Paths of a union.
const MOST_PATHS: usize = 16;
/// Steps and ranks of a path: each is a common table expression of the statement, which may have 16.
pub(super) const MOST_STAGES: usize = 8;
/// Tests of a step.
const MOST_TESTS: usize = 32;
/// `not(` around a test.
const MOST_NOTS: usize = 8;

/// A union of paths.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    /// As it was written.
    pub text: String,
    /// What it selects.
    pub paths: Vec<Vec<Step>>,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// To the step before it.
    pub relation: Relation,
    /// All must hold.
    pub tests: Vec<Test>,
    /// In this order, each among the spans that the ones before it left.
    pub narrowed: Vec<Narrowed>,
}

/// How a span stands to one of the step before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// It is the first step.
    Anywhere,
    /// Below it at any depth.
    Descendant,
    /// Its parent is that span.
    Child,
    /// It has the same parent and starts later.
    LaterSibling,
}

/// Pseudo-classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Narrowed {
    /// At the top, and names no parent that is missing.
    Root,
    /// Nothing stands below it.
    Leaf,
    /// Its status is error.
    Error,
    /// The n-th in pre-order, from 1; `:first` is the first.
    Nth(u32),
    /// The last in pre-order.
    Last,
}

impl Narrowed {
    /// Whether it counts among the spans of a trace.
    pub(super) const fn is_rank(self) -> bool {
        matches!(self, Self::Nth(_) | Self::Last)
    }
}

/// What must hold for a span; a test about a key that it does not have does not hold, whatever the operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// It must not hold.
    pub is_negated: bool,
    /// What.
    pub about: About,
}

/// The inner of a test.
#[derive(Clone, Debug, PartialEq)]
pub enum About {
    /// `exists(field)`
    Exists(Field),
    /// `field op literal`
    Compared(Field, Op, Literal),
}

/// What of a span is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// A column of `spans`.
    Column(Column),
    /// An attribute by its key.
    Attribute(String),
    /// An attribute of the resource by its key.
    Resource(String),
}

/// Columns that have a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// `name`
    Name,
    /// `kind`
    Kind,
    /// `status`
    Status,
    /// `service`
    Service,
    /// `type`: what the registry found, else what was sent.
    Type,
    /// `duration`
    Duration,
}

/// Operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `=`
    Is,
    /// `!=`
    IsNot,
    /// `^=`
    StartsWith,
    /// `$=`
    EndsWith,
    /// `*=` or `contains`
    Contains,
    /// `~=`, a regular expression.
    Matches,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
    /// `<=`
    AtMost,
}

impl Op {
    /// As it is written.
    pub(in crate::gate) const fn as_str(self) -> &'static str {
        match self {
            Self::Is => "=",
            Self::IsNot => "!=",
            Self::StartsWith => "^=",
            Self::EndsWith => "$=",
            Self::Contains => "*=",
            Self::Matches => "~=",
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Below => "<",
            Self::AtMost => "<=",
        }
    }

    const fn is_order(self) -> bool {
        matches!(self, Self::Above | Self::AtLeast | Self::Below | Self::AtMost)
    }

    const fn is_equality(self) -> bool {
        matches!(self, Self::Is | Self::IsNot)
    }
}

/// Literals.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// Without a NUL.
    Text(String),
    /// A decimal number as SQL writes it.
    Number(String),
    /// Nanoseconds.
    Duration(i64),
    /// `true` or `false`
    Bool(bool),
}

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where, in characters from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
    /// The next move.
    pub next: String,
}

impl Selector {
    /// Reads `text`.
    ///
    /// Errors: the first thing that is not understood.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let paths = read::paths(text)?;
        Ok(Self { text: text.to_owned(), paths })
    }
}
