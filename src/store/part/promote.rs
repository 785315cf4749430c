//! Which attribute keys become columns of their own in one part (storage.md 7.2).
//!
//! Duty: a pure choice from the counts: [`Promotion`]. Guarantee: the same counts give the same choice, in the same
//! order. Left to others: making the columns (`split`), moving values between two promotions (`reshape`).

use std::cmp::Reverse;

use arrow::array::{ArrayRef, AsArray as _};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use super::columns::{group_schema, promoted_name};
use super::keys::{Keys, Level};
use super::tally::Tally;
use crate::span::pinned::{self, ScalarType};
use crate::span::schema::{self, attr_type, reserved};
use crate::store::Config;

/// Longer keys stay residual: all promoted keys must fit into `wg.keys`.
const MAX_KEY_BYTES: usize = 256;

/// One promoted key.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) key: String,
    pub(super) of: ScalarType,
}

impl Choice {
    /// Whether both make the same column.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.of == other.of && self.key == other.key
    }
}

/// The promoted keys of a part, by level.
#[derive(Clone, Debug)]
pub struct Promotion(pub(super) [Vec<Choice>; 3]);

impl Promotion {
    /// That of a part with these keys and the columns `file`, whose order it keeps.
    pub(super) fn of_file(keys: &Keys, file: &SchemaRef) -> Self {
        Self(Level::ALL.map(|level| {
            let promoted = keys.level(level).iter().filter_map(|key| Some((key, key.promoted?)));
            let mut choices: Vec<Choice> = promoted.map(|(key, of)| Choice { key: key.key.clone(), of }).collect();
            choices.sort_by_cached_key(|choice| file.index_of(&promoted_name(level, &choice.key)).ok());
            choices
        }))
    }

    /// For a part of the rows of other parts: `rows` rows in all, whose keys are `parts`.
    ///
    /// Footers tell of residual values neither their number by type nor their size, so types and sizes are estimates;
    /// which part of the rows has a key is exact.
    pub fn of_parts<'a>(parts: impl Iterator<Item = &'a Keys>, rows: u64, config: &Config) -> Self {
        let mut tallies = [Tally::default(), Tally::default(), Tally::default()];
        for keys in parts {
            for (tally, level) in tallies.iter_mut().zip(Level::ALL) {
                keys.level(level).iter().for_each(|key| tally.estimate(key));
            }
        }
        Self([0, 1, 2].map(|at| choose(Level::ALL[at], &tallies[at], rows, config, &[])))
    }

    /// Whether both make the same columns, in whatever order.
    pub fn is_same(&self, other: &Self) -> bool {
        let are_in = |these: &[Choice], those: &[Choice]| these.iter().all(|a| those.iter().any(|b| a.is_same(b)));
        self.0.iter().zip(&other.0).all(|(a, b)| a.len() == b.len() && are_in(a, b))
    }

    /// Whether it promotes nothing of `promote.never`, and of `promote.always` all that a part of the `rows` rows of `parts`
    /// would: what cannot have a column, such as a key of arrays, is not missed.
    pub fn obeys<'a>(&self, config: &Config, parts: impl Iterator<Item = &'a Keys>, rows: u64) -> bool {
        let is_in = |level: usize, key: &str| self.0[level].iter().any(|choice| choice.key == key);
        if config.promote_never.iter().any(|key| (0..3).any(|level| is_in(level, key))) {
            return false;
        }
        if config.promote_always.is_empty() {
            return true;
        }
        let would = Self::of_parts(parts, rows, config);
        let mut always =
            would.0.iter().enumerate().flat_map(|(level, choices)| choices.iter().map(move |c| (level, c)));
        always.all(|(level, choice)| !config.promote_always.contains(&choice.key) || is_in(level, &choice.key))
    }

    /// The columns of a row group, with dictionaries for all text.
    pub fn schema(&self) -> SchemaRef {
        group_schema(&self.0)
    }

    /// Counts the attributes of rows, row group `group`, from columns of the file by their places.
    pub(super) fn tally(
        &self,
        tallies: &mut [Tally; 3],
        group: usize,
        column: &mut dyn FnMut(usize) -> Result<ArrayRef, ArrowError>,
    ) -> Result<(), ArrowError> {
        let mut next = schema::stored().fields().len();
        for ((tally, level), choices) in tallies.iter_mut().zip(Level::ALL).zip(&self.0) {
            let columns = (next..).take(choices.len()).map(&mut *column).collect::<Result<Vec<_>, _>>()?;
            next += choices.len();
            let lists = column(schema::stored().index_of(level.column())?)?;
            tally.add_split(lists.as_list(), &choices.iter().zip(&columns).collect::<Vec<_>>(), group);
        }
        Ok(())
    }

    /// Gives keys without rows a place in the tallies: promoted keys are always listed.
    pub(super) fn list_all(&self, tallies: &mut [Tally; 3]) {
        for (tally, choices) in tallies.iter_mut().zip(&self.0) {
            choices.iter().for_each(|choice| tally.list(&choice.key));
        }
    }
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

/// How much more must speak for a key that the part before did not promote than for one that it did: parts of like rows
/// then have like columns, and their row groups can be taken over as they are.
const STAY: u64 = 2;

/// The keys of `level` to promote in a part of `rows` rows, behind a part that promoted `before`.
pub(super) fn choose(level: Level, tally: &Tally, rows: u64, config: &Config, before: &[Choice]) -> Vec<Choice> {
    let cap = match level {
        Level::Attr => 32,
        Level::Res => 16,
        Level::Scope => 4,
    };
    let mut candidates = Vec::new();
    for key in &tally.keys {
        let name = key.key.as_str();
        let unlistable = name.len() > MAX_KEY_BYTES || name.chars().any(char::is_control);
        // Reserved keys are hidden from SQL, so a column of theirs would serve nobody.
        if unlistable || name.starts_with(reserved::PREFIX) || config.promote_never.iter().any(|never| never == name) {
            continue;
        }
        let pinned = pinned::type_of(name);
        let scalars = [ScalarType::Text, ScalarType::Int, ScalarType::Double, ScalarType::Bool];
        let most = scalars.into_iter().max_by_key(|of| (key.rows[type_code(*of)], Reverse(*of)));
        let most_rows = most.map_or(0, |of| key.rows[type_code(of)]);
        let before_it = before.iter().find(|choice| choice.key == name).map(|choice| choice.of);
        let stays = before_it.filter(|of| key.rows[type_code(*of)] * STAY >= most_rows);
        let of = pinned.or(stays).or(most).expect("there are four types");
        if key.rows[type_code(of)] == 0 {
            continue;
        }
        let (present, bytes) = (key.rows.iter().sum::<u64>(), key.bytes.iter().sum::<u64>());
        let always = config.promote_always.iter().any(|always| always == name);
        let stay = if before.iter().any(|choice| choice.of == of && choice.key == name) { STAY } else { 1 };
        let must = always || (pinned.is_some() && present * stay * 1000 >= rows);
        if must || present * stay * 100 >= rows || bytes * stay * 50 >= tally.bytes {
            let saved = (key.bytes[type_code(of)] + 8 * key.rows[type_code(of)]) * stay;
            candidates.push(((!always, !must, Reverse(saved), name), Choice { key: name.to_owned(), of }));
        }
    }
    candidates.sort_by_key(|(order, _)| *order);
    candidates.into_iter().take(cap).map(|(_, choice)| choice).collect()
}
