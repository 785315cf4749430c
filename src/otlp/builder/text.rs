//! One column of text that is mostly distinct.
//!
//! Duty: texts one after the other, at the end of a batch a `Utf8View` array. Guarantee: the array holds valid UTF-8;
//! memory is that of the texts plus four bytes each. Left to others: which rows they belong to.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewBuilder};

use super::intern::offset;

/// Bytes that a view holds itself; longer text goes to a block.
const INLINE: usize = 12;

/// A column of text of the batch at hand.
#[derive(Debug, Default)]
pub(super) struct TextColumn {
    bytes: Vec<u8>,
    lens: Vec<u32>,
}

/// How far a column was filled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    bytes: usize,
    texts: usize,
}

impl TextColumn {
    /// Appends `text`; `true` if it was not UTF-8 and had to be repaired (W14).
    pub(super) fn push(&mut self, text: &[u8]) -> bool {
        let start = self.bytes.len();
        let is_utf8 = text.is_ascii() || simdutf8::basic::from_utf8(text).is_ok();
        if is_utf8 {
            self.bytes.extend_from_slice(text);
        } else {
            self.bytes.extend_from_slice(String::from_utf8_lossy(text).as_bytes());
        }
        self.lens.push(offset(self.bytes.len() - start));
        !is_utf8
    }

    /// Texts so far, and their bytes.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.lens.len(), self.bytes.len())
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), texts: self.lens.len() }
    }

    pub(super) fn rollback(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.lens.truncate(mark.texts);
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.lens.clear();
    }

    /// The array, with null for empty text if `empty_is_null`; the column is empty afterwards.
    pub(super) fn finish(&mut self, empty_is_null: bool) -> ArrayRef {
        let lens = self.lens.iter().map(|len| (*len > 0 || !empty_is_null).then_some(*len));
        let array = views(&self.bytes, lens);
        self.clear();
        array
    }
}

/// A `Utf8View` array of texts that stand one after the other in `bytes`, each given by its length, `None` for null.
pub(super) fn views(bytes: &[u8], lens: impl ExactSizeIterator<Item = Option<u32>> + Clone) -> ArrayRef {
    let text = simdutf8::basic::from_utf8(bytes).expect("text is checked or repaired before it is kept");
    let long: usize = lens.clone().flatten().map(|len| len as usize).filter(|len| *len > INLINE).sum();
    let mut views = StringViewBuilder::with_capacity(lens.len()).with_fixed_block_size(offset(long.max(1)));
    let mut rest = text;
    for len in lens {
        match len {
            Some(len) => {
                let (value, after) = rest.split_at(len as usize);
                views.append_value(value);
                rest = after;
            }
            None => views.append_null(),
        }
    }
    Arc::new(views.finish())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};

    use super::*;

    #[test]
    fn texts_come_back_short_long_and_repaired() {
        let mut column = TextColumn::default();
        let long = "longer than the twelve bytes that fit a view: ü";
        assert!(!column.push(long.as_bytes()));
        assert!(!column.push(b""));
        let mark = column.mark();
        column.push(b"rolled back");
        column.rollback(mark);
        // two halves of one character in two texts: each is broken by itself
        assert!(column.push(b"\xc3"));
        assert!(column.push(b"\xa9!"));
        let array = column.finish(true);
        let values: Vec<_> = array.as_string_view().iter().collect();
        assert_eq!(values, [Some(long), None, Some("\u{fffd}"), Some("\u{fffd}!")]);
        assert_eq!(array.as_string_view().data_buffers().len(), 1);
        assert_eq!(column.finish(true).len(), 0);
    }
}
