//! Values as they are stored: those of expressions.
//!
//! Duty: what the machine asks of a value. Guarantee: equal values have equal bytes, as `feel` promises. Left to others:
//! arithmetic, JSON (`feel`).

use crate::feel;
pub use crate::feel::Value;

/// Names and values of a scope, a payload or a result.
pub type Variables = feel::Context;

impl Value {
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
            Self::Number(_) => self.to_string().parse().ok(),
            _ => None,
        }
    }

    /// Text of a correlation key: a string as it is, a number in canonical decimal (S15).
    pub fn as_key(&self) -> Option<String> {
        match self {
            Self::String(text) => Some(text.clone()),
            Self::Number(_) => Some(self.to_string()),
            _ => None,
        }
    }

    /// A key or a version; keys beyond 63 bits do not occur.
    pub(super) fn count(number: u64) -> Self {
        Self::from(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_read_as_one_and_nothing_else() {
        let number = |text: &str| Value::from_json(&serde_json::from_str(text).unwrap()).as_i64();
        assert_eq!([number("1000"), number("-3"), number("1e3")], [Some(1000), Some(-3), Some(1000)]);
        assert_eq!([number("1.5"), number("1e40"), number("\"3\"")], [None; 3]);
    }
}
