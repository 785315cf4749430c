//! `COPY (SELECT …) TO STDOUT`.
//!
//! Duty: rows as a file that the client writes, in the forms text, CSV and binary. Guarantee: only a query in parentheses
//! and only to the client: it runs as any statement does. Left to others: rows as they come (`rows`).

use bytes::{BufMut as _, BytesMut};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use jiff::tz::TimeZone;

use super::back::{self, Field};
use super::value::Column;
use crate::query::error::Position;

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Tabs, and `\N` for NULL.
    Text,
    /// RFC 4180, and nothing for NULL.
    Csv,
    /// PostgreSQL's own.
    Binary,
}

/// A query whose rows are a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Bytes of the text where the query stands.
    pub query: std::ops::Range<usize>,
    /// The form.
    pub form: Form,
    /// Whether names of columns come first.
    pub header: bool,
}

/// What opens a binary file: a signature, no flags, no extension.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The COPY that `tokens` of `text` are; `None` = none that can be run.
pub fn copy(text: &str, tokens: &[TokenWithSpan]) -> Option<Copy> {
    let tokens: Vec<&TokenWithSpan> =
        tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF)).collect();
    let word = |at: usize, is: &str| matches!(tokens.get(at).map(|token| &token.token), Some(Token::Word(word)) if word.value.eq_ignore_ascii_case(is));
    if !word(0, "COPY") || tokens.get(1)?.token != Token::LParen {
        return None;
    }
    let mut depth = 0;
    let close = tokens.iter().position(|token| {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => return false,
        }
        depth == 0
    })?;
    if !word(close + 1, "TO") || !word(close + 2, "STDOUT") {
        return None;
    }
    let byte = |token: &TokenWithSpan| {
        let at = Position::at(text, token.span.start.line, token.span.start.column)?;
        usize::try_from(at.offset).ok()
    };
    let mut copy = Copy { query: byte(tokens[1])? + 1..byte(tokens[close])?, form: Form::Text, header: false };
    let options = tokens[close + 3..].iter().filter_map(|token| match &token.token {
        Token::LParen | Token::RParen | Token::Comma => None,
        Token::Word(word) => Some(word.value.to_ascii_lowercase()),
        Token::SingleQuotedString(text) => Some(text.to_ascii_lowercase()),
        other => Some(other.to_string()),
    });
    for option in options {
        match option.as_str() {
            "with" | "format" | "true" | "on" => {}
            "text" => copy.form = Form::Text,
            "csv" => copy.form = Form::Csv,
            "binary" => copy.form = Form::Binary,
            "header" => copy.header = true,
            _ => return None,
        }
    }
    Some(copy)
}

impl Copy {
    /// Writes what comes before the first row.
    pub fn begin(&self, fields: &[Field], out: &mut BytesMut) {
        back::copy_begins(out, self.form == Form::Binary, fields.len());
        match self.form {
            Form::Binary => back::copy_piece(out, |out| out.put_slice(SIGNATURE)),
            form if self.header => back::copy_piece(out, |out| {
                for (at, field) in fields.iter().enumerate() {
                    separate(form, at, out);
                    plain(form, Some(field.name.as_bytes()), out);
                }
                out.put_u8(b'\n');
            }),
            Form::Text | Form::Csv => {}
        }
    }

    /// Writes a row.
    pub fn row(&self, columns: &[Column], row: usize, zone: &TimeZone, out: &mut BytesMut) {
        if self.form == Form::Binary {
            back::copy_piece(out, |out| {
                out.put_u16(u16::try_from(columns.len()).unwrap_or(u16::MAX));
                columns.iter().for_each(|column| column.write(row, true, zone, out));
            });
            return;
        }
        back::copy_piece(out, |out| {
            let mut value = BytesMut::new();
            for (at, column) in columns.iter().enumerate() {
                separate(self.form, at, out);
                value.clear();
                column.write(row, false, zone, &mut value);
                let is_null = value.starts_with(&(-1_i32).to_be_bytes()) && value.len() == 4;
                plain(self.form, (!is_null).then(|| &value[4..]), out);
            }
            out.put_u8(b'\n');
        });
    }

    /// Writes what comes behind the last row.
    pub fn end(&self, out: &mut BytesMut) {
        if self.form == Form::Binary {
            back::copy_piece(out, |out| out.put_i16(-1));
        }
        back::copy_ends(out);
    }
}

fn separate(form: Form, at: usize, out: &mut BytesMut) {
    if at > 0 {
        out.put_u8(if form == Form::Csv { b',' } else { b'\t' });
    }
}

/// A value of a line of text.
fn plain(form: Form, value: Option<&[u8]>, out: &mut BytesMut) {
    match (form, value) {
        (Form::Csv, None) => {}
        (Form::Csv, Some(value)) => {
            let is_quoted = value.is_empty() || value.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r'));
            if !is_quoted {
                return out.put_slice(value);
            }
            out.put_u8(b'"');
            for byte in value {
                if *byte == b'"' {
                    out.put_u8(b'"');
                }
                out.put_u8(*byte);
            }
            out.put_u8(b'"');
        }
        (_, None) => out.put_slice(b"\\N"),
        (_, Some(value)) => {
            for byte in value {
                match byte {
                    b'\\' => out.put_slice(b"\\\\"),
                    b'\t' => out.put_slice(b"\\t"),
                    b'\n' => out.put_slice(b"\\n"),
                    b'\r' => out.put_slice(b"\\r"),
                    byte => out.put_u8(*byte),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::{Command, pieces};
    use super::*;

    fn of(text: &str) -> Option<(String, Form, bool)> {
        match &pieces(text).unwrap()[0].command {
            Command::Copy(copy) => Some((text[copy.query.clone()].to_owned(), copy.form, copy.header)),
            _ => None,
        }
    }

    #[test]
    fn only_a_query_is_copied_and_only_to_the_client() {
        let query = "SELECT (1), 'é)'".to_owned();
        assert_eq!(of("COPY (SELECT (1), 'é)') TO STDOUT"), Some((query.clone(), Form::Text, false)));
        assert_eq!(of("copy (SELECT (1), 'é)') to stdout (format binary)"), Some((query.clone(), Form::Binary, false)));
        assert_eq!(of("COPY (SELECT (1), 'é)') TO STDOUT WITH CSV HEADER"), Some((query, Form::Csv, true)));
        for other in [
            "COPY spans TO STDOUT",
            "COPY (SELECT 1) TO '/tmp/x'",
            "COPY (SELECT 1) TO PROGRAM 'x'",
            "COPY spans FROM STDIN",
            "COPY (SELECT 1",
            "COPY (SELECT 1) TO STDOUT (FORMAT parquet)",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn values_do_not_end_their_fields() {
        let line = |form: Form, value: Option<&str>| {
            let mut out = BytesMut::new();
            plain(form, value.map(str::as_bytes), &mut out);
            String::from_utf8(out.to_vec()).unwrap()
        };
        assert_eq!(line(Form::Text, Some("a\tb\n\\")), "a\\tb\\n\\\\");
        assert_eq!(line(Form::Text, None), "\\N");
        assert_eq!(line(Form::Csv, Some("a,\"b\"")), "\"a,\"\"b\"\"\"");
        assert_eq!((line(Form::Csv, Some("")), line(Form::Csv, None)), ("\"\"".to_owned(), String::new()));
    }
}
