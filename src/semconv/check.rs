//! The check of a batch (semconv.md 5).
//!
//! Duty: [`check`]: span types, presence of attributes and findings as the columns of
//! [`schema::semconv_fields`]. Guarantee: the columns of a row depend on the row and the tables alone, so cutting or
//! joining batches changes nothing (S4); per span no text is hashed and nothing allocated: texts are looked up once per
//! distinct value, findings once per distinct set of missing attributes. Left to others: building arrays (`columns`),
//! when it runs (`live`, `store`).

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray, StringViewArray, StructArray, UInt8Array};
use arrow::datatypes::{Int32Type, UInt8Type};
use hashbrown::HashMap;

use super::columns::Columns;
use super::tables::{Asked, AttributeId, SpanTypeId, Tables};
use crate::span::SpanBatch;
use crate::span::schema::{attr_type, reserved};

/// Findings of a span at most (semconv.md 7).
pub(super) const MAX_FINDINGS: usize = 16;

/// How a span was matched (semconv.md 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// OTLP field 17.
    SpanType,
    /// Attribute `otel.span.type`.
    Attribute,
}

/// What was counted on a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Spans that follow a definition.
    pub matched: u64,
    /// The others.
    pub unmatched: u64,
}

/// The columns of [`crate::span::schema::semconv_fields`] for `batch`, in their order.
///
/// Errors: none; `SpanBatch` guarantees the columns that are read.
pub fn check(tables: &Tables, batch: &SpanBatch) -> (Vec<ArrayRef>, Counts) {
    let rows = batch.rows();
    let column =
        |name: &str| batch.as_record_batch().column_by_name(name).expect("SpanBatch::try_new checked the schema");
    let stated = column("span_type").as_dictionary::<Int32Type>();
    let mut kinds = StatedTypes::new(tables, stated.values().as_string(), stated.values().len());
    let mut urls = Urls::new(tables, column("resource"), column("scope"));
    let attributes = Attributes::of(column("attributes"));
    let mut present = Present::new(tables, &attributes);
    let mut signatures = Signatures::default();
    let mut columns = Columns::new(tables, rows);
    let mut counts = Counts::default();
    for row in 0..rows {
        let kind = if stated.is_null(row) { None } else { kinds.resolve(stated.keys().value(row), urls.asked(row)) };
        let Some(kind) = kind else {
            columns.unmatched();
            counts.unmatched += 1;
            continue;
        };
        counts.matched += 1;
        let table = &tables.spans()[kind as usize];
        let by = present.enter(attributes.range(row));
        let required = present.count(table.required.words());
        let recommended = present.count(table.recommended.words());
        let missing = table.required.len().saturating_sub(required);
        let findings = if missing == 0 {
            None
        } else {
            Some(signatures.of(kind, table.required.words(), &present.words, |id| columns.missing(id)))
        };
        columns.matched(kind, by, (table.required.len(), required), (table.recommended.len(), recommended));
        columns.findings(findings);
        present.leave();
    }
    (columns.finish(), counts)
}

/// The attributes of all rows.
struct Attributes<'b> {
    list: &'b ListArray,
    keys: &'b [i32],
    texts: &'b StringArray,
    types: &'b UInt8Array,
    values: &'b StringViewArray,
}

impl<'b> Attributes<'b> {
    fn of(column: &'b ArrayRef) -> Self {
        let list = column.as_list::<i32>();
        let entries: &StructArray = list.values().as_struct();
        let keys = entries.column(0).as_dictionary::<Int32Type>();
        Self {
            list,
            keys: keys.keys().values(),
            texts: keys.values().as_string(),
            types: entries.column(1).as_primitive::<UInt8Type>(),
            values: entries.column(2).as_string_view(),
        }
    }

    fn range(&self, row: usize) -> std::ops::Range<usize> {
        let offsets = self.list.value_offsets();
        index(offsets[row])..index(offsets[row + 1])
    }

