//! Optimizer rules that may give up.
//!
//! Duty: keep a plan as it is where one of the engine's two leaf-expression rules fails on it. Guarantee: only these
//! rules, which make plans cheaper and never make them right, are treated so; every other failure is an error. Left to
//! others: equal levels of a statement (`levels`).
//!
//! DataFusion 55.2: `push_down_leaf_projections` moves a bracket below a UNION whose inputs name their tables, then
//! finds `spans.attributes` and `attributes` in one schema and fails. Without the move the bracket is read above it.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::optimizer::{ApplyOrder, Optimizer};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::levels::{self, Levels};

/// The engine's rules, those for leaf expressions made lenient and the one for projections made right.
pub fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let ours = |rule: Arc<dyn OptimizerRule + Send + Sync>| -> Arc<dyn OptimizerRule + Send + Sync> {
        match rule.name() {
            "extract_leaf_expressions" | "push_down_leaf_projections" => Arc::new(Lenient(rule)),
            levels::RULE => Arc::new(Levels(rule)),
            _ => rule,
        }
    };
    Optimizer::new().rules.into_iter().map(ours).collect()
}

#[derive(Debug)]
struct Lenient(Arc<dyn OptimizerRule + Send + Sync>);

impl OptimizerRule for Lenient {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let before = plan.clone();
        match self.0.rewrite(plan, config) {
            Ok(rewritten) => Ok(rewritten),
            Err(error) => {
                tracing::debug!(rule = self.name(), %error, "optimizer rule skipped");
                Ok(Transformed::no(before))
            }
        }
    }
}
