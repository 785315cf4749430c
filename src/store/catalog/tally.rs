//! Counting rows, through the ids of their dictionaries.
//!
//! Duty: [`Tally`], rows of memory and of parts into [`Counts`]. Guarantee: a row counts for the day of its home hour
//! (storage.md 6.1), so an outlier for that of its ingest; of a key that a list holds twice only the first occurrence is
//! the value, and reserved keys are none of the sender's. Rows of several batches that share their dictionaries are added
//! up before a name is looked for: what was counted is in the [`Counts`] after [`Tally::finish`]. Left to others: which rows
//! are counted, and that each is once.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Int32Type, TimestampMicrosecondType, TimestampNanosecondType, UInt8Type, UInt16Type};
use hashbrown::HashMap;

use super::counts::{Counts, Day, Table};
use crate::span::schema::{self, reserved};
use crate::store::Run;
use crate::store::part::Level;
use crate::store::split::home_hour;

/// Columns of flat values that are counted.
pub const COLUMNS: [&str; 6] = ["start_time", "service_name", "name", "kind", "status_code", "anomalies"];
const ERROR: &str = "error";

/// A column of a part that holds the values of one key.
#[derive(Clone, Debug)]
pub struct Promoted {
    /// Where the key stands.
    pub level: Level,
    /// The key.
    pub key: String,
    /// Attribute type of its values.
    pub of: u8,
    /// Its name in the part.
    pub column: String,
}

/// Dictionaries of keys, and of operations, whose counts are kept until others come.
const MOST_OPEN: usize = 24;
/// Texts of a dictionary whose counts are kept behind the batch.
const MOST_KEPT: usize = 4096;

/// Rows that are not in the [`Counts`] yet.
#[derive(Debug, Default)]
pub struct Tally {
    keys: Vec<Keys>,
    operations: Vec<Operations>,
    /// Lists seen so far: stamps the last list that held a key.
    list: u64,
}

/// Spans of a day by the id of a key in a dictionary.
#[derive(Debug)]
struct Keys {
    day: i32,
    level: Level,
    texts: ArrayRef,
    words: Vec<Word>,
    touched: Vec<usize>,
}

/// Spans of a day by the ids of service, name and kind in their dictionaries.
#[derive(Debug)]
struct Operations {
    day: i32,
    texts: [ArrayRef; 3],
    spans: HashMap<[i32; 3], Spans>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Word {
    spans: Spans,
    types: u8,
    list: u64,
}

/// Some spans of a day.
#[derive(Clone, Copy, Debug)]
struct Spans {
    rows: u64,
    errors: u64,
    first_ns: i64,
    last_ns: i64,
}

impl Default for Spans {
    fn default() -> Self {
        Self { rows: 0, errors: 0, first_ns: i64::MAX, last_ns: i64::MIN }
    }
}

impl Spans {
    const fn one(start_ns: i64, is_error: bool) -> Self {
        Self { rows: 1, errors: is_error as u64, first_ns: start_ns, last_ns: start_ns }
    }

    fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.errors += other.errors;
        self.first_ns = self.first_ns.min(other.first_ns);
        self.last_ns = self.last_ns.max(other.last_ns);
    }

    const fn on(self, day: i32) -> Day {
        Day { day, rows: self.rows, errors: self.errors, first_ns: self.first_ns, last_ns: self.last_ns }
    }

    /// Without errors, which belong to no key.
    const fn of_key_on(self, day: i32) -> Day {
        Day { day, rows: self.rows, errors: 0, first_ns: self.first_ns, last_ns: self.last_ns }
    }
}

impl Tally {
    /// Counts rows of memory; they are in `counts` once it is finished.
    pub fn add(&mut self, counts: &mut Counts, run: &Run) {
        let ingests = run.ingest_times(0, run.batch.rows());
        self.by_day(counts, run.batch.as_record_batch(), |row| ingests.value(row), &[]);
    }

    /// The same for rows of a part: [`COLUMNS`], `ingest_time`, key and type of the lists, and `promoted`.
    pub fn add_stored(&mut self, counts: &mut Counts, batch: &RecordBatch, promoted: &[Promoted]) {
        let ingests = column(batch, schema::INGEST_TIME).as_primitive::<TimestampMicrosecondType>();
        self.by_day(counts, batch, |row| ingests.value(row), promoted);
    }

