//! Functions of PostgreSQL that write texts.
//!
//! Duty: `format`, `quote_literal`, `quote_nullable`, `pg_size_pretty`. Guarantee: names and values
//! are quoted so that SQL reads them again. Left to others: all other functions (`functions`).

use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use super::functions::text;
use super::objects::quoted;
use crate::query::functions::argument;

/// All of them.
pub fn all() -> Vec<ScalarUDF> {
    let function = |name: &'static str, of: Write| {
        let any = vec![TypeSignature::Nullary, TypeSignature::VariadicAny];
        ScalarUDF::from(Texts { name, of, signature: Signature::one_of(any, Volatility::Immutable) })
    };
    vec![
        function("format", Write::Format),
        function("quote_literal", Write::Literal),
        function("quote_nullable", Write::Nullable),
        function("pg_size_pretty", Write::Size),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Write {
    Format,
    Literal,
    Nullable,
    Size,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Texts {
    name: &'static str,
    of: Write,
    signature: Signature,
}

impl ScalarUDFImpl for Texts {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if args.args.is_empty() {
            return Err(argument(format!("`{}` takes an argument", self.name)));
        }
        let columns = (0..args.args.len()).map(|at| text(&args, at)).collect::<Result<Vec<_>>>()?;
        let mut written = Vec::with_capacity(args.number_rows);
        for row in 0..args.number_rows {
            let value = |column: &arrow::array::ArrayRef| {
                let column = column.as_string::<i32>();
                column.is_valid(row).then(|| column.value(row).to_owned())
            };
            let values: Vec<Option<String>> = columns.iter().map(value).collect();
            written.push(match (self.of, values.as_slice()) {
                (Write::Format, [Some(form), values @ ..]) => Some(formatted(form, values)?),
                (Write::Nullable, [None, ..]) => Some("NULL".to_owned()),
                (Write::Literal | Write::Nullable, [Some(text), ..]) => Some(literal(text)),
                (Write::Size, [Some(bytes), ..]) => bytes.parse::<f64>().ok().map(size),
                _ => None,
            });
        }
        Ok(ColumnarValue::Array(Arc::new(StringArray::from(written))))
    }
}

/// A text as SQL writes it.
fn literal(text: &str) -> String {
    let quotes = text.replace('\'', "''");
    match quotes.contains('\\') {
        true => format!("E'{}'", quotes.replace('\\', "\\\\")),
        false => format!("'{quotes}'"),
    }
}

/// `form` with `values` at `%s`, `%I` and `%L`.
fn formatted(form: &str, values: &[Option<String>]) -> Result<String> {
    let mut written = String::with_capacity(form.len());
    let (mut chars, mut next) = (form.chars().peekable(), 0);
    while let Some(c) = chars.next() {
        if c != '%' {
            written.push(c);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            written.push('%');
            continue;
        }
        // `%1$s` is about a certain one.
        let digits: String = std::iter::from_fn(|| chars.next_if(char::is_ascii_digit)).collect();
        let at = match (digits.parse::<usize>(), chars.next_if_eq(&'$')) {
            (Ok(at), Some(_)) => at.wrapping_sub(1),
            _ => next,
        };
        next = at.wrapping_add(1);
        let Some(value) = values.get(at) else {
            return Err(argument("`format` has fewer arguments than its text has places"));
        };
        match (chars.next(), value) {
            (Some('s'), value) => written.push_str(value.as_deref().unwrap_or_default()),
            (Some('I'), Some(value)) => written.push_str(&quoted(value)),
            (Some('I'), None) => return Err(argument("`format` has NULL where a name is due")),
            (Some('L'), Some(value)) => written.push_str(&literal(value)),
            (Some('L'), None) => written.push_str("NULL"),
            _ => return Err(argument("`format` knows %s, %I, %L and %%")),
        }
    }
    Ok(written)
}

/// Bytes in the unit in which they are fewest, but at least ten.
fn size(bytes: f64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let (mut size, mut unit) = (bytes, 0);
    while size.abs() >= 10_240.0 && unit + 1 < units.len() {
        (size, unit) = (size / 1024.0, unit + 1);
    }
    format!("{} {}", size.round(), units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_quoted() {
        let of = |form: &str, values: &[&str]| {
            let values: Vec<_> = values.iter().map(|value| Some((*value).to_owned())).collect();
            formatted(form, &values).unwrap_or_else(|error| error.to_string())
        };
        assert_eq!(of("%I.%I %L 100%%", &["a", "B c", "it's"]), "a.\"B c\" 'it''s' 100%");
        assert_eq!(of("%2$s %1$s", &["a", "b"]), "b a");
        assert!(of("%s %s", &["a"]).contains("fewer"));
        assert_eq!(formatted("%L", &[None]).unwrap(), "NULL");
        assert_eq!(literal("a\\'"), "E'a\\\\'''");
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, shown) in [(0.0, "0 bytes"), (10_239.0, "10239 bytes"), (10_240.0, "10 kB"), (2e9, "1907 MB")] {
            assert_eq!(size(bytes), shown);
        }
    }
}
