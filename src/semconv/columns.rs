//! The columns of the check, built row by row.
//!
//! Duty: arrays with the types of [`crate::span::schema::semconv_fields`]. Guarantee: dictionaries hold only what the
//! batch uses, so that their memory is the batch's. Left to others: what the values are (`check`).

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Int32Array, Int32Builder, ListArray, StringArray, StructArray, UInt16Array,
    UInt16Builder, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Int32Type};

use super::check::Match;
use super::tables::{AttributeId, SpanTypeId, Tables};
use crate::span::schema;

/// Distinct findings of a batch at most (semconv.md 7).
const MAX_DISTINCT: usize = 4096;
const NONE: i32 = -1;

/// See [`crate::semconv::check::check`].
pub(super) struct Columns<'t> {
    tables: &'t Tables,
    rows: usize,
    span_types: Words<'t>,
    matches: Int32Builder,
    required: (UInt16Builder, UInt16Builder),
    recommended: (UInt16Builder, UInt16Builder),
    levels: Int32Builder,
    offsets: Vec<i32>,
    /// Ids of findings, of all rows.
    findings: Vec<i32>,
    dropped: Vec<u16>,
    /// The attribute of each distinct finding.
    distinct: Vec<AttributeId>,
    /// Finding of an attribute, by its id.
    known: Vec<i32>,
}

/// A dictionary column whose values are found by a dense id.
struct Words<'t> {
    keys: Int32Builder,
    values: Vec<&'t str>,
    /// Key of an id, [`NONE`] while it is not used.
    known: Vec<i32>,
}

impl<'t> Words<'t> {
    fn push(&mut self, id: u32, text: impl FnOnce() -> &'t str) {
        let key = &mut self.known[id as usize];
        if *key == NONE {
            *key = place(self.values.len());
            self.values.push(text());
        }
        self.keys.append_value(*key);
    }
}

fn place(at: usize) -> i32 {
    i32::try_from(at).expect("a batch has fewer distinct values and findings than 2^31")
}

impl<'t> Columns<'t> {
    pub(super) fn new(tables: &'t Tables, rows: usize) -> Self {
        let counts = || (UInt16Builder::with_capacity(rows), UInt16Builder::with_capacity(rows));
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        let words = Words {
            keys: Int32Builder::with_capacity(rows),
            values: Vec::new(),
            known: vec![NONE; tables.spans().len()],
        };
        Self {
            tables,
            rows,
            span_types: words,
            matches: Int32Builder::with_capacity(rows),
            required: counts(),
            recommended: counts(),
            levels: Int32Builder::with_capacity(rows),
            offsets,
            findings: Vec::new(),
            dropped: Vec::with_capacity(rows),
            distinct: Vec::new(),
            known: Vec::new(),
        }
    }

    /// The next row follows no definition.
    pub(super) fn unmatched(&mut self) {
        self.span_types.keys.append_null();
        self.matches.append_null();
        for (total, present) in [&mut self.required, &mut self.recommended] {
            total.append_null();
            present.append_null();
        }
        self.findings(None);
    }

    /// The next row follows the definition `kind`; counts are (total, present). Its findings come by
    /// [`Columns::findings`].
    pub(super) fn matched(&mut self, kind: SpanTypeId, by: Match, required: (u16, u16), recommended: (u16, u16)) {
        let tables = self.tables;
        self.span_types.push(kind, || &tables.spans()[kind as usize].span_type);
        self.matches.append_value(match by {
            Match::SpanType => 0,
            Match::Attribute => 1,
        });
        for ((total, present), counts) in [(&mut self.required, required), (&mut self.recommended, recommended)] {
            total.append_value(counts.0);
            present.append_value(counts.1);
        }
    }

    /// The findings of the row, and how many were dropped.
    pub(super) fn findings(&mut self, findings: Option<(&[u32], u16)>) {
        let (ids, dropped) = findings.unwrap_or((&[], 0));
        if findings.is_some() {
            self.levels.append_value(0);
        } else {
            self.levels.append_null();
        }
        self.findings.extend(ids.iter().map(|id| place(*id as usize)));
        self.offsets.push(place(self.findings.len()));
        self.dropped.push(dropped);
    }

    /// The finding that the required attribute `id` is missing; `None` where the batch has too many distinct ones.
    pub(super) fn missing(&mut self, id: AttributeId) -> Option<u32> {
        if self.known.is_empty() {
            self.known = vec![NONE; self.tables.attributes().len()];
        }
        let known = &mut self.known[id as usize];
        if *known == NONE {
            if self.distinct.len() == MAX_DISTINCT {
                return None;
            }
            *known = place(self.distinct.len());
            self.distinct.push(id);
        }
        u32::try_from(*known).ok()
    }

    /// The columns in the order of the schema.
    pub(super) fn finish(mut self) -> Vec<ArrayRef> {
        let null = |name: &str| {
            new_null_array(
                schema::semconv_fields().iter().find(|f| f.name() == name).map_or(&DataType::Null, |f| f.data_type()),
                self.rows,
            )
        };
        let matcher = null("semconv_matcher");
        let (mut required, mut recommended) = (self.required, self.recommended);
        let label = Int32Array::from(vec![0; self.rows]);
        vec![
            words(self.span_types.keys.finish(), self.span_types.values),
            words(self.matches.finish(), vec!["span_type", "attribute"]),
            matcher,
            Arc::new(required.0.finish()),
            Arc::new(required.1.finish()),
            Arc::new(recommended.0.finish()),
            Arc::new(recommended.1.finish()),
            words(self.levels.finish(), vec!["violation"]),
            findings(self.offsets, self.findings, &self.distinct, self.tables),
            Arc::new(UInt16Array::from(self.dropped)),
            words(label, vec![self.tables.label()]),
        ]
    }
}

fn words(keys: Int32Array, values: Vec<&str>) -> ArrayRef {
    let values = Arc::new(StringArray::from(values));
    Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values).expect("keys are places among the values"))
}

fn findings(offsets: Vec<i32>, ids: Vec<i32>, distinct: &[AttributeId], tables: &Tables) -> ArrayRef {
    let DataType::List(item) = schema::semconv_fields()[8].data_type().clone() else {
        unreachable!("semconv_findings is a list");
    };
    let DataType::Struct(fields) = item.data_type().clone() else {
        unreachable!("a finding is a struct");
    };
    let same = || Int32Array::from(vec![0; ids.len()]);
    let keys = distinct.iter().map(|id| tables.attributes()[*id as usize].key.as_str()).collect();
    let columns = vec![
        words(same(), vec!["required_attribute_not_present"]),
        words(same(), vec!["violation"]),
        words(Int32Array::from(ids.clone()), keys),
        words(same(), vec!["span"]),
    ];
    let values = StructArray::new(fields, columns, None::<NullBuffer>);
    let offsets = OffsetBuffer::new(offsets.into());
    Arc::new(ListArray::new(item, offsets, Arc::new(values), None))
}
