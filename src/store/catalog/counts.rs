//! What is counted, and how much of it is kept (storage.md 10.2, 14).
//!
//! Duty: [`Counts`], rows by name and day. Guarantee: no table has more rows than its bound, and all of them together
//! stay near their share: new names beyond it are counted together in one row for all the rest, and if the days of known
//! names are too many, whole days leave, the oldest first. Left to others: what is counted (`tally`), the file (`file`).

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use hashbrown::{Equivalent, HashMap};

use crate::store::part::Level;

/// Memory of an entry without its names and days.
const ENTRY_BYTES: usize = 96;
/// Memory of a name without its text.
const NAME_BYTES: usize = 16;
/// Memory of a day, with the room that a list keeps to grow.
const DAY_BYTES: usize = 64;

/// A table of the catalogue; of attribute keys each level is one, for each has a bound of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Keys on spans, by `[key]`.
    Attributes,
    /// Keys on resources, by `[key]`.
    Resource,
    /// Keys on scopes, by `[key]`.
    Scope,
    /// By `[service_name]`.
    Services,
    /// By `[service_name, name, kind]`.
    Operations,
}

impl Table {
    /// All tables.
    pub const ALL: [Self; 5] = [Self::Attributes, Self::Resource, Self::Scope, Self::Services, Self::Operations];

    /// The keys of `level`.
    pub const fn of_level(level: Level) -> Self {
        match level {
            Level::Attr => Self::Attributes,
            Level::Res => Self::Resource,
            Level::Scope => Self::Scope,
        }
    }

    /// Rows with a name of their own at most.
    pub const fn most(self) -> usize {
        match self {
            Self::Attributes | Self::Resource | Self::Scope | Self::Services => 10_000,
            Self::Operations => 100_000,
        }
    }
}

/// Rows of one UTC day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    /// Days since 1970.
    pub day: i32,
    /// Spans; of an attribute key, those that have it.
    pub rows: u64,
    /// Those with status `error`; 0 for attribute keys.
    pub errors: u64,
    /// First start time among them, ns since 1970.
    pub first_ns: i64,
    /// Last start time among them.
    pub last_ns: i64,
}

impl Day {
    fn add(&mut self, other: Self) {
        self.rows = self.rows.saturating_add(other.rows);
        self.errors = self.errors.saturating_add(other.errors);
        self.first_ns = self.first_ns.min(other.first_ns);
        self.last_ns = self.last_ns.max(other.last_ns);
    }
}

/// What is known under one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Bit `t` = some value had the attribute type `t`. Only widens (sql.md 3.2).
    pub types: u8,
    /// Ascending by day, one a day.
    pub days: Vec<Day>,
}

impl Entry {
    /// Memory that it grew by.
    fn add(&mut self, day: Day, types: u8) -> usize {
        self.types |= types;
        // The last day is the usual one.
        let at = match self.days.last() {
            Some(last) if last.day < day.day => Err(self.days.len()),
            _ => self.days.binary_search_by_key(&day.day, |known| known.day),
        };
        match at {
            Ok(at) => {
                self.days[at].add(day);
                0
            }
            Err(at) => {
                self.days.insert(at, day);
                DAY_BYTES
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Names(Box<[Box<str>]>);

struct Asked<'a>(&'a [&'a str]);

impl Hash for Names {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|name| name.hash(state));
    }
}

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|name| name.hash(state));
    }
}

impl Equivalent<Names> for Asked<'_> {
    fn equivalent(&self, names: &Names) -> bool {
        self.0.len() == names.0.len() && self.0.iter().zip(&names.0).all(|(asked, name)| **asked == **name)
    }
}

#[derive(Clone, Debug, Default)]
struct Rows {
    entries: HashMap<Names, Entry>,
    /// Of all names that have no entry.
    rest: Entry,
}

/// The tables.
#[derive(Clone, Debug)]
pub struct Counts {
    tables: [Rows; 5],
    /// Memory that it should hold at most.
    share: usize,
    bytes: usize,
    /// Rows of earlier days are not counted: those days left for want of memory.
    floor: i32,
}

impl Counts {
    /// Nothing counted yet; to hold about `share` bytes at most.
    pub fn new(share: usize) -> Self {
        Self { tables: Default::default(), share, bytes: 0, floor: i32::MIN }
    }

