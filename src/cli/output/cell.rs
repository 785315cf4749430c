//! A value as one line for people.
//!
//! Duty: the text of a value, on one line, cut in the middle if it is long. Guarantee: no text of a span can move the
//! cursor or colour the terminal. Left to others: what is around it (`boxes`, `expanded`, `markdown`).

use arrow::array::ArrayRef;

use super::super::sql::Failure;
use crate::query::render::value::text;
use crate::query::{Code, Error};

/// The value of `column` at `row`, `∅` for NULL.
pub fn shown(column: &ArrayRef, row: usize) -> Result<String, Failure> {
    Ok(value(column, row)?.unwrap_or_else(|| "∅".to_owned()))
}

/// The value of `column` at `row` without control characters; `None` for NULL.
pub fn value(column: &ArrayRef, row: usize) -> Result<Option<String>, Failure> {
    let text =
        text(column, row).map_err(|error| Error::new(Code::Internal, format!("a value cannot be shown: {error}")))?;
    Ok(text.as_deref().map(line))
}

/// `text` as one line without control characters.
pub fn line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            // Also the marks that turn the direction of writing: they would reorder what is around them.
            c if c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                shown.push('�');
            }
            c => shown.push(c),
        }
    }
    shown
}

/// `text` as one line of at most `width` characters, cut in the middle.
pub fn elided(text: &str, width: usize) -> String {
    let shown = line(text);
    let length = shown.chars().count();
    if length <= width {
        return shown;
    }
    let half = (width - 1) / 2;
    let head: String = shown.chars().take(width - 1 - half).collect();
    let tail: String = shown.chars().skip(length - half).collect();
    format!("{head}…{tail}")
}
