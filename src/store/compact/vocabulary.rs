//! The words of a job, by number.
//!
//! Duty: [`Vocabulary`]: columns of words become columns of numbers, which are cheap to sort, spill and pick, and
//! words again when they are written. Guarantee: a column's words have the same numbers through the whole job; memory
//! stays under its bound, for a column with too many words carries further ones as text. Left to others: moving the
//! numbers (`pick`, `pack`).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray as _, DictionaryArray, Int32Array, ListArray, RecordBatch, StringArray, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Int32Type, SchemaRef};
use arrow::error::ArrowError;

use crate::store::part::{Words, worded};

/// Memory of a word besides its text.
const WORD_BYTES: usize = 24;
/// A word that has no number yet.
const UNKNOWN: i32 = -1;

/// Where a column has words.
#[derive(Debug)]
pub enum Shape {
    /// It is one: its place among all columns of words. Carried as Int32, or as Utf8View.
    Word(usize),
    /// In the elements of its lists.
    List(Box<Self>),
    /// In its children.
    Struct(Vec<Self>),
    /// Nowhere.
    Flat,
}

/// The words of all columns of words.
#[derive(Debug)]
pub struct Vocabulary {
    /// Of the columns of a row group.
    schema: SchemaRef,
    shapes: Arc<[Shape]>,
    columns: Vec<Column>,
    /// Places of `service_name` and `name` among the columns of words.
    sorted_by: [usize; 2],
    bytes: usize,
    most: usize,
}

#[derive(Debug)]
struct Column {
    words: Words,
    bytes: usize,
    is_full: bool,
    /// The dictionary that was met last, and the numbers of its words.
    met: Option<(StringArray, Vec<i32>)>,
    /// The words when [`Vocabulary::settle`] was called last.
    texts: Option<StringArray>,
    /// Their ranks, of columns that are sorted by.
    ranks: Vec<u32>,
}

impl Shape {
    fn of(of: &DataType, words: &mut usize) -> Self {
        match of {
            DataType::Dictionary(_, _) => {
                *words += 1;
                Self::Word(*words - 1)
            }
            DataType::List(item) => Self::List(Box::new(Self::of(item.data_type(), words))),
            DataType::Struct(fields) => {
                Self::Struct(fields.iter().map(|field| Self::of(field.data_type(), words)).collect())
            }
            _ => Self::Flat,
        }
    }
}

impl Vocabulary {
    /// Of row groups with the columns `schema`, of about `most` bytes of memory.
    pub fn new(schema: SchemaRef, most: usize) -> Self {
        let mut words = 0;
        let shapes: Arc<[Shape]> =
            schema.fields().iter().map(|field| Shape::of(field.data_type(), &mut words)).collect();
        let sorted_by = ["service_name", "name"].map(|name| {
            match shapes[schema.index_of(name).expect("a part has all stored columns")] {
                Shape::Word(word) => word,
                _ => unreachable!("`{name}` is a column of words"),
            }
        });
        let columns = (0..words).map(|_| Column::new()).collect();
        // The words are there a second time as [`Vocabulary::texts`].
        Self { schema, shapes, columns, sorted_by, bytes: 0, most: most / 2 }
    }

    /// The columns of a row group.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Of each of them.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// The columns of `batch`, which has those of a row group, with numbers for words.
    pub fn carry(&mut self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, ArrowError> {
        let shapes = self.shapes.clone();
        shapes.iter().zip(batch.columns()).map(|(shape, column)| self.carried(shape, column)).collect()
    }

    fn carried(&mut self, shape: &Shape, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        match shape {
            Shape::Flat => Ok(tidy(array)),
            Shape::Word(word) => self.numbered(*word, array),
            Shape::List(item) => {
                let lists = array.as_list::<i32>();
                let values = self.carried(item, lists.values())?;
                Ok(Arc::new(list_of(lists, values)?))
            }
            Shape::Struct(items) => {
                let of = array.as_struct();
                let columns = items.iter().zip(of.columns()).map(|(item, column)| self.carried(item, column));
                Ok(Arc::new(struct_of(of, columns.collect::<Result<_, _>>()?)?))
            }
        }
    }

    fn numbered(&mut self, word: usize, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        let dictionary = array.as_dictionary::<Int32Type>();
        let texts: &StringArray = dictionary.values().as_string();
        if array.null_count() == array.len() {
            return Ok(Arc::new(Int32Array::new_null(array.len())));
        }
        let column = &mut self.columns[word];
        column.is_full |= self.bytes >= self.most || column.bytes >= self.most / 2;
        if column.is_full || texts.null_count() > 0 {
            return Ok(tidy(&cast(array, &DataType::Utf8View)?));
        }
        let mut map = column.map_of(texts);
        let mut number = |key: i32| {
            let at = key.cast_unsigned() as usize;
            if map[at] == UNKNOWN {
                map[at] = column.words.key(texts.value(at));
            }
            map[at]
        };
        let keys = dictionary.keys();
        let numbers: Vec<i32> = match keys.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => keys.values().iter().map(|key| number(*key)).collect(),
            Some(nulls) => {
                let rows = keys.values().iter().zip(nulls.iter());
                rows.map(|(key, is_valid)| if is_valid { number(*key) } else { 0 }).collect()
            }
        };
        column.met = Some((texts.clone(), map));
        let bytes = column.words.text_bytes() + WORD_BYTES * column.words.count();
        self.bytes += bytes - column.bytes;
        column.bytes = bytes;
        Ok(Arc::new(Int32Array::new(numbers.into(), keys.nulls().cloned())))
    }

