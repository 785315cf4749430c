//! A protobuf trace request into columns, without messages in between (otlp.md 9).
//!
//! Duty: [`decode`]; the walk over request, resource spans and scope spans, each scanned once for what has to be known
//! beforehand and then walked (W12). Guarantee: each byte of the grammar is checked before anything is accepted; what is
//! read are slices of the request, and no table of them is made, for an element can be two bytes. Left to others: what is
//! acceptable (`builder`), the primitives (`wire`).

mod normalize;
mod span;
mod value;

use super::builder::{Envelope, Level, SpanBuilder};
use super::counts::Message;
use super::room::Granted;
use super::wire::{Broken, Reader, length_tag, varint_tag};
use super::{Decoded, Limits, Room, Undecodable};
use normalize::Normal;

/// Reads an `ExportTraceServiceRequest`; `builder` is reused from request to request and empty afterwards.
///
/// Spans that are not acceptable by `limits` or by the table at P2 are set aside and told in the result. Errors: the
/// bytes are no such message; then nothing of them is kept.
pub fn decode(body: &[u8], limits: &Limits, builder: &mut SpanBuilder) -> Result<Decoded, Undecodable> {
    decode_within(body, limits, &mut |_| Some(u64::MAX), builder)
}

/// As [`decode`], as far as there is `room` for columns; without it, an error of the kind [`super::NO_ROOM`].
pub fn decode_within(
    body: &[u8],
    limits: &Limits,
    room: &mut Room<'_>,
    builder: &mut SpanBuilder,
) -> Result<Decoded, Undecodable> {
    builder.begin(limits);
    let mut walk = Walk { body, builder, room: Granted::new(room) };
    match walk.request() {
        Ok(()) => Ok(builder.finish()),
        Err(broken) => {
            builder.reset();
            Err(broken.into())
        }
    }
}

/// The walk over one request.
struct Walk<'b, 'a> {
    body: &'a [u8],
    builder: &'b mut SpanBuilder,
    room: Granted<'b>,
}

/// A singular message that may occur again and is then merged (W9): reading its parts in order does that.
///
/// A second part is looked for anew in the message around it: a list of them would be many times the bytes that made it.
#[derive(Debug)]
struct Parts<'a> {
    around: Reader<'a>,
    first: Option<Reader<'a>>,
    has_more: bool,
    bytes: usize,
}

impl<'a> Parts<'a> {
    /// Their field in the message around them: `resource` of resource spans, `scope` of scope spans.
    const TAG: u32 = length_tag(1);

    /// None yet of those in `around`.
    fn of(around: Reader<'a>) -> Self {
        Self { around, first: None, has_more: false, bytes: 0 }
    }

    fn push(&mut self, part: Reader<'a>) {
        self.bytes += part.rest().len();
        if self.first.is_none() {
            self.first = Some(part);
        } else {
            self.has_more = true;
        }
    }

    fn iter(&self) -> impl Iterator<Item = Reader<'a>> {
        let (mut first, has_more, mut rest) = (self.first, self.has_more, self.around);
        std::iter::from_fn(move || if has_more { rest.next_message(Self::TAG) } else { first.take() })
    }
}

