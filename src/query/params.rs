//! Parameters of a statement.
//!
//! Duty: values for `$1` … or `$name`, typed as JSON types them, put in as literal nodes of the parsed statement.
//! Guarantee: a value is never read as SQL: it is set into the tree after parsing, so no text of it can end a literal.
//! A statement plans the same with parameters as with literals. Left to others: parsing (`guard`).

use std::cell::LazyCell;
use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, CastKind, DataType, Expr, TimezoneInfo, UnaryOperator, ValueWithSpan, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::error::{Code, Error, Position};
use super::guard::{MAX_TEXT, too_complex};

/// The only key of a JSON object that stands for an instant: `{"timestamp": "2026-01-31T12:00:00Z"}`.
pub const TIMESTAMP: &str = "timestamp";

/// One value.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Param {
    /// NULL.
    Null,
    /// BOOLEAN.
    Bool(bool),
    /// BIGINT.
    Int(i64),
    /// An integer beyond BIGINT, or a DOUBLE.
    Double(f64),
    /// TEXT.
    Text(String),
    /// TIMESTAMP(9) UTC, ns since 1970.
    Instant(i64),
    /// TIMESTAMP(9) UTC that each run of the plan gives: a placeholder of the plan.
    Later,
    /// BINARY.
    Binary(Vec<u8>),
    /// A value that the engine reads from text; `None` is a NULL of that type.
    Cast {
        /// The text.
        text: Option<String>,
        /// The type.
        to: To,
    },
    /// An array.
    Many(Vec<Param>),
    /// An integer that BIGINT does not hold.
    Unsigned(u64),
}

/// Types that a text is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs, reason = "SQL's own names")]
pub enum To {
    Boolean,
    Bigint,
    Double,
    Text,
    Binary,
    Date,
    Time,
    Timestamp,
    Interval,
}

impl To {
    const fn data_type(self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Bigint => DataType::BigInt(None),
            Self::Double => DataType::DoublePrecision,
            Self::Text => DataType::Text,
            Self::Binary => DataType::Bytea,
            Self::Date => DataType::Date,
            Self::Time => DataType::Time(None, TimezoneInfo::None),
            Self::Timestamp => DataType::Timestamp(None, TimezoneInfo::WithTimeZone),
            Self::Interval => DataType::Interval { fields: None, precision: None },
        }
    }
}

/// Values for the placeholders of a statement.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Params {
    /// None given.
    #[default]
    None,
    /// Not given yet: placeholders stay, and the plan says of which types they are.
    Open,
    /// For `$1`, `$2` …
    List(Vec<Param>),
    /// For `$name`.
    Map(BTreeMap<String, Param>),
}

impl Params {
    /// From an array or an object of JSON scalars, and of objects of one [`TIMESTAMP`].
    ///
    /// Errors: `sql.argument` for any other shape.
    pub fn from_json(value: &serde_json::Value) -> Result<Self, Error> {
        match value {
            serde_json::Value::Null => Ok(Self::None),
            serde_json::Value::Array(values) => {
                let values = values.iter().enumerate().map(|(at, value)| param(&format!("${}", at + 1), value));
                Ok(Self::List(values.collect::<Result<_, _>>()?))
            }
            serde_json::Value::Object(values) => {
                let values = values.iter().map(|(name, value)| {
                    let name = name.strip_prefix('$').unwrap_or(name);
                    Ok((name.to_owned(), param(&format!("${name}"), value)?))
                });
                Ok(Self::Map(values.collect::<Result<_, Error>>()?))
            }
            _ => Err(Error::new(Code::Argument, "`params` is neither an array nor an object")
                .hint("an array for `$1`, `$2` …; an object for `$name`")),
        }
    }