    /// Makes the words so far known to [`Vocabulary::texts`] and [`Vocabulary::restore`].
    pub fn settle(&mut self) {
        for (at, column) in self.columns.iter_mut().enumerate() {
            if column.texts.as_ref().is_some_and(|texts| texts.len() == column.words.count()) {
                continue;
            }
            let texts = column.words.texts();
            if self.sorted_by.contains(&at) {
                let mut order: Vec<u32> = (0..texts.len() as u32).collect();
                order.sort_unstable_by_key(|word| texts.value(*word as usize));
                column.ranks = vec![0; order.len()];
                order.iter().zip(0..).for_each(|(word, rank)| column.ranks[*word as usize] = rank);
            }
            column.texts = Some(texts);
        }
    }

    /// The places of `service_name` and `name` among the columns of words.
    pub fn sorted_by(&self) -> [usize; 2] {
        self.sorted_by
    }

    /// Memory of all words.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The words of a column by their numbers.
    pub fn texts(&self, word: usize) -> &StringArray {
        self.columns[word].texts.as_ref().expect("`settle` was called behind the last row")
    }

    /// The ranks of the words of a column that rows are sorted by.
    pub fn ranks(&self, word: usize) -> &[u32] {
        &self.columns[word].ranks
    }

    /// `numbers` of a column as words.
    pub fn words(&self, word: usize, numbers: &Int32Array) -> Result<DictionaryArray<Int32Type>, ArrowError> {
        DictionaryArray::try_new(numbers.clone(), Arc::new(self.texts(word).clone()))
    }

    /// Column `at` of a row group from what [`Vocabulary::carry`] made of it.
    pub fn restore(&self, at: usize, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        self.restored(&self.shapes[at], self.schema.field(at).data_type(), array)
    }

    fn restored(&self, shape: &Shape, of: &DataType, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        Ok(match (shape, of) {
            (Shape::Word(word), _) => match array.data_type() {
                DataType::Int32 => Arc::new(self.words(*word, array.as_primitive())?),
                _ => Arc::new(worded(array)),
            },
            (Shape::List(shape), DataType::List(item)) => {
                let lists = array.as_list::<i32>();
                let values = self.restored(shape, item.data_type(), lists.values())?;
                Arc::new(ListArray::try_new(item.clone(), lists.offsets().clone(), values, lists.nulls().cloned())?)
            }
            (Shape::Struct(shapes), DataType::Struct(fields)) => {
                let columns = shapes.iter().zip(fields).zip(array.as_struct().columns());
                let columns = columns.map(|((shape, field), column)| self.restored(shape, field.data_type(), column));
                let (columns, nulls) = (columns.collect::<Result<_, _>>()?, array.nulls().cloned());
                Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, array.len())?)
            }
            _ => array.clone(),
        })
    }
}

impl Column {
    fn new() -> Self {
        let words = Words::new(usize::MAX);
        Self { words, bytes: 0, is_full: false, met: None, texts: None, ranks: Vec::new() }
    }

    /// The numbers of the words of a dictionary, as far as they are known.
    fn map_of(&mut self, texts: &StringArray) -> Vec<i32> {
        let place = |texts: &StringArray| (texts.len(), texts.value_offsets().as_ptr(), texts.value_data().as_ptr());
        match self.met.take() {
            // The dictionary of a row group comes with each of its batches.
            Some((met, map)) if place(&met) == place(texts) => map,
            _ => vec![UNKNOWN; texts.len()],
        }
    }
}

/// The same values without text blocks that are mostly of other rows: views hold whole pages.
fn tidy(array: &ArrayRef) -> ArrayRef {
    let Some(texts) = array.as_string_view_opt() else { return array.clone() };
    let held: usize = texts.data_buffers().iter().map(|buffer| buffer.len()).sum();
    // Texts of a dictionary are shared by many views: then less is held than used.
    match held > 4096 + 2 * texts.total_buffer_bytes_used() {
        true => Arc::new(texts.gc()),
        false => array.clone(),
    }
}

/// `lists` with other elements.
fn list_of(lists: &ListArray, values: ArrayRef) -> Result<ListArray, ArrowError> {
    let item = Arc::new(Field::new("item", values.data_type().clone(), false));
    ListArray::try_new(item, lists.offsets().clone(), values, lists.nulls().cloned())
}

/// `of` with other columns.
fn struct_of(of: &StructArray, columns: Vec<ArrayRef>) -> Result<StructArray, ArrowError> {
    let fields = of.fields().iter().zip(&columns);
    let fields: Fields =
        fields.map(|(f, column)| f.as_ref().clone().with_data_type(column.data_type().clone())).collect();
    StructArray::try_new_with_length(fields, columns, of.nulls().cloned(), of.len())
}
