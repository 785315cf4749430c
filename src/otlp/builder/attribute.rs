//! One attribute: limits, marks, the reserved prefix, the list it belongs to.
//!
//! Duty: [`SpanBuilder::attribute`]. Guarantee: nothing is appended to a span, resource or scope that has a fault
//! already, so what a rejected span costs is bounded by the limits. Left to others: storage of the lists (`attrs`,
//! `shared`).

use super::attrs::{AttrLists, Pushed, Value};
use super::fault::{Detail, Fault};
use super::{Level, SpanBuilder};
use crate::otlp::Reason;
use crate::otlp::counts::Advisory;
use crate::span::schema::{anomaly, attr_type, reserved};

/// L17: advisory marks.
const MANY_ATTRIBUTES: usize = 128;
const LONG_VALUE: usize = 16 << 10;
const DEEP_VALUE: usize = 16;

/// Span attribute that fills `span_type` where field 17 is absent (Y2).
const SPAN_TYPE_KEY: &[u8] = b"otel.span.type";

impl SpanBuilder {
    /// Appends one attribute to the list at hand of `level`.
    pub fn attribute(&mut self, level: Level, key: &[u8], value: Value<'_>) {
        match value {
            Value::Empty => {
                self.advise(Advisory::MissingValue);
                self.scalar_attribute(level, key, attr_type::EMPTY, 0);
            }
            Value::Text(text) => self.slice_attribute(level, key, attr_type::STRING, text),
            Value::Bool(bool) => self.scalar_attribute(level, key, attr_type::BOOL, u64::from(bool)),
            Value::Int(int) => self.scalar_attribute(level, key, attr_type::INT, int.cast_unsigned()),
            Value::Double(double) => self.scalar_attribute(level, key, attr_type::DOUBLE, double.to_bits()),
            Value::Bytes(bytes) => self.slice_attribute(level, key, attr_type::BYTES, bytes),
            Value::Array { proto, levels } => {
                self.judge_depth(level, levels);
                self.slice_attribute(level, key, attr_type::ARRAY, proto);
            }
            Value::Kvlist { proto, levels } => {
                self.judge_depth(level, levels);
                self.slice_attribute(level, key, attr_type::KVLIST, proto);
            }
        }
    }

    /// As [`SpanBuilder::attribute`] for a value of type `of` that is text or bytes.
    #[inline]
    pub(in crate::otlp) fn slice_attribute(&mut self, level: Level, key: &[u8], of: u8, slice: &[u8]) {
        if slice.len() > LONG_VALUE {
            self.advise(Advisory::LongValue);
        }
        if self.admits(level, key) {
            self.store(level, key, |lists, key| lists.push_slice(key, of, slice));
        }
    }

    /// As [`SpanBuilder::attribute`] for a value of type `of` that is a number, given by its bits.
    #[inline]
    pub(in crate::otlp) fn scalar_attribute(&mut self, level: Level, key: &[u8], of: u8, bits: u64) {
        if self.admits(level, key) {
            self.store(level, key, |lists, key| lists.push_scalar(key, of, bits));
        }
    }

    /// Counts an attribute; whether it is kept.
    #[inline]
    fn admits(&mut self, level: Level, key: &[u8]) -> bool {
        let count = if level == Level::Span { &mut self.span.attribute_count } else { &mut self.span.nested_count };
        *count += 1;
        let count = *count;
        if count > self.limits.max_attributes || key.len() > self.limits.max_key_bytes {
            self.judge_key(level, count, key.len());
        }
        self.fault_of(level).is_none()
    }

    /// Notes the end of a list of `count` attributes.
    pub(super) fn judge_list(&mut self, count: usize) {
        if count > MANY_ATTRIBUTES {
            self.advise(Advisory::ManyAttributes);
        }
    }

    /// Counts texts that were repaired in a list of `level`, and flags the rows that it belongs to.
    pub(in crate::otlp) fn note_repaired(&mut self, level: Level, texts: usize) {
        for _ in 0..texts {
            self.advise(Advisory::InvalidUtf8);
        }
        *self.anomalies_of(level) |= if texts > 0 { anomaly::INVALID_UTF8 } else { 0 };
    }

    pub(super) fn fault_of(&mut self, level: Level) -> &mut Option<Fault> {
        match level {
            Level::Resource => &mut self.resource.fault,
            Level::Scope => &mut self.scope.fault,
            Level::Span | Level::Event | Level::Link => &mut self.span.fault,
        }
    }

    #[inline]
    fn store(&mut self, level: Level, key: &[u8], push: impl FnOnce(&mut AttrLists, &[u8]) -> Pushed) {
        // storage.md 2: reserved keys start with `wg.`; a sender's `^_*wg\.` gets one more leading `_`
        let pushed = if matches!(key.first(), Some(b'w' | b'_')) && is_reserved(key) {
            push(self.lists_of(level), &[b"_", key].concat())
        } else {
            push(self.lists_of(level), key)
        };
        if level == Level::Span && key.len() == SPAN_TYPE_KEY.len() && key == SPAN_TYPE_KEY {
            self.span.type_key = Some(pushed.key);
        }
        if pushed.repeated || pushed.repaired || key.is_empty() {
            self.note_odd_key(level, pushed, key.is_empty());
        }
    }

    #[inline]
    fn lists_of(&mut self, level: Level) -> &mut AttrLists {
        match level {
            Level::Span => &mut self.attributes,
            Level::Event => &mut self.events.attributes,
            Level::Link => &mut self.links.attributes,
            Level::Resource => self.resource.lists.current(),
            Level::Scope => self.scope.lists.current(),
        }
    }

    #[cold]
    fn note_odd_key(&mut self, level: Level, pushed: Pushed, is_empty: bool) {
        if is_empty {
            self.advise(Advisory::EmptyKey);
        }
        if pushed.repeated {
            self.advise(Advisory::DuplicateKey);
            *self.anomalies_of(level) |= anomaly::DUPLICATE_KEY;
        }
        if pushed.repaired {
            self.note_repaired(level, 1);
        }
    }

    #[cold]
    fn judge_key(&mut self, level: Level, count: usize, key_bytes: usize) {
        let (max_attributes, max_key_bytes) = (self.limits.max_attributes, self.limits.max_key_bytes);
        let fault = self.fault_of(level);
        if count > max_attributes {
            let detail = Detail::Attributes { of: level.as_str(), max: max_attributes };
            Fault::note(fault, Reason::TooManyAttributes, detail);
        }
        if key_bytes > max_key_bytes {
            let detail = Detail::Key { of: level.as_str(), bytes: key_bytes, max: max_key_bytes };
            Fault::note(fault, Reason::KeyTooLong, detail);
        }
    }

    fn judge_depth(&mut self, level: Level, levels: usize) {
        let max_depth = self.limits.max_value_depth;
        if levels > max_depth {
            let detail = Detail::Depth { of: level.as_str(), max: max_depth };
            Fault::note(self.fault_of(level), Reason::ValueTooDeep, detail);
        } else if levels > DEEP_VALUE {
            self.advise(Advisory::DeepValue);
        }
    }

    fn anomalies_of(&mut self, level: Level) -> &mut u16 {
        match level {
            Level::Resource => &mut self.resource.anomalies,
            Level::Scope => &mut self.scope.anomalies,
            Level::Span | Level::Event | Level::Link => &mut self.span.anomalies,
        }
    }
}

/// Whether `key` matches `^_*wg\.`.
fn is_reserved(key: &[u8]) -> bool {
    let underscores = key.iter().take_while(|byte| **byte == b'_').count();
    key[underscores..].starts_with(reserved::PREFIX.as_bytes())
}