    /// Sets the values in place of the placeholders of `node`, which was parsed from `sql`.
    ///
    /// Errors: `sql.argument` for a placeholder without a value, or a value without its placeholder.
    pub(super) fn bind(&self, node: &mut ast::Statement, sql: &str) -> Result<(), Error> {
        if *self == Self::Open {
            return Ok(());
        }
        let mut binder = Binder { params: self, bytes: 0, used: Vec::new(), sql };
        if let ControlFlow::Break(error) = node.visit(&mut binder) {
            return Err(*error);
        }
        // A subquery that is not planned took its placeholders with it: what the text has is used. Few statements ask that.
        let in_text = LazyCell::new(|| names(sql).into_iter().map(|(name, _)| name).collect::<HashSet<_>>());
        let is_unused = |name: &String| !binder.used.contains(name) && !in_text.contains(name);
        let unused = match self {
            Self::None | Self::Open => None,
            Self::List(values) => (1..=values.len()).map(|at| at.to_string()).find(is_unused),
            Self::Map(values) => values.keys().find(|name| is_unused(name)).cloned(),
        };
        match unused {
            None => Ok(()),
            Some(name) => Err(Error::new(Code::Argument, format!("the statement has no `${name}`, but `params` does"))
                .hint("remove it from `params`, or use it in the statement")),
        }
    }

    /// Memory of the values, about, each once.
    pub fn bytes(&self) -> usize {
        match self {
            Self::None | Self::Open => 0,
            Self::List(values) => values.iter().map(weight).sum(),
            Self::Map(values) => values.iter().map(|(name, value)| name.len() + weight(value)).sum(),
        }
    }

    fn value(&self, name: &str) -> Option<&Param> {
        match self {
            Self::None | Self::Open => None,
            Self::List(values) => name.parse::<usize>().ok()?.checked_sub(1).and_then(|at| values.get(at)),
            Self::Map(values) => values.get(name),
        }
    }

    fn given(&self) -> String {
        match self {
            Self::None | Self::Open => "no `params` were given".to_owned(),
            Self::List(values) => format!("`params` has {} values, for `$1` …", values.len()),
            Self::Map(values) => {
                let names: Vec<_> = values.keys().take(10).map(|name| format!("`${name}`")).collect();
                format!("`params` has {}", if names.is_empty() { "no names".to_owned() } else { names.join(", ") })
            }
        }
    }
}

/// Placeholders of `sql` without their `$`, in the order of the text, each once, with the place of the first. A text
/// that has no tokens has none.
pub fn names(sql: &str) -> Vec<(String, Option<Position>)> {
    // The guard refuses it, and says so.
    if sql.len() > MAX_TEXT {
        return Vec::new();
    }
    let mut known = HashSet::new();
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().unwrap_or_default();
    let mut names: Vec<(String, Option<Position>)> = Vec::new();
    for token in tokens {
        let Token::Placeholder(text) = &token.token else { continue };
        let name = text.strip_prefix('$').unwrap_or(text);
        if known.insert(name.to_owned()) {
            let at = token.span.start;
            names.push((name.to_owned(), Position::at(sql, at.line, at.column)));
        }
    }
    names
}

/// RFC 3339 with nanoseconds; years beyond 9999 do not occur in 64 bits of them.
pub(super) fn instant_text(ns: i64) -> String {
    let at = jiff::Timestamp::from_nanosecond(i128::from(ns)).expect("64 bits of nanoseconds are within its range");
    format!("{at:.9}")
}

