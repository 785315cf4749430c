//! Did you mean?
//!
//! Duty: the names nearest to a word. Guarantee: at most three, nearest first, none further than a third of the word.
//! Left to others: the sentence.

/// Names of `candidates` that `word` may be a slip for.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    // The table below is quadratic, and no name of ours is that long.
    if word.is_empty() || word.len() > 128 {
        return Vec::new();
    }
    let word = word.to_lowercase();
    let allowed = (word.chars().count() / 3).clamp(1, 4);
    let mut near: Vec<(usize, &str)> = candidates
        .into_iter()
        .map(|name| (distance(&word, &name.to_lowercase()), name))
        .filter(|(edits, name)| *edits <= allowed || (word.len() >= 4 && name.starts_with(word.as_str())))
        .collect();
    near.sort();
    near.dedup_by(|a, b| a.1 == b.1);
    near.truncate(3);
    near.into_iter().map(|(_, name)| name).collect()
}

/// Edit distance in which two swapped neighbours are one edit.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_a_stranger_does_not() {
        let names = ["spans", "traces", "span_events", "span_links"];
        assert_eq!(nearest("spnas", names), ["spans"]);
        assert_eq!(nearest("Trace", names), ["traces"]);
        assert_eq!(nearest("span", names), ["spans", "span_links", "span_events"]);
        assert_eq!(nearest("pg_catalog", names), Vec::<&str>::new());
    }
}
