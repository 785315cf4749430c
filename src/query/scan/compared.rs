//! Comparisons of text that scans make themselves.
//!
//! Duty: [`Compared`], a rule over physical plans: where a filter asks whether a column is one word, and nothing else reads
//! that column, the scan below gives the answer instead of the text: on a file it looks among the few words of a dictionary
//! ([`super::adapter`], [`super::word`]), not at the text of each row. Guarantee: the filter stays, and the same rows pass
//! it. Left to others: which files are read with dictionaries (`parts`).

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::datasource::physical_plan::ParquetSource;
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, conjunction, split_conjunction};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::scalar::ScalarValue;

use super::below_union;
use super::word::IsWord;

/// See above.
#[derive(Debug)]
pub struct Compared;

impl PhysicalOptimizerRule for Compared {
    fn name(&self) -> &str {
        "compared"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let rewritten = node.downcast_ref::<FilterExec>().map(rewritten).transpose()?.flatten();
            Ok(rewritten.map_or_else(|| Transformed::no(node), Transformed::yes))
        })
        .data()
    }
}

/// The filter over a scan that compares; `None` where there is nothing to win.
fn rewritten(filter: &FilterExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(outputs) = filter.projection() else { return Ok(None) };
    let schema = filter.input().schema();
    let is_text = |column: &Column| *schema.field(column.index()).data_type() == DataType::Utf8View;
    let conjuncts = split_conjunction(filter.predicate());
    let (compared, others): (Vec<_>, Vec<_>) =
        conjuncts.into_iter().cloned().partition(|conjunct| of_one_word(conjunct).is_some_and(is_text));
    let mut read: BTreeSet<usize> = outputs.iter().copied().collect();
    read.extend(others.iter().flat_map(collect_columns).map(|column| column.index()));
    let is_read =
        |conjunct: &Arc<dyn PhysicalExpr>| of_one_word(conjunct).is_none_or(|column| read.contains(&column.index()));
    let (stay, go): (Vec<_>, Vec<_>) = compared.into_iter().partition(is_read);
    if go.is_empty() {
        return Ok(None);
    }
    let kept: Vec<usize> = read.into_iter().collect();
    let column = |at: usize, place| Arc::new(Column::new(schema.field(at).name(), place)) as Arc<dyn PhysicalExpr>;
    let of_kept =
        kept.iter().map(|at| ProjectionExpr { expr: column(*at, *at), alias: schema.field(*at).name().clone() });
    let of_words = go.iter().map(|expr| ProjectionExpr { expr: asked(expr), alias: expr.to_string() });
    let exprs: Vec<ProjectionExpr> = of_kept.chain(of_words).collect();
    let Some(input) = computed(filter.input(), exprs)? else { return Ok(None) };
    let place = |at: usize| kept.iter().position(|kept| *kept == at).expect("what is read is kept");
    let mut predicates = Vec::new();
    for conjunct in others.into_iter().chain(stay) {
        let moved = conjunct.transform(|expr| {
            let moved = expr.downcast_ref::<Column>().map(|of| column(of.index(), place(of.index())));
            Ok(moved.map_or_else(|| Transformed::no(expr), Transformed::yes))
        });
        predicates.push(moved.data()?);
    }
    let answers = go.iter().zip(kept.len()..);
    predicates.extend(answers.map(|(expr, at)| Arc::new(Column::new(&expr.to_string(), at)) as Arc<dyn PhysicalExpr>));
    let outputs = outputs.iter().map(|at| place(*at)).collect();
    let filter = FilterExecBuilder::new(conjunction(predicates), input)
        .apply_projection(Some(outputs))?
        .with_default_selectivity(filter.default_selectivity())
        .with_batch_size(filter.batch_size())
        .with_fetch(filter.fetch())
        .build()?;
    Ok(Some(Arc::new(filter)))
}

/// The column that `expr` compares with one word.
fn of_one_word(expr: &Arc<dyn PhysicalExpr>) -> Option<&Column> {
    let expr = expr.downcast_ref::<BinaryExpr>().filter(|expr| *expr.op() == Operator::Eq)?;
    let word = expr.right().downcast_ref::<Literal>()?;
    matches!(word.value(), ScalarValue::Utf8View(Some(_))).then(|| expr.left().downcast_ref())?
}

/// The comparison `expr` as scans make it.
fn asked(expr: &Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
    match expr.downcast_ref::<BinaryExpr>() {
        Some(of) => IsWord::call(of.left().clone(), of.right().clone()),
        None => expr.clone(),
    }
}

/// The plan of `exprs` over `input`, which scans of files compute; `None` where no such scan is.
fn computed(input: &Arc<dyn ExecutionPlan>, exprs: Vec<ProjectionExpr>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let projection = ProjectionExec::try_new(exprs, input.clone())?;
    match input.downcast_ref::<DataSourceExec>() {
        Some(scan) if scan.downcast_to_file_source::<ParquetSource>().is_some() => {
            scan.try_swapping_with_projection(&projection)
        }
        _ => below_union::moved(&projection),
    }
}
