//! Functions of the engine whose results may be much larger than their arguments (sql.md 7, growth).
//!
//! Duty: refuse what would grow beyond the caps: texts, arrays, patterns and what aggregates gather. Guarantee: the size
//! is computed, and refused, before anything is allocated, also while constants are folded, and what is made is charged
//! to the statement (`query::memory`), so that many calls within their caps have one, too. Left to others: the functions
//! themselves; finding them in a plan (`query::caps`).

pub mod aggregates;
pub mod concat;
mod range;
pub mod regexp;
mod values;
pub mod windows;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::argument;
use crate::query::memory::Account;
pub(in crate::query) use values::{BATCH_BYTES, SHORT, VALUE_BYTES, is_copied};
use values::{Meter, Values, bytes_of, leaves};

/// Longest argument of `levenshtein`, in bytes: it works on a table of both.
const LEVENSHTEIN_BYTES: u64 = 4096;

/// How the size of a result follows from the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Growth {
    /// `repeat(text, count)`
    Repeat,
    /// `lpad(text, length [, fill])`, `rpad`
    Pad,
    /// `replace(text, from, to)`
    Replace,
    /// `translate(text, from, to)`
    Translate,
    /// `overlay(text PLACING new …)`
    Overlay,
    /// `concat(…)`, and `||`
    Concat,
    /// `concat_ws(separator, …)`
    ConcatWs,
    /// `encode(binary, format)`
    Encode,
    /// `regexp_replace(text, pattern, replacement [, flags])`
    RegexpReplace,
    /// `to_char(time, format)`
    ToChar,
    /// `array_to_string(array, delimiter [, null])`
    ArrayToString,
    /// `levenshtein(a, b)`
    Levenshtein,
    /// `range([start,] stop [, step])`, `generate_series`
    Range,
    /// `array_repeat(element, count)`
    ArrayRepeat,
    /// `array_resize(array, size [, value])`
    ArrayResize,
    /// `make_array(…)`, `array_concat`, `array_append`, `array_prepend`, `array_union`
    ArrayJoin,
    /// `array_replace(array, from, to)`, `array_replace_n` with a count, `array_replace_all`
    ArrayReplace,
    /// `flatten(array)`
    Flatten,
    /// `string_to_array(text, delimiter [, null])`
    StringToArray,
    /// `quote_literal(text)`, `quote_nullable(text)`, `quote_ident(text)`
    Quote,
    /// `format(form, …)`
    Format,
    /// Functions that copy what they are given: no value grows, but many of them are many copies.
    Copy,
}

impl Growth {
    /// Of the function `name`, if its results are capped.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "repeat" => Self::Repeat,
            "lpad" | "rpad" => Self::Pad,
            "replace" => Self::Replace,
            "translate" => Self::Translate,
            "overlay" => Self::Overlay,
            "concat" => Self::Concat,
            "concat_ws" => Self::ConcatWs,
            "encode" => Self::Encode,
            "regexp_replace" => Self::RegexpReplace,
            "to_char" => Self::ToChar,
            "array_to_string" => Self::ArrayToString,
            "levenshtein" => Self::Levenshtein,
            "range" | "generate_series" => Self::Range,
            "array_repeat" => Self::ArrayRepeat,
            "array_resize" => Self::ArrayResize,
            "make_array" | "array_concat" | "array_append" | "array_prepend" | "array_union" => Self::ArrayJoin,
            "array_replace" | "array_replace_n" | "array_replace_all" => Self::ArrayReplace,
            "flatten" => Self::Flatten,
            "string_to_array" => Self::StringToArray,
            "quote_literal" | "quote_nullable" | "quote_ident" => Self::Quote,
            "format" => Self::Format,
            "upper" | "lower" | "initcap" | "reverse" | "decode" | "regexp_match" | "array_sort" | "array_reverse"
            | "array_distinct" | "array_slice" | "array_remove" | "array_remove_n" | "array_remove_all"
            | "array_except" | "array_intersect" | "array_pop_back" | "array_pop_front" => Self::Copy,
            _ => return None,
        })
    }
}

/// The engine's function, under a cap.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Capped {
    inner: Arc<ScalarUDF>,
    growth: Growth,
    account: Account,
}

impl Capped {
    /// Puts `inner` under the cap of `growth`; what it makes is charged to `account`.
    pub fn new(inner: Arc<ScalarUDF>, growth: Growth, account: Account) -> Self {
        Self { inner, growth, account }
    }
}

impl ScalarUDFImpl for Capped {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(args)
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        self.inner.return_type(args)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let bytes = check(self.inner.name(), self.growth, &args.args, args.number_rows)?;
        self.account.charged(self.inner.name(), bytes, bytes_of, || self.inner.invoke_with_args(args))
    }
}

