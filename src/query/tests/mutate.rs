//! Statements and messages changed by chance, for tests that look for what breaks (sql.md 12, fuzz).
//!
//! Duty: [`rounds`] of a seed each, and changes by it. Guarantee: the same seed changes in the same way; a test that fails
//! tells its seed. Left to others: what is sent, and what may come of it.

use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

/// Tests that share the ten seconds of a usual run.
const TARGETS: u32 = 4;

/// What a round changes by.
pub(crate) struct Chance {
    seed: u64,
    random: ChaCha8Rng,
}

/// Rounds with the seeds from 0 on: at least `least` and for a share of ten seconds, or for `FUZZ_SECONDS`.
#[allow(clippy::disallowed_methods, reason = "a longer run is asked for by the environment, in tests only")]
pub(crate) fn rounds(least: u64) -> impl Iterator<Item = Chance> {
    let asked = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let time = asked.map_or(Duration::from_secs(10) / TARGETS, Duration::from_secs);
    let started = Instant::now();
    (0..).take_while(move |seed| *seed < least || started.elapsed() < time).map(Chance::of)
}

impl Drop for Chance {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the round of seed {} failed", self.seed);
        }
    }
}

impl Chance {
    fn of(seed: u64) -> Self {
        Self { seed, random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// 0 to `end - 1`; 0 if `end` is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.random.next_u64() % (end.max(1) as u64)).unwrap()
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// One of `from` with a few changes to its bytes.
    pub(crate) fn bytes(&mut self, from: &[Vec<u8>]) -> Vec<u8> {
        let mut body = self.pick(from).clone();
        for _ in 0..=self.below(4) {
            let at = self.below(body.len());
            match self.below(7) {
                0 => body.truncate(at),
                1 => body.insert(at, self.random.next_u32().to_le_bytes()[0]),
                2 if !body.is_empty() => drop(body.remove(at)),
                3 if !body.is_empty() => body[at] ^= 1 << self.below(8),
                // Perhaps a length.
                4 if !body.is_empty() => body[at] = body[at].wrapping_add(if self.one_in(2) { 1 } else { 255 }),
                // A piece of another in its place.
                _ => {
                    let other = self.pick(from);
                    let start = self.below(other.len());
                    let end = start + self.below((other.len() - start).min(60) + 1);
                    drop(body.splice(at..at, other[start..end].iter().copied()));
                }
            }
        }
        body
    }

    /// One of `from` with a few of its words changed, or those of another in their place.
    pub(crate) fn text(&mut self, from: &[String]) -> String {
        const ODD: [&str; 20] = [
            ";", "(", ")", "'", "\"", "$1", "$$", "/*", "--", "::", "\\", "\u{0}", "é", "INTO", "INSERT", "WITH",
            "EXPLAIN", "ANALYZE", "pg_class", ",",
        ];
        let mut words: Vec<String> = self.pick(from).split_inclusive([' ', ',', '(', ')']).map(str::to_owned).collect();
        for _ in 0..=self.below(4) {
            let at = self.below(words.len());
            match self.below(6) {
                0 => words.insert(at, (*self.pick(&ODD)).to_owned()),
                1 if !words.is_empty() => drop(words.remove(at)),
                2 if !words.is_empty() => words.swap(0, at),
                3 if !words.is_empty() => {
                    let copies = vec![words[at].clone(); self.below(70)];
                    drop(words.splice(at..at, copies));
                }
                4 => words.truncate(at),
                _ => {
                    let other: Vec<&str> = self.pick(from).split_inclusive(' ').collect();
                    let start = self.below(other.len());
                    let end = start + self.below((other.len() - start).min(12) + 1);
                    drop(words.splice(at..at, other[start..end].iter().map(|word| (*word).to_owned())));
                }
            }
        }
        let text = words.concat();
        match self.one_in(4) {
            true => String::from_utf8_lossy(&self.bytes(&[text.into_bytes()])).into_owned(),
            false => text,
        }
    }
}
