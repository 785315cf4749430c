//! Functions over whole containers, and brackets with a type by name.
//!
//! Duty: `has_attr`, `attr_keys`, `attrs_json`; `attr_text`, `attr_int`, `attr_float`, `attr_bool`.
//! Guarantee: a row without a container (below an outer join) gives NULL. Left to others: brackets (`attr`),
//! `attr_pairs` (`pairs`).

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, ListBuilder, StringBuilder, StringViewBuilder};
use arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::attr::{Attr, Origin, arrow_type};
use super::list::Attrs;
use super::seen::Seen;
use super::{is_container, json};
use crate::query::functions::argument;
use crate::span::pinned::ScalarType;

/// One function over a container.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct ContainerFunction {
    which: Which,
    signature: Signature,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Which {
    Has,
    Keys,
    Json,
    Typed(ScalarType),
}

/// All of them.
pub fn all() -> Vec<ScalarUDF> {
    let typed = [ScalarType::Text, ScalarType::Int, ScalarType::Double, ScalarType::Bool].map(Which::Typed);
    [Which::Has, Which::Keys, Which::Json]
        .into_iter()
        .chain(typed)
        .map(|which| ContainerFunction { which, signature: Signature::user_defined(Volatility::Immutable) }.into())
        .collect()
}

/// The JSON of `container`, as text.
pub fn as_json(container: Expr) -> Expr {
    let signature = Signature::user_defined(Volatility::Immutable);
    ScalarUDF::from(ContainerFunction { which: Which::Json, signature }).call(vec![container])
}

impl ContainerFunction {
    fn with_key(&self) -> bool {
        matches!(self.which, Which::Has | Which::Typed(_))
    }

    fn usage(&self) -> String {
        let name = self.name();
        if self.with_key() { format!("{name}(attributes, 'key')") } else { format!("{name}(attributes)") }
    }
}

fn key_of(value: &ScalarValue, usage: &str) -> Result<String> {
    match value.try_as_str() {
        Some(Some(key)) => Ok(key.to_owned()),
        _ => Err(argument(format!("the key is a text literal: {usage}"))),
    }
}

impl ScalarUDFImpl for ContainerFunction {
    fn name(&self) -> &str {
        match self.which {
            Which::Has => "has_attr",
            Which::Keys => "attr_keys",
            Which::Json => "attrs_json",
            Which::Typed(ScalarType::Text) => "attr_text",
            Which::Typed(ScalarType::Int) => "attr_int",
            Which::Typed(ScalarType::Double) => "attr_float",
            Which::Typed(ScalarType::Bool) => "attr_bool",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        let wanted = if self.with_key() { 2 } else { 1 };
        if args.len() != wanted || !is_container(&args[0]) {
            return plan_err!("{} takes attributes, resource or scope: {}", self.name(), self.usage());
        }
        let mut types = vec![args[0].clone()];
        types.extend(args.get(1).map(|_| DataType::Utf8));
        Ok(types)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.which {
            Which::Has => DataType::Boolean,
            Which::Keys => DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))),
            Which::Json => DataType::Utf8View,
            Which::Typed(of) => arrow_type(of),
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<Arc<Field>> {
        if self.with_key()
            && let Some(Some(key)) = args.scalar_arguments.get(1)
        {
            key_of(key, &self.usage())?;
        }
        Ok(Arc::new(Field::new(self.name(), self.return_type(&[])?, true)))
    }

    fn simplify(&self, mut args: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        if let (Which::Typed(of), [_, Expr::Literal(key, _)]) = (self.which, args.as_slice()) {
            let key = key_of(key, &self.usage())?;
            return Ok(ExprSimplifyResult::Simplified(Attr::new(key, of, Origin::Fixed).on(args.swap_remove(0))));
        }
        Ok(ExprSimplifyResult::Original(args))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let container = args.args[0].to_array(args.number_rows)?;
        let key = match args.args.get(1) {
            None => String::new(),
            Some(ColumnarValue::Scalar(key)) => key_of(key, &self.usage())?,
            Some(ColumnarValue::Array(_)) => {
                return Err(argument(format!("the key is a text literal: {}", self.usage())));
            }
        };
        let array: ArrayRef = match self.which {
            Which::Has => has(&Attrs::try_new(&container)?, &key),
            Which::Keys => keys(&Attrs::try_new(&container)?),
            Which::Json => objects(&Attrs::try_new(&container)?),
            Which::Typed(of) => Attr::new(key, of, Origin::Fixed).values(&container)?,
        };
        Ok(ColumnarValue::Array(array))
    }
}

fn has(attrs: &Attrs<'_>, key: &str) -> ArrayRef {
    let finder = attrs.finder(key);
    let rows = (0..attrs.rows()).map(|row| (!attrs.is_null(row)).then(|| finder.value(row).is_some()));
    Arc::new(rows.collect::<BooleanArray>())
}

fn keys(attrs: &Attrs<'_>) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for row in 0..attrs.rows() {
        for entry in first_occurrences(attrs, row) {
            builder.values().append_value(attrs.key(entry));
        }
        builder.append(!attrs.is_null(row));
    }
    Arc::new(builder.finish())
}

fn objects(attrs: &Attrs<'_>) -> ArrayRef {
    let mut builder = StringViewBuilder::with_capacity(attrs.rows());
    for row in 0..attrs.rows() {
        builder.append_option((!attrs.is_null(row)).then(|| json::object(attrs, row)));
    }
    Arc::new(builder.finish())
}

/// Places of a row's attributes, without the later ones of a repeated key.
fn first_occurrences(attrs: &Attrs<'_>, row: usize) -> Vec<usize> {
    let mut seen = Seen::default();
    attrs.entries(row).filter(|entry| seen.is_first(attrs.key(*entry))).collect()
}
