//! How the table's columns are found in one file.
//!
//! Duty: rewrite an expression over [`super::table_schema`] to one over a part's own columns (sql.md 3.5). Guarantee: a
//! bare container is the merge of its list and all promoted columns of its level, so it reads the same wherever a value
//! lies; a bracket on a container reads the list and the one promoted column of its key only. Left to others: anything
//! that is the same in all files, which goes to the engine's default adapter.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_expr_adapter::{DefaultPhysicalExprAdapter, PhysicalExprAdapter, PhysicalExprAdapterFactory};

use super::columns::{self, Computed, Which};
use crate::query::attributes::attr::Attr;
use crate::query::attributes::merge::{Merge, Nested};

/// Makes a [`SpanAdapter`] per file.
#[derive(Debug)]
pub struct SpanAdapterFactory;

impl PhysicalExprAdapterFactory for SpanAdapterFactory {
    fn create(&self, table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let default = DefaultPhysicalExprAdapter::new(table.clone(), file.clone());
        Ok(Arc::new(SpanAdapter { default, table, file }))
    }
}

/// Rewrites expressions for one file.
#[derive(Debug)]
struct SpanAdapter {
    default: DefaultPhysicalExprAdapter,
    table: SchemaRef,
    file: SchemaRef,
}

impl PhysicalExprAdapter for SpanAdapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        if let Some(ours) = self.resolve(&expr)? {
            return Ok(ours);
        }
        if !self.mentions_ours(&expr)? {
            return self.default.rewrite(expr);
        }
        let children = expr.children().into_iter().map(|child| self.rewrite(child.clone()));
        let children = children.collect::<Result<Vec<_>>>()?;
        expr.with_new_children(children)
    }
}

impl SpanAdapter {
    fn mentions_ours(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<bool> {
        let mut found = false;
        expr.apply(|node| {
            if node.downcast_ref::<Column>().is_some_and(|column| is_ours(column.name())) {
                found = true;
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(found)
    }

    /// The expression for a column of ours, or a bracket on one; `None` for anything else.
    fn resolve(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        if let Some(column) = expr.downcast_ref::<Column>() {
            return self.column(column);
        }
        let Some(attr) = ScalarFunctionExpr::try_downcast_func::<Attr>(expr.as_ref()) else { return Ok(None) };
        let Some(container) = attr.args().first().and_then(|arg| arg.downcast_ref::<Column>()) else {
            return Ok(None);
        };
        let Some(prefix) = promoted_prefix(container.name()) else { return Ok(None) };
        let key = Attr::of(attr.fun()).expect("try_downcast_func found it").key();
        let merged = self.merge(container.name(), |promoted| promoted.strip_prefix(prefix) == Some(key))?;
        Ok(Some(expr.clone().with_new_children(vec![merged])?))
    }

    fn column(&self, column: &Column) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let name = column.name();
        if let Some(prefix) = promoted_prefix(name) {
            return self.merge(name, |promoted| promoted.starts_with(prefix)).map(Some);
        }
        match name {
            columns::END_TIME => {
                let args = vec![self.plain("start_time")?, self.plain("duration_ns")?];
                self.call(Computed::new(Which::EndTime).into(), args, name).map(Some)
            }
            columns::DURATION_MS => {
                self.call(Computed::new(Which::DurationMs).into(), vec![self.plain("duration_ns")?], name).map(Some)
            }
            "events" | "links" => self.call(Nested::default().into(), vec![self.plain(name)?], name).map(Some),
            _ => Ok(None),
        }
    }

    /// The list `container` merged with the promoted columns that `wanted` picks by their physical name.
    fn merge(&self, container: &str, wanted: impl Fn(&str) -> bool) -> Result<Arc<dyn PhysicalExpr>> {
        let prefix = promoted_prefix(container).expect("callers ask for containers");
        let mut keys = Vec::new();
        let mut args = vec![self.plain(container)?];
        for (at, field) in self.file.fields().iter().enumerate() {
            let Some(key) = field.name().strip_prefix(prefix) else { continue };
            if wanted(field.name()) {
                keys.push(key.to_owned());
                args.push(Arc::new(Column::new(field.name(), at)));
            }
        }
        self.call(Merge::new(keys).into(), args, container)
    }

    /// A column of the table as the default adapter finds it.
    fn plain(&self, name: &str) -> Result<Arc<dyn PhysicalExpr>> {
        self.default.rewrite(Arc::new(Column::new(name, self.table.index_of(name)?)))
    }

    fn call(&self, fun: ScalarUDF, args: Vec<Arc<dyn PhysicalExpr>>, name: &str) -> Result<Arc<dyn PhysicalExpr>> {
        let field = self.table_field(name)?;
        let config = Arc::new(ConfigOptions::default());
        Ok(Arc::new(ScalarFunctionExpr::new(name, Arc::new(fun), args, field, config)))
    }

    fn table_field(&self, name: &str) -> Result<FieldRef> {
        let table: &Schema = &self.table;
        Ok(table.fields()[table.index_of(name)?].clone())
    }
}

/// Prefix of the physical names of promoted columns of a container.
fn promoted_prefix(container: &str) -> Option<&'static str> {
    match container {
        "attributes" => Some("attr."),
        "resource" => Some("res."),
        "scope" => Some("scope."),
        _ => None,
    }
}

fn is_ours(column: &str) -> bool {
    promoted_prefix(column).is_some() || [columns::END_TIME, columns::DURATION_MS, "events", "links"].contains(&column)
}
