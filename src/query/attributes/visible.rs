//! Keys as senders wrote them.
//!
//! Duty: take reserved `wg.` keys out of a container and the escape off a sender's own (storage.md 2). Guarantee: a
//! container without either is handed on as it is. Left to others: writing the escape (`otlp`).

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, ListArray, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::filter;
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::Result;

use crate::span::schema::reserved;

/// The key as a sender wrote it; `None` for a reserved one.
pub fn shown(stored: &str) -> Option<&str> {
    if stored.starts_with(reserved::PREFIX) {
        return None;
    }
    Some(if is_escaped(stored) { &stored[1..] } else { stored })
}

/// The key as it is stored when a sender wrote `key`: what [`shown`] takes back.
pub fn stored(key: &str) -> Cow<'_, str> {
    if key.trim_start_matches('_').starts_with(reserved::PREFIX) {
        return Cow::Owned(format!("_{key}"));
    }
    Cow::Borrowed(key)
}

/// Whether `stored` is a sender's `_*wg.` key with one more `_`.
fn is_escaped(stored: &str) -> bool {
    stored.starts_with('_') && stored.trim_start_matches('_').starts_with(reserved::PREFIX)
}

/// A container with the keys that SQL shows.
pub fn attributes(array: &ArrayRef) -> Result<ArrayRef> {
    let list = array.as_list::<i32>();
    let entries = list.values().as_struct();
    let key = entries.column(0).as_dictionary::<Int32Type>();
    let names = key.values().as_string::<i32>();
    let touched = |name: &str| name.starts_with(reserved::PREFIX) || is_escaped(name);
    if !names.iter().flatten().any(touched) {
        return Ok(array.clone());
    }
    let hidden: Vec<bool> = names.iter().map(|n| n.is_some_and(|n| n.starts_with(reserved::PREFIX))).collect();
    let renamed: StringArray =
        names.iter().map(|n| n.map(|n| shown(n).map_or(Cow::Borrowed(n), Cow::Borrowed))).collect();
    let key = DictionaryArray::new(key.keys().clone(), Arc::new(renamed));
    let mut columns = entries.columns().to_vec();
    columns[0] = Arc::new(key.clone());
    let DataType::List(item) = list.data_type() else { unreachable!("as_list gave a list") };
    let fields = entries.fields().clone();

    let is_hidden = |entry: usize| hidden[usize::try_from(key.keys().value(entry)).expect("keys are not negative")];
    let kept: BooleanArray = (0..entries.len()).map(|entry| Some(!is_hidden(entry))).collect();
    if kept.false_count() == 0 {
        let entries = StructArray::new(fields, columns, None);
        let list = ListArray::new(item.clone(), list.offsets().clone(), Arc::new(entries), list.nulls().cloned());
        return Ok(Arc::new(list));
    }
    // How many entries before each place stay: the new offset of that place.
    let mut before = Vec::with_capacity(entries.len() + 1);
    let mut count = 0_i32;
    before.push(0);
    for keep in kept.values() {
        count += i32::from(keep);
        before.push(count);
    }
    let offsets = list.value_offsets().iter().map(|&at| before[usize::try_from(at).expect("offsets are not negative")]);
    let offsets = OffsetBuffer::new(offsets.collect());
    let columns = columns.iter().map(|column| filter(column, &kept)).collect::<Result<Vec<_>, _>>()?;
    let entries = StructArray::new(fields, columns, None);
    Ok(Arc::new(ListArray::new(item.clone(), offsets, Arc::new(entries), list.nulls().cloned())))
}

/// `events` or `links` with the keys that SQL shows in the containers within.
pub fn nested(array: &ArrayRef) -> Result<ArrayRef> {
    let list = array.as_list::<i32>();
    let elements = list.values().as_struct();
    let Some(at) = elements.fields().iter().position(|field| super::is_container(field.data_type())) else {
        return Ok(array.clone());
    };
    let shown = attributes(elements.column(at))?;
    if Arc::ptr_eq(&shown, elements.column(at)) {
        return Ok(array.clone());
    }
    let mut columns = elements.columns().to_vec();
    columns[at] = shown;
    let elements = StructArray::new(elements.fields().clone(), columns, elements.nulls().cloned());
    let DataType::List(item) = list.data_type() else { unreachable!("as_list gave a list") };
    Ok(Arc::new(ListArray::new(item.clone(), list.offsets().clone(), Arc::new(elements), list.nulls().cloned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_keys_are_hidden_and_escapes_come_off() {
        assert_eq!(shown("wg.end_time"), None);
        assert_eq!(shown("_wg.x"), Some("wg.x"));
        assert_eq!(shown("__wg.x"), Some("_wg.x"));
        assert_eq!(shown("_other"), Some("_other"));
        assert_eq!(shown("awg.x"), Some("awg.x"));
        for key in ["wg.x", "_wg.x", "__wg.x", "_other", "awg.x", "", "_"] {
            assert_eq!(shown(&stored(key)), Some(key));
        }
    }
}
