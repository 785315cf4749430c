//! The outer messages of OTLP/JSON: request, resource, scope.
//!
//! Duty: find what a list is described by before the list is walked, wherever it stands (W12). Guarantee: every byte is
//! read a fixed number of times. Left to others: spans (`span`), values (`value`).

use std::borrow::Cow;

use super::pull::{Kind, Reader};
use super::value::{attributes, put};
use super::{Context, elements, members, number, span, text_or_null};
use crate::otlp::Undecodable;
use crate::otlp::columns::utf8;

/// Reads the whole request object.
pub(super) fn request(cx: &mut Context<'_>, at: &mut Reader<'_>) -> Result<(), Undecodable> {
    let mut index = 0;
    members(cx, at, "ExportTraceServiceRequest", |cx, at, name| {
        if name != b"resourceSpans" {
            return Ok(false);
        }
        elements(cx, at, &mut index, resource_spans)?;
        Ok(true)
    })
}

/// Notes the list that stands here for a later walk.
fn note<'a>(at: &mut Reader<'a>, lists: &mut Vec<Reader<'a>>) -> Result<(), Undecodable> {
    at.expect(Kind::List)?;
    lists.push(*at);
    at.skip()
}

#[derive(Default)]
struct ResourceFields {
    dropped: u32,
    entity_refs: Vec<u8>,
    too_deep: bool,
}

fn resource_spans(cx: &mut Context<'_>, at: &mut Reader<'_>, resource_index: usize) -> Result<(), Undecodable> {
    let (mut schema_url, mut lists) = (Cow::default(), Vec::new());
    let mut resource = ResourceFields::default();
    cx.builder.resource_list();
    members(cx, at, "ResourceSpans", |cx, at, name| {
        match name {
            b"resource" => resource.read(cx, at)?,
            b"scopeSpans" => note(at, &mut lists)?,
            b"schemaUrl" => schema_url = at.text()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    cx.builder.resource(cx.limits, resource.dropped, &schema_url, &resource.entity_refs, resource.too_deep);
    let mut index = 0;
    for mut list in lists {
        elements(cx, &mut list, &mut index, |cx, at, index| scope_spans(cx, at, (resource_index, index)))
            .map_err(|e| e.under("scopeSpans"))?;
    }
    Ok(())
}

impl ResourceFields {
    fn read(&mut self, cx: &mut Context<'_>, at: &mut Reader<'_>) -> Result<(), Undecodable> {
        members(cx, at, "Resource", |cx, at, name| {
            match name {
                b"attributes" => attributes(cx, at, |cx, key, value, too_deep| {
                    self.too_deep |= too_deep;
                    cx.builder.open_resource_list().push(key, value);
                })?,
                b"droppedAttributesCount" => self.dropped = number::u32(at)?,
                b"entityRefs" => elements(cx, at, &mut 0, |cx, at, _| {
                    let message = entity_ref(cx, at)?;
                    put(&mut self.entity_refs, 0x1a, &message);
                    Ok(())
                })?,
                _ => return Ok(false),
            }
            Ok(true)
        })
    }
}

/// An `EntityRef` as the protobuf message that the resource keeps.
fn entity_ref(cx: &mut Context<'_>, at: &mut Reader<'_>) -> Result<Vec<u8>, Undecodable> {
    let (mut schema_url, mut kind) = (Cow::default(), Cow::default());
    let mut keys = [Vec::new(), Vec::new()];
    members(cx, at, "EntityRef", |cx, at, name| {
        let (tag, keys) = match name {
            b"schemaUrl" => {
                schema_url = at.text()?;
                return Ok(true);
            }
            b"type" => {
                kind = at.text()?;
                return Ok(true);
            }
            b"idKeys" => (0x1a, &mut keys[0]),
            b"descriptionKeys" => (0x22, &mut keys[1]),
            _ => return Ok(false),
        };
        elements(cx, at, &mut 0, |_, at, _| {
            let key = text_or_null(at)?;
            put(keys, tag, utf8(&key).0.as_bytes());
            Ok(())
        })?;
        Ok(true)
    })?;
    let mut message = Vec::new();
    for (tag, text) in [(0x0a, schema_url), (0x12, kind)] {
        if !text.is_empty() {
            put(&mut message, tag, utf8(&text).0.as_bytes());
        }
    }
    message.extend(keys.concat());
    Ok(message)
}

#[derive(Default)]
struct ScopeFields<'a> {
    name: Cow<'a, [u8]>,
    version: Cow<'a, [u8]>,
    dropped: u32,
    too_deep: bool,
}

fn scope_spans(cx: &mut Context<'_>, at: &mut Reader<'_>, place: (usize, usize)) -> Result<(), Undecodable> {
    let (mut schema_url, mut lists) = (Cow::default(), Vec::new());
    let mut scope = ScopeFields::default();
    cx.builder.scope_list();
    members(cx, at, "ScopeSpans", |cx, at, name| {
        match name {
            b"scope" => scope.read(cx, at)?,
            b"spans" => note(at, &mut lists)?,
            b"schemaUrl" => schema_url = at.text()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    cx.builder.scope(cx.limits, &scope.name, &scope.version, scope.dropped, &schema_url, scope.too_deep);
    let mut index = 0;
    for mut list in lists {
        elements(cx, &mut list, &mut index, |cx, at, index| span::span(cx, at, (place.0, place.1, index)))
            .map_err(|e| e.under("spans"))?;
    }
    Ok(())
}

impl<'a> ScopeFields<'a> {
    fn read(&mut self, cx: &mut Context<'_>, at: &mut Reader<'a>) -> Result<(), Undecodable> {
        members(cx, at, "InstrumentationScope", |cx, at, name| {
            match name {
                b"name" => self.name = at.text()?,
                b"version" => self.version = at.text()?,
                b"attributes" => attributes(cx, at, |cx, key, value, too_deep| {
                    self.too_deep |= too_deep;
                    cx.builder.open_scope_list().push(key, value);
                })?,
                b"droppedAttributesCount" => self.dropped = number::u32(at)?,
                _ => return Ok(false),
            }
            Ok(true)
        })
    }
}
