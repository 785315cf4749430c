//! Histograms as values: the type EXPHIST, and what can be asked of one.
//!
//! Duty: the columns of a histogram, and `exphist_quantile`, `exphist_count`, `exphist_sum`, `exphist_min`,
//! `exphist_max`. Guarantee: what is read was checked: a value that is no histogram is an error, never a wrong number.
//! Left to others: making histograms (`aggregates`).
//!
//! The type is STRUCT{scale, max_buckets, count, zeros, sum, min, max, positive, negative}, the last two of
//! LIST<STRUCT{index, count}>: every wire carries structures, and text formats write an object. Bucket i of `positive`
//! holds values of (base^i, base^(i+1)] with base = 2^(2^-scale); those of `negative` go by size without sign.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int8Array, Int32Array, Int64Array, ListArray, StructArray, UInt32Array,
    UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Int8Type, Int32Type, UInt32Type, UInt64Type};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::argument;
use super::exphist::{ExpHist, Parts};

fn bucket_fields() -> Fields {
    vec![Field::new("index", DataType::Int32, false), Field::new("count", DataType::UInt64, false)].into()
}

fn fields() -> &'static Fields {
    static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
        let buckets = || DataType::List(Arc::new(Field::new("item", DataType::Struct(bucket_fields()), false)));
        vec![
            Field::new("scale", DataType::Int8, false),
            Field::new("max_buckets", DataType::UInt32, false),
            Field::new("count", DataType::UInt64, false),
            Field::new("zeros", DataType::UInt64, false),
            Field::new("sum", DataType::Float64, false),
            Field::new("min", DataType::Float64, true),
            Field::new("max", DataType::Float64, true),
            Field::new("positive", buckets(), false),
            Field::new("negative", buckets(), false),
        ]
        .into()
    });
    &FIELDS
}

/// The type EXPHIST.
pub fn data_type() -> DataType {
    DataType::Struct(fields().clone())
}

/// Whether `of` is the type EXPHIST.
pub fn is(of: &DataType) -> bool {
    matches!(of, DataType::Struct(of) if of == fields())
}

/// One value; `None` is NULL.
pub fn scalar(hist: Option<&ExpHist>) -> Result<ScalarValue> {
    match hist {
        None => ScalarValue::try_from(&data_type()),
        Some(hist) => Ok(ScalarValue::Struct(Arc::new(array(&[Some(hist.parts())])))),
    }
}

/// A column of them.
fn array(hists: &[Option<Parts>]) -> StructArray {
    let nothing = Parts { max_buckets: 2, ..Parts::default() };
    let rows: Vec<&Parts> = hists.iter().map(|hist| hist.as_ref().unwrap_or(&nothing)).collect();
    let buckets = |of: fn(&Parts) -> &Vec<(i32, u64)>| -> ArrayRef {
        let all = || rows.iter().flat_map(|parts| of(parts).iter());
        let index: ArrayRef = Arc::new(Int32Array::from_iter_values(all().map(|(index, _)| *index)));
        let count: ArrayRef = Arc::new(UInt64Array::from_iter_values(all().map(|(_, count)| *count)));
        let lengths = OffsetBuffer::from_lengths(rows.iter().map(|parts| of(parts).len()));
        let values = StructArray::new(bucket_fields(), vec![index, count], None);
        let item = Arc::new(Field::new("item", DataType::Struct(bucket_fields()), false));
        Arc::new(ListArray::new(item, lengths, Arc::new(values), None))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int8Array::from_iter_values(rows.iter().map(|parts| parts.scale))),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|parts| parts.max_buckets))),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|parts| parts.count))),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|parts| parts.zeros))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|parts| parts.sum))),
        Arc::new(Float64Array::from_iter(rows.iter().map(|parts| parts.min))),
        Arc::new(Float64Array::from_iter(rows.iter().map(|parts| parts.max))),
        buckets(|parts| &parts.positive),
        buckets(|parts| &parts.negative),
    ];
    let valid: NullBuffer = hists.iter().map(Option::is_some).collect();
    StructArray::new(fields().clone(), columns, Some(valid))
}

/// The histograms of a column.
#[derive(Debug)]
pub struct Reader<'a>(&'a StructArray);

impl<'a> Reader<'a> {
    /// Of a column of the type EXPHIST.
    pub fn try_new(array: &'a ArrayRef) -> Result<Self> {
        if !is(array.data_type()) {
            return plan_err!("a histogram is what exphist and exphist_merge give");
        }
        Ok(Self(array.as_struct()))
    }

