//! Values of a query's parameters.
//!
//! Duty: the types that a head may name, and text to a typed value. Guarantee: a value that does not fit its type is an
//! error that shows the right form. Left to others: setting values into statements (`params`).

use serde_json::{Value, json};

use crate::query::functions::time::parse_duration;
use crate::query::params::{TIMESTAMP, instant_text};

/// Type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TEXT.
    Text,
    /// BIGINT.
    BigInt,
    /// DOUBLE.
    Double,
    /// BOOLEAN.
    Boolean,
    /// TIMESTAMP: RFC 3339, a date, `now`, or `now-1h`.
    Timestamp,
    /// TEXT that `dur` and `ago` read: `90s`, `1h30m`.
    Duration,
}

impl Kind {
    /// Every type.
    pub const ALL: [Self; 6] = [Self::Text, Self::BigInt, Self::Double, Self::Boolean, Self::Timestamp, Self::Duration];

    /// As a head writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "TEXT",
            Self::BigInt => "BIGINT",
            Self::Double => "DOUBLE",
            Self::Boolean => "BOOLEAN",
            Self::Timestamp => "TIMESTAMP",
            Self::Duration => "DURATION",
        }
    }

    /// The type called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether `text` is a value of it.
    ///
    /// Errors: why not, and the right form.
    pub fn check(self, text: &str) -> Result<(), String> {
        self.value(text, 0).map(drop)
    }

    /// The value of `text`, as `Params::from_json` reads it; instants are relative to `now_ns`.
    ///
    /// Errors: why it is none, and the right form.
    pub fn value(self, text: &str, now_ns: i64) -> Result<Value, String> {
        let form = match self {
            Self::Text => return Ok(text.into()),
            Self::BigInt => "a whole number, e.g. `20`",
            Self::Double => "a number, e.g. `0.5`",
            Self::Boolean => "`true` or `false`",
            Self::Timestamp => "`now`, `now-30m`, `2026-01-31` or `2026-01-31T12:00:00Z`",
            Self::Duration => "a duration, e.g. `250ms`, `1h30m`, `7d`",
        };
        let value = match self {
            Self::Text => None,
            Self::BigInt => text.parse::<i64>().ok().map(Value::from),
            Self::Double => text.parse::<f64>().ok().filter(|value| value.is_finite()).map(Value::from),
            Self::Boolean => text.parse::<bool>().ok().map(Value::from),
            Self::Timestamp => instant(text, now_ns).map(|ns| json!({ TIMESTAMP: instant_text(ns) })),
            Self::Duration => parse_duration(text).map(|_| text.into()),
        };
        value.ok_or_else(|| format!("`{text}` is no {}; write {form}", self.name()))
    }
}

/// Nanoseconds since 1970; a time without a zone is UTC.
fn instant(text: &str, now_ns: i64) -> Option<i64> {
    if text == "now" {
        return Some(now_ns);
    }
    if let Some(back) = text.strip_prefix("now-") {
        return now_ns.checked_sub(parse_duration(back)?);
    }
    let at = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()
    })?;
    i64::try_from(at.as_nanosecond()).ok()
}
