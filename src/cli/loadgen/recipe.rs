//! What a load consists of: seeded traces, the same for the same seed.
//!
//! Duty: the shape of a generated trace, and the choice between recipes. Guarantee: trace `index` of a recipe depends on
//! the seed, the index and the start time alone, so any part of a load can be made again, in any order. Left to others:
//! bytes (`encode`, `json`), sending (`send`).

use std::borrow::Cow;

use clap::ValueEnum;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::{shop, standard};

/// Which traces are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Recipe {
    /// Orders in a shop of 7 services, 6 to 12 spans a trace.
    Shop,
    /// The benchmark's load: 20 services of 50 operations, 10 spans a trace, 11 attributes of 97 keys.
    Std,
}

/// One generated trace; span 0 is its root, and a parent stands before its children.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Names all of its spans.
    pub id: [u8; 16],
    /// In the order in which they start to exist.
    pub spans: Vec<Span>,
}

/// One generated span.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Index into [`Recipe::services`].
    pub service: usize,
    /// Never all zero.
    pub id: [u8; 8],
    /// `None` for the root.
    pub parent: Option<[u8; 8]>,
    /// Operation.
    pub name: Cow<'static, str>,
    /// OTLP number: 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub kind: u8,
    /// ns since 1970.
    pub start_ns: u64,
    /// ns since 1970.
    pub end_ns: u64,
    /// In the order sent.
    pub attributes: Vec<(&'static str, Value)>,
    /// In the order sent.
    pub events: Vec<Event>,
    /// `Some(message)` for a failed span.
    pub error: Option<&'static str>,
}

/// One generated event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// ns since 1970.
    pub time_ns: u64,
    /// `exception` and the like.
    pub name: &'static str,
    /// In the order sent.
    pub attributes: Vec<(&'static str, Value)>,
}

/// An attribute value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(Cow<'static, str>),
    /// 64-bit integer.
    Int(i64),
    /// Double.
    Double(f64),
    /// True or false.
    Bool(bool),
}

/// A service: what its resource says.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// `service.name`
    pub name: &'static str,
    /// All resource attributes, `service.name` among them.
    pub resource: Vec<(&'static str, Value)>,
}

impl Recipe {
    /// The services that send.
    pub fn services(self) -> Vec<Service> {
        match self {
            Self::Shop => shop::services(),
            Self::Std => standard::services(),
        }
    }

    /// Distance between the starts of two traces, in ns.
    pub fn trace_distance_ns(self) -> u64 {
        match self {
            Self::Shop => 50_000_000,
            // 1 M traces over 6 hours
            Self::Std => 21_600_000,
        }
    }

    /// Mean number of spans a trace.
    pub fn spans_per_trace(self) -> u64 {
        match self {
            Self::Shop => 8,
            Self::Std => 10,
        }
    }

    /// Trace number `index` of a load that begins at `start_ns`. `error_share` (0 to 1) is the share of failed spans;
    /// `None` takes the recipe's own.
    pub fn trace(self, seed: u64, index: u64, start_ns: u64, error_share: Option<f64>) -> Trace {
        self.trace_at(seed, index, start_ns + index * self.trace_distance_ns(), error_share)
    }

    /// Trace number `index`, whose root starts at `at` (ns since 1970).
    pub fn trace_at(self, seed: u64, index: u64, at: u64, error_share: Option<f64>) -> Trace {
        let mut chance = Chance::new(seed, index);
        match self {
            Self::Shop => shop::trace(&mut chance, at, error_share.unwrap_or(shop::ERROR_SHARE)),
            Self::Std => standard::trace(&mut chance, at, error_share.unwrap_or(standard::ERROR_SHARE)),
        }
    }
}

/// Chance of one trace.
#[derive(Debug)]
pub struct Chance(ChaCha8Rng);

impl Chance {
    /// A stream of its own for every (seed, index).
    pub fn new(seed: u64, index: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index);
        Self(rng)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..n`; 0 for `n` = 0.
    pub fn below(&mut self, n: u64) -> u64 {
        // The bias of a plain remainder is below 2^-40 for the small ranges used here.
        if n == 0 { 0 } else { self.bits() % n }
    }

    /// An index in `0..n`.
    pub fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).expect("the result is below a usize")
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        // 53 bits are what a double's mantissa holds.
        #[allow(clippy::cast_precision_loss, reason = "53 bits fit a double")]
        let bits = (self.bits() >> 11) as f64;
        bits / (1_u64 << 53) as f64
    }

    /// True with probability `share`.
    pub fn happens(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// A duration in ns with a long tail: half are below `median_ns`, one in a hundred above 8 times that.
    pub fn duration_ns(&mut self, median_ns: u64) -> u64 {
        let tail = 1.0 / (1.0 - self.unit()).max(1e-4);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let ns = (median_ns as f64 * 0.55 * tail.powf(0.8)) as u64;
        ns.max(1_000)
    }

    /// One of `from`.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    /// A span id, never all zero.
    pub fn span_id(&mut self) -> [u8; 8] {
        (self.bits() | 1).to_be_bytes()
    }

    /// A trace id, never all zero.
    pub fn trace_id(&mut self) -> [u8; 16] {
        ((u128::from(self.bits()) << 64) | u128::from(self.bits()) | 1).to_be_bytes()
    }
}

/// Text known at compile time.
pub const fn text(value: &'static str) -> Value {
    Value::Text(Cow::Borrowed(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_index_give_the_same_trace_and_another_index_another() {
        for recipe in [Recipe::Shop, Recipe::Std] {
            let (a, b) = (recipe.trace(1, 7, 1_000, None), recipe.trace(1, 7, 1_000, None));
            assert_eq!(a, b);
            assert_ne!(a.id, recipe.trace(1, 8, 1_000, None).id);
            assert_ne!(a.id, recipe.trace(2, 7, 1_000, None).id);
        }
    }

    #[test]
    fn parents_stand_before_their_children_and_roots_have_none() {
        for recipe in [Recipe::Shop, Recipe::Std] {
            for index in 0..200 {
                let trace = recipe.trace(3, index, 1_000_000_000, None);
                assert!(trace.spans[0].parent.is_none());
                for (at, span) in trace.spans.iter().enumerate().skip(1) {
                    let parent = span.parent.unwrap();
                    assert!(trace.spans[..at].iter().any(|p| p.id == parent));
                    assert!(span.end_ns >= span.start_ns);
                }
            }
        }
    }

    #[test]
    fn the_error_share_is_kept() {
        for recipe in [Recipe::Shop, Recipe::Std] {
            let failed = |share| {
                let spans: Vec<_> = (0..2000).flat_map(|i| recipe.trace(5, i, 0, Some(share)).spans).collect();
                spans.iter().filter(|s| s.error.is_some()).count() as f64 / spans.len() as f64
            };
            assert_eq!(failed(0.0), 0.0);
            assert!((failed(0.2) - 0.2).abs() < 0.02, "{}", failed(0.2));
        }
    }
}
