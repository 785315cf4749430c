//! Which attribute keys become columns of their own in one part (storage.md 7.2).
//!
//! Duty: a pure choice from the counts. Guarantee: the same counts give the same choice, in the same order. Left to
//! others: making the columns (`split`).

use std::cmp::Reverse;

use super::keys::Level;
use super::tally::Tally;
use crate::span::pinned::{self, ScalarType};
use crate::span::schema::{attr_type, reserved};
use crate::store::Config;

/// Longer keys stay residual: all promoted keys must fit into `wg.keys`.
const MAX_KEY_BYTES: usize = 256;

/// One promoted key.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// Its place in the tally.
    pub(super) id: usize,
    pub(super) key: String,
    pub(super) of: ScalarType,
}

/// The attribute type of a scalar type.
pub(super) fn type_code(of: ScalarType) -> usize {
    usize::from(match of {
        ScalarType::Text => attr_type::STRING,
        ScalarType::Int => attr_type::INT,
        ScalarType::Double => attr_type::DOUBLE,
        ScalarType::Bool => attr_type::BOOL,
    })
}

/// The keys of `level` to promote in a part of `rows` rows.
pub(super) fn choose(level: Level, tally: &Tally, rows: u64, config: &Config) -> Vec<Choice> {
    let cap = match level {
        Level::Attr => 32,
        Level::Res => 16,
        Level::Scope => 4,
    };
    let mut candidates = Vec::new();
    for (id, key) in tally.keys.iter().enumerate() {
        let name = key.key.as_str();
        let unlistable = name.len() > MAX_KEY_BYTES || name.chars().any(char::is_control);
        // Reserved keys are hidden from SQL, so a column of theirs would serve nobody.
        if unlistable || name.starts_with(reserved::PREFIX) || config.promote_never.iter().any(|never| never == name) {
            continue;
        }
        let pinned = pinned::type_of(name);
        let scalars = [ScalarType::Text, ScalarType::Int, ScalarType::Double, ScalarType::Bool];
        let most = scalars.into_iter().max_by_key(|of| (key.rows[type_code(*of)], Reverse(*of)));
        let of = pinned.or(most).expect("there are four types");
        if key.rows[type_code(of)] == 0 {
            continue;
        }
        let (present, bytes) = (key.rows.iter().sum::<u64>(), key.bytes.iter().sum::<u64>());
        let always = config.promote_always.iter().any(|always| always == name);
        let must = always || (pinned.is_some() && present * 1000 >= rows);
        if must || present * 100 >= rows || bytes * 50 >= tally.bytes {
            let saved = key.bytes[type_code(of)] + 8 * key.rows[type_code(of)];
            candidates.push(((!always, !must, Reverse(saved), name), Choice { id, key: name.to_owned(), of }));
        }
    }
    candidates.sort_by_key(|(order, _)| *order);
    candidates.into_iter().take(cap).map(|(_, choice)| choice).collect()
}
