//! `exemplar`: the traces of greatest weight (sql.md 5.2).
//!
//! Duty: of a group keep the n distinct traces whose greatest weight is greatest. Guarantee: a group takes the memory
//! of n; the same rows in any order and any split give the same result. Left to others: what the weight means.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, Float64Array, ListArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};

use super::aggregates::constant;
use super::argument;

/// Traces of a group unless said.
const DEFAULT: usize = 3;
/// Elements that a group may gather (sql.md 7).
const MOST: i64 = 100_000;
const TRACE_BYTES: i32 = 16;
/// Memory of a trace that is kept, about.
const KEPT_BYTES: usize = 96;

type Trace = [u8; TRACE_BYTES as usize];

/// `exemplar(trace_id, weight [, n])`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Exemplar {
    signature: Signature,
}

impl Default for Exemplar {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

fn fields() -> Fields {
    vec![
        Field::new("trace_id", DataType::FixedSizeBinary(TRACE_BYTES), false),
        Field::new("weight", DataType::Float64, false),
    ]
    .into()
}

fn item() -> FieldRef {
    Arc::new(Field::new("item", DataType::Struct(fields()), false))
}

impl AggregateUDFImpl for Exemplar {
    fn name(&self) -> &'static str {
        "exemplar"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        let number = |of: &DataType| of.is_numeric() || of.is_null();
        let id = DataType::FixedSizeBinary(TRACE_BYTES);
        match args {
            [trace, weight] if *trace == id && number(weight) => Ok(vec![id, DataType::Float64]),
            [trace, weight, n] if *trace == id && number(weight) && (n.is_integer() || n.is_null()) => {
                Ok(vec![id, DataType::Float64, DataType::Int64])
            }
            _ => plan_err!(
                "exemplar takes a trace id and a number, and may take how many: exemplar(trace_id, duration_ns, 3)"
            ),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(item()))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return Err(argument("exemplar takes each trace once: it has no DISTINCT form"));
        }
        let most = match (args.exprs.get(2), constant(&args, 2)) {
            (None, _) => DEFAULT,
            (Some(_), Some(ScalarValue::Int64(Some(n)))) if (1..=MOST).contains(&n) => {
                usize::try_from(n).expect("it is between 1 and the most")
            }
            _ => {
                let usage = "exemplar(trace_id, duration_ns, 3)";
                return Err(argument(format!("exemplar gives from 1 to {MOST} traces, by a constant: {usage}")));
            }
        };
        Ok(Box::new(Heaviest { most, ..Heaviest::default() }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[traces]", args.name), DataType::List(item()), true))])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// A weight that can be sorted: NaN is none.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Weight(f64);

impl Eq for Weight {}

impl PartialOrd for Weight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Weight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// The traces of a group, the heaviest first, of equally heavy ones the lowest id.
#[derive(Debug, Default)]
struct Heaviest {
    most: usize,
    ranked: BTreeSet<(Reverse<Weight>, Trace)>,
    weights: HashMap<Trace, Weight>,
}

impl Heaviest {
    fn saw(&mut self, trace: Trace, weight: f64) {
        if weight.is_nan() {
            return;
        }
        // Both zeros weigh the same.
        let weight = Weight(weight + 0.0);
        let place = (Reverse(weight), trace);
        let is_full = self.ranked.len() >= self.most;
        if is_full && self.ranked.last().is_some_and(|last| *last <= place) {
            return;
        }
        match self.weights.get(&trace).copied() {
            Some(known) if known >= weight => return,
            Some(known) => {
                self.ranked.remove(&(Reverse(known), trace));
            }
            None if is_full => {
                if let Some((_, lightest)) = self.ranked.pop_last() {
                    self.weights.remove(&lightest);
                }
            }
            None => {}
        }
        self.ranked.insert(place);
        self.weights.insert(trace, weight);
    }

    fn saw_all(&mut self, traces: &ArrayRef, weights: &ArrayRef) {
        let (traces, weights) = (traces.as_fixed_size_binary(), weights.as_primitive::<Float64Type>());
        for (trace, weight) in traces.iter().zip(weights) {
            if let (Some(trace), Some(weight)) = (trace, weight) {
                self.saw(trace.try_into().expect("the type has this width"), weight);
            }
        }
    }

    fn list(&self) -> Result<ScalarValue> {
        let traces: ArrayRef = match self.ranked.is_empty() {
            true => Arc::new(FixedSizeBinaryArray::new(TRACE_BYTES, Vec::<u8>::new().into(), None)),
            false => Arc::new(FixedSizeBinaryArray::try_from_iter(self.ranked.iter().map(|(_, trace)| *trace))?),
        };
        let weights = Float64Array::from_iter_values(self.ranked.iter().map(|(Reverse(weight), _)| weight.0));
        let values = StructArray::new(fields(), vec![traces, Arc::new(weights)], None);
        let lengths = OffsetBuffer::from_lengths([values.len()]);
        Ok(ScalarValue::List(Arc::new(ListArray::new(item(), lengths, Arc::new(values), None))))
    }
}

impl Accumulator for Heaviest {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.saw_all(&values[0], &values[1]);
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.list()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.ranked.len() * KEPT_BYTES
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.list()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for state in states[0].as_list::<i32>().iter().flatten() {
            match state.as_struct().columns() {
                [traces, weights] => self.saw_all(traces, weights),
                _ => return exec_err!("partial exemplars are none"),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_heaviest_distinct_traces_are_kept_however_the_rows_come(
            rows in prop::collection::vec((0..9_u8, -4..4_i32), 0..60),
            most in 1..6_usize,
            cut in 0..60_usize,
        ) {
            let mut naive: std::collections::BTreeMap<u8, i32> = Default::default();
            for (trace, weight) in &rows {
                naive.entry(*trace).and_modify(|w| *w = (*w).max(*weight)).or_insert(*weight);
            }
            let mut expected: Vec<(u8, i32)> = naive.into_iter().collect();
            expected.sort_by_key(|(trace, weight)| (-weight, *trace));
            expected.truncate(most);
            let (early, late) = rows.split_at(cut.min(rows.len()));
            let fill = |rows: &[(u8, i32)]| {
                let mut heaviest = Heaviest { most, ..Heaviest::default() };
                rows.iter().for_each(|(trace, weight)| heaviest.saw([*trace; 16], f64::from(*weight)));
                heaviest
            };
            let (mut whole, other) = (fill(late), fill(early).state().unwrap());
            whole.merge_batch(&[other[0].to_array().unwrap()]).unwrap();
            let kept: Vec<(u8, f64)> = whole.ranked.iter().map(|(weight, trace)| (trace[0], weight.0.0)).collect();
            let expected: Vec<(u8, f64)> = expected.into_iter().map(|(trace, w)| (trace, f64::from(w))).collect();
            prop_assert_eq!(kept, expected);
            prop_assert_eq!(whole.weights.len(), whole.ranked.len());
        }
    }
}
