//! The outer messages of OTLP/JSON: request, resource, scope.
//!
//! Duty: find what a list is described by before the list is read, wherever it stands (W12): what comes first is noted
//! and read later. Guarantee: every byte is passed a fixed number of times. Left to others: spans (`span`).

use std::borrow::Cow;

use super::pull::{Kind, Reader};
use super::value::put_text;
use super::{Members, Walk, number};
use crate::otlp::builder::{Envelope, Level};
use crate::otlp::counts::Message;
use crate::otlp::wire::{Broken, put_bytes};

const REQUEST: Members = Members { of: Message::ExportTraceServiceRequest, names: &["resourceSpans"] };
const RESOURCE_SPANS: Members = Members { of: Message::ResourceSpans, names: &["resource", "scopeSpans", "schemaUrl"] };
const RESOURCE: Members =
    Members { of: Message::Resource, names: &["attributes", "droppedAttributesCount", "entityRefs"] };
const ENTITY_REF: Members =
    Members { of: Message::EntityRef, names: &["schemaUrl", "type", "idKeys", "descriptionKeys"] };
const SCOPE_SPANS: Members = Members { of: Message::ScopeSpans, names: &["scope", "spans", "schemaUrl"] };
const SCOPE: Members =
    Members { of: Message::InstrumentationScope, names: &["name", "version", "attributes", "droppedAttributesCount"] };

/// Members of one object, noted for a later reading. A note is smaller than the shortest text it can stand for.
#[derive(Default)]
struct Notes<'a> {
    /// A reader within that object.
    within: Option<Reader<'a>>,
    places: Vec<usize>,
    /// Bytes of what was noted.
    bytes: usize,
}

impl<'a> Notes<'a> {
    /// Passes over the value that stands here.
    fn note(&mut self, at: &mut Reader<'a>, wanted: Kind) -> Result<(), Broken> {
        at.expect(wanted)?;
        self.within = Some(*at);
        self.places.push(at.place());
        self.bytes += at.skip()?;
        Ok(())
    }

    fn readers(&self) -> impl Iterator<Item = Reader<'a>> {
        self.within.iter().flat_map(|within| self.places.iter().map(|place| within.back_to(*place)))
    }
}

impl<'b> Walk<'b> {
    /// Reads the whole request object.
    pub(super) fn request(&mut self, at: &mut Reader<'_>) -> Result<(), Broken> {
        let mut index = 0;
        self.members(at, &REQUEST, |walk, at, _| walk.elements(at, &mut index, Self::resource_spans))
    }

    fn resource_spans(&mut self, at: &mut Reader<'_>, index: usize) -> Result<(), Broken> {
        let (mut resources, mut lists, mut schema_url) = (Notes::default(), Notes::default(), Cow::default());
        self.members(at, &RESOURCE_SPANS, |_, at, name| {
            match name {
                "resource" => resources.note(at, Kind::Object)?,
                "scopeSpans" => lists.note(at, Kind::List)?,
                _ => schema_url = at.text()?,
            }
            Ok(())
        })?;
        self.builder.begin_resource(index, resources.bytes + schema_url.len());
        self.resource(&resources, &schema_url).map_err(|broken| broken.within("resource"))?;
        let mut index = 0;
        for mut list in lists.readers() {
            self.elements(&mut list, &mut index, Self::scope_spans).map_err(|broken| broken.within("scopeSpans"))?;
        }
        Ok(())
    }

    fn resource(&mut self, parts: &Notes<'_>, schema_url: &[u8]) -> Result<(), Broken> {
        let (mut dropped, mut count, mut entities) = (0, 0, Entities::default());
        for mut part in parts.readers() {
            self.members(&mut part, &RESOURCE, |walk, at, name| match name {
                "attributes" => walk.attributes(at, Level::Resource, &mut count),
                "entityRefs" => {
                    let mut index = entities.count;
                    walk.elements(at, &mut index, |walk, at, _| walk.entity_ref(at, &mut entities))?;
                    entities.count = index;
                    Ok(())
                }
                _ => {
                    dropped = number::u32(at)?;
                    Ok(())
                }
            })?;
        }
        self.builder.note_repaired(Level::Resource, entities.repaired);
        self.builder.end_resource(Envelope { schema_url, dropped, entity_refs: &entities.written });
        Ok(())
    }

    /// Writes an entity reference as the field of a resource that protobuf has for it.
    fn entity_ref(&mut self, at: &mut Reader<'_>, entities: &mut Entities) -> Result<(), Broken> {
        let (mut schema_url, mut kind) = (Cow::default(), Cow::default());
        let (mut id_keys, mut description_keys) = (Vec::new(), Vec::new());
        let (mut ids, mut descriptions) = (0, 0);
        let repaired = &mut entities.repaired;
        self.members(at, &ENTITY_REF, |walk, at, name| {
            let (field, index, keys) = match name {
                "schemaUrl" => {
                    schema_url = at.text()?;
                    return Ok(());
                }
                "type" => {
                    kind = at.text()?;
                    return Ok(());
                }
                "idKeys" => (3, &mut ids, &mut id_keys),
                _ => (4, &mut descriptions, &mut description_keys),
            };
            walk.elements(at, index, |_, at, _| {
                let key = if at.null()? { Cow::default() } else { at.text()? };
                put_text(keys, field, &key, repaired);
                Ok(())
            })
        })?;
        let mut message = Vec::new();
        for (field, text) in [(1, schema_url), (2, kind)] {
            if !text.is_empty() {
                put_text(&mut message, field, &text, repaired);
            }
        }
        message.extend_from_slice(&id_keys);
        message.extend_from_slice(&description_keys);
        put_bytes(&mut entities.written, 3, &message);
        Ok(())
    }

    fn scope_spans(&mut self, at: &mut Reader<'_>, index: usize) -> Result<(), Broken> {
        let (mut scopes, mut lists, mut schema_url) = (Notes::default(), Notes::default(), Cow::default());
        self.members(at, &SCOPE_SPANS, |_, at, name| {
            match name {
                "scope" => scopes.note(at, Kind::Object)?,
                "spans" => lists.note(at, Kind::List)?,
                _ => schema_url = at.text()?,
            }
            Ok(())
        })?;
        self.builder.begin_scope(index, scopes.bytes + schema_url.len());
        self.scope(&scopes, &schema_url).map_err(|broken| broken.within("scope"))?;
        let mut index = 0;
        for mut list in lists.readers() {
            self.elements(&mut list, &mut index, Self::span).map_err(|broken| broken.within("spans"))?;
        }
        Ok(())
    }

    fn scope(&mut self, parts: &Notes<'_>, schema_url: &[u8]) -> Result<(), Broken> {
        let (mut scope_name, mut version, mut dropped, mut count) = (Cow::default(), Cow::default(), 0, 0);
        for mut part in parts.readers() {
            self.members(&mut part, &SCOPE, |walk, at, name| {
                match name {
                    "name" => scope_name = at.text()?,
                    "version" => version = at.text()?,
                    "attributes" => walk.attributes(at, Level::Scope, &mut count)?,
                    _ => dropped = number::u32(at)?,
                }
                Ok(())
            })?;
        }
        self.builder.end_scope(&scope_name, &version, Envelope { schema_url, dropped, entity_refs: &[] });
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
