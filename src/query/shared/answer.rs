//! What one statement makes of the values of an aggregation that it shares.
//!
//! Duty: its texts among the keys, its HAVING, its columns. Guarantee: no expression of it sees a row that its own filter
//! leaves out; without keys of its own it gives one row, also of no span. Left to others: the values (`aggregation`).

use std::sync::Arc;

use arrow::array::{Array as _, BooleanArray, RecordBatch, Scalar, StringArray};
use arrow::compute::filter_record_batch;
use arrow::compute::kernels::{boolean::and_kleene, cmp::eq};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DataFusionError, Result};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, cast};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::filter::batch_filter;

use super::aggregation::{Aggregation, Maker, batch, evaluated};
use super::decompose::{Decomposed, placed};

/// Where the keys and aggregates of a statement stand in the aggregation.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// Place and type of each key.
    pub keys: Vec<(usize, DataType)>,
    pub aggregates: Vec<usize>,
    /// Place of the key that each text pins.
    pub pinned: Vec<usize>,
}

/// From values to the rows of a statement.
#[derive(Debug)]
pub struct Answer {
    pinned: Vec<(usize, String)>,
    has_keys: bool,
    having: Option<Arc<dyn PhysicalExpr>>,
    outputs: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

impl Answer {
    pub(super) fn new(parts: &Decomposed, places: &Places, of: &Aggregation, state: &SessionState) -> Result<Self> {
        let schema = Arc::new(DFSchema::try_from(of.values().as_ref().clone())?);
        let maker = Maker { state, schema };
        let moved = |expr: &Expr| moved(expr, places).and_then(|expr| maker.simplified(expr));
        let having = parts.having.iter().map(&moved).collect::<Result<Vec<_>>>()?;
        let having = conjunction(having).map(|holds| maker.physical(&holds)).transpose()?;
        let mut outputs = Vec::with_capacity(parts.outputs.len());
        let mut fields = Vec::with_capacity(parts.outputs.len());
        for (name, expr) in &parts.outputs {
            let output = maker.physical(&moved(expr)?)?;
            fields.push(Field::new(name, output.data_type(of.values())?, true));
            outputs.push(output);
        }
        let texts = parts.pinned.iter().map(|(_, text)| text.clone());
        Ok(Self {
            pinned: places.pinned.iter().copied().zip(texts).collect(),
            has_keys: !parts.keys.is_empty(),
            having,
            outputs,
            schema: Arc::new(Schema::new(fields)),
        })
    }

    /// The rows of the statement, where `values` are those of its aggregation.
    ///
    /// Errors: what an expression of it ends in.
    pub fn rows(&self, values: &RecordBatch, of: &Aggregation) -> Result<RecordBatch> {
        let mut own = match self.holds(values)? {
            Some(holds) => filter_record_batch(values, &holds)?,
            None => values.clone(),
        };
        if own.num_rows() == 0 && !self.has_keys {
            own = of.nothing().clone();
        }
        if let Some(having) = &self.having {
            own = batch_filter(&own, having)?;
        }
        batch(&self.schema, evaluated(&self.outputs, &own)?, own.num_rows())
    }

    fn holds(&self, values: &RecordBatch) -> Result<Option<BooleanArray>> {
        let mut all = None;
        for (at, text) in &self.pinned {
            let column = values.column(*at);
            let text = arrow::compute::cast(&StringArray::from(vec![text.as_str()]), column.data_type())?;
            let holds = eq(column, &Scalar::new(text))?;
            all = Some(match all {
                Some(before) => and_kleene(&before, &holds)?,
                None => holds,
            });
        }
        Ok(all)
    }
}

/// `expr` over the columns of the aggregation, keys in the types that the statement knows.
fn moved(expr: &Expr, places: &Places) -> Result<Expr> {
    let moved = expr.clone().transform_up(|inner| {
        let Expr::Column(column) = &inner else { return Ok(Transformed::no(inner)) };
        let unknown = || DataFusionError::Internal(format!("no column {}", column.name));
        let (kind, at) = column.name.split_at_checked(1).ok_or_else(unknown)?;
        let at: usize = at.parse().map_err(|_| unknown())?;
        let there = match kind {
            "k" => {
                let (at, of) = places.keys.get(at).ok_or_else(unknown)?;
                let key = placed('k', *at);
                if matches!(of, DataType::Dictionary(..)) { cast(key, of.clone()) } else { key }
            }
            _ => placed('v', *places.aggregates.get(at).ok_or_else(unknown)?),
        };
        Ok(Transformed::yes(there))
    })?;
    Ok(moved.data)
}