    fn by_day(
        &mut self,
        counts: &mut Counts,
        batch: &RecordBatch,
        ingest_us: impl Fn(usize) -> i64,
        promoted: &[Promoted],
    ) {
        let starts = column(batch, "start_time").as_primitive::<TimestampNanosecondType>().values();
        let anomalies = column(batch, "anomalies").as_primitive::<UInt16Type>().values();
        let day = |row: usize| day_of_hour(home_hour(starts[row], ingest_us(row), anomalies[row]));
        let Some(first) = (0..batch.num_rows()).next().map(day) else { return };
        if (1..batch.num_rows()).all(|row| day(row) == first) {
            self.of_day(counts, first, batch, promoted);
        } else {
            let mut days: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
            (0_u32..).zip(0..batch.num_rows()).for_each(|(id, row)| days.entry(day(row)).or_default().push(id));
            let wanted = |name: &String| {
                COLUMNS.contains(&name.as_str())
                    || Level::ALL.iter().any(|level| level.column() == name)
                    || promoted.iter().any(|promoted| promoted.column == *name)
            };
            let names = batch.schema_ref().fields().iter().enumerate();
            let kept: Vec<usize> = names.filter(|(_, field)| wanted(field.name())).map(|(at, _)| at).collect();
            let kept = batch.project(&kept).expect("the places are those of its columns");
            for (day, rows) in days {
                let rows = take_record_batch(&kept, &UInt32Array::from(rows)).expect("the indices are those of rows");
                self.of_day(counts, day, &rows, promoted);
            }
        }
    }

    /// Adds what was counted since the last call.
    pub fn finish(&mut self, counts: &mut Counts) {
        self.keys.drain(..).for_each(|keys| keys.close(counts));
        self.operations.drain(..).for_each(|operations| operations.close(counts));
        counts.fit();
    }

