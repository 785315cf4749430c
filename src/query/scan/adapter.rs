//! How the table's columns are found in one file.
//!
//! Duty: rewrite an expression over [`super::table_schema`], and columns that stand for brackets ([`super::brackets`]), to
//! one over a part's own columns (sql.md 3.5). Guarantee: a bare container is the merge of its list and all promoted
//! columns of its level, so it reads the same wherever a value lies; a bracket reads where the footer says that its key
//! lies, and nothing else: its promoted column as it is, of the list no other leaves than it needs, or nothing at all
//! where no row has the key. Left to others: anything that is the same in all files, which goes to the engine's default
//! adapter.

use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Operator, ScalarUDF};
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal, lit};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_expr_adapter::{DefaultPhysicalExprAdapter, PhysicalExprAdapter, PhysicalExprAdapterFactory};

use super::brackets;
use super::columns::{self, Computed, Which};
use super::word::IsWord;
use crate::query::attributes::attr::{Attr, arrow_type};
use crate::query::attributes::in_file::{InFile, Place, narrow};
use crate::query::attributes::merge::{Merge, Nested};
use crate::query::attributes::visible;
use crate::span::pinned::ScalarType;
use crate::span::schema;
use crate::store::part::{Keys, Level};

/// Makes a [`SpanAdapter`] per file.
#[derive(Debug)]
pub struct SpanAdapterFactory;

impl PhysicalExprAdapterFactory for SpanAdapterFactory {
    fn create(&self, table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let default = DefaultPhysicalExprAdapter::new(table.clone(), file.clone());
        Ok(Arc::new(SpanAdapter { default, table, file, keys: OnceLock::new() }))
    }
}

/// Rewrites expressions for one file.
#[derive(Debug)]
struct SpanAdapter {
    default: DefaultPhysicalExprAdapter,
    table: SchemaRef,
    file: SchemaRef,
    /// What the footer says; read when a bracket asks.
    keys: OnceLock<Option<Keys>>,
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
        let expr = expr.with_new_children(children)?;
        Ok(self.among_words(&expr).unwrap_or(expr))
    }
}

