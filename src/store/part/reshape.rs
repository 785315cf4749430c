//! Rows of a part in the columns that another part will have.
//!
//! Duty: [`reshape`] moves values between promoted columns and lists where two promotions differ. Guarantee: a value
//! that is promoted by both stays where it is; nothing is lost or changed but the order inside one list. Left to
//! others: which promotion the new part has (`promote`), reading (`read`).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::SchemaRef;

use super::Error;
use super::join::join;
use super::keys::Level;
use super::promote::{Choice, Promotion};
use super::split::split;
use crate::span::schema;

/// `batch`, which has the columns of a row group promoted as `from`, with those of `schema`, promoted as `to`.
///
/// Errors: those of Arrow; more than 2^31 attributes in a batch.
pub(super) fn reshape(
    batch: &RecordBatch,
    from: &Promotion,
    to: &Promotion,
    schema: &SchemaRef,
) -> Result<RecordBatch, Error> {
    let plain = schema::stored().fields().len();
    let mut columns: Vec<ArrayRef> = batch.columns()[..plain].to_vec();
    let mut promoted = Vec::new();
    let mut next = plain;
    for (at, level) in Level::ALL.into_iter().enumerate() {
        let there: Vec<(&Choice, &ArrayRef)> = from.0[at].iter().zip(&batch.columns()[next..]).collect();
        next += from.0[at].len();
        let list = schema::stored().index_of(level.column())?;
        let mut lists = columns[list].as_list::<i32>().clone();
        let kept = |choice: &Choice| there.iter().find(|(other, _)| other.is_same(choice));
        let back: Vec<(&Choice, &ArrayRef)> =
            there.iter().filter(|(choice, _)| !to.0[at].iter().any(|c| c.is_same(choice))).copied().collect();
        if !back.is_empty() {
            lists = join(&lists, &back)?;
        }
        let fresh: Vec<Choice> = to.0[at].iter().filter(|choice| kept(choice).is_none()).cloned().collect();
        let mut made = Vec::new();
        if !fresh.is_empty() {
            (lists, made) = split(&lists, &fresh)?;
        }
        let mut made = made.into_iter();
        for choice in &to.0[at] {
            promoted.push(match kept(choice) {
                Some((_, values)) => (*values).clone(),
                None => made.next().expect("one column a fresh choice"),
            });
        }
        columns[list] = Arc::new(lists);
    }
    columns.extend(promoted);
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}
