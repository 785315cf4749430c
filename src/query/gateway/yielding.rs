//! Plans that can be stopped.
//!
//! Duty: let operators that make many rows of few yield to the scheduler. Guarantee: a dropped statement stops after at
//! most 128 batches of such an operator. Left to others: leaves, which the engine makes cooperative itself.
//!
//! DataFusion 55 puts its cooperative node above leaves and exchanges only. A join of a few rows with themselves hardly
//! ever asks its leaves: its consumer then runs in one poll until the end, and an abort is not noticed (sql.md 8, cancel).

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;

/// `plan` with a cooperative node above each join and unnest.
pub(super) fn yielding(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let wrap = |node: Arc<dyn ExecutionPlan>| {
        let name = node.name();
        if !name.ends_with("JoinExec") && name != "UnnestExec" {
            return Ok(Transformed::no(node));
        }
        Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>))
    };
    plan.transform_up(wrap).data()
}