/// Refuses a call of `function` that would make more than the caps allow; about how many bytes it will make.
fn check(function: &str, growth: Growth, args: &[ColumnarValue], number_rows: usize) -> Result<u64> {
    let values = args.iter().map(Values::of).collect::<Result<Vec<_>>>()?;
    // Values for all rows are computed once.
    let rows = if values.iter().all(|value| value.one) { 1 } else { number_rows };
    let mut meter = Meter::new(function);
    within(&mut meter, growth, values, rows)?;
    Ok(meter.made())
}

fn within(meter: &mut Meter<'_>, growth: Growth, values: Vec<Values>, rows: usize) -> Result<()> {
    let function = meter.function;
    match (growth, values.as_slice()) {
        // The first argument is what is copied.
        (Growth::Copy, [of, ..]) => {
            meter.copied(of.all_bytes(rows));
            Ok(())
        }
        // The result is NULL.
        (Growth::Range, values) if values.iter().any(Values::is_null) => Ok(()),
        (Growth::Range, _) => range::range(meter, values, rows),
        (Growth::Concat, values) => per_row(meter, rows, |row| values.iter().map(|value| value.bytes(row)).sum()),
        (Growth::Quote, [of, ..]) => per_row(meter, rows, |row| quoted(of.bytes(row))),
        (Growth::Format, [form, values @ ..]) => per_row(meter, rows, |row| {
            // A place may name any of the values, and quote it.
            let places = form.text(row).map_or(0, |form| form.bytes().filter(|byte| *byte == b'%').count() as u64);
            let longest = values.iter().map(|value| value.bytes(row)).max().unwrap_or(0);
            form.bytes(row).saturating_add(places.saturating_mul(quoted(longest)))
        }),
        (Growth::ConcatWs, [separator, values @ ..]) => per_row(meter, rows, |row| {
            let between = values.len().saturating_sub(1) as u64;
            values.iter().map(|value| value.bytes(row)).sum::<u64>() + between * separator.bytes(row)
        }),
        (Growth::ArrayJoin, values) => {
            for row in 0..rows {
                meter.array(values.iter().map(|value| value.elements(row)).sum())?;
            }
            meter.bytes(values.iter().map(|value| value.all_bytes(rows)).fold(0, u64::saturating_add))
        }
        (Growth::Flatten, [list]) => {
            (0..rows).try_for_each(|row| meter.array(list.list(row).map_or(0, |inner| flattened(&inner))))
        }
        (Growth::ArrayToString, [list, delimiter, null @ ..]) => {
            let text = |inner: &ArrayRef, each: u64| {
                bytes_of(inner).saturating_add(leaves(inner).saturating_mul(each.saturating_add(NUMBER_BYTES)))
            };
            let each = |row: usize| delimiter.bytes(row) + null.first().map_or(0, |null| null.bytes(row));
            let longest = (0..rows).map(each).max().unwrap_or(0);
            if text(&list.array, longest) <= VALUE_BYTES {
                return Ok(());
            }
            per_row(meter, rows, |row| list.list(row).map_or(0, |inner| text(&inner, each(row))))
        }
        (Growth::ArrayReplace, [list, _, to, times @ ..]) => {
            let times = times.first().map(|times| times.cast(&DataType::Int64)).transpose()?;
            for row in 0..rows {
                let at_most = match (&times, function) {
                    (Some(times), _) => times.int(row).map_or(0, |times| u64::try_from(times).unwrap_or(0)),
                    (None, "array_replace") => 1,
                    (None, _) => u64::MAX,
                };
                meter.bytes(to.bytes(row).saturating_mul(at_most.min(list.elements(row))))?;
            }
            meter.bytes(list.all_bytes(rows))
        }
        (Growth::Levenshtein, values) => {
            let longest = (0..rows).flat_map(|row| values.iter().map(move |value| value.bytes(row))).max();
            match longest.filter(|longest| *longest > LEVENSHTEIN_BYTES) {
                Some(longest) => Err(argument(format!(
                    "`{function}` got a text of {longest} bytes; at most {LEVENSHTEIN_BYTES}: compare `left(x, 1000)`"
                ))),
                None => Ok(()),
            }
        }
        (Growth::RegexpReplace, [text, pattern, to, flags @ ..]) => {
            let mut counter = regexp::Replacements::default();
            per_row(meter, rows, |row| {
                let flags = flags.first().map_or(Some(""), |flags| flags.text(row)).unwrap_or_default();
                match (text.text(row), pattern.text(row), to.text(row)) {
                    (Some(text), Some(pattern), Some(to)) => counter.bytes(text, pattern, to, flags),
                    _ => 0,
                }
            })
        }
        (_, [of, second, more @ ..]) => pairwise(meter, growth, of, second, more, rows),
        // Too few arguments: the function says so.
        _ => Ok(()),
    }
}