impl SpanAdapter {
    /// A comparison of text, which the file has as a dictionary, with one word: that with the words of the dictionary.
    fn among_words(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<Arc<dyn PhysicalExpr>> {
        if let Some(call) = ScalarFunctionExpr::try_downcast_func::<IsWord>(expr.as_ref()) {
            let [text, word] = call.args() else { return None };
            return Some(IsWord::call(self.with_words(text)?, word.clone()));
        }
        let comparison = expr.downcast_ref::<BinaryExpr>().filter(|expr| *expr.op() == Operator::Eq)?;
        let text = self.with_words(comparison.left())?;
        let ScalarValue::Utf8View(Some(word)) = comparison.right().downcast_ref::<Literal>()?.value() else {
            return None;
        };
        let word = ScalarValue::Dictionary(Box::new(DataType::Int32), Box::new(ScalarValue::Utf8(Some(word.clone()))));
        Some(Arc::new(BinaryExpr::new(text, Operator::Eq, lit(word))))
    }

    /// The column that the file has as a dictionary and `text` makes plain.
    fn with_words(&self, text: &Arc<dyn PhysicalExpr>) -> Option<Arc<dyn PhysicalExpr>> {
        let plain = text.downcast_ref::<CastExpr>().filter(|cast| *cast.cast_type() == DataType::Utf8View)?;
        let column = plain.expr().downcast_ref::<Column>()?;
        let has_words = *self.file.field(column.index()).data_type() == schema::word();
        has_words.then(|| plain.expr().clone())
    }

    fn mentions_ours(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<bool> {
        let mut found = false;
        expr.apply(|node| {
            if node.downcast_ref::<Column>().is_some_and(|column| self.is_ours(column.name())) {
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
        let Some(level) = level_of(container.name()) else { return Ok(None) };
        self.bracket(level, Attr::of(attr.fun()).expect("try_downcast_func found it")).map(Some)
    }

    fn column(&self, column: &Column) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let name = column.name();
        if let Some(level) = level_of(name) {
            return self.merge(level, |_| true).map(Some);
        }
        if let Some((attr, container)) = self.stands_for(name) {
            return self.bracket(level_of(container).expect("made of a container"), &attr).map(Some);
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

    /// The value of a key, from where this file keeps it.
    fn bracket(&self, level: Level, attr: &Attr) -> Result<Arc<dyn PhysicalExpr>> {
        let (stored, of) = (visible::stored(attr.key()), attr.scalar_type());
        let Some(keys) = self.keys() else { return self.of_merged(level, attr) };
        let entry = keys.get(level, &stored);
        let promoted = entry.and_then(|entry| entry.promoted);
        let in_list = match entry {
            Some(entry) => (entry.residual > 0).then_some(entry.mask),
            None => (!keys.complete).then_some(u8::MAX),
        };
        let column = match promoted {
            Some(_) => match self.file.column_with_name(&format!("{}.{stored}", level.as_str())) {
                Some((at, field)) => Some((Arc::new(Column::new(field.name(), at)) as Arc<dyn PhysicalExpr>, field)),
                None => return self.of_merged(level, attr),
            },
            None => None,
        };
        match (column, promoted, in_list) {
            (Some((column, field)), Some(promoted), None) => self.of_column(column, field, promoted, &stored, of),
            (Some((column, _)), _, Some(mask)) => {
                let list = self.narrowed(level, mask)?;
                Ok(self.in_file(&stored, of, Place::Both, vec![column, list]))
            }
            (None, _, Some(mask)) => {
                let list = self.narrowed(level, mask)?;
                Ok(self.in_file(&stored, of, Place::List, vec![list]))
            }
            (_, _, None) => Ok(lit(ScalarValue::try_from(&arrow_type(of))?)),
        }
    }

    /// The column itself where it has the type: so statistics and bloom filters answer for the bracket.
    fn of_column(
        &self,
        column: Arc<dyn PhysicalExpr>,
        field: &Field,
        promoted: ScalarType,
        stored: &str,
        of: ScalarType,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let wanted = arrow_type(of);
        // The file's bounds leave out NaN, which SQL compares as the largest number: no page may be passed over by them.
        if promoted == ScalarType::Double {
            return Ok(self.in_file(stored, of, Place::Column, vec![column]));
        }
        if *field.data_type() == wanted {
            return Ok(column);
        }
        let widened = promoted == ScalarType::Int && of == ScalarType::Double;
        if promoted == of || widened {
            return Ok(Arc::new(CastExpr::new(column, wanted, None)));
        }
        Ok(self.in_file(stored, of, Place::Column, vec![column]))
    }

    /// The value of a key from its container put together again: for files whose footer does not say where it lies.
    fn of_merged(&self, level: Level, attr: &Attr) -> Result<Arc<dyn PhysicalExpr>> {
        let stored = visible::stored(attr.key());
        let merged = self.merge(level, |key| key == stored)?;
        let (config, field) = (Arc::new(ConfigOptions::default()), nullable(attr.scalar_type()));
        let function = Arc::new(ScalarUDF::from(attr.clone()));
        Ok(Arc::new(ScalarFunctionExpr::new("attr", function, vec![merged], field, config)))
    }

    fn in_file(
        &self,
        stored: &str,
        of: ScalarType,
        place: Place,
        args: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Arc<dyn PhysicalExpr> {
        let function = Arc::new(ScalarUDF::from(InFile::new(stored, of, place)));
        let config = Arc::new(ConfigOptions::default());
        Arc::new(ScalarFunctionExpr::new("attr_in_file", function, args, nullable(of), config))
    }

    /// The list of `level` with the leaves for values of the types in `mask`: the cast tells the reader which to fetch.
    fn narrowed(&self, level: Level, mask: u8) -> Result<Arc<dyn PhysicalExpr>> {
        let at = self.file.index_of(level.column())?;
        let list = Arc::new(Column::new(level.column(), at));
        let wanted = narrow(mask);
        if *self.file.field(at).data_type() == wanted {
            return Ok(list);
        }
        Ok(Arc::new(CastExpr::new(list, wanted, None)))
    }

    fn keys(&self) -> Option<&Keys> {
        self.keys.get_or_init(|| Keys::of_footer(self.file.metadata())).as_ref()
    }

    /// The bracket that the table's column `name` stands for.
    fn stands_for(&self, name: &str) -> Option<(Attr, &str)> {
        brackets::attr_of(self.table.field_with_name(name).ok()?)
    }

    fn is_ours(&self, name: &str) -> bool {
        let computed = [columns::END_TIME, columns::DURATION_MS, "events", "links"].contains(&name);
        computed || level_of(name).is_some() || self.stands_for(name).is_some()
    }

    /// The list of `level` merged with those promoted columns whose stored key is `wanted`.
    fn merge(&self, level: Level, wanted: impl Fn(&str) -> bool) -> Result<Arc<dyn PhysicalExpr>> {
        let prefix = format!("{}.", level.as_str());
        let mut keys = Vec::new();
        let mut args = vec![self.plain(level.column())?];
        for (at, field) in self.file.fields().iter().enumerate() {
            let Some(key) = field.name().strip_prefix(&prefix) else { continue };
            if wanted(key) {
                keys.push(key.to_owned());
                args.push(Arc::new(Column::new(field.name(), at)));
            }
        }
        self.call(Merge::new(keys).into(), args, level.column())
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
        Ok(self.table.fields()[self.table.index_of(name)?].clone())
    }
}

fn level_of(container: &str) -> Option<Level> {
    Level::ALL.into_iter().find(|level| level.column() == container)
}

fn nullable(of: ScalarType) -> FieldRef {
    Arc::new(Field::new("attr", arrow_type(of), true))
}
