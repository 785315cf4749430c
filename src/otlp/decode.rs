//! Protobuf trace requests to columns (otlp.md 9).
//!
//! Duty: walk an `ExportTraceServiceRequest` and hand every field to the [`SpanBuilder`]. Guarantee: accepts and reads
//! what generated structs do, but for the listed differences (W18), without building any; fields come in any order.
//! Left to others: judging spans and making columns (`builder`), the grammar (`wire`).

use super::any::AnyValue;
use super::builder::{SpanBuilder, SpanFields, span_path};
use super::wire::{Cursor, WireType, error};
use super::{Decoded, Limits, Undecodable};

/// Reads one request message.
///
/// Errors: [`Undecodable`] with path and byte offset; the builder is then empty again, as it is after success.
pub fn decode(body: &[u8], limits: &Limits, builder: &mut SpanBuilder) -> Result<Decoded, Undecodable> {
    match request(Cursor::new(body), limits, builder) {
        Ok(()) => Ok(builder.finish()),
        Err(error) => {
            builder.reset();
            Err(error)
        }
    }
}

fn request(mut at: Cursor<'_>, limits: &Limits, builder: &mut SpanBuilder) -> Result<(), Undecodable> {
    let mut index = 0;
    while let Some((field, wire_type)) = at.field()? {
        match field {
            1 => {
                let message = length(&mut at, wire_type, "resourceSpans")?;
                resource_spans(message, index, limits, builder)
                    .map_err(|e| e.under(&format!("resourceSpans[{index}]")))?;
                index += 1;
            }
            _ => unknown(&mut at, field, wire_type, "ExportTraceServiceRequest", builder)?,
        }
    }
    Ok(())
}

fn resource_spans(at: Cursor<'_>, index: usize, limits: &Limits, builder: &mut SpanBuilder) -> Result<(), Undecodable> {
    // W12: resource and schema URL may follow the spans, so they are looked for first.
    let mut schema_url: &[u8] = &[];
    let mut resource = ResourceFields::default();
    builder.resource_list();
    let mut first = at;
    while let Some((field, wire_type)) = first.field()? {
        match field {
            1 => {
                let message = length(&mut first, wire_type, "resource")?;
                resource.read(message, limits, builder).map_err(|e| e.under("resource"))?;
            }
            2 => drop(length(&mut first, wire_type, "scopeSpans")?),
            3 => schema_url = length(&mut first, wire_type, "schemaUrl")?.rest(),
            _ => unknown(&mut first, field, wire_type, "ResourceSpans", builder)?,
        }
    }
    builder.resource(limits, resource.dropped, schema_url, &resource.entity_refs, resource.too_deep);
    let (mut second, mut scope) = (at, 0);
    while let Some((field, wire_type)) = second.field()? {
        if field == 2 {
            let message = second.message()?;
            scope_spans(message, (index, scope), limits, builder)
                .map_err(|e| e.under(&format!("scopeSpans[{scope}]")))?;
            scope += 1;
        } else {
            second.skip(field, wire_type)?;
        }
    }
    Ok(())
}

#[derive(Default)]
struct ResourceFields {
    dropped: u32,
    entity_refs: Vec<u8>,
    too_deep: bool,
}

impl ResourceFields {
    fn read(&mut self, mut at: Cursor<'_>, limits: &Limits, builder: &mut SpanBuilder) -> Result<(), Undecodable> {
        while let Some((field, wire_type)) = at.field()? {
            match field {
                1 => {
                    let pair = KeyValue::read(length(&mut at, wire_type, "attributes")?, limits, builder)
                        .map_err(|e| e.under("attributes"))?;
                    self.too_deep |= pair.too_deep;
                    builder.open_resource_list().push(pair.key, pair.value.get());
                }
                2 => self.dropped = u32_varint(&mut at, wire_type, "droppedAttributesCount")?,
                3 => {
                    let message = length(&mut at, wire_type, "entityRefs")?;
                    entity_ref(message, builder).map_err(|e| e.under("entityRefs"))?;
                    // Kept as the field itself, tag included, so that several are one sequence.
                    self.entity_refs.push(0x1a);
                    put_varint(&mut self.entity_refs, message.rest().len() as u64);
                    self.entity_refs.extend_from_slice(message.rest());
                }
                _ => unknown(&mut at, field, wire_type, "Resource", builder)?,
            }
        }
        Ok(())
    }
}