    fn text(&self, at: usize) -> &'b str {
        self.texts.value(index(self.keys[at]))
    }
}

/// Offsets and dictionary keys of Arrow are never negative.
fn index(at: i32) -> usize {
    usize::try_from(at).expect("Arrow checked the array")
}

/// Span type per distinct stated text and registries asked.
struct StatedTypes<'t> {
    tables: &'t Tables,
    texts: &'t StringArray,
    /// `asked` × text: not looked up, or the answer.
    memo: Vec<Option<Option<SpanTypeId>>>,
}

impl<'t> StatedTypes<'t> {
    fn new(tables: &'t Tables, texts: &'t StringArray, len: usize) -> Self {
        Self { tables, texts, memo: vec![None; len * (tables.registries() + 1)] }
    }

    fn resolve(&mut self, key: i32, asked: Asked) -> Option<SpanTypeId> {
        let text = index(key);
        let place = match asked {
            Asked::All => text,
            Asked::Only(registry) => self.texts.len() * (registry + 1) + text,
        };
        let (tables, texts) = (self.tables, self.texts);
        *self.memo[place].get_or_insert_with(|| tables.span_type(texts.value(text), asked))
    }
}

/// Registries asked per distinct resource and scope: the scope's schema URL, else the resource's.
struct Urls<'t> {
    resource: Interned<'t>,
    scope: Interned<'t>,
}

struct Interned<'t> {
    tables: &'t Tables,
    keys: &'t [i32],
    lists: Attributes<'t>,
    /// Per distinct list: not looked up, or what its URL says, if it has one.
    memo: Vec<Option<Option<Asked>>>,
}

impl<'t> Urls<'t> {
    fn new(tables: &'t Tables, resource: &'t ArrayRef, scope: &'t ArrayRef) -> Self {
        let interned = |column: &'t ArrayRef| {
            let dictionary = column.as_dictionary::<Int32Type>();
            let (keys, lists) = (dictionary.keys().values(), Attributes::of(dictionary.values()));
            Interned { tables, keys, lists, memo: vec![None; dictionary.values().len()] }
        };
        Self { resource: interned(resource), scope: interned(scope) }
    }

    fn asked(&mut self, row: usize) -> Asked {
        self.scope.asked(row).or_else(|| self.resource.asked(row)).unwrap_or(Asked::All)
    }
}

impl Interned<'_> {
    fn asked(&mut self, row: usize) -> Option<Asked> {
        let at = index(self.keys[row]);
        let (tables, lists) = (self.tables, &self.lists);
        *self.memo[at].get_or_insert_with(|| {
            let is_url = |at: &usize| lists.text(*at) == reserved::SCHEMA_URL && is_text(lists, *at);
            lists.range(at).find(is_url).map(|at| tables.asked(lists.values.value(at)))
        })
    }
}

fn is_text(attributes: &Attributes<'_>, at: usize) -> bool {
    attributes.types.value(at) == attr_type::STRING && !attributes.values.value(at).is_empty()
}

/// What a distinct key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// Not looked up.
    New,
    /// Field 17 as received: no attribute of the sender.
    FieldSeventeen,
    /// The attributes `ids[from..to]` are there.
    Has { from: u32, to: u32 },
}

/// The attributes of one row as bits.
struct Present<'t, 'b> {
    tables: &'t Tables,
    attributes: &'t Attributes<'b>,
    memo: Vec<Key>,
    ids: Vec<AttributeId>,
    words: Vec<u64>,
    touched: Vec<u32>,
}

impl<'t, 'b> Present<'t, 'b> {
    fn new(tables: &'t Tables, attributes: &'t Attributes<'b>) -> Self {
        let words = vec![0; tables.attributes().len().div_ceil(64)];
        Self {
            tables,
            attributes,
            memo: vec![Key::New; attributes.texts.len()],
            ids: Vec::new(),
            words,
            touched: Vec::new(),
        }
    }

