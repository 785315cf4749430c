//! `tree_place`, `of_parent`: window functions over the spans of a trace (gates.md 13).
//!
//! Duty: the numbers of `trace_tree` for many traces in one statement, and what stands at a span's parent. The partition is
//! the trace. Guarantee: places are those of `forest`, so every span has exactly one and no input recurses; a partition of
//! more spans than the tree functions take is `sql.limit.rows`. Left to others: which spans are in the partition, and in
//! which order they stand.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, StructArray, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Int64Type, TimeUnit};
use datafusion::common::{DataFusionError, Result, internal_err, plan_err};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl};

use crate::query::error::{Code, Error};
use crate::query::forest::{Forest, MAX_SPANS, Span};

/// Both of them.
pub fn all() -> Vec<Arc<WindowUDF>> {
    vec![Arc::new(WindowUDF::from(TreePlace::default())), Arc::new(WindowUDF::from(OfParent::default()))]
}

/// (span_id, parent_span_id, start_time, duration_ns, ingest_time) → a struct: `depth`, `sibling_no`, `nested_left`,
/// `nested_right`, `is_orphan`, `is_duplicate` as `trace_tree` has them, `parent_left` (0 at the top), and `is_root`: it
/// stands for the trace.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct TreePlace {
    signature: Signature,
}

impl Default for TreePlace {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

fn fields() -> Fields {
    let number = |name: &str| Field::new(name, DataType::Int64, false);
    let flag = |name: &str| Field::new(name, DataType::Boolean, false);
    Fields::from(vec![
        number("depth"),
        number("sibling_no"),
        number("nested_left"),
        number("nested_right"),
        number("parent_left"),
        flag("is_orphan"),
        flag("is_duplicate"),
        flag("is_root"),
    ])
}

impl WindowUDFImpl for TreePlace {
    fn name(&self) -> &'static str {
        "tree_place"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        use DataType::{FixedSizeBinary, Int64, Timestamp};
        let fits = matches!(
            args,
            [
                FixedSizeBinary(8),
                FixedSizeBinary(8),
                Timestamp(TimeUnit::Nanosecond, _),
                Int64,
                Timestamp(TimeUnit::Microsecond, _)
            ]
        );
        match fits {
            true => Ok(args.to_vec()),
            false => plan_err!(
                "tree_place takes columns of spans: tree_place(span_id, parent_span_id, start_time, duration_ns, \
                 ingest_time) OVER (PARTITION BY trace_id)"
            ),
        }
    }

    fn partition_evaluator(&self, _: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Places))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), DataType::Struct(fields()), true)))
    }
}

#[derive(Debug)]
struct Places;

impl PartitionEvaluator for Places {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let [ids, parents, starts, durations, stored] = values else {
            return internal_err!("tree_place has five arguments");
        };
        if rows > MAX_SPANS {
            let message = format!("`tree_place` would have to read a trace of more than {MAX_SPANS} spans");
            let error = Error::new(Code::LimitRows, message).hint("ask for less time");
            return Err(DataFusionError::External(Box::new(error)));
        }
        let forest = Forest::new(Span::of_columns([ids, parents, starts, durations, stored]));
        let root = forest.root();
        let number = |of: &dyn Fn(usize) -> usize| -> ArrayRef {
            let signed = |row| i64::try_from(of(row)).unwrap_or(i64::MAX);
            Arc::new(Int64Array::from_iter_values((0..rows).map(signed)))
        };
        let flag = |of: &dyn Fn(usize) -> bool| -> ArrayRef {
            Arc::new(BooleanArray::from_iter((0..rows).map(|row| Some(of(row)))))
        };
        let columns = vec![
            number(&|row| forest.place(row).depth),
            number(&|row| forest.place(row).sibling_no),
            number(&|row| forest.place(row).left),
            number(&|row| forest.place(row).right),
            number(&|row| forest.place(row).parent.map_or(0, |above| forest.place(above).left)),
            flag(&|row| forest.place(row).is_orphan),
            flag(&|row| forest.place(row).is_duplicate),
            flag(&|row| root == Some(row)),
        ];
        Ok(Arc::new(StructArray::try_new(fields(), columns, None)?))
    }
}

/// (flag, nested_left, parent_left) → the flag of the row that is the parent; NULL where there is none.
///
/// No other type: one long value could become that of every row.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct OfParent {
    signature: Signature,
}