/// Checks the grammar of an `EntityRef`; its bytes are kept as they are.
fn entity_ref(mut at: Cursor<'_>, builder: &mut SpanBuilder) -> Result<(), Undecodable> {
    const NAMES: [&str; 4] = ["schemaUrl", "type", "idKeys", "descriptionKeys"];
    while let Some((field, wire_type)) = at.field()? {
        match field {
            1..=4 => drop(length(&mut at, wire_type, NAMES[field as usize - 1])?),
            _ => unknown(&mut at, field, wire_type, "EntityRef", builder)?,
        }
    }
    Ok(())
}

fn scope_spans(
    at: Cursor<'_>,
    (resource, scope_index): (usize, usize),
    limits: &Limits,
    builder: &mut SpanBuilder,
) -> Result<(), Undecodable> {
    let mut schema_url: &[u8] = &[];
    let mut scope = ScopeFields::default();
    builder.scope_list();
    let mut first = at;
    while let Some((field, wire_type)) = first.field()? {
        match field {
            1 => {
                let message = length(&mut first, wire_type, "scope")?;
                scope.read(message, limits, builder).map_err(|e| e.under("scope"))?;
            }
            2 => drop(length(&mut first, wire_type, "spans")?),
            3 => schema_url = length(&mut first, wire_type, "schemaUrl")?.rest(),
            _ => unknown(&mut first, field, wire_type, "ScopeSpans", builder)?,
        }
    }
    builder.scope(limits, scope.name, scope.version, scope.dropped, schema_url, scope.too_deep);
    let (mut second, mut index) = (at, 0);
    while let Some((field, wire_type)) = second.field()? {
        if field == 2 {
            let message = second.message()?;
            span(message, || span_path(resource, scope_index, index), limits, builder)
                .map_err(|e| e.under(&format!("spans[{index}]")))?;
            index += 1;
        } else {
            second.skip(field, wire_type)?;
        }
    }
    Ok(())
}

#[derive(Default)]
struct ScopeFields<'a> {
    name: &'a [u8],
    version: &'a [u8],
    dropped: u32,
    too_deep: bool,
}

impl<'a> ScopeFields<'a> {
    fn read(&mut self, mut at: Cursor<'a>, limits: &Limits, builder: &mut SpanBuilder) -> Result<(), Undecodable> {
        while let Some((field, wire_type)) = at.field()? {
            match field {
                1 => self.name = length(&mut at, wire_type, "name")?.rest(),
                2 => self.version = length(&mut at, wire_type, "version")?.rest(),
                3 => {
                    let pair = KeyValue::read(length(&mut at, wire_type, "attributes")?, limits, builder)
                        .map_err(|e| e.under("attributes"))?;
                    self.too_deep |= pair.too_deep;
                    builder.open_scope_list().push(pair.key, pair.value.get());
                }
                4 => self.dropped = u32_varint(&mut at, wire_type, "droppedAttributesCount")?,
                _ => unknown(&mut at, field, wire_type, "InstrumentationScope", builder)?,
            }
        }
        Ok(())
    }
}

