//! Whether texts are one word.
//!
//! Duty: [`IsWord`], the comparison that a scan makes for a filter ([`super::compared`]). Guarantee: the answers of `=`,
//! NULL where the text is; of texts with a dictionary the word is sought among the words, and then numbers are compared:
//! the engine's operator makes an answer for each word and looks it up for each row. Left to others: leaving out row groups
//! by the comparison, for which scans get the operator.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, Int32Array, StringArray, StringViewArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::cmp::eq;
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, Int32Type};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use crate::span::schema;

const NAME: &str = "is_word";

/// The function (text, word) → whether they are equal; the word is a constant.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct IsWord {
    signature: Signature,
}

impl IsWord {
    /// The call for `text` and `word`.
    pub fn call(text: Arc<dyn PhysicalExpr>, word: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
        let function = Self { signature: Signature::any(2, Volatility::Immutable) };
        let answer = Arc::new(Field::new(NAME, DataType::Boolean, true));
        let (function, config) = (Arc::new(ScalarUDF::from(function)), Arc::new(ConfigOptions::default()));
        Arc::new(ScalarFunctionExpr::new(NAME, function, vec![text, word], answer, config))
    }
}

impl ScalarUDFImpl for IsWord {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [texts, ColumnarValue::Scalar(ScalarValue::Utf8View(Some(word)))] = args.args.as_slice() else {
            return internal_err!("`{NAME}` compares texts with one word");
        };
        let texts = texts.to_array(args.number_rows)?;
        Ok(ColumnarValue::Array(Arc::new(are(&texts, word)?)))
    }
}

/// Whether each of `texts` is `word`.
fn are(texts: &ArrayRef, word: &str) -> Result<BooleanArray> {
    if *texts.data_type() == schema::word() {
        let numbered = texts.as_dictionary::<Int32Type>();
        return among(numbered.keys(), numbered.values().as_string::<i32>(), word);
    }
    let texts = cast(texts, &DataType::Utf8View)?;
    Ok(eq(&texts, &StringViewArray::new_scalar(word))?)
}

/// Whether each of `keys` is the number of `word` among `words`.
fn among(keys: &Int32Array, words: &StringArray, word: &str) -> Result<BooleanArray> {
    let mut found = (0_i32..).zip(words.iter()).filter(|(_, of)| *of == Some(word)).map(|(key, _)| key);
    Ok(match (found.next(), found.next(), words.null_count()) {
        (None, None, 0) => BooleanArray::new(BooleanBuffer::new_unset(keys.len()), keys.nulls().cloned()),
        (Some(key), None, 0) => eq(keys, &Int32Array::new_scalar(key))?,
        // A reader may have put dictionaries together.
        _ => take(&eq(words, &StringArray::new_scalar(word))?, keys, None)?.as_boolean().clone(),
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::DictionaryArray;

    use super::*;

    #[test]
    fn texts_are_compared_alike_with_a_dictionary_and_without() {
        let words: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "a", ""]));
        let keys = Int32Array::from(vec![Some(0), Some(1), None, Some(2), Some(3)]);
        let numbered: ArrayRef = Arc::new(DictionaryArray::new(keys.clone(), words));
        let plain = cast(&numbered, &DataType::Utf8View).unwrap();
        let nulls: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("b"), Some("a"), None]));
        let with_null: ArrayRef = Arc::new(DictionaryArray::new(keys, nulls));
        for (word, expected) in [
            ("a", [Some(true), Some(false), None, Some(true), Some(false)]),
            ("b", [Some(false), Some(true), None, Some(false), Some(false)]),
            ("", [Some(false), Some(false), None, Some(false), Some(true)]),
            ("c", [Some(false), Some(false), None, Some(false), Some(false)]),
        ] {
            for texts in [&numbered, &plain] {
                assert_eq!(are(texts, word).unwrap(), BooleanArray::from(expected.to_vec()), "{word} in {texts:?}");
            }
            let mut of_nulls = expected.to_vec();
            of_nulls[4] = None;
            assert_eq!(are(&with_null, word).unwrap(), BooleanArray::from(of_nulls), "{word}, a word is NULL");
        }
        let empty = numbered.slice(0, 0);
        assert_eq!(are(&empty, "a").unwrap().len(), 0);
    }
}