    /// That of a row; `None` for NULL.
    ///
    /// Errors: `sql.argument` where the parts fit no histogram.
    pub fn at(&self, row: usize) -> Result<Option<ExpHist>> {
        if self.0.is_null(row) {
            return Ok(None);
        }
        let column = |at: usize| self.0.column(at);
        let long = |at: usize| column(at).as_primitive::<UInt64Type>().value(row);
        let bound = |at: usize| column(at).is_valid(row).then(|| column(at).as_primitive::<Float64Type>().value(row));
        let buckets = |at: usize| -> Vec<(i32, u64)> {
            let of = column(at).as_list::<i32>().value(row);
            let of = of.as_struct();
            let (index, count) = (of.column(0).as_primitive::<Int32Type>(), of.column(1).as_primitive::<UInt64Type>());
            index.values().iter().copied().zip(count.values().iter().copied()).collect()
        };
        let parts = Parts {
            scale: column(0).as_primitive::<Int8Type>().value(row),
            max_buckets: column(1).as_primitive::<UInt32Type>().value(row),
            count: long(2),
            zeros: long(3),
            sum: column(4).as_primitive::<Float64Type>().value(row),
            min: bound(5),
            max: bound(6),
            positive: buckets(7),
            negative: buckets(8),
        };
        match ExpHist::from_parts(parts) {
            Some(hist) => Ok(Some(hist)),
            None => Err(argument("the value has the type of a histogram, but its parts contradict each other")),
        }
    }
}

/// The scalar functions.
pub fn all() -> Vec<ScalarUDF> {
    [Which::Quantile, Which::Count, Which::Sum, Which::Min, Which::Max]
        .map(|which| Asked { which, signature: Signature::user_defined(Volatility::Immutable) }.into())
        .into()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Asked {
    which: Which,
    signature: Signature,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Which {
    Quantile,
    Count,
    Sum,
    Min,
    Max,
}

impl ScalarUDFImpl for Asked {
    fn name(&self) -> &str {
        match self.which {
            Which::Quantile => "exphist_quantile",
            Which::Count => "exphist_count",
            Which::Sum => "exphist_sum",
            Which::Min => "exphist_min",
            Which::Max => "exphist_max",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        match (self.which, args) {
            (Which::Quantile, [of, share]) if fits(of) && (share.is_numeric() || share.is_null()) => {
                Ok(vec![data_type(), DataType::Float64])
            }
            (Which::Quantile, _) => {
                plan_err!("exphist_quantile takes a histogram and a share: exphist_quantile(duration, 0.99)")
            }
            (_, [of]) if fits(of) => Ok(vec![data_type()]),
            _ => plan_err!("{} takes a histogram: {}(duration)", self.name(), self.name()),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(if self.which == Which::Count { DataType::Int64 } else { DataType::Float64 })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let column = args.args[0].to_array(args.number_rows)?;
        let hists = Reader::try_new(&column)?;
        let rows = 0..column.len();
        if self.which == Which::Count {
            let count = |row| Ok(hists.at(row)?.map(|hist| i64::try_from(hist.count()).unwrap_or(i64::MAX)));
            let counts: Int64Array = rows.map(count).collect::<Result<_>>()?;
            return Ok(ColumnarValue::Array(Arc::new(counts)));
        }
        let shares = args.args.get(1).map(|shares| shares.to_array(args.number_rows)).transpose()?;
        let value = |row: usize| -> Result<Option<f64>> {
            let Some(hist) = hists.at(row)? else { return Ok(None) };
            Ok(match (self.which, &shares) {
                (Which::Sum, _) => Some(hist.sum()),
                (Which::Min, _) => hist.min(),
                (Which::Max, _) => hist.max(),
                (_, Some(shares)) if shares.is_valid(row) => {
                    let share = shares.as_primitive::<Float64Type>().value(row);
                    if !(0.0..=1.0).contains(&share) {
                        return Err(argument(format!("exphist_quantile takes a share from 0 to 1, not {share}")));
                    }
                    hist.quantile(share)
                }
                _ => None,
            })
        };
        let values: Float64Array = rows.map(value).collect::<Result<_>>()?;
        Ok(ColumnarValue::Array(Arc::new(values)))
    }
}

fn fits(of: &DataType) -> bool {
    is(of) || of.is_null()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_of_histograms_is_read_as_it_was_written() {
        let mut hist = ExpHist::new(32);
        [1.5, -2.0, 0.0, 1e9].into_iter().for_each(|value| hist.add(value));
        let column: ArrayRef = Arc::new(array(&[Some(hist.parts()), None, Some(ExpHist::new(8).parts())]));
        let read = Reader::try_new(&column).unwrap();
        assert_eq!(read.at(0).unwrap(), Some(hist.clone()));
        assert_eq!(read.at(1).unwrap(), None);
        assert_eq!(read.at(2).unwrap(), Some(ExpHist::new(8)));
        let wrong: ArrayRef = Arc::new(array(&[Some(Parts { count: 9, ..hist.parts() })]));
        let error = Reader::try_new(&wrong).unwrap().at(0).unwrap_err();
        assert!(error.to_string().contains("contradict"), "{error}");
    }
}