fn span(
    mut at: Cursor<'_>,
    path: impl Fn() -> String,
    limits: &Limits,
    builder: &mut SpanBuilder,
) -> Result<(), Undecodable> {
    let mut fields = SpanFields { wire_bytes: at.rest().len(), ..SpanFields::default() };
    builder.begin_span();
    builder.span_size(limits, fields.wire_bytes);
    while let Some((field, wire_type)) = at.field()? {
        match field {
            1 => fields.trace_id = length(&mut at, wire_type, "traceId")?.rest(),
            2 => fields.span_id = length(&mut at, wire_type, "spanId")?.rest(),
            3 => fields.trace_state = length(&mut at, wire_type, "traceState")?.rest(),
            4 => fields.parent_span_id = length(&mut at, wire_type, "parentSpanId")?.rest(),
            5 => fields.name = length(&mut at, wire_type, "name")?.rest(),
            6 => fields.kind = i32_varint(&mut at, wire_type, "kind")?,
            7 => fields.start_ns = fixed64(&mut at, wire_type, "startTimeUnixNano")?,
            8 => fields.end_ns = fixed64(&mut at, wire_type, "endTimeUnixNano")?,
            9 => {
                let message = length(&mut at, wire_type, "attributes")?;
                let pair = KeyValue::read(message, limits, builder).map_err(|e| e.under("attributes"))?;
                builder.attribute(limits, pair.key, pair.value.get(), pair.too_deep);
            }
            10 => fields.dropped_attributes = u32_varint(&mut at, wire_type, "droppedAttributesCount")?,
            11 => event(length(&mut at, wire_type, "events")?, limits, builder).map_err(|e| e.under("events"))?,
            12 => fields.dropped_events = u32_varint(&mut at, wire_type, "droppedEventsCount")?,
            13 => link(length(&mut at, wire_type, "links")?, limits, builder).map_err(|e| e.under("links"))?,
            14 => fields.dropped_links = u32_varint(&mut at, wire_type, "droppedLinksCount")?,
            15 => status(length(&mut at, wire_type, "status")?, &mut fields, builder).map_err(|e| e.under("status"))?,
            16 => fields.flags = fixed32(&mut at, wire_type, "flags")?,
            // Y2: another wire type is an older or foreign field of that number.
            17 if wire_type == WireType::Length => fields.span_type = at.bytes()?,
            _ => unknown(&mut at, field, wire_type, "Span", builder)?,
        }
    }
    builder.end_span(limits, &fields, path);
    Ok(())
}

fn event(mut at: Cursor<'_>, limits: &Limits, builder: &mut SpanBuilder) -> Result<(), Undecodable> {
    let (mut time, mut name, mut dropped): (u64, &[u8], u32) = (0, &[], 0);
    while let Some((field, wire_type)) = at.field()? {
        match field {
            1 => time = fixed64(&mut at, wire_type, "timeUnixNano")?,
            2 => name = length(&mut at, wire_type, "name")?.rest(),
            3 => {
                let message = length(&mut at, wire_type, "attributes")?;
                let pair = KeyValue::read(message, limits, builder).map_err(|e| e.under("attributes"))?;
                builder.event_attribute(limits, pair.key, pair.value.get(), pair.too_deep);
            }
            4 => dropped = u32_varint(&mut at, wire_type, "droppedAttributesCount")?,
            _ => unknown(&mut at, field, wire_type, "Event", builder)?,
        }
    }
    builder.event(limits, time, name, dropped);
    Ok(())
}

fn link(mut at: Cursor<'_>, limits: &Limits, builder: &mut SpanBuilder) -> Result<(), Undecodable> {
    let (mut trace_id, mut span_id, mut state): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
    let (mut dropped, mut flags) = (0, 0);
    while let Some((field, wire_type)) = at.field()? {
        match field {
            1 => trace_id = length(&mut at, wire_type, "traceId")?.rest(),
            2 => span_id = length(&mut at, wire_type, "spanId")?.rest(),
            3 => state = length(&mut at, wire_type, "traceState")?.rest(),
            4 => {
                let message = length(&mut at, wire_type, "attributes")?;
                let pair = KeyValue::read(message, limits, builder).map_err(|e| e.under("attributes"))?;
                builder.link_attribute(limits, pair.key, pair.value.get(), pair.too_deep);
            }
            5 => dropped = u32_varint(&mut at, wire_type, "droppedAttributesCount")?,
            6 => flags = fixed32(&mut at, wire_type, "flags")?,
            _ => unknown(&mut at, field, wire_type, "Link", builder)?,
        }
    }
    builder.link(limits, trace_id, span_id, state, dropped, flags);
    Ok(())
}