fn param(name: &str, value: &serde_json::Value) -> Result<Param, Error> {
    Ok(match value {
        serde_json::Value::Null => Param::Null,
        serde_json::Value::Bool(value) => Param::Bool(*value),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(value) => Param::Int(value),
            None => Param::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Param::Text(text.clone()),
        serde_json::Value::Object(members) if members.len() == 1 && members.contains_key(TIMESTAMP) => {
            let text = members[TIMESTAMP].as_str().unwrap_or_default();
            let at: Option<jiff::Timestamp> = text.parse().ok();
            match at.and_then(|at| i64::try_from(at.as_nanosecond()).ok()) {
                Some(ns) => Param::Instant(ns),
                None => {
                    let message = format!("the value of `{name}` is no instant: {}", members[TIMESTAMP]);
                    return Err(Error::new(Code::Argument, message)
                        .hint(r#"write {"timestamp": "2026-01-31T12:00:00Z"}, from 1677 to 2262"#));
                }
            }
        }
        serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
            return Err(Error::new(Code::Argument, format!("the value of `{name}` is an array or object"))
                .hint("a parameter is text, a number, true, false or null"));
        }
    })
}

/// Bytes that the values of a statement may have, each as often as it is used.
const MOST_BOUND: usize = 16 << 20;

struct Binder<'a> {
    params: &'a Params,
    bytes: usize,
    used: Vec<String>,
    sql: &'a str,
}

impl VisitorMut for Binder<'_> {
    type Break = Box<Error>;

    // After its children: a value may be a placeholder again.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        let Expr::Value(value) = expr else { return ControlFlow::Continue(()) };
        let ast::Value::Placeholder(placeholder) = &value.value else { return ControlFlow::Continue(()) };
        let at = value.span.start;
        let name = placeholder.strip_prefix('$').unwrap_or(placeholder).to_owned();
        let Some(param) = self.params.value(&name) else {
            let message = format!("the placeholder `{placeholder}` has no value");
            let error = Error::new(Code::Argument, message)
                .hint(self.params.given())
                .at(Position::at(self.sql, at.line, at.column));
            return ControlFlow::Break(Box::new(error));
        };
        if !self.used.contains(&name) {
            self.used.push(name);
        }
        self.bytes = self.bytes.saturating_add(weight(param));
        if self.bytes > MOST_BOUND {
            return ControlFlow::Break(Box::new(too_complex("bytes of bound values", MOST_BOUND)));
        }
        *expr = literal(param, placeholder, value.span);
        ControlFlow::Continue(())
    }
}

/// Memory of a value in the tree, about.
fn weight(param: &Param) -> usize {
    const NODE: usize = 256;
    match param {
        Param::Text(text) | Param::Cast { text: Some(text), .. } => NODE + text.len(),
        Param::Binary(bytes) => NODE + 2 * bytes.len(),
        Param::Many(elements) => NODE + elements.iter().map(weight).sum::<usize>(),
        _ => NODE,
    }
}

