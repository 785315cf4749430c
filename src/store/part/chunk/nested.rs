//! Columns of lists, leaf by leaf.
//!
//! Duty: [`leaves`], the leaf arrays of a column with the levels of their entries, and [`Shape`], the levels that the
//! leaves of one struct share. Guarantee: entries are those of Parquet: an element of a list, or a list without one;
//! a list is walked through once, not once a leaf. Left to others: lists that may be null, which our columns with many
//! elements are not; pages (`column`).

use std::borrow::Cow;
use std::rc::Rc;

use arrow::array::{Array, ArrayRef, AsArray as _, ListArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, Field};

use super::super::columns::ZONE_ROWS;
use super::hybrid;

/// The entries of nested lists at one depth.
#[derive(Debug)]
pub(super) struct Shape {
    /// How deep an entry repeats: 0 begins a row.
    repetition: Vec<u8>,
    /// How many of the lists around an entry have an element there.
    definition: Vec<u8>,
    /// The places of the elements, of the entries that are defined to the full depth.
    elements: Vec<u32>,
    depth: u8,
}

/// A leaf of a column of lists.
#[derive(Debug)]
pub(super) struct Leaf<'a> {
    pub(super) shape: Rc<Shape>,
    /// The values of the elements.
    pub(super) values: &'a ArrayRef,
    pub(super) nullable: bool,
}

/// What the entries of a leaf are, beside their values.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    shape: &'a Shape,
    /// One above that of the shape where a value is present, if the leaf may be null.
    definition: Cow<'a, [u8]>,
    /// Widths of repetition and definition levels.
    widths: [u32; 2],
    /// The first entry of each zone, and the end.
    zones: Vec<usize>,
}

/// The leaves of `lists`, in the order of the file; `None` if one of the lists or structs may be null.
pub(super) fn leaves<'a>(field: &Field, lists: &'a ArrayRef) -> Option<Vec<Leaf<'a>>> {
    let mut found = Vec::new();
    walk(field, lists, &Rc::new(Shape::rows(lists.len())), &mut found)?;
    Some(found)
}

fn walk<'a>(field: &Field, array: &'a ArrayRef, shape: &Rc<Shape>, found: &mut Vec<Leaf<'a>>) -> Option<()> {
    match array.data_type() {
        DataType::List(item) => {
            let lists = array.as_list::<i32>();
            if field.is_nullable() || lists.null_count() > 0 {
                return None;
            }
            walk(item, lists.values(), &Rc::new(shape.within(lists)), found)
        }
        DataType::Struct(fields) => {
            let parts = array.as_struct();
            if field.is_nullable() || parts.null_count() > 0 {
                return None;
            }
            fields.iter().zip(parts.columns()).try_for_each(|(field, part)| walk(field, part, shape, found))
        }
        _ => {
            found.push(Leaf { shape: shape.clone(), values: array, nullable: field.is_nullable() });
            Some(())
        }
    }
}

impl Shape {
    /// `rows` rows, as long as no list was entered.
    fn rows(rows: usize) -> Self {
        let elements = (0..).take(rows).collect();
        Self { repetition: vec![0; rows], definition: vec![0; rows], elements, depth: 0 }
    }

    /// The entries within `lists`, which are the elements so far.
    fn within(&self, lists: &ListArray) -> Self {
        let offsets = lists.value_offsets();
        let depth = self.depth + 1;
        let most = self.repetition.len() + lists.values().len();
        let mut within = Self {
            repetition: Vec::with_capacity(most),
            definition: Vec::with_capacity(most),
            elements: Vec::with_capacity(lists.values().len()),
            depth,
        };
        let mut elements = self.elements.iter();
        for (repetition, definition) in self.repetition.iter().zip(&self.definition) {
            within.repetition.push(*repetition);
            within.definition.push(*definition);
            if *definition < self.depth {
                continue;
            }
            let at = *elements.next().expect("each entry of the full depth has an element") as usize;
            let [from, to] = [offsets[at], offsets[at + 1]].map(i32::cast_unsigned);
            if from == to {
                continue;
            }
            *within.definition.last_mut().expect("it was just pushed") = depth;
            let more = (to - from - 1) as usize;
            within.repetition.resize(within.repetition.len() + more, depth);
            within.definition.resize(within.definition.len() + more, depth);
            within.elements.extend(from..to);
        }
        within
    }

    fn entries(&self) -> usize {
        self.repetition.len()
    }
}

impl Leaf<'_> {
    /// A number for each entry: that of its element, by `number`; 0 where there is none.
    pub(super) fn spread(&self, number: impl Fn(usize) -> i32) -> Vec<i32> {
        let shape = &self.shape;
        let mut elements = shape.elements.iter();
        let keys = shape.definition.iter().map(|definition| match *definition == shape.depth {
            true => elements.next().map_or(0, |element| number(*element as usize)),
            false => 0,
        });
        keys.collect()
    }

    /// The entries with their levels, and which of them have no value.
    pub(super) fn entries(&self, widths: [u32; 2]) -> (Entries<'_>, Option<NullBuffer>) {
        let shape = &*self.shape;
        let mut definition = Cow::Borrowed(shape.definition.as_slice());
        if self.nullable {
            let nulls = self.values.nulls();
            // Most leaves of an attribute have no value at all.
            if self.values.null_count() < self.values.len() {
                let mut elements = shape.elements.iter();
                let defined = definition.to_mut().iter_mut().filter(|definition| **definition == shape.depth);
                for (definition, element) in defined.zip(&mut elements) {
                    *definition += u8::from(nulls.is_none_or(|nulls| nulls.is_valid(*element as usize)));
                }
            }
        }
        let full = shape.depth + u8::from(self.nullable);
        let present = BooleanBuffer::collect_bool(definition.len(), |at| definition[at] == full);
        let nulls = Some(NullBuffer::new(present)).filter(|nulls| nulls.null_count() > 0);
        let rows = shape.repetition.iter().enumerate().filter(|(_, repetition)| **repetition == 0);
        let zones = rows.map(|(entry, _)| entry).step_by(ZONE_ROWS).chain([shape.entries()]).collect();
        (Entries { shape, definition, widths, zones }, nulls)
    }
}

impl Entries<'_> {
    /// Where the zone of the entry `at` ends.
    pub(super) fn zone_end(&self, at: usize) -> usize {
        let next = self.zones.partition_point(|start| *start <= at);
        self.zones.get(next).copied().unwrap_or(self.shape.entries())
    }

    /// Whether the entry `at` begins a row, or is the end.
    pub(super) fn begins_row(&self, at: usize) -> bool {
        self.shape.repetition.get(at).is_none_or(|repetition| *repetition == 0)
    }

    /// Rows that begin with the entries `from..to`.
    pub(super) fn rows(&self, from: usize, to: usize) -> usize {
        self.shape.repetition[from..to].iter().filter(|repetition| **repetition == 0).count()
    }

    /// The levels of the entries `from..to`: repetition, whose length comes back, then definition.
    pub(super) fn put_levels(&self, from: usize, to: usize, out: &mut Vec<u8>) -> usize {
        hybrid::put(&self.shape.repetition[from..to], self.widths[0], out);
        let repetition = out.len();
        hybrid::put(&self.definition[from..to], self.widths[1], out);
        repetition
    }
}