impl<'a> Walk<'_, 'a> {
    fn request(&mut self) -> Result<(), Broken> {
        const RESOURCE_SPANS: u32 = length_tag(1);
        let mut reader = Reader::new(self.body);
        let mut index = 0;
        while !reader.is_empty() {
            match reader.tag()? {
                RESOURCE_SPANS => {
                    let part = reader.message().map_err(|broken| broken.at("resourceSpans", index))?;
                    self.resource_spans(index, part).map_err(|broken| broken.at("resourceSpans", index))?;
                    index += 1;
                }
                tag => {
                    reader.skip(tag, |field| field == 1)?;
                    self.builder.unknown_field(Message::ExportTraceServiceRequest);
                }
            }
        }
        Ok(())
    }

    fn resource_spans(&mut self, index: usize, mut reader: Reader<'a>) -> Result<(), Broken> {
        const RESOURCE: u32 = Parts::TAG;
        const SCOPE_SPANS: u32 = length_tag(2);
        const SCHEMA_URL: u32 = length_tag(3);
        if reader.is_empty() {
            // Two bytes, of which a request can have millions: nothing is described and nothing follows.
            return Ok(());
        }
        let around = reader;
        let mut resource = Parts::of(around);
        let mut schema_url: &[u8] = &[];
        let mut scopes = 0;
        while !reader.is_empty() {
            match reader.tag()? {
                RESOURCE => resource.push(reader.message().map_err(|broken| broken.within("resource"))?),
                SCOPE_SPANS => {
                    reader.message().map_err(|broken| broken.at("scopeSpans", scopes))?;
                    scopes += 1;
                }
                SCHEMA_URL => schema_url = reader.bytes().map_err(|broken| broken.within("schemaUrl"))?,
                tag => {
                    reader.skip(tag, |field| field <= 3)?;
                    self.builder.unknown_field(Message::ResourceSpans);
                }
            }
        }
        self.resource(index, &resource, schema_url).map_err(|broken| broken.within("resource"))?;
        let mut rest = around;
        for at in 0..scopes {
            let Some(part) = rest.next_message(SCOPE_SPANS) else { break };
            self.scope_spans(at, part).map_err(|broken| broken.at("scopeSpans", at))?;
        }
        Ok(())
    }

    fn resource(&mut self, index: usize, parts: &Parts<'a>, schema_url: &'a [u8]) -> Result<(), Broken> {
        const ATTRIBUTES: u32 = length_tag(1);
        const DROPPED: u32 = varint_tag(2);
        const ENTITY_REFS: u32 = length_tag(3);
        let source = [parts.first.map_or(&[][..], |part| part.rest()), schema_url];
        if !parts.has_more && self.builder.resume_resource(index, source) {
            return Ok(());
        }
        let (mut dropped, mut count, mut entities) = (0, 0, Entities::default());
        self.builder.begin_resource(index, parts.bytes + schema_url.len());
        for mut reader in parts.iter() {
            while !reader.is_empty() {
                let start = reader;
                match reader.tag()? {
                    ATTRIBUTES => {
                        self.key_value(Level::Resource, &mut reader)
                            .map_err(|broken| broken.at("attributes", count))?;
                        count += 1;
                    }
                    DROPPED => dropped = reader.varint32().map_err(|broken| broken.within("droppedAttributesCount"))?,
                    ENTITY_REFS => {
                        let at = entities.count;
                        let entity = reader.message().map_err(|broken| broken.at("entityRefs", at))?;
                        let written = reader.since(&start);
                        self.entity_ref(entity, written, &mut entities)
                            .map_err(|broken| broken.at("entityRefs", at))?;
                    }
                    tag => {
                        reader.skip(tag, |field| field <= 3)?;
                        self.builder.unknown_field(Message::Resource);
                    }
                }
            }
        }
        self.builder.note_repaired(Level::Resource, entities.repaired);
        self.builder.end_resource(Envelope { schema_url, dropped, entity_refs: &entities.written });
        if !parts.has_more {
            self.builder.keep_resource_source(source);
        }
        Ok(())
    }

    /// Checks an entity reference and keeps its field as it came, or written anew if it has what is not kept.
    fn entity_ref(&mut self, mut reader: Reader<'a>, written: &[u8], entities: &mut Entities) -> Result<(), Broken> {
        let message = reader;
        let mut is_clean = true;
        while !reader.is_empty() {
            let tag = reader.tag()?;
            if matches!(tag >> 3, 1..=4) && tag == length_tag(tag >> 3) {
                is_clean &= simdutf8::basic::from_utf8(reader.bytes()?).is_ok();
            } else {
                reader.skip(tag, |field| field <= 4)?;
                self.builder.unknown_field(Message::EntityRef);
                is_clean = false;
            }
        }
        entities.count += 1;
        if is_clean {
            entities.written.extend_from_slice(written);
            return Ok(());
        }
        let mut normal = Normal::new(0);
        normal.entity_ref(message)?;
        entities.written.extend_from_slice(&normal.out);
        entities.repaired += normal.repaired;
        Ok(())
    }

    fn scope_spans(&mut self, index: usize, mut reader: Reader<'a>) -> Result<(), Broken> {
        const SCOPE: u32 = Parts::TAG;
        const SPANS: u32 = length_tag(2);
        const SCHEMA_URL: u32 = length_tag(3);
        if reader.is_empty() {
            return Ok(());
        }
        let around = reader;
        let mut scope = Parts::of(around);
        let mut schema_url: &[u8] = &[];
        let mut spans = 0;
        while !reader.is_empty() {
            match reader.tag()? {
                SPANS => {
                    reader.message().map_err(|broken| broken.at("spans", spans))?;
                    spans += 1;
                }
                SCOPE => scope.push(reader.message().map_err(|broken| broken.within("scope"))?),
                SCHEMA_URL => schema_url = reader.bytes().map_err(|broken| broken.within("schemaUrl"))?,
                tag => {
                    reader.skip(tag, |field| field <= 3)?;
                    self.builder.unknown_field(Message::ScopeSpans);
                }
            }
        }
        self.scope(index, &scope, schema_url).map_err(|broken| broken.within("scope"))?;
        let mut rest = around;
        for at in 0..spans {
            let Some(part) = rest.next_message(SPANS) else { break };
            self.span(at, part).map_err(|broken| broken.at("spans", at))?;
        }
        Ok(())
    }

    fn scope(&mut self, index: usize, parts: &Parts<'a>, schema_url: &'a [u8]) -> Result<(), Broken> {
        const NAME: u32 = length_tag(1);
        const VERSION: u32 = length_tag(2);
        const ATTRIBUTES: u32 = length_tag(3);
        const DROPPED: u32 = varint_tag(4);
        let (mut name, mut version): (&[u8], &[u8]) = (&[], &[]);
        let (mut dropped, mut count) = (0, 0);
        self.builder.begin_scope(index, parts.bytes + schema_url.len());
        for mut reader in parts.iter() {
            while !reader.is_empty() {
                match reader.tag()? {
                    NAME => name = reader.bytes().map_err(|broken| broken.within("name"))?,
                    VERSION => version = reader.bytes().map_err(|broken| broken.within("version"))?,
                    ATTRIBUTES => {
                        self.key_value(Level::Scope, &mut reader).map_err(|broken| broken.at("attributes", count))?;
                        count += 1;
                    }
                    DROPPED => dropped = reader.varint32().map_err(|broken| broken.within("droppedAttributesCount"))?,
                    tag => {
                        reader.skip(tag, |field| field <= 4)?;
                        self.builder.unknown_field(Message::InstrumentationScope);
                    }
                }
            }
        }
        self.builder.end_scope(name, version, Envelope { schema_url, dropped, entity_refs: &[] });
        Ok(())
    }
}

/// The entity references of a resource as they are kept.
#[derive(Debug, Default)]
struct Entities {
    written: Vec<u8>,
    count: usize,
    repaired: usize,
}
