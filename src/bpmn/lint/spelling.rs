//! What was probably meant.
//!
//! Duty: the closest of some names. Guarantee: at most two letters away, and cheap for any input. Left to others: what to do
//! with a suggestion.

/// The name nearest to `name`, at most two insertions, deletions, replacements or swaps of neighbours away; of equal
/// ones the first.
pub(super) fn closest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let near = names.into_iter().map(|other| (distance(name, other), other));
    near.filter(|(distance, _)| *distance <= 2).min_by_key(|(distance, _)| *distance).map(|(_, other)| other)
}

/// How many single-letter edits lie between `a` and `b`; `usize::MAX` when they are long or surely more than two.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(65).collect(), b.chars().take(65).collect());
    if a.len() > 64 || b.len() > 64 || a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    // Rows of the optimal string alignment: the one before the last is needed for swaps.
    let mut older: Vec<usize> = Vec::new();
    let mut old: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, right) in b.iter().enumerate() {
            let replaced = old[j] + usize::from(left != right);
            let mut best = replaced.min(old[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *left == b[j - 1] && a[i - 1] == *right {
                best = best.min(older[j - 1] + 1);
            }
            row.push(best);
        }
        older = std::mem::replace(&mut old, row);
    }
    old[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        assert_eq!(distance("codegen", "codegen"), 0);
        assert_eq!(distance("codgen", "codegen"), 1);
        assert_eq!(distance("codeegn", "codegen"), 1);
        assert_eq!(distance("sql", "http"), 4);
        assert_eq!(distance("a", "abcd"), usize::MAX);
        assert_eq!(distance(&"x".repeat(100), &"x".repeat(100)), usize::MAX);
    }

    #[test]
    fn the_closest_is_at_most_two_away() {
        assert_eq!(closest("span_gate", ["sql", "span-gate"]), Some("span-gate"));
        assert_eq!(closest("kafka", ["sql", "span-gate"]), None);
    }
}