fn status<'a>(mut at: Cursor<'a>, fields: &mut SpanFields<'a>, builder: &mut SpanBuilder) -> Result<(), Undecodable> {
    while let Some((field, wire_type)) = at.field()? {
        match field {
            2 => fields.status_message = length(&mut at, wire_type, "message")?.rest(),
            3 => fields.status_code = i32_varint(&mut at, wire_type, "code")?,
            _ => unknown(&mut at, field, wire_type, "Status", builder)?,
        }
    }
    Ok(())
}

struct KeyValue<'a> {
    key: &'a [u8],
    value: AnyValue<'a>,
    too_deep: bool,
}

impl<'a> KeyValue<'a> {
    #[inline]
    fn read(mut at: Cursor<'a>, limits: &Limits, builder: &mut SpanBuilder) -> Result<Self, Undecodable> {
        let (mut key, mut value, mut levels): (&[u8], _, usize) = (&[], AnyValue::default(), 0);
        while let Some((field, wire_type)) = at.field()? {
            match field {
                1 => key = length(&mut at, wire_type, "key")?.rest(),
                2 => {
                    let message = length(&mut at, wire_type, "value")?;
                    levels = levels.max(value.merge(message, builder).map_err(|e| e.under("value"))?);
                }
                3 => {
                    i32_varint(&mut at, wire_type, "keyStrindex")?;
                    builder.advise("strindex");
                }
                _ => unknown(&mut at, field, wire_type, "KeyValue", builder)?,
            }
        }
        Ok(Self { key, value, too_deep: levels > limits.max_value_depth })
    }
}

impl Undecodable {
    /// The error seen from one level further out.
    pub(super) fn under(mut self, parent: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{parent}{dot}{}", self.path);
        self
    }
}

fn wrong_type(at: &Cursor<'_>, got: WireType, name: &str) -> Undecodable {
    error(at.offset(), "wire_type", &format!("the field has wire type {got:?}")).under(name)
}

#[inline]
pub(super) fn length<'a>(at: &mut Cursor<'a>, got: WireType, name: &str) -> Result<Cursor<'a>, Undecodable> {
    if got != WireType::Length {
        return Err(wrong_type(at, got, name));
    }
    at.message().map_err(|e| e.under(name))
}

pub(super) fn varint(at: &mut Cursor<'_>, got: WireType, name: &str) -> Result<u64, Undecodable> {
    if got != WireType::Varint {
        return Err(wrong_type(at, got, name));
    }
    at.varint().map_err(|e| e.under(name))
}

/// W15: the low 32 bits.
fn u32_varint(at: &mut Cursor<'_>, got: WireType, name: &str) -> Result<u32, Undecodable> {
    #[allow(clippy::cast_possible_truncation, reason = "W15: uint32 takes the low 32 bits")]
    varint(at, got, name).map(|value| value as u32)
}

fn i32_varint(at: &mut Cursor<'_>, got: WireType, name: &str) -> Result<i32, Undecodable> {
    u32_varint(at, got, name).map(u32::cast_signed)
}

pub(super) fn fixed64(at: &mut Cursor<'_>, got: WireType, name: &str) -> Result<u64, Undecodable> {
    if got != WireType::Fixed64 {
        return Err(wrong_type(at, got, name));
    }
    at.fixed64().map_err(|e| e.under(name))
}

fn fixed32(at: &mut Cursor<'_>, got: WireType, name: &str) -> Result<u32, Undecodable> {
    if got != WireType::Fixed32 {
        return Err(wrong_type(at, got, name));
    }
    at.fixed32().map_err(|e| e.under(name))
}

pub(super) fn unknown(
    at: &mut Cursor<'_>,
    field: u32,
    wire_type: WireType,
    message: &'static str,
    builder: &mut SpanBuilder,
) -> Result<(), Undecodable> {
    builder.unknown_field(message);
    at.skip(field, wire_type)
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}
