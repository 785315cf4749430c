//! Patterns, and what `regexp_replace` makes with them (sql.md 7, growth).
//!
//! Duty: refuse patterns that are too long or compile to too much, and count replacements. Guarantee: a pattern that
//! passes takes at most 1 MiB each time the engine compiles it. Left to others: errors in a pattern, which the engine
//! tells; finding patterns in a plan (`query::caps`).

use datafusion::common::Result;
use regex::{Regex, RegexBuilder};

use crate::query::functions::argument;

/// Longest pattern, in bytes.
const PATTERN_BYTES: usize = 4096;
/// Largest program that a pattern may become, in bytes.
const COMPILED_BYTES: usize = 1 << 20;
/// More flags than there are.
const FLAGS_BYTES: usize = 16;
/// Below this a batch of the engine's size stays within the caps, whatever is in it.
const SURELY_FINE: u64 = 8192;

/// Refuses a pattern of LIKE that is too long.
pub fn check_like(what: &str, pattern: &str) -> Result<()> {
    match pattern.len() {
        0..=PATTERN_BYTES => Ok(()),
        bytes => Err(argument(format!("the pattern of {what} has {bytes} bytes; at most {PATTERN_BYTES}"))),
    }
}

/// Refuses a regular expression that is too long or compiles to too much under `flags`.
pub fn check_regexp(what: &str, pattern: &str, flags: &str) -> Result<()> {
    check_like(what, pattern)?;
    // The engine writes flags into the pattern: they must not be one themselves.
    if flags.len() > FLAGS_BYTES || !flags.bytes().all(|flag| flag.is_ascii_alphabetic()) {
        return Err(argument(format!("the flags of {what} are letters, such as 'gi'")));
    }
    match compile(pattern, flags) {
        Err(regex::Error::CompiledTooBig(_)) => Err(argument(format!(
            "the pattern of {what} compiles to more than {COMPILED_BYTES} bytes: repeat less, as in `x{{1,20}}`"
        ))),
        _ => Ok(()),
    }
}

fn compile(pattern: &str, flags: &str) -> std::result::Result<Regex, regex::Error> {
    let flags = flags.replace('g', "");
    let whole = if flags.is_empty() { pattern.to_owned() } else { format!("(?{flags}){pattern}") };
    RegexBuilder::new(&whole).size_limit(COMPILED_BYTES).build()
}

/// Sizes of what `regexp_replace` makes; keeps the last pattern compiled.
#[derive(Default)]
pub(super) struct Replacements {
    compiled: Option<(String, String, Option<Regex>)>,
}

impl Replacements {
    /// At most how many bytes `text` has once `pattern` became `to` in it.
    pub fn bytes(&mut self, text: &str, pattern: &str, to: &str, flags: &str) -> u64 {
        let (length, added) = (text.len() as u64, to.len() as u64);
        // Matches do not overlap: what groups of them hold is at most the text, each time it is named.
        let named = to.bytes().filter(|byte| matches!(byte, b'$' | b'\\')).count() as u64;
        let kept = length.saturating_mul(1 + named);
        if !flags.contains('g') {
            return kept.saturating_add(added);
        }
        let most = kept.saturating_add(added.saturating_mul(length + 1));
        if most <= SURELY_FINE {
            return most;
        }
        let same = matches!(&self.compiled, Some((of, under, _)) if of == pattern && under == flags);
        if !same {
            self.compiled = Some((pattern.to_owned(), flags.to_owned(), compile(pattern, flags).ok()));
        }
        match self.compiled.as_ref().and_then(|(_, _, regex)| regex.as_ref()) {
            Some(regex) => kept.saturating_add(added.saturating_mul(regex.find_iter(text).count() as u64)),
            // It is wrong, and the function says so.
            None => most,
        }
    }
}
