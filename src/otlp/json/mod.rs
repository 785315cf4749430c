//! OTLP/JSON trace requests to columns (otlp.md 11).
//!
//! Duty: read a request of `application/json` into the [`SpanBuilder`] that protobuf fills too. Guarantee: one request
//! gives the same columns in both encodings; no input recurses deeper than a value of 32 levels. Left to others: judging
//! spans and making columns (`otlp::builder`).

mod number;
mod pull;
mod span;
#[cfg(test)]
mod tests;
mod text;
mod value;
mod walk;

use std::borrow::Cow;

use self::pull::{Kind, Reader};
use super::{Decoded, Limits, SpanBuilder, Undecodable};

/// Reads one JSON request message.
///
/// `strict` is `json_strict`: snake_case names are unknown (J2) and enum names are errors (J15).
/// Errors: [`Undecodable`] with JSON path and byte offset; the builder is then empty again, as it is after success.
pub fn decode_json(
    body: &[u8],
    limits: &Limits,
    strict: bool,
    builder: &mut SpanBuilder,
) -> Result<Decoded, Undecodable> {
    let mut at = Reader::new(body);
    let mut cx = Context { limits, strict, builder: &mut *builder };
    match walk::request(&mut cx, &mut at).and_then(|()| at.end()) {
        Ok(()) => Ok(builder.finish()),
        Err(error) => {
            builder.reset();
            Err(error)
        }
    }
}

/// What every level of the walk needs.
#[derive(Debug)]
struct Context<'c> {
    limits: &'c Limits,
    strict: bool,
    builder: &'c mut SpanBuilder,
}

/// Hands every member of the object that stands here to `read`, by its lowerCamelCase name.
///
/// `read` gives false for a name it does not know; the member is then skipped and counted for `message`. `null` is an
/// empty object, and a member that is `null` is as good as absent (J5).
fn members<'a>(
    cx: &mut Context<'_>,
    at: &mut Reader<'a>,
    message: &'static str,
    mut read: impl FnMut(&mut Context<'_>, &mut Reader<'a>, &[u8]) -> Result<bool, Undecodable>,
) -> Result<(), Undecodable> {
    if at.null()? {
        return Ok(());
    }
    at.expect(Kind::Object)?;
    at.enter()?;
    if at.close(b'}') {
        return Ok(());
    }
    loop {
        let key = at.key()?;
        if !at.null()? {
            let camel = if cx.strict { None } else { camel_case(&key) };
            let name = camel.as_deref().unwrap_or(&key);
            let known = read(cx, at, name).map_err(|e| e.under(&String::from_utf8_lossy(name)))?;
            if !known {
                cx.builder.unknown_field(message);
                at.skip()?;
            } else if camel.is_some() {
                cx.builder.advise("snake_case");
            }
        }
        if at.close(b'}') {
            return Ok(());
        }
        at.comma()?;
    }
}

/// Hands every element of the list that stands here to `read`, with its index; `index` goes on over several lists.
fn elements<'a>(
    cx: &mut Context<'_>,
    at: &mut Reader<'a>,
    index: &mut usize,
    mut read: impl FnMut(&mut Context<'_>, &mut Reader<'a>, usize) -> Result<(), Undecodable>,
) -> Result<(), Undecodable> {
    at.expect(Kind::List)?;
    at.enter()?;
    if at.close(b']') {
        return Ok(());
    }
    loop {
        read(cx, at, *index).map_err(|e| e.under(&format!("[{index}]")))?;
        *index += 1;
        if at.close(b']') {
            return Ok(());
        }
        at.comma()?;
    }
}

/// J2: `trace_id` as `traceId`; `None` if the name is not snake_case.
fn camel_case(name: &[u8]) -> Option<Vec<u8>> {
    // No name of the protocol is longer.
    if name.len() > 32 || !name.contains(&b'_') {
        return None;
    }
    let mut camel = Vec::with_capacity(name.len());
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'_' => {
                camel.push(bytes.next().filter(|b| b.is_ascii_lowercase() && !camel.is_empty())?.to_ascii_uppercase())
            }
            b'a'..=b'z' => camel.push(*byte),
            _ => return None,
        }
    }
    Some(camel)
}

/// A string that may be `null` as the element of a list.
fn text_or_null<'a>(at: &mut Reader<'a>) -> Result<Cow<'a, [u8]>, Undecodable> {
    if at.null()? { Ok(Cow::Borrowed(&[])) } else { at.text() }
}