fn literal(param: &Param, placeholder: &str, span: datafusion::sql::sqlparser::tokenizer::Span) -> Expr {
    let value = |value| Expr::Value(ValueWithSpan { value, span });
    let cast = |of: Expr, to: To| Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(of),
        data_type: to.data_type(),
        array: false,
        format: None,
    };
    let instant = |of: Expr| cast(of, To::Timestamp);
    let number = |text: String| match text.strip_prefix('-') {
        Some(positive) => {
            let operand = Box::new(value(ast::Value::Number(positive.to_owned(), false)));
            Expr::Nested(Box::new(Expr::UnaryOp { op: UnaryOperator::Minus, expr: operand }))
        }
        None => value(ast::Value::Number(text, false)),
    };
    match param {
        Param::Null => value(ast::Value::Null),
        Param::Bool(of) => value(ast::Value::Boolean(*of)),
        Param::Int(of) => number(of.to_string()),
        Param::Unsigned(of) => number(of.to_string()),
        // `{:e}` is read back bit-exact, and never as an integer.
        Param::Double(of) => number(format!("{of:e}")),
        Param::Text(text) => value(ast::Value::SingleQuotedString(text.clone())),
        Param::Instant(ns) => instant(value(ast::Value::SingleQuotedString(instant_text(*ns)))),
        Param::Later => instant(value(ast::Value::Placeholder(placeholder.to_owned()))),
        Param::Binary(bytes) => {
            let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            value(ast::Value::HexStringLiteral(hex))
        }
        Param::Cast { text: Some(text), to } => cast(value(ast::Value::SingleQuotedString(text.clone())), *to),
        Param::Cast { text: None, to } => cast(value(ast::Value::Null), *to),
        Param::Many(elements) => {
            let elem = elements.iter().map(|element| literal(element, placeholder, span)).collect();
            Expr::Array(ast::Array { elem, named: true })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::guard::{Writer, check_of};

    #[test]
    fn an_instant_comes_as_an_object_of_one_timestamp() {
        let of = |json: &str| Params::from_json(&serde_json::from_str(json).unwrap());
        let at = Params::List(vec![Param::Instant(1_700_000_000_000_000_001)]);
        assert_eq!(of(r#"[{"timestamp": "2023-11-14T22:13:20.000000001Z"}]"#), Ok(at));
        for wrong in [
            r#"[{"timestamp": "soon"}]"#,
            r#"[{"timestamp": 5}]"#,
            r#"[{"timestamp": "3000-01-01T00:00:00Z"}]"#,
            r#"[{"timestamp": "2023-11-14T22:13:20Z", "x": 1}]"#,
            r#"[{"x": 1}]"#,
        ] {
            assert_eq!(of(wrong).unwrap_err().code, Code::Argument, "{wrong}");
        }
    }

    fn refused(writer: Writer, sql: &str, params: &Params) -> Option<String> {
        check_of(writer, sql, params).err().map(|error| {
            assert_eq!(error.code, Code::TooComplex, "{}", error.message);
            error.message
        })
    }

    #[test]
    fn values_have_a_bound_together_each_as_often_as_it_is_used() {
        let megabyte = Params::List(vec![Param::Text("x".repeat(1 << 20))]);
        let uses = |times: usize| format!("SELECT {}", vec!["length($1)"; times].join(", "));
        assert_eq!(refused(Writer::Own, &uses(15), &megabyte), None);
        let message = refused(Writer::Own, &uses(16), &megabyte).unwrap();
        assert!(message.contains("16777216 bytes of bound values"), "{message}");
        let many = Params::Map((0..17).map(|n| (format!("p{n}"), Param::Binary(vec![0; 1 << 19]))).collect());
        let sql = format!("SELECT {}", (0..17).map(|n| format!("length($p{n})")).collect::<Vec<_>>().join(", "));
        assert!(refused(Writer::Own, &sql, &many).is_some(), "bytes are written as hex");
    }

    #[test]
    fn a_statement_with_its_values_is_under_the_caps_of_one_without() {
        let array = |of: Param, elements: usize| Params::List(vec![Param::Many(vec![of; elements])]);
        let instant = Param::Cast { text: Some("2023-11-14".to_owned()), to: To::Timestamp };
        for value in [Param::Int(7), Param::Int(-7), Param::Text("a".to_owned()), Param::Double(-0.5), instant] {
            let any =
                |elements| refused(Writer::Postgres, "SELECT 1 WHERE 1 = ANY ($1)", &array(value.clone(), elements));
            assert_eq!(any(10_000), None, "{value:?}");
            assert!(any(10_001).unwrap().contains("10000 values in an IN list"), "{value:?}");
            let open = |elements| refused(Writer::Postgres, "SELECT $1", &array(value.clone(), elements));
            assert_eq!(open(10_000), None, "{value:?}");
            assert!(open(10_001).unwrap().contains("10000 values in an array"), "{value:?}");
        }
        // Written out, each element is a comparison of its own, one within the other.
        let chain =
            |elements| refused(Writer::Postgres, "SELECT 1 WHERE 1 < ANY ($1)", &array(Param::Int(7), elements));
        assert_eq!(chain(100), None);
        assert!(chain(1_300).unwrap().contains("5000 expression nodes"));
        // What only looks like a list of values is counted.
        let text = format!("SELECT 1 WHERE 1 IN ({}1)", "- ".repeat(5_500));
        assert!(check_of(Writer::Own, &text, &Params::None).is_err());
    }
}
