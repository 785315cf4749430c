//! Spans of OTLP/JSON, with their events, links and status.
//!
//! Duty: hand every field of a span to the builder. Guarantee: one call of `end_span` a list element, also for `null`.
//! Left to others: judging the span (`otlp::builder`).

use std::borrow::Cow;

use super::pull::Reader;
use super::text::id;
use super::value::attributes;
use super::{Context, elements, members, number};
use crate::otlp::{SpanFields, Undecodable, span_path};

const KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];
const STATUS_CODES: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

/// What of a span JSON spells differently than the builder takes it.
#[derive(Default)]
struct Texts<'a> {
    trace_id: Vec<u8>,
    span_id: Vec<u8>,
    parent_span_id: Vec<u8>,
    trace_state: Cow<'a, [u8]>,
    name: Cow<'a, [u8]>,
    status_message: Cow<'a, [u8]>,
    span_type: Cow<'a, [u8]>,
}

/// Reads the span at `place`: the indexes of resource, scope and span.
pub(super) fn span(cx: &mut Context<'_>, at: &mut Reader<'_>, place: (usize, usize, usize)) -> Result<(), Undecodable> {
    at.peek()?;
    let start = at.offset();
    let (mut texts, mut fields) = (Texts::default(), SpanFields::default());
    cx.builder.begin_span();
    members(cx, at, "Span", |cx, at, name| {
        match name {
            b"traceId" => texts.trace_id = id(at)?,
            b"spanId" => texts.span_id = id(at)?,
            b"parentSpanId" => texts.parent_span_id = id(at)?,
            b"traceState" => texts.trace_state = at.text()?,
            b"name" => texts.name = at.text()?,
            b"kind" => fields.kind = number::enumeration(cx, at, &KINDS)?,
            b"startTimeUnixNano" => fields.start_ns = number::u64(at)?,
            b"endTimeUnixNano" => fields.end_ns = number::u64(at)?,
            b"attributes" => attributes(cx, at, |cx, key, value, too_deep| {
                cx.builder.attribute(cx.limits, key, value, too_deep);
            })?,
            b"droppedAttributesCount" => fields.dropped_attributes = number::u32(at)?,
            b"events" => elements(cx, at, &mut 0, |cx, at, _| event(cx, at))?,
            b"droppedEventsCount" => fields.dropped_events = number::u32(at)?,
            b"links" => elements(cx, at, &mut 0, |cx, at, _| link(cx, at))?,
            b"droppedLinksCount" => fields.dropped_links = number::u32(at)?,
            b"status" => members(cx, at, "Status", |cx, at, name| {
                match name {
                    b"message" => texts.status_message = at.text()?,
                    b"code" => fields.status_code = number::enumeration(cx, at, &STATUS_CODES)?,
                    _ => return Ok(false),
                }
                Ok(true)
            })?,
            b"flags" => fields.flags = number::u32(at)?,
            b"type" => texts.span_type = at.text()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let fields = SpanFields {
        trace_id: &texts.trace_id,
        span_id: &texts.span_id,
        parent_span_id: &texts.parent_span_id,
        trace_state: &texts.trace_state,
        name: &texts.name,
        status_message: &texts.status_message,
        span_type: &texts.span_type,
        wire_bytes: at.offset() - start,
        ..fields
    };
    cx.builder.end_span(cx.limits, &fields, || span_path(place.0, place.1, place.2));
    Ok(())
}

fn event(cx: &mut Context<'_>, at: &mut Reader<'_>) -> Result<(), Undecodable> {
    let (mut time, mut event_name, mut dropped) = (0, Cow::default(), 0);
    members(cx, at, "Event", |cx, at, name| {
        match name {
            b"timeUnixNano" => time = number::u64(at)?,
            b"name" => event_name = at.text()?,
            b"attributes" => attributes(cx, at, |cx, key, value, too_deep| {
                cx.builder.event_attribute(cx.limits, key, value, too_deep);
            })?,
            b"droppedAttributesCount" => dropped = number::u32(at)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    cx.builder.event(cx.limits, time, &event_name, dropped);
    Ok(())
}

fn link(cx: &mut Context<'_>, at: &mut Reader<'_>) -> Result<(), Undecodable> {
    let (mut trace_id, mut span_id, mut state) = (Vec::new(), Vec::new(), Cow::default());
    let (mut dropped, mut flags) = (0, 0);
    members(cx, at, "Link", |cx, at, name| {
        match name {
            b"traceId" => trace_id = id(at)?,
            b"spanId" => span_id = id(at)?,
            b"traceState" => state = at.text()?,
            b"attributes" => attributes(cx, at, |cx, key, value, too_deep| {
                cx.builder.link_attribute(cx.limits, key, value, too_deep);
            })?,
            b"droppedAttributesCount" => dropped = number::u32(at)?,
            b"flags" => flags = number::u32(at)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    cx.builder.link(cx.limits, &trace_id, &span_id, &state, dropped, flags);
    Ok(())
}