    /// Counts rows that are all of `day`.
    fn of_day(&mut self, counts: &mut Counts, day: i32, batch: &RecordBatch, promoted: &[Promoted]) {
        let starts = column(batch, "start_time").as_primitive::<TimestampNanosecondType>().values();
        self.operations(counts, day, batch, starts);
        for level in Level::ALL {
            let own: Vec<(&Promoted, &ArrayRef)> = promoted
                .iter()
                .filter(|promoted| promoted.level == level)
                .map(|promoted| (promoted, column(batch, &promoted.column)))
                .collect();
            for (promoted, values) in &own {
                let mut spans = Spans::default();
                for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
                    spans.add(Spans::one(starts[row], false));
                }
                if spans.rows > 0 {
                    let of = Table::of_level(level);
                    counts.add(of, &[promoted.key.as_str()], spans.of_key_on(day), 1 << promoted.of);
                }
            }
            let lists = column(batch, level.column());
            match lists.as_any_dictionary_opt() {
                None => {
                    let spans = |row: usize| Spans::one(starts[row], false);
                    self.lists(counts, day, level, lists.as_list(), spans, &own);
                }
                Some(shared) => {
                    // Each distinct list is looked at once, not once a row.
                    let mut spans = vec![Spans::default(); shared.values().len()];
                    let keys = shared.keys().as_primitive::<Int32Type>().values();
                    for (key, start) in keys.iter().zip(starts) {
                        spans[*key as usize].add(Spans::one(*start, false));
                    }
                    self.lists(counts, day, level, shared.values().as_list(), |list| spans[list], &[]);
                }
            }
        }
    }

    /// Counts the keys of `lists`, list `i` as the spans `spans(i)`.
    fn lists(
        &mut self,
        counts: &mut Counts,
        day: i32,
        level: Level,
        lists: &ListArray,
        spans: impl Fn(usize) -> Spans,
        promoted: &[(&Promoted, &ArrayRef)],
    ) {
        let items = lists.values().as_struct();
        let keys = items.column(0).as_dictionary::<Int32Type>();
        let texts = keys.values().as_string::<i32>();
        let open = |open: &Keys| open.day == day && open.level == level && Arc::ptr_eq(&open.texts, keys.values());
        let at = self.keys.iter().position(open).unwrap_or_else(|| {
            if self.keys.len() == MOST_OPEN {
                self.keys.remove(0).close(counts);
            }
            let words = vec![Word::default(); texts.len()];
            self.keys.push(Keys { day, level, texts: keys.values().clone(), words, touched: Vec::new() });
            self.keys.len() - 1
        });
        let Keys { words, touched, .. } = &mut self.keys[at];
        let (keys, types) = (keys.keys().values(), items.column(1).as_primitive::<UInt8Type>().values());
        let columns: Vec<Option<&ArrayRef>> = match promoted.is_empty() {
            true => Vec::new(),
            false => texts.iter().map(|text| own_column(promoted, text.unwrap_or_default())).collect(),
        };
        let offsets = lists.value_offsets();
        for row in 0..lists.len() {
            let spans = spans(row);
            if spans.rows == 0 {
                continue;
            }
            self.list += 1;
            for at in offsets[row] as usize..offsets[row + 1] as usize {
                let id = keys[at] as usize;
                // The value is in the column; what the list has is a repeated key.
                if columns.get(id).is_some_and(|column| column.is_some_and(|values| values.is_valid(row))) {
                    continue;
                }
                let word = &mut words[id];
                if std::mem::replace(&mut word.list, self.list) == self.list {
                    continue;
                }
                if word.spans.rows == 0 {
                    touched.push(id);
                }
                word.spans.add(spans);
                word.types |= 1 << (types[at] & 7);
            }
        }
        if texts.len() > MOST_KEPT {
            // Names get their room in the order in which they came.
            self.keys.drain(..).for_each(|keys| keys.close(counts));
            counts.fit();
        }
    }

    /// Counts services and operations.
    fn operations(&mut self, counts: &mut Counts, day: i32, batch: &RecordBatch, starts: &[i64]) {
        let of = ["service_name", "name", "kind"].map(|name| column(batch, name).as_dictionary::<Int32Type>());
        let [services, names, kinds] = of.map(|of| of.keys().values());
        let statuses = column(batch, "status_code").as_dictionary::<Int32Type>();
        let is_error: Vec<bool> =
            statuses.values().as_string::<i32>().iter().map(|status| status == Some(ERROR)).collect();
        let texts = of.map(|of| of.values());
        let same = |open: &Operations| {
            open.day == day && open.texts.iter().zip(texts).all(|(open, texts)| Arc::ptr_eq(open, texts))
        };
        let at = self.operations.iter().position(same).unwrap_or_else(|| {
            if self.operations.len() == MOST_OPEN {
                self.operations.remove(0).close(counts);
            }
            self.operations.push(Operations { day, texts: texts.map(Arc::clone), spans: HashMap::new() });
            self.operations.len() - 1
        });
        let spans = &mut self.operations[at].spans;
        for (row, (start, status)) in starts.iter().zip(statuses.keys().values()).enumerate() {
            let span = Spans::one(*start, is_error[*status as usize]);
            spans.entry([services[row], names[row], kinds[row]]).or_default().add(span);
        }
        if spans.len() > MOST_KEPT {
            self.operations.drain(..).for_each(|operations| operations.close(counts));
            counts.fit();
        }
    }
}

impl Keys {
    fn close(self, counts: &mut Counts) {
        let texts = self.texts.as_string::<i32>();
        for id in self.touched {
            let Word { spans, types, .. } = self.words[id];
            let key = texts.value(id);
            if !key.starts_with(reserved::PREFIX) {
                counts.add(Table::of_level(self.level), &[key], spans.of_key_on(self.day), types);
            }
        }
    }
}

impl Operations {
    fn close(self, counts: &mut Counts) {
        let texts = self.texts.each_ref().map(|texts| texts.as_string::<i32>());
        let mut by_service: HashMap<i32, Spans> = HashMap::new();
        for (ids, spans) in self.spans {
            by_service.entry(ids[0]).or_default().add(spans);
            let [service, name, kind] = [0, 1, 2].map(|at| texts[at].value(ids[at] as usize));
            counts.add(Table::Operations, &[service, name, kind], spans.on(self.day), 0);
        }
        for (service, spans) in by_service {
            counts.add(Table::Services, &[texts[0].value(service as usize)], spans.on(self.day), 0);
        }
    }
}

fn own_column<'a>(promoted: &[(&Promoted, &'a ArrayRef)], key: &str) -> Option<&'a ArrayRef> {
    promoted.iter().find(|(promoted, _)| promoted.key == key).map(|(_, values)| *values)
}

/// The day of an hour, both since 1970.
pub fn day_of_hour(hour: i64) -> i32 {
    // A start time is an i64 of ns: within 107 000 days.
    i32::try_from(hour.div_euclid(24)).unwrap_or(i32::MAX)
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a ArrayRef {
    batch.column_by_name(name).expect("a column of every batch of spans")
}
