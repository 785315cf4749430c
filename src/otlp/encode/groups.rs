//! Rows of one resource and one scope, together.
//!
//! Duty: the grouping of a request, and the parts of a group that its spans share. Guarantee: groups and the rows in
//! them keep the order of the batch; two entries of a dictionary that say the same are one group. Left to others: the
//! spans themselves.

use std::collections::HashMap;

use super::columns::{Attrs, Columns};
use super::span::put_attributes;
use super::{put_message, put_text};
use crate::otlp::builder::Value;
use crate::otlp::wire::{put_bytes, put_varint_field};
use crate::span::schema::reserved;

/// The spans of one resource.
pub(super) struct ResourceGroup {
    /// The fields `resource` and `schema_url` of ResourceSpans.
    pub(super) head: Vec<u8>,
    pub(super) scopes: Vec<ScopeGroup>,
}

/// The spans of one scope.
pub(super) struct ScopeGroup {
    /// The fields `scope` and `schema_url` of ScopeSpans.
    pub(super) head: Vec<u8>,
    pub(super) rows: Vec<usize>,
}

/// The rows of a batch by resource and scope.
pub(super) fn group(columns: &Columns<'_>) -> Vec<ResourceGroup> {
    let mut groups: Vec<ResourceGroup> = Vec::new();
    let heads: Vec<_> = (0..columns.resources.len()).map(|at| resource_head(&columns.resources, at)).collect();
    let mut by_resource: HashMap<&[u8], usize> = HashMap::new();
    let mut by_scope: HashMap<(usize, Vec<u8>), usize> = HashMap::new();
    let mut last: Option<(ScopeOf<'_>, usize, usize)> = None;
    for row in 0..columns.rows {
        let of = ScopeOf {
            resource: index(columns.resource.value(row)),
            scope: index(columns.scope.value(row)),
            name: columns.scope_name.get(row),
            version: columns.scope_version.get(row),
        };
        let (resource, scope) = match last {
            Some((before, resource, scope)) if before == of => (resource, scope),
            _ => {
                let head = heads[of.resource].as_slice();
                let resource = *by_resource.entry(head).or_insert_with(|| {
                    groups.push(ResourceGroup { head: head.to_vec(), scopes: Vec::new() });
                    groups.len() - 1
                });
                let scopes = &mut groups[resource].scopes;
                let head = scope_head(&columns.scopes, &of);
                let scope = *by_scope.entry((resource, head)).or_insert_with_key(|(_, head)| {
                    scopes.push(ScopeGroup { head: head.clone(), rows: Vec::new() });
                    scopes.len() - 1
                });
                (resource, scope)
            }
        };
        last = Some((of, resource, scope));
        groups[resource].scopes[scope].rows.push(row);
    }
    groups
}

#[derive(Clone, Copy, PartialEq)]
struct ScopeOf<'a> {
    resource: usize,
    scope: usize,
    name: &'a str,
    version: &'a str,
}

fn index(key: i32) -> usize {
    usize::try_from(key).expect("resource and scope are never null, and a key is an index")
}

fn resource_head(resources: &Attrs<'_>, at: usize) -> Vec<u8> {
    let mut head = Vec::new();
    put_message(&mut head, 1, |out| {
        put_attributes(out, 1, resources, at);
        put_dropped(out, 2, resources, at);
        if let Some(Value::Bytes(entity_refs)) = resources.reserved(at, reserved::ENTITY_REFS) {
            out.extend_from_slice(entity_refs);
        }
    });
    put_schema_url(&mut head, resources, at);
    head
}

fn scope_head(scopes: &Attrs<'_>, of: &ScopeOf<'_>) -> Vec<u8> {
    let mut head = Vec::new();
    put_message(&mut head, 1, |out| {
        put_text(out, 1, of.name);
        put_text(out, 2, of.version);
        put_attributes(out, 3, scopes, of.scope);
        put_dropped(out, 4, scopes, of.scope);
    });
    put_schema_url(&mut head, scopes, of.scope);
    head
}

fn put_dropped(out: &mut Vec<u8>, field: u32, lists: &Attrs<'_>, at: usize) {
    if let Some(Value::Int(dropped)) = lists.reserved(at, reserved::DROPPED) {
        put_varint_field(out, field, dropped.cast_unsigned());
    }
}

fn put_schema_url(out: &mut Vec<u8>, lists: &Attrs<'_>, at: usize) {
    if let Some(Value::Text(url)) = lists.reserved(at, reserved::SCHEMA_URL) {
        put_bytes(out, 3, url);
    }
}
