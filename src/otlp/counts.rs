//! What was odd but stored, and which messages held fields that no one knows.
//!
//! Duty: the closed sets of labels of `weavergen_otlp_advisory_total{kind}` and `weavergen_otlp_unknown_fields_total
//! {message}`, and counters for them that cost an addition each. Guarantee: a count is never lost; it is rolled back
//! only together with the span it belongs to. Left to others: the metrics themselves (`receive`).

use std::collections::BTreeMap;

/// Odd input that is stored all the same (otlp.md P2, L17, W14, Y2, Y3, J2, J15, the `strindex` fields of 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the labels below say it")]
pub enum Advisory {
    EmptyName,
    NoStart,
    NoEnd,
    EndBeforeStart,
    UnknownKind,
    UnknownStatus,
    DuplicateKey,
    EmptyKey,
    MissingValue,
    SelfParent,
    TraceState,
    ManyAttributes,
    LongValue,
    DeepValue,
    InvalidUtf8,
    SpanTypeConflict,
    SpanTypeForm,
    KeyStrindex,
    ValueStrindex,
    SnakeCase,
    EnumName,
}

/// In the order of [`Advisory`].
const ADVISORY_LABELS: [&str; 21] = [
    "empty_name",
    "no_start",
    "no_end",
    "end_before_start",
    "unknown_kind",
    "unknown_status",
    "duplicate_key",
    "empty_key",
    "missing_value",
    "self_parent",
    "trace_state",
    "many_attributes",
    "long_value",
    "deep_value",
    "invalid_utf8",
    "span_type_conflict",
    "span_type_form",
    "key_strindex",
    "value_strindex",
    "snake_case",
    "enum_name",
];

/// A message of the wire whose unknown fields are counted (W5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the protocol's")]
pub enum Message {
    ExportTraceServiceRequest,
    ResourceSpans,
    ScopeSpans,
    Span,
    Event,
    Link,
    Status,
    KeyValue,
    AnyValue,
    ArrayValue,
    KeyValueList,
    InstrumentationScope,
    Resource,
    EntityRef,
}

/// In the order of [`Message`].
const MESSAGE_LABELS: [&str; 14] = [
    "ExportTraceServiceRequest",
    "ResourceSpans",
    "ScopeSpans",
    "Span",
    "Event",
    "Link",
    "Status",
    "KeyValue",
    "AnyValue",
    "ArrayValue",
    "KeyValueList",
    "InstrumentationScope",
    "Resource",
    "EntityRef",
];

/// Counts per [`Advisory`]; small enough to be copied once a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Advisories([u32; ADVISORY_LABELS.len()]);

impl Advisories {
    pub(super) fn add(&mut self, kind: Advisory) {
        self.0[kind as usize] = self.0[kind as usize].saturating_add(1);
    }

    pub(super) fn by_label(&self) -> BTreeMap<&'static str, u64> {
        labelled(&ADVISORY_LABELS, self.0.iter().map(|n| u64::from(*n)))
    }
}

/// Counts per [`Message`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UnknownFields([u64; MESSAGE_LABELS.len()]);

impl UnknownFields {
    pub(super) fn add(&mut self, message: Message) {
        self.0[message as usize] += 1;
    }

    pub(super) fn by_label(&self) -> BTreeMap<&'static str, u64> {
        labelled(&MESSAGE_LABELS, self.0.iter().copied())
    }
}

fn labelled(labels: &'static [&'static str], counts: impl Iterator<Item = u64>) -> BTreeMap<&'static str, u64> {
    labels.iter().copied().zip(counts).filter(|(_, n)| *n > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_each_set_has_its_own_label() {
        let (mut odd, mut unknown) = (Advisories::default(), UnknownFields::default());
        odd.add(Advisory::EnumName);
        unknown.add(Message::EntityRef);
        assert_eq!(odd.by_label(), BTreeMap::from([("enum_name", 1)]));
        assert_eq!(unknown.by_label(), BTreeMap::from([("EntityRef", 1)]));
    }
}
