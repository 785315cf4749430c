//! What a part's footer says of its attribute keys: `wg.keys` (storage.md 7.3).
//!
//! Duty: the JSON and its size bound. Guarantee: promoted keys are always listed; when others do not fit, `complete` is
//! false. Left to others: counting (`tally`), choosing (`promote`).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::promote::Choice;
use super::tally::Tally;
use crate::span::pinned::ScalarType;

pub(super) const METADATA_KEY: &str = "wg.keys";
const MAX_BYTES: usize = 64 << 10;
const MAX_KEYS: usize = 10_000;

/// Where an attribute stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// On the span.
    Attr,
    /// On the resource.
    Res,
    /// On the instrumentation scope.
    Scope,
}

impl Level {
    /// All levels, in the order of their columns.
    pub const ALL: [Self; 3] = [Self::Attr, Self::Res, Self::Scope];

    /// The prefix of promoted columns.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attr => "attr",
            Self::Res => "res",
            Self::Scope => "scope",
        }
    }

    /// The column of [`crate::span::schema::stored`] that holds the lists.
    pub const fn column(self) -> &'static str {
        match self {
            Self::Attr => "attributes",
            Self::Res => "resource",
            Self::Scope => "scope",
        }
    }
}

/// One key of one level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEntry {
    /// The key; its promoted column is `{level}.{key}`.
    pub key: String,
    /// Type of the promoted column: `text`, `int`, `double`, `bool`; absent = not promoted.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "scalar")]
    pub promoted: Option<ScalarType>,
    /// Rows that have the key.
    pub present: u64,
    /// Rows whose value (the first occurrence) lies in the residual list: `present` less the column's non-null rows.
    pub residual: u64,
    /// Bit `t` = some residual value has the attribute type `t`.
    pub mask: u8,
    /// Hex; bit `g % 8` of byte `g / 8` = row group `g` has residual values.
    pub groups: String,
}

impl KeyEntry {
    /// Whether row group `number` has residual values; where it is not said, it may.
    pub fn may_be_residual_in(&self, number: usize) -> bool {
        let byte = self.groups.get(number / 8 * 2..number / 8 * 2 + 2);
        let byte = byte.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        byte.is_none_or(|bits| bits & (1 << (number % 8)) != 0)
    }
}

/// The keys of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// Whether a key that is not listed is absent from the part.
    pub complete: bool,
    /// Span keys.
    pub attr: Vec<KeyEntry>,
    /// Resource keys.
    pub res: Vec<KeyEntry>,
    /// Scope keys.
    pub scope: Vec<KeyEntry>,
}

impl Keys {
    /// The keys of one level: promoted ones first, then by rows.
    pub fn level(&self, level: Level) -> &[KeyEntry] {
        match level {
            Level::Attr => &self.attr,
            Level::Res => &self.res,
            Level::Scope => &self.scope,
        }
    }

    /// What is known of `key`.
    pub fn get(&self, level: Level, key: &str) -> Option<&KeyEntry> {
        self.level(level).iter().find(|entry| entry.key == key)
    }

    /// What a part's footer says, by its key-values; `None` where they are not a part's.
    pub fn of_footer(key_values: &HashMap<String, String>) -> Option<Self> {
        serde_json::from_str(key_values.get(METADATA_KEY)?).ok()
    }

    pub(super) fn of(tallies: &[Tally; 3], choices: &[Vec<Choice>; 3]) -> Self {
        let mut keys = Self { complete: true, attr: vec![], res: vec![], scope: vec![] };
        // The braces, level names and `complete` of an empty object.
        let mut bytes = 64;
        let mut rest = Vec::new();
        for (at, level) in Level::ALL.into_iter().enumerate() {
            keys.complete &= tallies[at].keys.len() <= MAX_KEYS;
            for id in 0..tallies[at].keys.len() {
                let choice = choices[at].iter().find(|choice| choice.key == tallies[at].keys[id].key);
                let entry = tallies[at].entry(id, choice.map(|choice| choice.of));
                match choice {
                    Some(_) => bytes += keys.push(level, entry),
                    None => rest.push((level, entry)),
                }
            }
        }
        rest.sort_by(|(_, a), (_, b)| b.present.cmp(&a.present).then_with(|| a.key.cmp(&b.key)));
        for (level, entry) in rest {
            let size = size(&entry);
            if bytes + size > MAX_BYTES || keys.level(level).len() >= MAX_KEYS {
                keys.complete = false;
                continue;
            }
            bytes += keys.push(level, entry);
        }
        keys
    }

    fn push(&mut self, level: Level, entry: KeyEntry) -> usize {
        let size = size(&entry);
        match level {
            Level::Attr => self.attr.push(entry),
            Level::Res => self.res.push(entry),
            Level::Scope => self.scope.push(entry),
        }
        size
    }
}

fn size(entry: &KeyEntry) -> usize {
    serde_json::to_string(entry).expect("a struct of text and numbers is JSON").len() + 1
}

mod scalar {
    //! [`ScalarType`] as a word.

    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::span::pinned::ScalarType;

    const WORDS: [(&str, ScalarType); 4] = [
        ("text", ScalarType::Text),
        ("int", ScalarType::Int),
        ("double", ScalarType::Double),
        ("bool", ScalarType::Bool),
    ];

    #[allow(clippy::ref_option, reason = "serde passes the field")]
    pub(super) fn serialize<S: Serializer>(of: &Option<ScalarType>, to: S) -> Result<S::Ok, S::Error> {
        match WORDS.iter().find(|(_, scalar)| Some(*scalar) == *of) {
            Some((word, _)) => to.serialize_str(word),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ScalarType>, D::Error> {
        let word = String::deserialize(from)?;
        let found = WORDS.iter().find(|(known, _)| *known == word);
        found.map(|(_, of)| Some(*of)).ok_or_else(|| de::Error::custom(format!("unknown type `{word}`")))
    }
}
