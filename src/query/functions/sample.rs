//! `in_sample`: the same share of traces everywhere.
//!
//! Duty: decide by the trace id alone. Guarantee: a sample of a smaller share lies within that of a larger one, on any
//! node and at any time. Left to others: random sampling, which SQL here does not have.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use twox_hash::XxHash3_64;

use super::argument;

/// `in_sample(trace_id, share)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct InSample {
    signature: Signature,
}

impl Default for InSample {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for InSample {
    fn name(&self) -> &'static str {
        "in_sample"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        match args {
            [DataType::FixedSizeBinary(16), share] if share.is_numeric() => {
                Ok(vec![DataType::FixedSizeBinary(16), DataType::Float64])
            }
            _ => plan_err!("in_sample takes a trace id and a share from 0 to 1: in_sample(trace_id, 0.1)"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let (ids, shares) = (arrays[0].as_fixed_size_binary(), arrays[1].as_primitive::<Float64Type>());
        let mut kept = Vec::with_capacity(ids.len());
        for (id, share) in ids.iter().zip(shares) {
            kept.push(match (id, share) {
                (Some(id), Some(share)) if (0.0..=1.0).contains(&share) => Some(is_in(id, share)),
                (_, Some(share)) if !(0.0..=1.0).contains(&share) => {
                    return Err(argument(format!("in_sample takes a share from 0 to 1, not {share}")));
                }
                _ => None,
            });
        }
        Ok(ColumnarValue::Array(Arc::new(BooleanArray::from(kept)) as ArrayRef))
    }
}

#[allow(clippy::cast_precision_loss, reason = "53 bits of the hash are enough")]
fn is_in(id: &[u8], share: f64) -> bool {
    ((XxHash3_64::oneshot(id) >> 11) as f64) < share * (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_sample_lies_within_a_larger_one() {
        let ids: Vec<[u8; 16]> = (0..10_000_u128).map(u128::to_be_bytes).collect();
        let sample = |share| ids.iter().filter(|id| is_in(*id, share)).collect::<Vec<_>>();
        let (small, large) = (sample(0.1), sample(0.2));
        assert!(small.iter().all(|id| large.contains(id)));
        assert!((900..1100).contains(&small.len()), "{}", small.len());
        assert_eq!((sample(0.0).len(), sample(1.0).len()), (0, 10_000));
    }
}
