//! Short bounds of long text.
//!
//! Duty: [`truncated_min`] and [`truncated_max`]. Guarantee: at most [`STATISTICS_BYTES`] bytes of whole characters; the
//! first is not above the text and the second not below it, if need be the whole text. Left to others: where they go.

use super::super::columns::STATISTICS_BYTES;

/// A bound, and whether it is shorter than the text.
pub(super) fn truncated_min(text: &str) -> (Vec<u8>, bool) {
    if text.len() <= STATISTICS_BYTES {
        return (text.as_bytes().to_vec(), false);
    }
    (text.as_bytes()[..cut(text)].to_vec(), true)
}

/// A bound, and whether it is shorter than the text.
pub(super) fn truncated_max(text: &str) -> (Vec<u8>, bool) {
    if text.len() <= STATISTICS_BYTES {
        return (text.as_bytes().to_vec(), false);
    }
    match incremented(&text[..cut(text)]) {
        Some(bound) => (bound, true),
        None => (text.as_bytes().to_vec(), false),
    }
}

/// Bytes of the whole characters that fit.
fn cut(text: &str) -> usize {
    (0..=STATISTICS_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The text that follows all those which begin with `text`; its last character that has a successor of equal length
/// gives way to it.
fn incremented(text: &str) -> Option<Vec<u8>> {
    text.char_indices().rev().find_map(|(at, last)| {
        let next = char::from_u32(u32::from(last) + 1).filter(|next| next.len_utf8() == last.len_utf8())?;
        let mut bound = text[..at].to_owned();
        bound.push(next);
        Some(bound.into_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_enclose_the_text_and_end_with_a_character() {
        let short = "x".repeat(64);
        assert_eq!(truncated_min(&short), (short.clone().into_bytes(), false));
        assert_eq!(truncated_max(&short), (short.into_bytes(), false));
        let long = format!("{}üüü", "x".repeat(63));
        assert_eq!(truncated_min(&long), ("x".repeat(63).into_bytes(), true));
        assert_eq!(truncated_max(&long), (format!("{}y", "x".repeat(62)).into_bytes(), true));
        // No character is behind the last one, so the one before it gives way.
        let last = format!("{}a{}", "x".repeat(59), "\u{10ffff}".repeat(9));
        assert_eq!(truncated_max(&last), (format!("{}b", "x".repeat(59)).into_bytes(), true));
        let all = "\u{10ffff}".repeat(20);
        assert_eq!(truncated_max(&all), (all.into_bytes(), false));
    }
}
