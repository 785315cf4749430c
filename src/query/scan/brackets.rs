//! What a statement's filters say about attributes.
//!
//! Duty: [`Brackets`], the conjuncts with brackets over columns of their own, so that a file's statistics, bloom filters
//! and decoder can be asked for them; and which keys a row must have to pass. Guarantee: a part or row group that is left
//! out has no row that passes. Left to others: what a bracket is in one file (`adapter`), the filter itself, which stays
//! above the scan.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::prelude::ident;

use super::table_schema;
use crate::query::attributes::attr::{Attr, Origin, arrow_type};
use crate::query::attributes::visible;
use crate::span::pinned::ScalarType;
use crate::store::part::{Keys, Level};

const CONTAINER: &str = "weavergen.container";
const KEY: &str = "weavergen.key";
const TYPES: [(&str, ScalarType); 4] = [
    ("TEXT", ScalarType::Text),
    ("BIGINT", ScalarType::Int),
    ("DOUBLE", ScalarType::Double),
    ("BOOLEAN", ScalarType::Bool),
];

/// What filters say about attributes.
#[derive(Clone, Debug, Default)]
pub struct Brackets {
    /// A column for each bracket, as [`attr_of`] reads it.
    fields: Vec<FieldRef>,
    filters: Vec<Expr>,
    required: Vec<(Level, String)>,
    /// Keys of texts that are compared with one word.
    words: Vec<(Level, String)>,
}

impl Brackets {
    /// What `filters`, all of which a row must pass, say.
    pub fn of(filters: &[Expr]) -> Result<Self> {
        let mut brackets = Self::default();
        for conjunct in filters.iter().flat_map(split_conjunction) {
            brackets.required.extend(required(conjunct));
            brackets.words.extend(compared(conjunct));
            let with_columns = conjunct.clone().transform_up(|expr| brackets.column(expr))?;
            if with_columns.transformed && !conjunct.is_volatile() && !names_container(&with_columns.data) {
                brackets.filters.push(with_columns.data);
            }
        }
        Ok(brackets)
    }

    fn column(&mut self, expr: Expr) -> Result<Transformed<Expr>> {
        let Some((attr, level)) = on_container(&expr) else { return Ok(Transformed::no(expr)) };
        let field = field(level, attr);
        let column = ident(field.name());
        if self.fields.iter().all(|known| known.name() != field.name()) {
            self.fields.push(Arc::new(field));
        }
        Ok(Transformed::yes(column))
    }

    /// The conjuncts, over columns of [`Brackets::schema`].
    pub fn filters(&self) -> &[Expr] {
        &self.filters
    }

    /// The table's columns and, behind them, one for each bracket.
    pub fn schema(&self) -> SchemaRef {
        if self.fields.is_empty() {
            return table_schema().clone();
        }
        let fields = table_schema().fields().iter().chain(&self.fields).cloned();
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// Texts that are compared with one word each: level and stored key.
    pub fn words(&self) -> &[(Level, String)] {
        &self.words
    }

    /// Whether a row must have some key to pass.
    pub fn require_any(&self) -> bool {
        !self.required.is_empty()
    }

    /// Whether a row of a part with `keys` may pass.
    pub fn may_hold_part(&self, keys: &Keys) -> bool {
        let may_have = |(level, key): &(Level, String)| !keys.complete || keys.get(*level, key).is_some();
        self.required.iter().all(may_have)
    }

    /// Whether a row of row group `number` of a part with `keys` may pass.
    pub fn may_hold_group(&self, keys: &Keys, number: usize) -> bool {
        self.required.iter().all(|(level, key)| match keys.get(*level, key) {
            Some(entry) => entry.promoted.is_some() || entry.may_be_residual_in(number),
            None => !keys.complete,
        })
    }
}

/// The bracket that `field` of a [`Brackets::schema`] stands for, with its key as written, and the name of its container.
pub fn attr_of(field: &Field) -> Option<(Attr, &str)> {
    let (container, key) = (field.metadata().get(CONTAINER)?, field.metadata().get(KEY)?);
    let (_, of) = TYPES.into_iter().find(|(_, of)| arrow_type(*of) == *field.data_type())?;
    Some((Attr::new(key, of, Origin::Fixed), container))
}

fn field(level: Level, attr: &Attr) -> Field {
    let container = level.column();
    let (word, of) = TYPES.into_iter().find(|(_, of)| *of == attr.scalar_type()).expect("all types are listed");
    let name = format!("{container}['{}']::{word}", attr.key().replace('\'', "''"));
    let metadata = [(CONTAINER, container), (KEY, attr.key())].map(|(k, v)| (k.to_owned(), v.to_owned()));
    Field::new(name, arrow_type(of), true).with_metadata(HashMap::from(metadata))
}

/// The bracket that `expr` is, if it is one on a container of the span.
fn on_container(expr: &Expr) -> Option<(&Attr, Level)> {
    let (attr, container) = Attr::in_expr(expr)?;
    let Expr::Column(column) = container else { return None };
    let level = Level::ALL.into_iter().find(|level| level.column() == column.name)?;
    Some((attr, level))
}

fn names_container(expr: &Expr) -> bool {
    let nested = |name: &str| table_schema().field_with_name(name).is_ok_and(|field| field.data_type().is_nested());
    expr.column_refs().iter().any(|column| nested(&column.name))
}

/// The keys without which a row does not pass `conjunct`; level and stored key.
fn required(conjunct: &Expr) -> Vec<(Level, String)> {
    let strict = match conjunct {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_strict(*op) => vec![left.as_ref(), right.as_ref()],
        Expr::InList(list) => vec![list.expr.as_ref()],
        Expr::Between(between) => vec![between.expr.as_ref()],
        Expr::Like(like) | Expr::SimilarTo(like) => vec![like.expr.as_ref()],
        Expr::IsNotNull(of) | Expr::IsTrue(of) | Expr::IsFalse(of) => vec![of.as_ref()],
        other => vec![other],
    };
    strict.into_iter().filter_map(|expr| stored(below_casts(expr))).collect()
}

/// The text that `conjunct` compares with one word; level and stored key.
fn compared(conjunct: &Expr) -> Option<(Level, String)> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = conjunct else { return None };
    let (attr, _) = on_container(left)?;
    let is_word = matches!(right.as_ref(), Expr::Literal(_, _)) && attr.scalar_type() == ScalarType::Text;
    is_word.then(|| stored(left))?
}

/// Level and stored key of the bracket that `expr` is.
fn stored(expr: &Expr) -> Option<(Level, String)> {
    let (attr, level) = on_container(expr)?;
    Some((level, visible::stored(attr.key()).into_owned()))
}

/// Whether the operator gives NULL where one side is NULL.
const fn is_strict(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::RegexMatch
            | Operator::RegexIMatch
            | Operator::RegexNotMatch
            | Operator::RegexNotIMatch
            | Operator::LikeMatch
            | Operator::ILikeMatch
            | Operator::NotLikeMatch
            | Operator::NotILikeMatch
    )
}

fn below_casts(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast) => below_casts(&cast.expr),
        Expr::TryCast(cast) => below_casts(&cast.expr),
        other => other,
    }
}
