//! What the earliest row of a group says.
//!
//! Duty: [`earliest`], an aggregate that `traces` is made of: (text, time, id) → the text of the row with the least time,
//! of rows of one time the one with the least id; (time, id) → its id. Guarantee: the result of `first_value(… ORDER BY
//! time, id)`, for which the engine keeps a list of scalars a group: here a group takes 24 bytes, and distinct texts
//! stand once. Left to others: names in SQL, of which it has none.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, Int64Array, StringArray, StringViewArray,
    TimestampNanosecondArray, UInt32Array,
};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::compute::{cast, nullif, take};
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type, Int64Type, TimestampNanosecondType};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use hashbrown::HashMap;

use crate::store::part::ids_of;

const ID_BYTES: i32 = 8;
/// Of a group that has no row, and of a row without a text.
const NO_ROW: u32 = u32::MAX;
const NO_TEXT: u32 = u32::MAX - 1;

/// See the module.
pub fn earliest() -> AggregateUDF {
    Earliest { signature: Signature::any(3, Volatility::Immutable) }.into()
}

/// The same without a text.
pub fn earliest_id() -> AggregateUDF {
    Earliest { signature: Signature::any(2, Volatility::Immutable) }.into()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Earliest {
    signature: Signature,
}

impl AggregateUDFImpl for Earliest {
    fn name(&self) -> &'static str {
        "earliest"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(if args.len() == 3 { DataType::Utf8View } else { DataType::FixedSizeBinary(ID_BYTES) })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |of: &str, as_type| Arc::new(Field::new(format!("{}[{of}]", args.name), as_type, true));
        let mut fields = vec![field("time", DataType::Int64), field("id", DataType::FixedSizeBinary(ID_BYTES))];
        if args.input_fields.len() == 3 {
            fields.insert(0, field("text", DataType::Utf8View));
        }
        Ok(fields)
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        internal_err!("earliest is for groups")
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let texts = (args.exprs.len() == 3).then(Texts::default);
        Ok(Box::new(Groups { rows: Vec::new(), texts }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// The earliest row of a group.
#[derive(Clone, Copy, Debug)]
struct Row {
    time: i64,
    id: [u8; ID_BYTES as usize],
    text: u32,
}

const NONE: Row = Row { time: 0, id: [0; ID_BYTES as usize], text: NO_ROW };

impl Row {
    fn is_there(&self) -> bool {
        self.text != NO_ROW
    }
}

#[derive(Debug)]
struct Groups {
    rows: Vec<Row>,
    /// Distinct texts, if any are asked for.
    texts: Option<Texts>,
}

#[derive(Debug, Default)]
struct Texts {
    places: HashMap<Arc<str>, u32>,
    all: Vec<Arc<str>>,
    bytes: usize,
}

impl Texts {
    fn place(&mut self, text: &str) -> u32 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let (text, place) = (Arc::<str>::from(text), u32::try_from(self.all.len()).unwrap_or(NO_TEXT));
        self.bytes += text.len();
        self.all.push(text.clone());
        self.places.insert(text, place);
        place
    }
}

/// A column of texts, whose places among the distinct ones are remembered.
enum Column<'a> {
    Words { keys: &'a [i32], nulls: Option<&'a NullBuffer>, words: &'a StringArray, places: Vec<Option<u32>> },
    Views(&'a StringViewArray),
}

impl<'a> Column<'a> {
    fn of(array: &'a ArrayRef) -> Result<Self> {
        match array.data_type() {
            DataType::Utf8View => Ok(Self::Views(array.as_string_view())),
            DataType::Dictionary(_, of) if **of == DataType::Utf8 => {
                let dictionary = array.as_dictionary::<Int32Type>();
                let words = dictionary.values().as_string::<i32>();
                let (keys, nulls) = (dictionary.keys().values(), dictionary.nulls());
                Ok(Self::Words { keys, nulls, words, places: vec![None; words.len()] })
            }
            other => internal_err!("earliest takes text, not {other}"),
        }
    }

    fn place(&mut self, row: usize, texts: &mut Texts) -> u32 {
        match self {
            Self::Views(texts_of_rows) if texts_of_rows.is_null(row) => NO_TEXT,
            Self::Views(texts_of_rows) => texts.place(texts_of_rows.value(row)),
            Self::Words { nulls: Some(nulls), .. } if nulls.is_null(row) => NO_TEXT,
            Self::Words { keys, words, places, .. } => {
                let key = keys[row].cast_unsigned() as usize;
                *places[key].get_or_insert_with(|| texts.place(words.value(key)))
            }
        }
    }
}

impl Groups {
    /// Takes in rows: their texts if there are any, times and ids.
    fn add(
        &mut self,
        texts: Option<&ArrayRef>,
        (times, ids): (&[i64], &FixedSizeBinaryArray),
        groups: &[usize],
        is_taken: impl Fn(usize) -> bool,
        total: usize,
    ) -> Result<()> {
        self.rows.resize(total.max(self.rows.len()), NONE);
        let mut column = texts.map(Column::of).transpose()?;
        let ids = ids_of::<{ ID_BYTES as usize }>(ids);
        for (row, group) in groups.iter().enumerate() {
            let (time, id, before) = (times[row], ids[row], self.rows[*group]);
            if !is_taken(row) || (before.is_there() && (before.time, before.id) <= (time, id)) {
                continue;
            }
            let text = match (&mut column, &mut self.texts) {
                (Some(column), Some(texts)) => column.place(row, texts),
                _ => NO_TEXT,
            };
            self.rows[*group] = Row { time, id, text };
        }
        Ok(())
    }

    /// The texts of `rows`, which are those of no group any more.
    fn texts_of(&mut self, rows: &[Row]) -> Result<Option<ArrayRef>> {
        let Some(texts) = &mut self.texts else { return Ok(None) };
        let all = StringViewArray::from_iter_values(&texts.all);
        let places: UInt32Array = rows.iter().map(|row| (row.text < NO_TEXT).then_some(row.text)).collect();
        if self.rows.is_empty() {
            // No group is left that names one.
            *texts = Texts::default();
        }
        Ok(Some(take(&all, &places, None)?))
    }
}

fn ids(rows: &[Row]) -> Result<ArrayRef> {
    let ids: Vec<u8> = rows.iter().flat_map(|row| row.id).collect();
    let nulls = rows.iter().map(Row::is_there).collect::<NullBuffer>();
    Ok(Arc::new(FixedSizeBinaryArray::try_new(ID_BYTES, Buffer::from_vec(ids), Some(nulls))?))
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        let (texts, times, ids) = split(values)?;
        let times: &TimestampNanosecondArray = times.as_primitive::<TimestampNanosecondType>();
        let passes = |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let is_taken = |row: usize| times.is_valid(row) && passes(row);
        self.add(texts, (times.values(), ids.as_fixed_size_binary()), groups, is_taken, total)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        let (texts, times, ids) = split(values)?;
        let times: &Int64Array = times.as_primitive::<Int64Type>();
        self.add(texts, (times.values(), ids.as_fixed_size_binary()), groups, |row| times.is_valid(row), total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let rows = emit_to.take_needed(&mut self.rows);
        match self.texts_of(&rows)? {
            Some(texts) => Ok(texts),
            None => ids(&rows),
        }
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let rows = emit_to.take_needed(&mut self.rows);
        let times: Int64Array = rows.iter().map(|row| row.is_there().then_some(row.time)).collect();
        let mut state = vec![Arc::new(times) as ArrayRef, ids(&rows)?];
        if let Some(texts) = self.texts_of(&rows)? {
            state.insert(0, texts);
        }
        Ok(state)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let (texts, times, ids) = split(values)?;
        let mut times = cast(times, &DataType::Int64)?;
        if let Some(filter) = filter {
            let is_left = filter.iter().map(|passes| Some(passes != Some(true))).collect::<BooleanArray>();
            times = nullif(&times, &is_left)?;
        }
        let texts = texts.map(|texts| cast(texts, &DataType::Utf8View)).transpose()?;
        Ok(texts.into_iter().chain([times, ids.clone()]).collect())
    }

    fn size(&self) -> usize {
        let texts = self.texts.as_ref().map_or(0, |texts| {
            texts.bytes + texts.all.capacity() * size_of::<Arc<str>>() + texts.places.allocation_size()
        });
        self.rows.capacity() * size_of::<Row>() + texts
    }
}

/// Texts, if there are any, times and ids.
fn split(values: &[ArrayRef]) -> Result<(Option<&ArrayRef>, &ArrayRef, &ArrayRef)> {
    match values {
        [texts, times, ids] => Ok((Some(texts), times, ids)),
        [times, ids] => Ok((None, times, ids)),
        other => internal_err!("earliest takes two or three columns, not {}", other.len()),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::DictionaryArray;

    use super::*;

    fn values(rows: &[(&str, i64, u8)], as_words: bool) -> Vec<ArrayRef> {
        let texts: ArrayRef = match as_words {
            true => Arc::new(rows.iter().map(|row| row.0).collect::<DictionaryArray<Int32Type>>()),
            false => Arc::new(StringViewArray::from_iter_values(rows.iter().map(|row| row.0))),
        };
        let times = TimestampNanosecondArray::from_iter_values(rows.iter().map(|row| row.1)).with_timezone("UTC");
        let ids = FixedSizeBinaryArray::try_from_iter(rows.iter().map(|row| [row.2; 8])).unwrap();
        vec![texts, Arc::new(times), Arc::new(ids)]
    }

    fn texts(array: &ArrayRef) -> Vec<Option<&str>> {
        array.as_string_view().iter().collect()
    }

    #[test]
    fn the_least_time_wins_then_the_least_id_over_batches_filters_and_states() {
        let rows = [("late", 9, 1), ("b", 5, 2), ("a", 5, 1), ("out", 0, 0), ("other", 7, 7)];
        let groups = [0, 0, 0, 0, 2];
        let filter = BooleanArray::from(vec![Some(true), Some(true), Some(true), None, Some(true)]);
        for as_words in [true, false] {
            let mut whole = Groups { rows: Vec::new(), texts: Some(Texts::default()) };
            whole.update_batch(&values(&rows, as_words), &groups, Some(&filter), 3).unwrap();
            let mut merged = Groups { rows: Vec::new(), texts: Some(Texts::default()) };
            for at in 0..rows.len() {
                let mut one = Groups { rows: Vec::new(), texts: Some(Texts::default()) };
                let (row, passes) = (values(&rows[at..=at], as_words), filter.slice(at, 1));
                let state = match at % 2 {
                    0 => one.convert_to_state(&row, Some(&passes)).unwrap(),
                    _ => {
                        one.update_batch(&row, &[0], Some(&passes), 1).unwrap();
                        one.state(EmitTo::All).unwrap()
                    }
                };
                merged.merge_batch(&state, &groups[at..=at], 3).unwrap();
            }
            assert!(whole.size() > 0);
            assert_eq!(texts(&merged.evaluate(EmitTo::First(1)).unwrap()), [Some("a")]);
            assert_eq!(texts(&merged.evaluate(EmitTo::All).unwrap()), [None, Some("other")]);
            assert_eq!(texts(&whole.evaluate(EmitTo::All).unwrap()), [Some("a"), None, Some("other")]);
        }
    }

    #[test]
    fn without_a_text_it_is_the_id() {
        let mut ids = Groups { rows: Vec::new(), texts: None };
        let columns = values(&[("", 5, 2), ("", 5, 1), ("", 6, 0)], false);
        ids.update_batch(&columns[1..], &[1, 1, 1], None, 2).unwrap();
        let found = ids.evaluate(EmitTo::All).unwrap();
        let found = found.as_fixed_size_binary();
        assert!(found.is_null(0));
        assert_eq!(found.value(1), [1; 8]);
    }
}
