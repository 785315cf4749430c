//! Span, Event, Link and Status messages.
//!
//! Duty: one pass over a span: lists go to the builder as they come, the last of each scalar at the end (W7, W8).
//! Guarantee: one read of every byte, no copy but into the columns. Left to others: attributes (`value`).

use super::Walk;
use crate::otlp::builder::{Level, LinkFields, SpanFields};
use crate::otlp::counts::Message;
use crate::otlp::wire::{Broken, Reader, fixed32_tag, fixed64_tag, length_tag, varint_tag};

impl<'a> Walk<'_, 'a> {
    pub(super) fn span(&mut self, index: usize, mut reader: Reader<'a>) -> Result<(), Broken> {
        const TRACE_ID: u32 = length_tag(1);
        const SPAN_ID: u32 = length_tag(2);
        const TRACE_STATE: u32 = length_tag(3);
        const PARENT_SPAN_ID: u32 = length_tag(4);
        const NAME: u32 = length_tag(5);
        const KIND: u32 = varint_tag(6);
        const START: u32 = fixed64_tag(7);
        const END: u32 = fixed64_tag(8);
        const ATTRIBUTES: u32 = length_tag(9);
        const DROPPED_ATTRIBUTES: u32 = varint_tag(10);
        const EVENTS: u32 = length_tag(11);
        const DROPPED_EVENTS: u32 = varint_tag(12);
        const LINKS: u32 = length_tag(13);
        const DROPPED_LINKS: u32 = varint_tag(14);
        const STATUS: u32 = length_tag(15);
        const FLAGS: u32 = fixed32_tag(16);
        const TYPE: u32 = length_tag(17);
        let mut span = SpanFields::default();
        let (mut attributes, mut events, mut links) = (0, 0, 0);
        self.builder.begin_span(index, reader.rest().len());
        while !reader.is_empty() {
            match reader.tag()? {
                ATTRIBUTES => {
                    self.key_value(Level::Span, &mut reader).map_err(|broken| broken.at("attributes", attributes))?;
                    attributes += 1;
                }
                TRACE_ID => span.trace_id = reader.bytes().map_err(|broken| broken.within("traceId"))?,
                SPAN_ID => span.span_id = reader.bytes().map_err(|broken| broken.within("spanId"))?,
                TRACE_STATE => span.trace_state = reader.bytes().map_err(|broken| broken.within("traceState"))?,
                PARENT_SPAN_ID => {
                    span.parent_span_id = reader.bytes().map_err(|broken| broken.within("parentSpanId"))?;
                }
                NAME => span.name = reader.bytes().map_err(|broken| broken.within("name"))?,
                KIND => span.kind = reader.varint32().map_err(|broken| broken.within("kind"))?.cast_signed(),
                START => {
                    span.start_time_unix_nano =
                        reader.fixed64().map_err(|broken| broken.within("startTimeUnixNano"))?;
                }
                END => {
                    span.end_time_unix_nano = reader.fixed64().map_err(|broken| broken.within("endTimeUnixNano"))?;
                }
                EVENTS => {
                    let part = reader.message().map_err(|broken| broken.at("events", events))?;
                    self.event(part).map_err(|broken| broken.at("events", events))?;
                    events += 1;
                }
                LINKS => {
                    let part = reader.message().map_err(|broken| broken.at("links", links))?;
                    self.link(part).map_err(|broken| broken.at("links", links))?;
                    links += 1;
                }
                STATUS => {
                    let part = reader.message().map_err(|broken| broken.within("status"))?;
                    self.status(part, &mut span).map_err(|broken| broken.within("status"))?;
                }
                FLAGS => span.flags = reader.fixed32().map_err(|broken| broken.within("flags"))?,
                DROPPED_ATTRIBUTES => {
                    span.dropped_attributes_count =
                        reader.varint32().map_err(|broken| broken.within("droppedAttributesCount"))?;
                }
                DROPPED_EVENTS => {
                    span.dropped_events_count =
                        reader.varint32().map_err(|broken| broken.within("droppedEventsCount"))?;
                }
                DROPPED_LINKS => {
                    span.dropped_links_count =
                        reader.varint32().map_err(|broken| broken.within("droppedLinksCount"))?;
                }
                TYPE => span.span_type = reader.bytes().map_err(|broken| broken.within("type"))?,
                tag => {
                    // W6: 17 of another type is unknown, for older schemas end at 16
                    reader.skip(tag, |field| field <= 16)?;
                    self.builder.unknown_field(Message::Span);
                }
            }
        }
        self.builder.end_span(&span);
        self.room.holds(self.builder)
    }

    fn event(&mut self, mut reader: Reader<'a>) -> Result<(), Broken> {
        const TIME: u32 = fixed64_tag(1);
        const NAME: u32 = length_tag(2);
        const ATTRIBUTES: u32 = length_tag(3);
        const DROPPED: u32 = varint_tag(4);
        let (mut time, mut name, mut dropped, mut attributes): (_, &[u8], _, _) = (0, &[], 0, 0);
        self.builder.begin_event();
        while !reader.is_empty() {
            match reader.tag()? {
                TIME => time = reader.fixed64().map_err(|broken| broken.within("timeUnixNano"))?,
                NAME => name = reader.bytes().map_err(|broken| broken.within("name"))?,
                ATTRIBUTES => {
                    self.key_value(Level::Event, &mut reader).map_err(|broken| broken.at("attributes", attributes))?;
                    attributes += 1;
                }
                DROPPED => dropped = reader.varint32().map_err(|broken| broken.within("droppedAttributesCount"))?,
                tag => {
                    reader.skip(tag, |field| field <= 4)?;
                    self.builder.unknown_field(Message::Event);
                }
            }
        }
        self.builder.end_event(time, name, dropped);
        self.room.holds(self.builder)
    }

    fn link(&mut self, mut reader: Reader<'a>) -> Result<(), Broken> {
        const TRACE_ID: u32 = length_tag(1);
        const SPAN_ID: u32 = length_tag(2);
        const TRACE_STATE: u32 = length_tag(3);
        const ATTRIBUTES: u32 = length_tag(4);
        const DROPPED: u32 = varint_tag(5);
        const FLAGS: u32 = fixed32_tag(6);
        let (mut link, mut attributes) = (LinkFields::default(), 0);
        self.builder.begin_link();
        while !reader.is_empty() {
            match reader.tag()? {
                TRACE_ID => link.trace_id = reader.bytes().map_err(|broken| broken.within("traceId"))?,
                SPAN_ID => link.span_id = reader.bytes().map_err(|broken| broken.within("spanId"))?,
                TRACE_STATE => link.trace_state = reader.bytes().map_err(|broken| broken.within("traceState"))?,
                ATTRIBUTES => {
                    self.key_value(Level::Link, &mut reader).map_err(|broken| broken.at("attributes", attributes))?;
                    attributes += 1;
                }
                DROPPED => {
                    link.dropped_attributes_count =
                        reader.varint32().map_err(|broken| broken.within("droppedAttributesCount"))?;
                }
                FLAGS => link.flags = reader.fixed32().map_err(|broken| broken.within("flags"))?,
                tag => {
                    reader.skip(tag, |field| field <= 6)?;
                    self.builder.unknown_field(Message::Link);
                }
            }
        }
        self.builder.end_link(&link);
        self.room.holds(self.builder)
    }

    fn status(&mut self, mut reader: Reader<'a>, span: &mut SpanFields<'a>) -> Result<(), Broken> {
        const MESSAGE: u32 = length_tag(2);
        const CODE: u32 = varint_tag(3);
        while !reader.is_empty() {
            match reader.tag()? {
                MESSAGE => span.status_message = reader.bytes().map_err(|broken| broken.within("message"))?,
                CODE => span.status_code = reader.varint32().map_err(|broken| broken.within("code"))?.cast_signed(),
                tag => {
                    reader.skip(tag, |field| matches!(field, 2 | 3))?;
                    self.builder.unknown_field(Message::Status);
                }
            }
        }
        Ok(())
    }
}
