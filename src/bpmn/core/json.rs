//! Values as they are stored.
//!
//! Duty: JSON with 34-digit decimals, in a form that rows and events can hold. Guarantee: equal values have equal bytes:
//! a number is kept as its shortest plain text. Left to others: arithmetic and everything else one does with values
//! (`feel`).

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::str::FromStr as _;

use bigdecimal::{BigDecimal, RoundingMode};
use serde::{Deserialize, Serialize};

use crate::feel;

/// Significant digits of a number (bpmn.md 9).
const DIGITS: NonZeroU64 = NonZeroU64::new(34).expect("34 is not 0");

/// Names and values of a scope, a payload or a result.
pub type Variables = BTreeMap<String, Json>;

/// A stored value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Json {
    /// `null`.
    #[default]
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A decimal of at most 34 digits, as text without trailing zeros.
    Number(String),
    /// Text.
    String(String),
    /// A list.
    List(Vec<Json>),
    /// A context.
    Context(Variables),
}

impl Json {
    /// The text if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number if it is one that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Number(text) => whole(&BigDecimal::from_str(text).ok()?),
            _ => None,
        }
    }

    /// Text of a correlation key: a string as it is, a number in canonical decimal (S15).
    pub fn as_key(&self) -> Option<String> {
        match self {
            Self::String(text) | Self::Number(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// From a JSON value as serde knows it; a number becomes a decimal of at most 34 digits.
    pub fn from_serde(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => {
                BigDecimal::from_str(&number.to_string()).map_or(Self::Null, |number| Self::Number(canonical(&number)))
            }
            serde_json::Value::String(text) => Self::String(text.clone()),
            serde_json::Value::Array(items) => Self::List(items.iter().map(Self::from_serde).collect()),
            serde_json::Value::Object(entries) => Self::Context(variables_from_serde(entries)),
        }
    }

    /// As serde's JSON: whole numbers that fit 64 bits stay exact, others become the nearest double.
    pub fn to_serde(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Number(text) => {
                if let Ok(whole) = text.parse::<i64>() {
                    whole.into()
                } else if let Ok(whole) = text.parse::<u64>() {
                    whole.into()
                } else {
                    text.parse::<f64>()
                        .ok()
                        .and_then(serde_json::Number::from_f64)
                        .map_or(serde_json::Value::Null, serde_json::Value::Number)
                }
            }
            Self::String(text) => text.clone().into(),
            Self::List(items) => items.iter().map(Self::to_serde).collect::<Vec<_>>().into(),
            Self::Context(entries) => variables_to_serde(entries).into(),
        }
    }

    /// From an evaluated value.
    pub fn from_feel(value: &feel::Value) -> Self {
        match value {
            feel::Value::Null => Self::Null,
            feel::Value::Bool(value) => Self::Bool(*value),
            feel::Value::Number(number) => Self::Number(canonical(number)),
            feel::Value::String(text) => Self::String(text.clone()),
            feel::Value::List(items) => Self::List(items.iter().map(Self::from_feel).collect()),
            feel::Value::Context(entries) => {
                Self::Context(entries.iter().map(|(name, value)| (name.clone(), Self::from_feel(value))).collect())
            }
        }
    }

    /// As a value to evaluate with.
    pub fn to_feel(&self) -> feel::Value {
        match self {
            Self::Null => feel::Value::Null,
            Self::Bool(value) => feel::Value::Bool(*value),
            Self::Number(text) => BigDecimal::from_str(text).map_or(feel::Value::Null, feel::Value::Number),
            Self::String(text) => feel::Value::String(text.clone()),
            Self::List(items) => feel::Value::List(items.iter().map(Self::to_feel).collect()),
            Self::Context(entries) => {
                feel::Value::Context(entries.iter().map(|(name, value)| (name.clone(), value.to_feel())).collect())
            }
        }
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<i64> for Json {
    fn from(number: i64) -> Self {
        Self::Number(canonical(&BigDecimal::from(number)))
    }
}

impl From<u64> for Json {
    fn from(number: u64) -> Self {
        Self::Number(canonical(&BigDecimal::from(number)))
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// Entries of a JSON object.
pub fn variables_from_serde(entries: &serde_json::Map<String, serde_json::Value>) -> Variables {
    entries.iter().map(|(name, value)| (name.clone(), Json::from_serde(value))).collect()
}

/// As a JSON object.
pub fn variables_to_serde(entries: &Variables) -> serde_json::Map<String, serde_json::Value> {
    entries.iter().map(|(name, value)| (name.clone(), value.to_serde())).collect()
}

/// 34 digits, half even, no trailing zeros, plain for exponents -6..34 and scientific beyond (bpmn.md 9).
fn canonical(number: &BigDecimal) -> String {
    let number = if number.digits() > DIGITS.get() {
        number.with_precision_round(DIGITS, RoundingMode::HalfEven).normalized()
    } else {
        number.normalized()
    };
    let (digits, scale) = number.as_bigint_and_exponent();
    let text = digits.to_string();
    let (sign, text) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let count = i64::try_from(text.len()).unwrap_or(i64::MAX);
    let exponent = count - 1 - scale;
    if text == "0" {
        return "0".to_owned();
    }
    if !(-6..=34).contains(&exponent) {
        let (head, tail) = text.split_at(1);
        let point = if tail.is_empty() { "" } else { "." };
        return format!("{sign}{head}{point}{tail}e{exponent}");
    }
    if scale <= 0 {
        return format!("{sign}{text}{}", "0".repeat(usize::try_from(-scale).unwrap_or(0)));
    }
    let scale = usize::try_from(scale).unwrap_or(usize::MAX);
    if scale >= text.len() {
        format!("{sign}0.{}{text}", "0".repeat(scale - text.len()))
    } else {
        let (whole, part) = text.split_at(text.len() - scale);
        format!("{sign}{whole}.{part}")
    }
}

/// The number, if it is whole and fits.
fn whole(number: &BigDecimal) -> Option<i64> {
    let (digits, scale) = number.normalized().as_bigint_and_exponent();
    let shift = u32::try_from(-scale).ok().filter(|shift| *shift < 20)?;
    let digits: i128 = digits.to_string().parse().ok()?;
    i64::try_from(digits.checked_mul(10_i128.pow(shift))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_are_stored_as_equal_text() {
        let text = |t: &str| canonical(&BigDecimal::from_str(t).unwrap());
        assert_eq!(["1.0", "1", "1e0", "0.10e1"].map(text), ["1", "1", "1", "1"]);
        assert_eq!(["0.00", "-2.50", "120", "1e3"].map(text), ["0", "-2.5", "120", "1000"]);
        assert_eq!(["0.000001", "0.0000001", "12e40"].map(text), ["0.000001", "1e-7", "1.2e41"]);
        assert_eq!(text("12345678901234567890123456789012345"), "12345678901234567890123456789012340");
    }

    #[test]
    fn a_whole_number_is_read_as_one_and_nothing_else() {
        assert_eq!(Json::Number("1000".into()).as_i64(), Some(1000));
        assert_eq!(Json::Number("-3".into()).as_i64(), Some(-3));
        assert_eq!(Json::Number("1.5".into()).as_i64(), None);
        assert_eq!(Json::Number("1e40".into()).as_i64(), None);
        assert_eq!(Json::from("3").as_i64(), None);
    }

    #[test]
    fn json_goes_in_and_out_unchanged() {
        let value = serde_json::json!({"a": [1, 2.5, null, true, "x"], "b": {"c": 18_446_744_073_709_551_615_u64}});
        assert_eq!(Json::from_serde(&value).to_serde(), value);
    }
}
