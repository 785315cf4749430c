//! The arguments of a table function, once they are constants.
//!
//! Duty: ids, instants, numbers and words from what planning folded. Guarantee: a wrong count, NULL, a value of another
//! type and one out of range are each told, with the form that is right. Left to others: what may stand in an argument
//! at all (`calls`), conditions (`condition`).

use std::ops::RangeInclusive;

use arrow::datatypes::TimeUnit;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast;

use crate::query::condition::condition;
use crate::query::functions::argument;
use crate::span::{InvalidId, SpanId, TraceId, schema};

/// A call, as the engine hands it out.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The function.
    pub name: &'static str,
    /// How it is written.
    pub usage: &'static str,
    /// Its arguments, folded.
    pub args: &'a [Expr],
}

impl Call<'_> {
    /// Checks how many there are; `what` names them.
    pub fn takes(&self, counts: RangeInclusive<usize>, what: &str) -> Result<()> {
        match counts.contains(&self.args.len()) {
            true => Ok(()),
            false => Err(self.wrong(&format!("takes {what}, not {} arguments", self.args.len()))),
        }
    }

    /// An error about the call, with the form that is right.
    pub fn wrong(&self, what: &str) -> DataFusionError {
        argument(format!("`{}` {what}: {}", self.name, self.usage))
    }

    /// The constant at `place`; `None` where there is no such argument.
    pub fn value(&self, place: usize) -> Result<Option<&ScalarValue>> {
        match self.args.get(place) {
            None => Ok(None),
            Some(Expr::Literal(value, _)) => Ok(Some(value)),
            Some(_) => Err(self.wrong(&format!("takes constants; argument {} is none", place + 1))),
        }
    }

    /// The constant at `place`, which must be there and not NULL; `what` it is.
    fn given(&self, place: usize, what: &str) -> Result<&ScalarValue> {
        match self.value(place)? {
            Some(value) if !value.is_null() => Ok(value),
            _ => Err(self.wrong(&format!("takes {what} as argument {}, not NULL", place + 1))),
        }
    }

    /// A trace id: BINARY(16), or TEXT of 32 or 16 hexadecimal digits.
    pub fn trace(&self, place: usize) -> Result<TraceId> {
        let value = self.given(place, "a trace id")?;
        if let Some(Some(text)) = value.try_as_str() {
            return text.parse().map_err(|error: InvalidId| argument(error.to_string()));
        }
        let bytes = binary(value).and_then(|bytes| bytes.try_into().ok());
        bytes.map(TraceId).ok_or_else(|| self.no_id(value, "trace", 16))
    }

    /// A span id: BINARY(8), or TEXT of 16 hexadecimal digits.
    pub fn span(&self, place: usize) -> Result<SpanId> {
        let value = self.given(place, "a span id")?;
        if let Some(Some(text)) = value.try_as_str() {
            return text.parse().map_err(|error: InvalidId| argument(error.to_string()));
        }
        let bytes = binary(value).and_then(|bytes| bytes.try_into().ok());
        bytes.map(SpanId).ok_or_else(|| self.no_id(value, "span", 8))
    }

    fn no_id(&self, value: &ScalarValue, what: &str, bytes: usize) -> DataFusionError {
        match binary(value) {
            Some(found) => self.wrong(&format!("takes a {what} id of {bytes} bytes, not {}", found.len())),
            None => self.wrong(&format!("takes a {what} id, BINARY({bytes}) or hexadecimal TEXT")),
        }
    }

    /// An instant, ns since 1970.
    pub fn instant(&self, place: usize) -> Result<i64> {
        let value = self.given(place, "a time")?;
        let of = value.data_type();
        let fits = of.is_temporal() || of.is_string();
        match value.cast_to(&schema::timestamp(TimeUnit::Nanosecond)) {
            Ok(ScalarValue::TimestampNanosecond(Some(ns), _)) if fits => Ok(ns),
            _ => Err(self.wrong(&format!("takes a time as argument {}", place + 1))),
        }
    }

    /// Two instants, the first not after the second.
    pub fn time(&self, place: usize) -> Result<(i64, i64)> {
        let (from, to) = (self.instant(place)?, self.instant(place + 1)?);
        match from <= to {
            true => Ok((from, to)),
            false => Err(self.wrong("takes the earlier time first")),
        }
    }

    /// A whole number of `range`.
    pub fn number(&self, place: usize, what: &str, range: RangeInclusive<i64>) -> Result<i64> {
        let value = self.given(place, what)?;
        let (low, high) = (range.start(), range.end());
        match value.data_type().is_integer().then(|| value.cast_to(&arrow::datatypes::DataType::Int64)) {
            Some(Ok(ScalarValue::Int64(Some(number)))) if range.contains(&number) => Ok(number),
            _ => Err(self.wrong(&format!("takes {what}, a number from {low} to {high}, as argument {}", place + 1))),
        }
    }

    /// A text.
    pub fn text(&self, place: usize, what: &str) -> Result<&str> {
        match self.given(place, what)?.try_as_str() {
            Some(Some(text)) => Ok(text),
            _ => Err(self.wrong(&format!("takes {what} as argument {}, as TEXT", place + 1))),
        }
    }

    /// A condition over `spans`.
    pub fn predicate(&self, place: usize) -> Result<ast::Expr> {
        let text = self.text(place, "a condition over `spans`")?;
        condition(text).map_err(|mut error| {
            // It would be a place in the condition.
            error.position = None;
            error.message = format!("argument {} of `{}`: {}", place + 1, self.name, error.message);
            DataFusionError::External(Box::new(error))
        })
    }
}

fn binary(value: &ScalarValue) -> Option<&[u8]> {
    match value {
        ScalarValue::FixedSizeBinary(_, Some(bytes))
        | ScalarValue::Binary(Some(bytes))
        | ScalarValue::LargeBinary(Some(bytes))
        | ScalarValue::BinaryView(Some(bytes)) => Some(bytes),
        _ => None,
    }
}
