//! Expressions that every part of a union computes itself.
//!
//! Duty: [`BelowUnion`], a rule over physical plans: a projection that computes something moves below the union of parts and
//! memory, where each leaf reads what the expression needs: of a bracket one promoted column, not its whole container. The
//! engine moves only those that leave columns out. Guarantee: the same rows. Left to others: what a leaf can compute
//! (`adapter`, `memory`).
//!
//! It runs before the engine puts filters into scans: through a projection that stands above the union they would go as
//! expressions over containers.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;

/// See above.
#[derive(Debug)]
pub struct BelowUnion;

impl PhysicalOptimizerRule for BelowUnion {
    fn name(&self) -> &str {
        "below_union"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_down(|node| {
            let moved = node.downcast_ref::<ProjectionExec>().map(moved).transpose()?.flatten();
            Ok(moved.map_or_else(|| Transformed::no(node), Transformed::yes))
        })
        .data()
    }
}

/// The union of what `projection` makes of each input of the union below it; `None` where it computes nothing, or no union
/// is there.
pub(super) fn moved(projection: &ProjectionExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let computes = projection.expr().iter().any(|of| !of.expr.is::<Column>());
    let Some(union) = projection.input().downcast_ref::<UnionExec>().filter(|_| computes) else { return Ok(None) };
    let mut inputs: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
    for input in union.inputs() {
        let above = ProjectionExec::try_new(projection.expr().to_vec(), input.clone())?;
        inputs.push(match input.try_swapping_with_projection(&above)? {
            Some(swapped) => swapped,
            None => Arc::new(above),
        });
    }
    UnionExec::try_new(inputs).map(Some)
}
