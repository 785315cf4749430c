//! Parameters of a statement.
//!
//! Duty: `$1` by place and `$name` by name, as literals of the syntax tree. Guarantee: a value is never pasted into
//! text, so quotes in it mean nothing. Left to others: where values come from (`web`, `cli`).

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::ast::{Expr, UnaryOperator, Value};

/// Values by place or by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params {
    by_place: Vec<Param>,
    by_name: BTreeMap<String, Param>,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// SQL NULL.
    Null,
    /// True or false.
    Bool(bool),
    /// 64-bit integer.
    Int(i64),
    /// Double.
    Double(f64),
    /// Text.
    Text(String),
}

/// A value of `params` that is no parameter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("params: {place}: {got} cannot be a parameter; give a text, number, boolean or null")]
pub struct BadParam {
    place: String,
    got: &'static str,
}

impl Params {
    /// From the member `params` of a request: a list for `$1` …, an object for `$name`.
    pub fn from_json(value: &serde_json::Value) -> Result<Self, BadParam> {
        let bad = |place: &str, got| BadParam { place: place.to_owned(), got };
        match value {
            serde_json::Value::Null => Ok(Self::default()),
            serde_json::Value::Array(values) => {
                let of = |(at, value)| Param::from_json(value).map_err(|got| bad(&format!("${}", at + 1), got));
                let by_place = values.iter().enumerate().map(of).collect::<Result<_, _>>()?;
                Ok(Self { by_place, ..Self::default() })
            }
            serde_json::Value::Object(values) => {
                let of = |(name, value): (&String, _)| {
                    Ok((name.clone(), Param::from_json(value).map_err(|got| bad(&format!("${name}"), got))?))
                };
                Ok(Self { by_name: values.iter().map(of).collect::<Result<_, _>>()?, ..Self::default() })
            }
            _ => Err(bad("params", "something that is neither a list nor an object")),
        }
    }

    /// Adds a named value.
    pub fn set(&mut self, name: &str, value: Param) {
        self.by_name.insert(name.to_owned(), value);
    }

    /// The named values as a JSON object, or the list.
    pub fn to_json(&self) -> serde_json::Value {
        if self.by_place.is_empty() {
            self.by_name.iter().map(|(name, value)| (name.clone(), value.to_json())).collect()
        } else {
            self.by_place.iter().map(Param::to_json).collect()
        }
    }

    /// The literal for placeholder `$1` or `$name`.
    pub(super) fn literal(&self, placeholder: &str) -> Option<Expr> {
        let name = placeholder.strip_prefix('$')?;
        let param = match name.parse::<usize>() {
            Ok(place) => self.by_place.get(place.checked_sub(1)?)?,
            Err(_) => self.by_name.get(name)?,
        };
        Some(param.literal())
    }
}

impl Param {
    fn from_json(value: &serde_json::Value) -> Result<Self, &'static str> {
        match value {
            serde_json::Value::Null => Ok(Self::Null),
            serde_json::Value::Bool(value) => Ok(Self::Bool(*value)),
            serde_json::Value::String(text) => Ok(Self::Text(text.clone())),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(int), _) => Ok(Self::Int(int)),
                (None, Some(double)) => Ok(Self::Double(double)),
                (None, None) => Err("a number out of range"),
            },
            serde_json::Value::Array(_) => Err("a list"),
            serde_json::Value::Object(_) => Err("an object"),
        }
    }

    /// A value from the command line: a number or boolean if it reads as one, else text.
    pub fn from_text(text: &str) -> Self {
        match text {
            "true" => Self::Bool(true),
            "false" => Self::Bool(false),
            _ => text.parse().map(Self::Int).unwrap_or_else(|_| Self::Text(text.to_owned())),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Double(value) => (*value).into(),
            Self::Text(text) => text.clone().into(),
        }
    }

    fn literal(&self) -> Expr {
        let number = |text: String, negative: bool| {
            let value = Expr::Value(Value::Number(text, false).into());
            if !negative {
                return value;
            }
            Expr::Nested(Box::new(Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(value) }))
        };
        match self {
            Self::Null => Expr::Value(Value::Null.into()),
            Self::Bool(value) => Expr::Value(Value::Boolean(*value).into()),
            Self::Text(text) => Expr::Value(Value::SingleQuotedString(text.clone()).into()),
            Self::Int(value) => number(value.unsigned_abs().to_string(), *value < 0),
            // An exponent keeps a whole double a double.
            Self::Double(value) => number(format!("{:e}", value.abs()), value.is_sign_negative()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_become_literals_and_quotes_stay_text() {
        let params = Params::from_json(&json!(["it's", -5, 1.5, true, null])).unwrap();
        let text = |name: &str| params.literal(name).unwrap().to_string();
        assert_eq!(text("$1"), "'it''s'");
        assert_eq!(
            (text("$2"), text("$3"), text("$4"), text("$5")),
            ("(-5)".into(), "1.5e0".into(), "true".into(), "NULL".into())
        );
        assert_eq!((params.literal("$6"), params.literal("$0"), params.literal("$x")), (None, None, None));
    }

    #[test]
    fn names_work_and_other_shapes_are_told() {
        let params = Params::from_json(&json!({ "service": "checkout" })).unwrap();
        assert_eq!(params.literal("$service").unwrap().to_string(), "'checkout'");
        assert!(Params::from_json(&json!([[1]])).unwrap_err().to_string().starts_with("params: $1: a list"));
        assert!(Params::from_json(&json!("x")).is_err());
    }
}
