//! `newest`: the traces of the newest rows (learn.md 3.5).
//!
//! Duty: keep the five newest rows of a group. Guarantee: a group takes the memory of five, not of its rows; the same rows
//! in any order and any split give the same result. Left to others: which of them are of one trace (`learn`).

use std::cmp::Reverse;
use std::sync::Arc;

use arrow::array::TimestampNanosecondArray;
use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, FixedSizeBinaryBuilder, ListBuilder};
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit, TimestampNanosecondType};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};
use serde::{Deserialize, Serialize};

use super::argument;

/// Rows that are kept.
const MOST: usize = 5;
const TRACE_BYTES: i32 = 16;

/// Time and trace of a row.
pub(super) type Seen = (i64, [u8; TRACE_BYTES as usize]);

/// (trace_id, time) → the traces of the five newest rows, of equally new ones those of the lowest id, the newest first; one
/// trace may stand there more than once.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct NewestTraces {
    signature: Signature,
}

impl Default for NewestTraces {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for NewestTraces {
    fn name(&self) -> &'static str {
        "newest"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        match fits(args) {
            true => Ok(args.to_vec()),
            false => plan_err!("newest takes a trace id and a time: newest(trace_id, start_time)"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(list_type())
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return Err(argument("newest has no DISTINCT form"));
        }
        Ok(Box::new(Newest::default()))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[rows]", args.name), DataType::Binary, true))])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// Whether `args` are a trace id and a time.
pub(super) fn fits(args: &[DataType]) -> bool {
    let [trace, time] = args else { return false };
    *trace == DataType::FixedSizeBinary(TRACE_BYTES) && matches!(time, DataType::Timestamp(TimeUnit::Nanosecond, _))
}

/// Type of a list of traces.
pub(super) fn list_type() -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::FixedSizeBinary(TRACE_BYTES), true)))
}

/// A list a group.
pub(super) fn lists<'a>(groups: impl Iterator<Item = &'a Newest>) -> Result<ArrayRef> {
    let mut lists = ListBuilder::new(FixedSizeBinaryBuilder::new(TRACE_BYTES));
    for group in groups {
        for (_, trace) in &group.0 {
            lists.values().append_value(trace)?;
        }
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()))
}

/// The columns of traces and times.
pub(super) struct Rows<'a> {
    traces: &'a FixedSizeBinaryArray,
    times: &'a TimestampNanosecondArray,
}

impl<'a> Rows<'a> {
    /// The columns `args`, whose types [`fits`].
    pub(super) fn of(args: &'a [ArrayRef]) -> Self {
        Self { traces: args[0].as_fixed_size_binary(), times: args[1].as_primitive::<TimestampNanosecondType>() }
    }

    /// Time and trace of a row, if it has both.
    pub(super) fn at(&self, row: usize) -> Option<Seen> {
        let is_there = self.traces.is_valid(row) && self.times.is_valid(row);
        is_there.then(|| {
            let trace = self.traces.value(row).try_into().expect("the type has this width");
            (self.times.value(row), trace)
        })
    }
}

/// The newest rows of a group, the newest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Newest(Vec<Seen>);

impl Newest {
    pub(super) fn saw(&mut self, seen: Seen) {
        let place = |(time_ns, trace): &Seen| (Reverse(*time_ns), *trace);
        let at = self.0.partition_point(|other| place(other) <= place(&seen));
        if at < MOST {
            self.0.truncate(MOST - 1);
            self.0.insert(at, seen);
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        other.0.into_iter().for_each(|seen| self.saw(seen));
    }

    /// Bytes beside its own.
    pub(super) fn size(&self) -> usize {
        self.0.capacity() * size_of::<Seen>()
    }
}

impl Accumulator for Newest {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = Rows::of(values);
        (0..values[0].len()).filter_map(|row| rows.at(row)).for_each(|seen| self.saw(seen));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&lists(std::iter::once(&*self))?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + Self::size(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let bytes = postcard::to_stdvec(self).expect("numbers and bytes can be written");
        Ok(vec![ScalarValue::Binary(Some(bytes))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for state in states[0].as_binary::<i32>().iter().flatten() {
            match postcard::from_bytes(state) {
                Ok(other) => self.merge(other),
                Err(_) => return exec_err!("partial rows of newest are none"),
            }
        }
        Ok(())
    }
}
