//! What a caller says about how to run a statement (sql.md 9.2, `hints`).
//!
//! Duty: the hints there are, by name and value, carried to the scan in the session. Guarantee: a hint changes time and
//! bytes, never rows; an unknown one is an error that lists the known. Left to others: acting on it (`scan`).

use super::error::{Code, Error};

/// What a statement says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Whether filters are evaluated while files are decoded.
    pub pushdown: Pushdown,
}

/// `hints.pushdown` (sql.md 6.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pushdown {
    /// Decided per scan.
    #[default]
    Auto,
    /// Wherever it can be.
    On,
    /// Nowhere.
    Off,
}

/// Names of all hints, with their values.
pub const KNOWN: [(&str, &[&str]); 1] = [("pushdown", &["auto", "on", "off"])];

impl Hints {
    /// From an object of JSON; null is none.
    ///
    /// Errors: `sql.argument` for any other shape, an unknown name or an unknown value.
    pub fn from_json(value: &serde_json::Value) -> Result<Self, Error> {
        let fail = |message: String| {
            let known: Vec<String> =
                KNOWN.iter().map(|(name, values)| format!("`{name}`: {}", values.join(", "))).collect();
            Err(Error::new(Code::Argument, message).hint(format!("known hints: {}", known.join("; "))))
        };
        let mut hints = Self::default();
        let members = match value {
            serde_json::Value::Null => return Ok(hints),
            serde_json::Value::Object(members) => members,
            _ => return fail("`hints` is no object".to_owned()),
        };
        for (name, value) in members {
            match (name.as_str(), value.as_str()) {
                ("pushdown", Some("auto")) => hints.pushdown = Pushdown::Auto,
                ("pushdown", Some("on")) => hints.pushdown = Pushdown::On,
                ("pushdown", Some("off")) => hints.pushdown = Pushdown::Off,
                ("pushdown", _) => return fail(format!("`hints.pushdown` is {value}")),
                _ => return fail(format!("there is no hint `{}`", name.chars().take(60).collect::<String>())),
            }
        }
        Ok(hints)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_unknown_hint_is_an_error_that_lists_the_known() {
        assert_eq!(Hints::from_json(&json!({"pushdown": "off"})).unwrap().pushdown, Pushdown::Off);
        assert_eq!(Hints::from_json(&json!(null)).unwrap(), Hints::default());
        for wrong in
            [json!({"pushdwn": "on"}), json!({"pushdown": "x"}), json!({"pushdown": true}), json!(["pushdown"])]
        {
            let error = Hints::from_json(&wrong).unwrap_err();
            assert_eq!(error.code, Code::Argument);
            assert_eq!(error.hint.as_deref(), Some("known hints: `pushdown`: auto, on, off"), "{wrong}");
        }
    }
}
