//! `tally`: how often each pair stands in lists of pairs (learn.md 3.5).
//!
//! Duty: count the pairs in a column of lists, and how many of the rows that hold one are marked, with the traces of the
//! newest of those. Guarantee: a group takes memory by its distinct pairs, not by its rows; the same rows in any order and
//! any split give the same result. Left to others: whose pairs they are (`attr_pairs`), which traces are kept (`newest`).

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int64Array, ListArray, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Int32Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::argument;
use super::newest::{self, Newest};

/// (pairs, mark BOOLEAN, trace_id, time) → an element a pair, in their order: {key, value, n, marked, trace_ids}.
///
/// `n` is how often the pair stands in the lists, `marked` how often in those of marked rows, `trace_ids` those that
/// [`super::newest`] keeps of these.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Tally {
    signature: Signature,
}

impl Default for Tally {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Tally {
    fn name(&self) -> &'static str {
        "tally"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        match args {
            [DataType::List(pairs), DataType::Boolean, seen @ ..] if is_pair(pairs) && newest::fits(seen) => {
                Ok(args.to_vec())
            }
            _ => plan_err!(
                "tally takes lists of pairs, a condition, a trace id and a time: tally(attr_pairs(attributes), status_code \
                 = 'error', trace_id, start_time)"
            ),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(item(DataType::Struct(fields()))))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return Err(argument("tally has no DISTINCT form"));
        }
        Ok(Box::new(Counts::default()))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[counts]", args.name), DataType::Binary, true))])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

fn item(of: DataType) -> FieldRef {
    Arc::new(Field::new("item", of, true))
}

fn fields() -> Fields {
    let (text, number) = (DataType::Utf8, DataType::Int64);
    let fields = [
        ("key", text.clone()),
        ("value", text),
        ("n", number.clone()),
        ("marked", number),
        ("trace_ids", newest::list_type()),
    ];
    fields.into_iter().map(|(name, of)| Field::new(name, of, true)).collect()
}

/// Whether `of` is what `attr_pairs` lists.
fn is_pair(of: &Field) -> bool {
    let DataType::Struct(fields) = of.data_type() else { return false };
    let is_text = |field: &FieldRef| *field.data_type() == DataType::Utf8 || *field.data_type() == numbered();
    let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
    names == ["key", "value"] && fields.iter().all(is_text)
}

/// Texts as numbers: they are compared once a batch and not once a row.
fn numbered() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// What is known of one pair.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Count {
    n: i64,
    marked: i64,
    newest: Newest,
}

impl Count {
    fn merge(&mut self, other: Self) {
        self.n += other.n;
        self.marked += other.marked;
        self.newest.merge(other.newest);
    }
}

/// By key and value.
#[derive(Debug, Default)]
struct Counts(BTreeMap<String, BTreeMap<String, Count>>);

impl Counts {
    fn add(&mut self, key: &str, value: &str, count: Count) {
        if !self.0.contains_key(key) {
            self.0.insert(key.to_owned(), BTreeMap::new());
        }
        let of_key = self.0.get_mut(key).expect("it was put there");
        match of_key.get_mut(value) {
            Some(known) => known.merge(count),
            None => drop(of_key.insert(value.to_owned(), count)),
        }
    }

    fn all(&self) -> impl Iterator<Item = (&String, &String, &Count)> {
        self.0.iter().flat_map(|(key, values)| values.iter().map(move |(value, count)| (key, value, count)))
    }
}

impl Accumulator for Counts {
    fn update_batch(&mut self, args: &[ArrayRef]) -> Result<()> {
        let lists = args[0].as_list::<i32>();
        let pairs = lists.values().as_struct();
        let (keys, values) = (cast(pairs.column(0), &numbered())?, cast(pairs.column(1), &numbered())?);
        let (keys, values) = (keys.as_dictionary::<Int32Type>(), values.as_dictionary::<Int32Type>());
        let (marks, seen) = (args[1].as_boolean(), newest::Rows::of(&args[2..]));
        let mut of_batch: HashMap<(i32, i32), Count> = HashMap::new();
        for (row, ends) in lists.value_offsets().windows(2).enumerate() {
            if lists.is_null(row) {
                continue;
            }
            let is_marked = marks.is_valid(row) && marks.value(row);
            let newest = seen.at(row).filter(|_| is_marked);
            for at in ends[0]..ends[1] {
                let at = usize::try_from(at).expect("list offsets are not negative");
                let count = of_batch.entry((keys.keys().value(at), values.keys().value(at))).or_default();
                count.n += 1;
                count.marked += i64::from(is_marked);
                if let Some(seen) = newest {
                    count.newest.saw(seen);
                }
            }
        }
        let text = |of: &DictionaryArray<Int32Type>, id: i32| -> String {
            let id = usize::try_from(id).expect("dictionary keys are not negative");
            of.values().as_string::<i32>().value(id).to_owned()
        };
        for ((key, value), count) in of_batch {
            self.add(&text(keys, key), &text(values, value), count);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let all: Vec<_> = self.all().collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(all.iter().map(|(key, ..)| key))),
            Arc::new(StringArray::from_iter_values(all.iter().map(|(_, value, _)| value))),
            Arc::new(Int64Array::from_iter_values(all.iter().map(|(.., count)| count.n))),
            Arc::new(Int64Array::from_iter_values(all.iter().map(|(.., count)| count.marked))),
            newest::lists(all.iter().map(|(.., count)| &count.newest))?,
        ];
        let rows = StructArray::new(fields(), columns, None);
        let offsets = OffsetBuffer::from_lengths([rows.len()]);
        let list = ListArray::new(item(DataType::Struct(fields())), offsets, Arc::new(rows), None);
        Ok(ScalarValue::List(Arc::new(list)))
    }

    fn size(&self) -> usize {
        let of_count = |(key, value, count): (&String, &String, &Count)| {
            key.len() + value.capacity() + count.newest.size() + size_of::<(String, String, Count)>()
        };
        size_of_val(self) + self.all().map(of_count).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let all: Vec<_> = self.all().collect();
        let bytes = postcard::to_stdvec(&all).expect("numbers and texts can be written");
        Ok(vec![ScalarValue::Binary(Some(bytes))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for state in states[0].as_binary::<i32>().iter().flatten() {
            let Ok(partial) = postcard::from_bytes::<Vec<(&str, &str, Count)>>(state) else {
                return exec_err!("a partial tally is not one");
            };
            for (key, value, count) in partial {
                self.add(key, value, count);
            }
        }
        Ok(())
    }
}