    /// Adds rows of the names `names` of `table`.
    pub fn add(&mut self, table: Table, names: &[&str], day: Day, types: u8) {
        if day.day < self.floor {
            return;
        }
        let rows = &mut self.tables[table as usize];
        if let Some(entry) = rows.entries.get_mut(&Asked(names)) {
            self.bytes += entry.add(day, types);
            return;
        }
        let cost = cost(names.iter().map(|name| name.len()));
        if rows.entries.len() >= table.most() || self.bytes + cost + DAY_BYTES > self.share {
            self.bytes += rows.rest.add(day, types);
            return;
        }
        let mut entry = Entry::default();
        self.bytes += cost + entry.add(day, types);
        rows.entries.insert(Names(names.iter().map(|name| (*name).into()).collect()), entry);
    }

    /// Adds rows of `table` whose names are not known.
    pub fn add_rest(&mut self, table: Table, day: Day, types: u8) {
        if day.day >= self.floor {
            self.bytes += self.tables[table as usize].rest.add(day, types);
        }
    }

    /// Adds all that `other` has.
    pub fn absorb(&mut self, other: &Self) {
        for table in Table::ALL {
            for (names, entry) in other.rows(table) {
                for day in &entry.days {
                    match &names {
                        Some(names) => self.add(table, names, *day, entry.types),
                        None => self.add_rest(table, *day, entry.types),
                    }
                }
            }
        }
        self.fit();
    }

    /// The rows of `table`, by name; the one for all the rest, without names, is the last.
    pub fn rows(&self, table: Table) -> impl Iterator<Item = (Option<Vec<&str>>, &Entry)> {
        let rows = &self.tables[table as usize];
        let mut named: Vec<(Vec<&str>, &Entry)> =
            rows.entries.iter().map(|(names, entry)| (names.0.iter().map(|name| &**name).collect(), entry)).collect();
        named.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let rest = (!rows.rest.days.is_empty()).then_some((None, &rows.rest));
        named.into_iter().map(|(names, entry)| (Some(names), entry)).chain(rest)
    }

    /// The days that have rows.
    pub fn days(&self) -> BTreeSet<i32> {
        self.entries().flat_map(|entry| &entry.days).map(|day| day.day).collect()
    }

    /// The first day that is counted; earlier ones left for want of memory.
    pub fn floor(&self) -> i32 {
        self.floor
    }

    /// Counts no rows of days before `floor` any more.
    pub fn begin_at(&mut self, floor: i32) {
        if floor > self.floor {
            self.floor = floor;
            self.retain(|day| day >= floor);
        }
    }

    /// Keeps the days that `stays` names.
    pub fn retain(&mut self, stays: impl Fn(i32) -> bool) {
        self.bytes = 0;
        for rows in &mut self.tables {
            let mut bytes = 0;
            rows.entries.retain(|names, entry| {
                entry.days.retain(|day| stays(day.day));
                let is_left = !entry.days.is_empty();
                if is_left {
                    bytes += cost(names.0.iter().map(|name| name.len())) + DAY_BYTES * entry.days.len();
                }
                is_left
            });
            rows.rest.days.retain(|day| stays(day.day));
            if rows.rest.days.is_empty() {
                rows.rest.types = 0;
            }
            self.bytes += bytes + DAY_BYTES * rows.rest.days.len();
        }
    }

    /// Lets the oldest days go until the others are within the share; the newest stays in any case.
    pub fn fit(&mut self) {
        if self.bytes <= self.share {
            return;
        }
        let mut by_day: BTreeMap<i32, usize> = BTreeMap::new();
        self.entries().flat_map(|entry| &entry.days).for_each(|day| *by_day.entry(day.day).or_default() += DAY_BYTES);
        by_day.pop_last();
        // An eighth more: not with every batch again.
        let mut over = self.bytes - self.share + self.share / 8;
        let mut floor = self.floor;
        for (day, bytes) in by_day {
            if over == 0 {
                break;
            }
            over = over.saturating_sub(bytes);
            floor = day.saturating_add(1);
        }
        self.begin_at(floor);
    }

    /// Memory that it holds, about.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.tables.iter().flat_map(|rows| rows.entries.values().chain([&rows.rest]))
    }
}

/// Memory of an entry without days, whose names have these lengths.
fn cost(names: impl Iterator<Item = usize>) -> usize {
    ENTRY_BYTES + names.map(|length| NAME_BYTES + length).sum::<usize>()
}
