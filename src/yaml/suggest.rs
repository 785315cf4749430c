//! Did you mean?
//!
//! Duty: the nearest of a few names (D1). Guarantee: at most two edits away, one for names under five letters, where
//! swapping two neighbours is one edit. Left to others: the sentence.

/// The candidate nearest to `word`, if one is near enough; the first of equals.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A longer word than any key of ours is no typo of one, and the table below is quadratic.
    if word.len() > 64 {
        return None;
    }
    let allowed = if word.chars().count() < 5 { 1 } else { 2 };
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let edits = distance(word, candidate);
        if edits <= allowed && edits > 0 && best.is_none_or(|(least, _)| edits < least) {
            best = Some((edits, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in table.iter_mut().enumerate() {
        row[0] = i;
    }
    table[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replace = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replace.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(table[i - 2][j - 2] + 1);
            }
            table[i][j] = least;
        }
    }
    table[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word_and_a_stranger_does_not() {
        let keys = ["timeout", "path", "grpc", "http", "send_batch_size"];
        assert_eq!(nearest("tiemout", keys), Some("timeout"));
        assert_eq!(nearest("tiemuot", keys), Some("timeout"));
        assert_eq!(nearest("pth", keys), Some("path"));
        assert_eq!(nearest("pt", keys), None);
        assert_eq!(nearest("grcp", keys), Some("grpc"));
        assert_eq!(nearest("sendbatchsize", keys), Some("send_batch_size"));
        assert_eq!(nearest("zzzzzzz", keys), None);
    }
}