/// What the text of a number in an array may have beyond its own bytes.
const NUMBER_BYTES: u64 = 24;

/// Longest that one directive of a time format becomes, in bytes.
const DIRECTIVE_BYTES: u64 = 40;

fn per_row(meter: &mut Meter<'_>, rows: usize, mut bytes: impl FnMut(usize) -> u64) -> Result<()> {
    (0..rows).try_for_each(|row| meter.text(bytes(row)))
}

/// Most bytes of a text of `bytes` bytes in quotes.
const fn quoted(bytes: u64) -> u64 {
    bytes.saturating_mul(2).saturating_add(3)
}

/// Elements of the lists in `inner`, one level down.
fn flattened(inner: &ArrayRef) -> u64 {
    let lists = Values { array: inner.clone(), one: false };
    (0..inner.len()).map(|row| lists.elements(row)).sum()
}

/// Functions of a value and a second argument that says how much becomes of it.
fn pairwise(
    meter: &mut Meter<'_>,
    growth: Growth,
    of: &Values,
    second: &Values,
    more: &[Values],
    rows: usize,
) -> Result<()> {
    let counted = matches!(growth, Growth::Repeat | Growth::Pad | Growth::ArrayRepeat | Growth::ArrayResize);
    let counts = if counted { Some(second.cast(&DataType::Int64)?) } else { None };
    let mut table = HashMap::new();
    for row in 0..rows {
        let count = match counts.as_ref().map(|counts| counts.int(row)) {
            // NULL of them gives NULL.
            Some(None) => continue,
            Some(Some(count)) => u64::try_from(count).unwrap_or(0),
            None => 0,
        };
        match growth {
            Growth::Repeat => meter.text(of.bytes(row).saturating_mul(count))?,
            Growth::Pad => {
                let Some(text) = of.text(row) else { continue };
                let fill = more.first().map_or(Some(" "), |fill| fill.text(row)).unwrap_or_default();
                let widest = fill.chars().map(char::len_utf8).max().unwrap_or(0) as u64;
                let added = count.saturating_sub(text.chars().count() as u64);
                meter.text((text.len() as u64).saturating_add(added.saturating_mul(widest)))?;
            }
            Growth::Replace => {
                let (text, from, to) = (of.text(row), second.text(row), more.first().and_then(|to| to.text(row)));
                let (Some(text), Some(from), Some(to)) = (text, from, to) else { continue };
                let added = to.len().saturating_sub(from.len()) as u64;
                let times = if added == 0 { 0 } else { text.matches(from).count() as u64 };
                meter.text((text.len() as u64).saturating_add(added.saturating_mul(times)))?;
            }
            Growth::Translate => {
                let (text, from, to) = (of.text(row), second.text(row), more.first().and_then(|to| to.text(row)));
                let (Some(text), Some(from), Some(to)) = (text, from, to) else { continue };
                if to.is_ascii() {
                    meter.text(text.len() as u64)?;
                    continue;
                }
                table.clear();
                let mut into = to.chars();
                for c in from.chars() {
                    let width = into.next().map_or(0, char::len_utf8);
                    table.entry(c).or_insert(width);
                }
                meter.text(text.chars().map(|c| *table.get(&c).unwrap_or(&c.len_utf8()) as u64).sum())?;
            }
            Growth::Overlay => meter.text(of.bytes(row) + second.bytes(row))?,
            Growth::Encode => {
                let bytes = of.bytes(row);
                let base64 = second.text(row).is_some_and(|format| format.to_ascii_lowercase().starts_with("base64"));
                meter.text(if base64 { bytes.div_ceil(3) * 4 } else { bytes * 2 })?;
            }
            Growth::ToChar => {
                let format = second.text(row).unwrap_or_default();
                meter.text(format.len() as u64 + format.matches('%').count() as u64 * DIRECTIVE_BYTES)?;
            }
            Growth::StringToArray => {
                let Some(text) = of.text(row) else { continue };
                meter.array(match second.text(row) {
                    Some("") => 1,
                    Some(delimiter) => text.matches(delimiter).count() as u64 + 1,
                    None => text.chars().count() as u64,
                })?;
            }
            Growth::ArrayRepeat => {
                meter.array(count.saturating_mul(of.elements(row).max(1)))?;
                meter.bytes(count.saturating_mul(value_bytes(of, row)))?;
            }
            Growth::ArrayResize => {
                let fill = more.first();
                meter.array(count.saturating_mul(fill.map_or(1, |fill| fill.elements(row)).max(1)))?;
                meter.bytes(count.saturating_mul(fill.map_or(0, |fill| value_bytes(fill, row))))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Bytes of the value of `row` in an array of such values.
fn value_bytes(of: &Values, row: usize) -> u64 {
    of.at(row).map_or(0, |at| bytes_of(&of.array.slice(at, 1)))
}

#[cfg(test)]
mod tests;
