//! Keys that came already.
//!
//! Duty: tell the first of equal keys from the later ones. Guarantee: many keys cost as much as each of them alone: a
//! sender may put a hundred thousand into one value. Left to others: which one counts.

use std::collections::HashSet;
use std::hash::Hash;

/// Up to so many, looking at each of them is the fastest way.
const FEW: usize = 32;

/// The keys so far.
#[derive(Debug, Default)]
pub struct Seen<K> {
    few: Vec<K>,
    many: HashSet<K>,
}

impl<K: Copy + Eq + Hash> Seen<K> {
    /// Takes `key`; whether it is the first one.
    pub fn is_first(&mut self, key: K) -> bool {
        if !self.many.is_empty() {
            return self.many.insert(key);
        }
        if self.few.contains(&key) {
            return false;
        }
        self.few.push(key);
        if self.few.len() > FEW {
            self.many.extend(self.few.drain(..));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::hash::Hasher;

    use super::*;

    #[derive(Clone, Copy)]
    struct Key<'a>(usize, &'a Cell<usize>);

    impl PartialEq for Key<'_> {
        fn eq(&self, other: &Self) -> bool {
            self.1.set(self.1.get() + 1);
            self.0 == other.0
        }
    }

    impl Eq for Key<'_> {}

    impl Hash for Key<'_> {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }

    #[test]
    fn the_first_of_equal_keys_is_known_and_many_keys_are_not_compared_with_each_other() {
        let compared = Cell::new(0);
        let mut seen = Seen { few: Vec::new(), many: HashSet::new() };
        for key in 0..10_000 {
            assert!(seen.is_first(Key(key, &compared)), "{key}");
        }
        for key in 0..10_000 {
            assert!(!seen.is_first(Key(key, &compared)), "{key}");
        }
        assert!(compared.get() < 100_000, "{}", compared.get());
        let mut few = Seen::default();
        assert_eq!(["a", "b", "a", "b", "c"].map(|key| few.is_first(key)), [true, true, false, false, true]);
    }
}
