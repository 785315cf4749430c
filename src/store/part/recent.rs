//! What was worked out about dictionaries, by the dictionary.
//!
//! Duty: [`Recent`], for the few that rows in arrival order refer to by turns: slices of one batch share theirs, and so do
//! batches of one decoding thread (storage.md 3, Interning). Guarantee: what comes back was put there for the same array.
//! Left to others: what is worked out.

use std::sync::Arc;

use arrow::array::ArrayRef;

/// Dictionaries that are remembered: each decoding thread has one at a time.
const REMEMBERED: usize = 8;

/// Something known of each of the dictionaries met last, the last at the end.
#[derive(Debug)]
pub(super) struct Recent<T>(Vec<(ArrayRef, T)>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Recent<T> {
    /// What is known of `dictionary`, if it is remembered.
    pub(super) fn get(&mut self, dictionary: &ArrayRef) -> Option<&mut T> {
        let at = self.0.iter().rposition(|(met, _)| Arc::ptr_eq(met, dictionary))?;
        self.0[at..].rotate_left(1);
        self.0.last_mut().map(|(_, known)| known)
    }

    /// Remembers `known` of `dictionary`, which is not remembered yet.
    pub(super) fn put(&mut self, dictionary: &ArrayRef, known: T) {
        if self.0.len() == REMEMBERED {
            self.0.remove(0);
        }
        self.0.push((dictionary.clone(), known));
    }

    /// What is known of `dictionary`, made if it is not remembered.
    pub(super) fn get_or(&mut self, dictionary: &ArrayRef, make: impl FnOnce() -> T) -> &mut T {
        if self.get(dictionary).is_none() {
            self.put(dictionary, make());
        }
        &mut self.0.last_mut().expect("it was found or just put there").1
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;

    use super::*;

    #[test]
    fn those_met_last_are_remembered_and_told_apart_by_their_address() {
        let all: Vec<ArrayRef> = (0..10).map(|_| Arc::new(StringArray::from(vec!["a"])) as ArrayRef).collect();
        let mut recent = Recent::default();
        for (at, dictionary) in all.iter().enumerate() {
            assert_eq!(*recent.get_or(dictionary, || at), at);
            assert_eq!(recent.get(&all[0]), Some(&mut 0), "it was just met");
        }
        assert_eq!(recent.get(&all[1]), None);
        assert_eq!(recent.get(&all[9]), Some(&mut 9));
        assert_eq!(*recent.get_or(&all[1], || 11), 11);
    }
}
