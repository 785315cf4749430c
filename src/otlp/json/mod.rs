//! OTLP/JSON trace requests to columns (otlp.md 11).
//!
//! Duty: read a request of `application/json` into the [`SpanBuilder`] that protobuf fills too. Guarantee: one request
//! gives the same columns in both encodings; the call stack is used for values of up to 32 levels and for nothing
//! deeper; what a request costs beside its columns is its largest value. Left to others: what is acceptable (`builder`).

mod number;
mod pull;
mod request;
mod span;
mod text;
mod value;
#[cfg(test)]
mod tests;

use super::builder::SpanBuilder;
use super::counts::{Advisory, Message};
use super::room::Granted;
use super::wire::Broken;
use super::{Decoded, Limits, Room, Undecodable};
use pull::{Kind, Reader};

/// Reads an `ExportTraceServiceRequest` in JSON; `builder` is reused from request to request and empty afterwards.
///
/// `strict` is `json_strict`: snake_case names are unknown (J2), and names of enum numbers are errors (J15). Spans that
/// are not acceptable are set aside and told in the result. Errors: the bytes are no such message, with JSON path and
/// byte offset; then nothing of them is kept.
pub fn decode_json(
    body: &[u8],
    limits: &Limits,
    strict: bool,
    builder: &mut SpanBuilder,
) -> Result<Decoded, Undecodable> {
    decode_json_within(body, limits, strict, &mut |_| Some(u64::MAX), builder)
}

/// As [`decode_json`], as far as there is `room` for columns; without it, an error of the kind [`super::NO_ROOM`].
pub fn decode_json_within(
    body: &[u8],
    limits: &Limits,
    strict: bool,
    room: &mut Room<'_>,
    builder: &mut SpanBuilder,
) -> Result<Decoded, Undecodable> {
    builder.begin(limits);
    let mut at = Reader::new(body);
    let mut walk = Walk { builder, strict, room: Granted::new(room) };
    match walk.request(&mut at).and_then(|()| at.end()) {
        Ok(()) => Ok(builder.finish()),
        Err(broken) => {
            builder.reset();
            Err(broken.into())
        }
    }
}

/// The walk over one request.
struct Walk<'b> {
    builder: &'b mut SpanBuilder,
    strict: bool,
    room: Granted<'b>,
}

/// A message of the protocol, and the JSON names of its members.
struct Members {
    of: Message,
    names: &'static [&'static str],
}

impl Walk<'_> {
    /// Hands every known member of the object that stands here to `read`, by its lowerCamelCase name.
    ///
    /// Unknown ones are passed over and counted (J3). `null` is an empty object, and a member that is `null` is as good
    /// as absent (J5).
    #[inline]
    fn members<'a>(
        &mut self,
        at: &mut Reader<'a>,
        members: &'static Members,
        mut read: impl FnMut(&mut Self, &mut Reader<'a>, &'static str) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
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
            match self.known(members, &key) {
                Some(name) => {
                    if !at.null().map_err(|broken| broken.within(name))? {
                        read(self, at, name).map_err(|broken| broken.within(name))?;
                    }
                }
                None => {
                    self.builder.unknown_field(members.of);
                    at.skip()?;
                }
            }
            if at.close(b'}') {
                return Ok(());
            }
            at.comma()?;
        }
    }

    /// The member that `key` names (J1, J2).
    #[inline]
    fn known(&mut self, members: &'static Members, key: &[u8]) -> Option<&'static str> {
        let exact = members.names.iter().find(|name| name.as_bytes() == key);
        if exact.is_some() || self.strict || !key.contains(&b'_') {
            return exact.copied();
        }
        let snake = members.names.iter().find(|name| is_snake_case_of(key, name.as_bytes()));
        if snake.is_some() {
            self.builder.advise(Advisory::SnakeCase);
        }
        snake.copied()
    }

    /// Hands every element of the list that stands here to `read`, with its index; `index` goes on over several lists.
    #[inline]
    fn elements<'a>(
        &mut self,
        at: &mut Reader<'a>,
        index: &mut usize,
        mut read: impl FnMut(&mut Self, &mut Reader<'a>, usize) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        at.expect(Kind::List)?;
        at.enter()?;
        if at.close(b']') {
            return Ok(());
        }
        loop {
            read(self, at, *index).map_err(|broken| broken.at("", *index))?;
            *index += 1;
            if at.close(b']') {
                return Ok(());
            }
            at.comma()?;
        }
    }
}

/// Whether `key` is `trace_id` for `traceId`.
fn is_snake_case_of(key: &[u8], camel: &[u8]) -> bool {
    let mut key = key.iter();
    camel.iter().all(|byte| {
        if byte.is_ascii_uppercase() {
            key.next() == Some(&b'_') && key.next() == Some(&byte.to_ascii_lowercase())
        } else {
            key.next() == Some(byte)
        }
    }) && key.next().is_none()
}
