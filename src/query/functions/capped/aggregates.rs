//! Aggregates that gather values: `array_agg`, `string_agg` (sql.md 7, growth).
//!
//! Duty: refuse a group beyond 100 000 elements or 16 MiB, before its next rows are taken in. Guarantee: the engine's
//! own aggregate does the work, and what it holds is counted in the pool as before. Left to others: quantiles, which take
//! bounded memory (`functions::aggregates`).
//!
//! A partial `string_agg` is a text that no longer tells its elements: they go with it, in a column of their own, so that
//! the cap holds for what several partitions gather together.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt64Array};
use arrow::datatypes::{DataType, Field, FieldRef, UInt64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
};

use super::values::{BATCH_ELEMENTS, VALUE_ELEMENTS, Values, bytes_of};
use crate::query::functions::argument;

/// Bytes of one group.
const GROUP_BYTES: u64 = 16 << 20;

/// `function` under the caps, if it gathers values; else as it is.
pub fn capped(function: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    match function.name() {
        "array_agg" | "string_agg" => Arc::new(Gathers { inner: function.as_ref().clone() }.into()),
        _ => function,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Gathers {
    inner: AggregateUDF,
}

impl Gathers {
    fn around(inner: AggregateUDF) -> Arc<AggregateUDF> {
        Arc::new(Self { inner }.into())
    }

    fn cap(&self, args: &AccumulatorArgs<'_>) -> Cap {
        Cap {
            name: self.inner.name().to_owned(),
            skips_null: args.ignore_nulls || self.inner.name() == "string_agg",
            keeps_all: !args.is_distinct,
            counts: self.counts(args.is_distinct, !args.order_bys.is_empty()),
        }
    }

    /// Whether a partial state is a text: any other is a list of its elements.
    fn counts(&self, is_distinct: bool, is_ordered: bool) -> bool {
        self.inner.name() == "string_agg" && !is_distinct && !is_ordered
    }
}

impl AggregateUDFImpl for Gathers {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        self.inner.return_type(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let cap = self.cap(&args);
        Ok(Box::new(One { cap, group: Group::default(), evaluated: 0, inner: self.inner.accumulator(args)? }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let cap = self.cap(&args);
        let inner = self.inner.create_sliding_accumulator(args)?;
        Ok(Box::new(One { cap, group: Group::default(), evaluated: 0, inner }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let cap = self.cap(&args);
        Ok(Box::new(Groups { cap, groups: Vec::new(), inner: self.inner.create_groups_accumulator(args)? }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let counts = self.counts(args.is_distinct, !args.ordering_fields.is_empty());
        let elements = counts.then(|| Field::new(format!("{}[elements]", args.name), DataType::UInt64, false).into());
        let mut fields = self.inner.state_fields(args)?;
        fields.extend(elements);
        Ok(fields)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn with_beneficial_ordering(self: Arc<Self>, beneficial: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        let ordered = self.inner.inner().clone().with_beneficial_ordering(beneficial)?;
        Ok(ordered.map(|inner| Arc::new(Self { inner: AggregateUDF::new_from_shared_impl(inner) }) as _))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        match self.inner.reverse_udf() {
            ReversedUDAF::Reversed(inner) => ReversedUDAF::Reversed(Self::around(inner.as_ref().clone())),
            other => other,
        }
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.supports_null_handling_clause()
    }

    fn default_value(&self, of: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(of)
    }
}

/// What is counted, and how it is told.
#[derive(Clone, Debug)]
struct Cap {
    name: String,
    /// NULL is left out.
    skips_null: bool,
    /// Equal values are kept too: rows count as they come.
    keeps_all: bool,
    /// The last column of a partial state has the number of its elements.
    counts: bool,
}

/// What a group has gathered.
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    elements: u64,
    bytes: u64,
}

impl Cap {
    fn add(&self, group: &mut Group, elements: u64, bytes: u64) -> Result<()> {
        group.elements += elements;
        group.bytes = group.bytes.saturating_add(bytes);
        self.check(group)
    }

    fn check(&self, group: &Group) -> Result<()> {
        let name = &self.name;
        if group.elements > VALUE_ELEMENTS {
            return Err(argument(format!("`{name}` would gather more than {VALUE_ELEMENTS} elements in a group")));
        }
        if group.bytes > GROUP_BYTES {
            return Err(argument(format!("`{name}` would gather more than {GROUP_BYTES} bytes in a group")));
        }
        Ok(())
    }

    /// Elements and bytes of each row of an update; of a row that is left out, `None`.
    fn rows<'a>(&self, values: &'a [ArrayRef]) -> impl Fn(usize) -> Option<(u64, u64)> + 'a {
        let value = Weight::of(&values[0]);
        let between = values.get(1).map(Weight::of);
        let skips_null = self.skips_null;
        move |row| {
            let kept = !skips_null || value.values.array.is_valid(row);
            kept.then(|| (1, value.bytes(row) + between.as_ref().map_or(0, |between| between.bytes(row))))
        }
    }

    /// The columns of a partial state that are the engine's, and elements and bytes of each of its rows.
    fn states<'a>(&self, states: &'a [ArrayRef]) -> (&'a [ArrayRef], impl Fn(usize) -> (u64, u64) + use<>) {
        let (inner, counts) = match states.split_last() {
            Some((counts, inner)) if self.counts => (inner, counts.as_primitive_opt::<UInt64Type>().cloned()),
            _ => (states, None),
        };
        let state = Weight::of(&states[0]);
        let weigh = move |row| {
            let elements = match &counts {
                Some(counts) => counts.value(row),
                None => state.values.elements(row),
            };
            (elements, state.bytes(row))
        };
        (inner, weigh)
    }
}

/// How much each value of a column weighs.
struct Weight {
    values: Values,
    /// Of what is no text: the average.
    average: Option<u64>,
}

impl Weight {
    fn of(array: &ArrayRef) -> Self {
        let texts = matches!(array.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let per = match array.data_type() {
            DataType::List(_) => {
                let offsets = array.as_list::<i32>().value_offsets();
                usize::try_from(offsets[array.len()] - offsets[0]).expect("offsets do not fall")
            }
            _ => array.len(),
        };
        let average = (!texts).then(|| bytes_of(array).div_ceil(per.max(1) as u64));
        Self { values: Values { array: array.clone(), one: false }, average }
    }

    fn bytes(&self, row: usize) -> u64 {
        match self.average {
            Some(average) => average.saturating_mul(self.values.elements(row)),
            None => self.values.bytes(row),
        }
    }
}

/// Of one group, or of a window.
#[derive(Debug)]
struct One {
    cap: Cap,
    group: Group,
    /// Elements of all results so far: a window gives one a row.
    evaluated: u64,
    inner: Box<dyn Accumulator>,
}

impl One {
    /// Of distinct values only what is kept counts, and that is known afterwards.
    fn check_held(&self) -> Result<()> {
        if self.cap.keeps_all {
            return Ok(());
        }
        self.cap.check(&Group { elements: 0, bytes: self.inner.size() as u64 })
    }
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if self.cap.keeps_all && !values.is_empty() {
            let weigh = self.cap.rows(values);
            for (elements, bytes) in (0..values[0].len()).filter_map(weigh) {
                self.cap.add(&mut self.group, elements, bytes)?;
            }
        }
        self.inner.update_batch(values)?;
        self.check_held()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = self.inner.evaluate()?;
        let elements = match &value {
            ScalarValue::List(list) => list.values().len() as u64,
            _ => 1,
        };
        self.cap.check(&Group { elements, bytes: 0 })?;
        self.evaluated += elements;
        if self.evaluated > BATCH_ELEMENTS {
            let name = &self.cap.name;
            return Err(argument(format!("`{name}` would gather more than {BATCH_ELEMENTS} elements over a window")));
        }
        Ok(value)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut state = self.inner.state()?;
        state.extend(self.cap.counts.then_some(ScalarValue::UInt64(Some(self.group.elements))));
        Ok(state)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        if states.is_empty() {
            return self.inner.merge_batch(states);
        }
        let (inner, weigh) = self.cap.states(states);
        if self.cap.keeps_all {
            for (elements, bytes) in (0..states[0].len()).map(weigh) {
                self.cap.add(&mut self.group, elements, bytes)?;
            }
        }
        self.inner.merge_batch(inner)?;
        self.check_held()
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let weigh = self.cap.rows(values);
        for (elements, bytes) in (0..values[0].len()).filter_map(weigh) {
            self.group.elements = self.group.elements.saturating_sub(elements);
            self.group.bytes = self.group.bytes.saturating_sub(bytes);
        }
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

/// Of many groups.
struct Groups {
    cap: Cap,
    groups: Vec<Group>,
    inner: Box<dyn GroupsAccumulator>,
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.groups.resize(total, Group::default());
        let weigh = self.cap.rows(values);
        for (row, group) in group_indices.iter().enumerate() {
            if filter.is_some_and(|filter| !filter.is_valid(row) || !filter.value(row)) {
                continue;
            }
            if let Some((elements, bytes)) = weigh(row) {
                self.cap.add(&mut self.groups[*group], elements, bytes)?;
            }
        }
        self.inner.update_batch(values, group_indices, filter, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        emit_to.take_needed(&mut self.groups);
        self.inner.evaluate(emit_to)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let groups = emit_to.take_needed(&mut self.groups);
        let mut state = self.inner.state(emit_to)?;
        if self.cap.counts {
            state.push(Arc::new(UInt64Array::from_iter_values(groups.iter().map(|group| group.elements))));
        }
        Ok(state)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], group_indices: &[usize], total: usize) -> Result<()> {
        self.groups.resize(total, Group::default());
        let (inner, weigh) = self.cap.states(states);
        for (row, group) in group_indices.iter().enumerate() {
            let (elements, bytes) = weigh(row);
            self.cap.add(&mut self.groups[*group], elements, bytes)?;
        }
        self.inner.merge_batch(inner, group_indices, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut state = self.inner.convert_to_state(values, filter)?;
        if self.cap.counts {
            let is_kept = |row| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            let elements = (0..values[0].len()).map(|row| u64::from(is_kept(row) && values[0].is_valid(row)));
            state.push(Arc::new(UInt64Array::from_iter_values(elements)));
        }
        Ok(state)
    }

    fn size(&self) -> usize {
        self.inner.size() + self.groups.capacity() * size_of::<Group>()
    }
}
