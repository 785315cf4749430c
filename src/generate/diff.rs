//! Differences as text.
//!
//! Duty: unified diffs, a file after the other, cut at 64 KiB. Guarantee: valid UTF-8, whole lines, the same for the same
//! bytes. Left to others: which files (`plan`).

use std::time::Duration;

use similar::{Algorithm, TextDiff};

/// Longest diff of an outcome.
pub(super) const MAX_DIFF: usize = 64 << 10;
/// Above this a file is only named: line diffs take quadratic time at worst.
const MAX_COMPARED: usize = 2 << 20;

/// The unified diff of one file; `None` = it is not there.
pub(super) fn unified(path: &str, old: Option<&[u8]>, new: Option<&[u8]>) -> String {
    let from = old.map_or_else(|| "/dev/null".to_owned(), |_| format!("a/{path}"));
    let to = new.map_or_else(|| "/dev/null".to_owned(), |_| format!("b/{path}"));
    named(&from, &to, old.unwrap_or_default(), new.unwrap_or_default())
}

/// The unified diff of two texts under names of their own.
pub(super) fn named(from: &str, to: &str, old: &[u8], new: &[u8]) -> String {
    if old == new {
        // An empty file that comes or goes has no line to show.
        return if from.starts_with("/dev") || to.starts_with("/dev") {
            format!("--- {from}\n+++ {to}\n")
        } else {
            String::new()
        };
    }
    let texts = (std::str::from_utf8(old), std::str::from_utf8(new));
    let (Ok(old), Ok(new)) = texts else { return format!("Binary files {from} and {to} differ\n") };
    if old.len() + new.len() > MAX_COMPARED {
        return format!("Files {from} and {to} differ: {} and {} bytes\n", old.len(), new.len());
    }
    // Patience is deterministic; a timeout would not be.
    let diff =
        TextDiff::configure().algorithm(Algorithm::Patience).timeout(Duration::from_secs(3600)).diff_lines(old, new);
    diff.unified_diff().context_radius(3).header(from, to).to_string()
}

/// `diff` cut to whole lines within [`MAX_DIFF`], and whether it was cut.
pub(super) fn cut(mut diff: String) -> (String, bool) {
    if diff.len() <= MAX_DIFF {
        return (diff, false);
    }
    let end = diff.as_bytes()[..MAX_DIFF].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    diff.truncate(end);
    (diff, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_and_go_as_dev_null() {
        assert_eq!(unified("a.rs", None, Some(b"x\n")), "--- /dev/null\n+++ b/a.rs\n@@ -0,0 +1 @@\n+x\n");
        assert_eq!(unified("a.rs", Some(b"x\n"), None), "--- a/a.rs\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n");
        assert_eq!(unified("a.rs", Some(b"x\n"), Some(b"x\n")), "");
        assert_eq!(unified("a", Some(&[0xff]), Some(b"x")), "Binary files a/a and b/a differ\n");
        assert_eq!(unified("a", None, Some(b"")), "--- /dev/null\n+++ b/a\n");
    }

    #[test]
    fn a_long_diff_is_cut_at_a_line_and_says_so() {
        let text = "é".repeat(40) + "\n";
        let (short, cut_it) = cut(text.repeat(2_000));
        assert!(cut_it && short.len() <= MAX_DIFF && short.ends_with('\n'));
        assert_eq!(cut("a\n".into()), ("a\n".to_owned(), false));
    }
}