impl Default for OfParent {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl WindowUDFImpl for OfParent {
    fn name(&self) -> &'static str {
        "of_parent"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        match args {
            [DataType::Boolean, DataType::Int64, DataType::Int64] => Ok(args.to_vec()),
            _ => plan_err!(
                "of_parent takes a condition and numbers of tree_place: of_parent(x, nested_left, parent_left)"
            ),
        }
    }

    fn partition_evaluator(&self, _: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Parents))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), DataType::Boolean, true)))
    }
}

#[derive(Debug)]
struct Parents;

impl PartitionEvaluator for Parents {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let [value, own, above] = values else { return internal_err!("of_parent has three arguments") };
        let (own, above) = (own.as_primitive::<Int64Type>(), above.as_primitive::<Int64Type>());
        let row_of: HashMap<i64, u64> = own.values().iter().copied().zip(0..).collect();
        let parent = |row: usize| row_of.get(&above.value(row)).copied().filter(|_| above.is_valid(row));
        let parents: UInt64Array = (0..rows).map(parent).collect();
        Ok(take(value, &parents, None)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::query::tests::fixture::{Fill, NOW, Span, ask};

    const PLACES: &str = "SELECT hex(trace_id) AS t, hex(span_id) AS s, parent_span_id, name, start_time, tree_place(span_id, \
                          parent_span_id, start_time, duration_ns, ingest_time) OVER (PARTITION BY trace_id) AS p FROM spans";

    fn span(trace: u128, id: u64, parent: Option<u64>, start: i64) -> Span {
        Span { parent, start: NOW + start, ..Span::new(trace, id) }
    }

    #[tokio::test]
    async fn numbers_are_those_of_trace_tree_for_every_trace_at_once() {
        // A root with two children and a grandchild; an orphan and a second root; a cycle; a span that came twice.
        let spans = [
            span(1, 1, None, 0),
            span(1, 2, Some(1), 20),
            span(1, 3, Some(1), 10),
            span(1, 4, Some(3), 15),
            span(2, 1, Some(77), 5),
            span(2, 2, None, 0),
            span(2, 3, None, 1),
            span(3, 1, Some(2), 0),
            span(3, 2, Some(1), 1),
            span(4, 1, None, 0),
            span(4, 2, Some(1), 1),
            span(4, 2, Some(1), 1),
        ];
        let view = Fill::new().memory(&spans).view();
        for trace in 1..=4 {
            let fields = ["depth", "sibling_no", "nested_left", "nested_right", "is_orphan", "is_duplicate"];
            let got: Vec<String> = fields.iter().map(|field| format!("get_field(p, '{field}') AS {field}")).collect();
            let of_all = format!(
                "SELECT s, {} FROM ({PLACES}) AS x WHERE t = '{trace:032x}' ORDER BY nested_left",
                got.join(", ")
            );
            let one = format!("SELECT hex(span_id), {} FROM trace_tree('{trace:032x}')", fields.join(", "));
            let (rows, want) = (ask(&view, &of_all).await, ask(&view, &one).await);
            assert!(!want.is_empty());
            assert_eq!(rows, want, "trace {trace}");
        }
        let roots = format!("SELECT t, s FROM ({PLACES}) AS x WHERE get_field(p, 'is_root') ORDER BY t");
        let roots: Vec<String> = ask(&view, &roots).await.into_iter().map(|row| row[1].clone()).collect();
        assert_eq!(roots.iter().map(|s| &s[15..]).collect::<String>(), "1211", "the first that names no parent");
    }

    #[tokio::test]
    async fn a_value_of_the_parent_is_that_of_the_row_above() {
        let named = |id, parent, name| Span { name, ..span(1, id, parent, id.cast_signed()) };
        let spans = [named(1, None, "a"), named(2, Some(1), "b"), named(3, Some(2), "c"), named(4, Some(9), "d")];
        let view = Fill::new().memory(&spans).view();
        let sql = format!(
            "SELECT name, of_parent(name = 'a', l, u) OVER (PARTITION BY t) AS above FROM (SELECT t, name, \
             get_field(p, 'nested_left') AS l, get_field(p, 'parent_left') AS u FROM ({PLACES}) AS x) AS y ORDER BY name"
        );
        let rows = ask(&view, &sql).await;
        let pairs: Vec<(&str, &str)> = rows.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
        assert_eq!(pairs, [("a", "∅"), ("b", "true"), ("c", "false"), ("d", "∅")]);
    }
}
