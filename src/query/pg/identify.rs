//! Functions between names and numbers of objects.
//!
//! Duty: `to_regclass` and its like, and what casts to and from `regclass` and its like become (`casts`). Guarantee: a name
//! of nothing is NULL in the former and an error in the latter, as in PostgreSQL. Left to others: the names (`objects`).

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, Int32Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::objects::{Objects, Of};
use crate::query::error::{Code, Error};

/// All of them, for `user`.
pub fn all(objects: &Arc<Objects>, user: &str) -> Vec<ScalarUDF> {
    let function = |of: Of, does: Does| {
        let signature = Signature::any(1, Volatility::Stable);
        ScalarUDF::from(Identify { of, does, objects: objects.clone(), user: user.to_owned(), signature })
    };
    let both = Of::ALL.into_iter().flat_map(|of| [Does::Find, Does::Read].map(|does| (of, does)));
    // `format_type` is there for types.
    let shown = Of::ALL.into_iter().filter(|of| *of != Of::Type).map(|of| (of, Does::Show));
    both.chain(shown).map(|(of, does)| function(of, does)).collect()
}

/// The function that a cast to numbers of `of` is.
pub const fn reading(of: Of) -> &'static str {
    name(of, Does::Read)
}

/// The function that a cast of such a number to text is.
pub const fn showing(of: Of) -> &'static str {
    name(of, Does::Show)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Does {
    /// Number of a name, or NULL.
    Find,
    /// Number of a name or number, or an error.
    Read,
    /// Name of a number.
    Show,
}

const fn name(of: Of, does: Does) -> &'static str {
    match (of, does) {
        (Of::Relation, Does::Find) => "to_regclass",
        (Of::Relation, Does::Read) => "regclassin",
        (Of::Relation, Does::Show) => "regclassout",
        (Of::Type, Does::Find) => "to_regtype",
        (Of::Type, Does::Read) => "regtypein",
        (Of::Type, Does::Show) => "format_type",
        (Of::Function, Does::Find) => "to_regproc",
        (Of::Function, Does::Read) => "regprocin",
        (Of::Function, Does::Show) => "regprocout",
        (Of::Schema, Does::Find) => "to_regnamespace",
        (Of::Schema, Does::Read) => "regnamespacein",
        (Of::Schema, Does::Show) => "regnamespaceout",
        (Of::Role, Does::Find) => "to_regrole",
        (Of::Role, Does::Read) => "regrolein",
        (Of::Role, Does::Show) => "regroleout",
    }
}

#[derive(Debug)]
struct Identify {
    of: Of,
    does: Does,
    objects: Arc<Objects>,
    user: String,
    signature: Signature,
}

// A statement has one list of objects.
impl PartialEq for Identify {
    fn eq(&self, other: &Self) -> bool {
        (self.of, self.does) == (other.of, other.does) && Arc::ptr_eq(&self.objects, &other.objects)
    }
}

impl Eq for Identify {}

impl std::hash::Hash for Identify {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.of, self.does).hash(state);
    }
}

impl Identify {
    fn read(&self, text: &str) -> Result<Option<i32>> {
        let number = match self.of {
            // Everything belongs to the caller.
            Of::Role if text.trim_matches('"') != self.user && text.parse::<u32>().is_err() => None,
            of => self.objects.number(of, text),
        };
        match (number, self.does) {
            (None, Does::Read) => Err(DataFusionError::External(Box::new(unknown(self.of, text)))),
            (number, _) => Ok(number),
        }
    }

    fn show(&self, number: i32) -> String {
        let name = match self.of {
            Of::Role => (number == super::catalogue::OWNER).then(|| self.user.clone()),
            of => self.objects.name(of, number),
        };
        match (name, number) {
            (Some(name), _) => name,
            (None, 0) => "-".to_owned(),
            (None, number) => number.cast_unsigned().to_string(),
        }
    }
}

fn unknown(of: Of, text: &str) -> Error {
    let shown: String = text.chars().take(60).collect();
    match of {
        Of::Relation => Error::new(Code::UnknownTable, format!("there is no relation `{shown}`"))
            .hint("`SHOW TABLES` lists those that there are"),
        Of::Function => Error::new(Code::UnknownFunction, format!("there is no function `{shown}`"))
            .hint("`SHOW FUNCTIONS` lists those that there are"),
        Of::Type => Error::new(Code::Argument, format!("there is no type `{shown}`")).hint("`pg_type` lists them"),
        Of::Schema => Error::new(Code::Argument, format!("there is no schema `{shown}`"))
            .hint("`pg_namespace` lists those that there are"),
        Of::Role => {
            Error::new(Code::Argument, format!("there is no role `{shown}`")).hint("the only one is `current_user`")
        }
    }
}

impl ScalarUDFImpl for Identify {
    fn name(&self) -> &str {
        name(self.of, self.does)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(if self.does == Does::Show { DataType::Utf8 } else { DataType::Int32 })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let of = args.args[0].to_array(args.number_rows)?;
        let is_text = matches!(of.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let array: ArrayRef = match (self.does, is_text) {
            (Does::Show, true) => cast(&of, &DataType::Utf8)?,
            (Does::Show, false) => {
                let numbers = integers(&of)?;
                let shown = numbers.iter().map(|number| number.map(|number| self.show(number)));
                Arc::new(shown.collect::<StringArray>())
            }
            (_, true) => {
                let texts = cast(&of, &DataType::Utf8)?;
                let read = texts.as_string::<i32>().iter().map(|text| text.map_or(Ok(None), |text| self.read(text)));
                Arc::new(read.collect::<Result<Int32Array>>()?)
            }
            (_, false) => Arc::new(integers(&of)?),
        };
        Ok(ColumnarValue::Array(array))
    }
}

/// Numbers of objects have no sign: those beyond the integers come round.
fn integers(of: &ArrayRef) -> Result<Int32Array> {
    if of.data_type() == &DataType::Int32 {
        return Ok(of.as_primitive::<Int32Type>().clone());
    }
    let wide = cast(of, &DataType::Int64)?;
    let narrow = |number: i64| {
        i32::try_from(number).or_else(|_| u32::try_from(number).map(u32::cast_signed)).unwrap_or_default()
    };
    Ok(wide.as_primitive::<Int64Type>().iter().map(|number| number.map(narrow)).collect())
}
