//! Spans of OTLP/JSON, with their events, links and status.
//!
//! Duty: lists go to the builder as they come, the last of each scalar at the end (J4). Guarantee: one row, or one span
//! set aside, for each element of the list, also for `null`. Left to others: attributes (`value`).

use std::borrow::Cow;

use super::pull::Reader;
use super::text::{Id, id};
use super::{Members, Walk, number};
use crate::otlp::builder::{Level, LinkFields, SpanFields};
use crate::otlp::counts::Message;
use crate::otlp::wire::Broken;

const SPAN: Members = Members {
    of: Message::Span,
    names: &[
        "traceId",
        "spanId",
        "parentSpanId",
        "name",
        "kind",
        "startTimeUnixNano",
        "endTimeUnixNano",
        "attributes",
        "status",
        "flags",
        "events",
        "links",
        "traceState",
        "droppedAttributesCount",
        "droppedEventsCount",
        "droppedLinksCount",
        "type",
    ],
};
const STATUS: Members = Members { of: Message::Status, names: &["code", "message"] };
const EVENT: Members =
    Members { of: Message::Event, names: &["timeUnixNano", "name", "attributes", "droppedAttributesCount"] };
const LINK: Members = Members {
    of: Message::Link,
    names: &["traceId", "spanId", "traceState", "attributes", "droppedAttributesCount", "flags"],
};
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
    trace_id: Id,
    span_id: Id,
    parent_span_id: Id,
    trace_state: Cow<'a, [u8]>,
    name: Cow<'a, [u8]>,
    status_message: Cow<'a, [u8]>,
    span_type: Cow<'a, [u8]>,
}

impl<'b> Walk<'b> {
    pub(super) fn span(&mut self, at: &mut Reader<'_>, index: usize) -> Result<(), Broken> {
        // The builder judges the size of a span before anything else of it.
        let bytes = { *at }.skip()?;
        self.builder.begin_span(index, bytes);
        let (mut texts, mut fields) = (Texts::default(), SpanFields::default());
        let (mut attributes, mut events, mut links) = (0, 0, 0);
        self.members(at, &SPAN, |walk, at, name| {
            match name {
                "traceId" => texts.trace_id = id(at)?,
                "spanId" => texts.span_id = id(at)?,
                "parentSpanId" => texts.parent_span_id = id(at)?,
                "name" => texts.name = at.text()?,
                "kind" => fields.kind = number::enumeration(walk, at, &KINDS)?,
                "startTimeUnixNano" => fields.start_time_unix_nano = number::u64(at)?,
                "endTimeUnixNano" => fields.end_time_unix_nano = number::u64(at)?,
                "attributes" => walk.attributes(at, Level::Span, &mut attributes)?,
                "status" => walk.members(at, &STATUS, |walk, at, name| {
                    match name {
                        "code" => fields.status_code = number::enumeration(walk, at, &STATUS_CODES)?,
                        _ => texts.status_message = at.text()?,
                    }
                    Ok(())
                })?,
                "flags" => fields.flags = number::u32(at)?,
                "events" => walk.elements(at, &mut events, |walk, at, _| walk.event(at))?,
                "links" => walk.elements(at, &mut links, |walk, at, _| walk.link(at))?,
                "traceState" => texts.trace_state = at.text()?,
                "droppedAttributesCount" => fields.dropped_attributes_count = number::u32(at)?,
                "droppedEventsCount" => fields.dropped_events_count = number::u32(at)?,
                "droppedLinksCount" => fields.dropped_links_count = number::u32(at)?,
                _ => texts.span_type = at.text()?,
            }
            Ok(())
        })?;
        self.builder.end_span(&SpanFields {
            trace_id: texts.trace_id.as_bytes(),
            span_id: texts.span_id.as_bytes(),
            parent_span_id: texts.parent_span_id.as_bytes(),
            trace_state: &texts.trace_state,
            name: &texts.name,
            status_message: &texts.status_message,
            span_type: &texts.span_type,
            ..fields
        });
        self.room.holds(self.builder)
    }

    fn event(&mut self, at: &mut Reader<'_>) -> Result<(), Broken> {
        let (mut time, mut event_name, mut dropped, mut attributes) = (0, Cow::default(), 0, 0);
        self.builder.begin_event();
        self.members(at, &EVENT, |walk, at, name| {
            match name {
                "timeUnixNano" => time = number::u64(at)?,
                "name" => event_name = at.text()?,
                "attributes" => walk.attributes(at, Level::Event, &mut attributes)?,
                _ => dropped = number::u32(at)?,
            }
            Ok(())
        })?;
        self.builder.end_event(time, &event_name, dropped);
        self.room.holds(self.builder)
    }

    fn link(&mut self, at: &mut Reader<'_>) -> Result<(), Broken> {
        let (mut trace_id, mut span_id, mut trace_state) = (Id::default(), Id::default(), Cow::default());
        let (mut dropped_attributes_count, mut flags, mut attributes) = (0, 0, 0);
        self.builder.begin_link();
        self.members(at, &LINK, |walk, at, name| {
            match name {
                "traceId" => trace_id = id(at)?,
                "spanId" => span_id = id(at)?,
                "traceState" => trace_state = at.text()?,
                "attributes" => walk.attributes(at, Level::Link, &mut attributes)?,
                "droppedAttributesCount" => dropped_attributes_count = number::u32(at)?,
                _ => flags = number::u32(at)?,
            }
            Ok(())
        })?;
        self.builder.end_link(&LinkFields {
            trace_id: trace_id.as_bytes(),
            span_id: span_id.as_bytes(),
            trace_state: &trace_state,
            dropped_attributes_count,
            flags,
        });
        self.room.holds(self.builder)
    }
}