    /// Sets the bits of the attributes `range`; tells where the span type came from.
    fn enter(&mut self, range: std::ops::Range<usize>) -> Match {
        let mut by = Match::Attribute;
        for at in range {
            match self.key(at) {
                Key::FieldSeventeen => by = Match::SpanType,
                Key::Has { from, to } => {
                    for id in &self.ids[from as usize..to as usize] {
                        self.words[(id / 64) as usize] |= 1 << (id % 64);
                        self.touched.push(id / 64);
                    }
                }
                Key::New => {}
            }
        }
        by
    }

    fn key(&mut self, at: usize) -> Key {
        let place = index(self.attributes.keys[at]);
        if self.memo[place] == Key::New {
            self.memo[place] = self.look_up(at);
        }
        self.memo[place]
    }

    #[cold]
    fn look_up(&mut self, at: usize) -> Key {
        let stored = self.attributes.text(at);
        if stored == reserved::SPAN_TYPE {
            return Key::FieldSeventeen;
        }
        let from = self.ids.len();
        if let Some(key) = sent(stored) {
            self.tables.present(key, &mut self.ids);
        }
        let place = |at: usize| u32::try_from(at).expect("a batch has fewer distinct keys than rows and attributes");
        Key::Has { from: place(from), to: place(self.ids.len()) }
    }

    fn count(&self, set: &[(u32, u64)]) -> u16 {
        let bits: u32 = set.iter().map(|(word, bits)| (self.words[*word as usize] & bits).count_ones()).sum();
        u16::try_from(bits).unwrap_or(u16::MAX)
    }

    fn leave(&mut self) {
        for word in self.touched.drain(..) {
            self.words[word as usize] = 0;
        }
    }
}

/// The key as the sender wrote it; `None` for keys of ours.
fn sent(stored: &str) -> Option<&str> {
    if stored.starts_with(reserved::PREFIX) {
        return None;
    }
    let is_escaped = stored.starts_with('_') && stored.trim_start_matches('_').starts_with(reserved::PREFIX);
    Some(if is_escaped { &stored[1..] } else { stored })
}

/// Findings per distinct (span type, missing attributes).
#[derive(Debug, Default)]
struct Signatures {
    known: HashMap<Box<[u64]>, usize>,
    /// The ids of findings, and how many were dropped.
    lists: Vec<(Vec<u32>, u16)>,
    probe: Vec<u64>,
}

impl Signatures {
    /// The findings about attributes of `required` that are not in `present`, made by `finding` when seen first.
    fn of(
        &mut self,
        kind: SpanTypeId,
        required: &[(u32, u64)],
        present: &[u64],
        mut finding: impl FnMut(AttributeId) -> Option<u32>,
    ) -> (&[u32], u16) {
        self.probe.clear();
        self.probe.push(u64::from(kind));
        self.probe.extend(required.iter().map(|(word, bits)| bits & !present[*word as usize]));
        let at = match self.known.get(self.probe.as_slice()) {
            Some(at) => *at,
            None => {
                let mut ids = Vec::new();
                let mut dropped = 0_u16;
                for ((word, _), missing) in required.iter().zip(&self.probe[1..]) {
                    let mut rest = *missing;
                    while rest != 0 {
                        let id = word * 64 + rest.trailing_zeros();
                        rest &= rest - 1;
                        // All are violations: the first by key are kept.
                        match if ids.len() < MAX_FINDINGS { finding(id) } else { None } {
                            Some(id) => ids.push(id),
                            None => dropped = dropped.saturating_add(1),
                        }
                    }
                }
                self.lists.push((ids, dropped));
                self.known.insert(self.probe.clone().into_boxed_slice(), self.lists.len() - 1);
                self.lists.len() - 1
            }
        };
        let (ids, dropped) = &self.lists[at];
        (ids, *dropped)
    }
}
