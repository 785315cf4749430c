//! Rows to the bytes of a part (storage.md 7).
//!
//! Duty: [`encode_behind`]: choose promoted columns, split the lists, write Parquet and the block hashes into memory.
//! Guarantee: every row goes in once; row groups of about equal size begin on zone boundaries, with their rows in the
//! order given or, if the part is to be so, sorted. Left to others: the file
//! ([`super::Writer`]), where the bytes go ([`super::put`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{AnyDictionaryArray, Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType, TimestampNanosecondType};
use bytes::Bytes;
use hashbrown::HashSet;
use twox_hash::XxHash3_64;

use super::arranged::Arranged;
use super::chunk::traces;
use super::columns::ZONE_ROWS;
use super::cut::{TEXT_BYTES, cut};
use super::group::Group;
use super::keys::{self, Keys, Level};
use super::promote::{Promotion, choose};
use super::tally::Tally;
use super::writer::Writer;
use super::{EncodedPart, Error, PartSpec, SCHEMA_VERSION, SORTED_GROUPS};
use crate::span::schema;
use crate::store::Config;
use crate::store::index;
use crate::store::manifest::{PartEntry, RowGroupEntry, hash};

/// Arrow bytes of a row group at most.
const GROUP_BYTES: usize = 64 << 20;
/// Services that an entry lists by name.
const MAX_SERVICES: usize = 64;
pub(super) const STATS_KEY: &str = "wg.stats";
/// Magic and length behind the footer's metadata.
const TRAILER_BYTES: u64 = 8;

/// Makes a part of `batches`, whose columns are those of [`schema::stored`].
///
/// Errors: [`Error::Unfit`] without rows or with other columns; errors of the Parquet writer.
#[cfg(test)]
pub fn encode(batches: &[RecordBatch], spec: &PartSpec, config: &Config) -> Result<EncodedPart, Error> {
    encode_behind(None, batches, spec, config).map(|(part, _)| part)
}

/// The same behind a part that promoted `before`, whose columns it keeps if nothing speaks against them.
pub fn encode_behind(
    before: Option<&Promotion>,
    batches: &[RecordBatch],
    spec: &PartSpec,
    config: &Config,
) -> Result<(EncodedPart, Promotion), Error> {
    if let Some(other) = batches.iter().find(|batch| batch.schema_ref().fields() != schema::stored().fields()) {
        return Err(Error::Unfit(format!("these are not the columns of a stored batch: {}", other.schema_ref())));
    }
    let groups = groups(batches, config);
    let rows: usize = groups.iter().flatten().map(RecordBatch::num_rows).sum();
    if rows == 0 {
        return Err(Error::Unfit("there are no rows".to_owned()));
    }
    let tallies = tally(&groups);
    let kept = |at: usize| before.map_or(&[][..], |before| &before.0[at]);
    let promotion = Promotion([0, 1, 2].map(|at| choose(Level::ALL[at], &tallies[at], rows as u64, config, kept(at))));
    let mut writer = Writer::counted(promotion.clone(), config, tallies, rows)?;
    for batches in &groups {
        let group = Group::new(batches, &promotion.0)?;
        match spec.sort {
            SORTED_GROUPS => {
                let mut arranged = Arranged::new(&group)?;
                writer.write_columns(group.rows(), &mut |at| arranged.column(at))?;
            }
            _ => writer.write_columns(group.rows(), &mut |at| group.column(at))?,
        }
    }
    Ok((writer.finish(spec)?, promotion))
}

/// The rows cut into row groups of about equal size: whole zones, at most `row_group_rows` rows or about [`GROUP_BYTES`].
/// Less than a zone only where the text of one does not fit into a column.
fn groups(batches: &[RecordBatch], config: &Config) -> Vec<Vec<RecordBatch>> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let bytes: usize = batches.iter().map(RecordBatch::get_array_memory_size).sum();
    let by_bytes = GROUP_BYTES / bytes.div_ceil(rows.max(1)).max(1);
    // Slices of one batch count its buffers each: an estimate that high still gets a zone.
    let most = config.row_group_rows.min(by_bytes.next_multiple_of(ZONE_ROWS).max(ZONE_ROWS)).max(1);
    // A small rest would stay small: compaction takes large row groups over as they are.
    let equal = rows.div_ceil(rows.div_ceil(most).max(1)).next_multiple_of(ZONE_ROWS);
    let most = most.min(equal.max(1));
    let mut groups: Vec<Vec<RecordBatch>> = Vec::new();
    let mut room = 0;
    for batch in batches {
        let mut from = 0;
        while from < batch.num_rows() {
            if room == 0 {
                groups.push(Vec::new());
                room = most;
            }
            let taken = room.min(batch.num_rows() - from);
            // A slice has an array of its own for each column, and many batches are small.
            let piece = if taken == batch.num_rows() { batch.clone() } else { batch.slice(from, taken) };
            groups.last_mut().expect("one was just pushed").push(piece);
            (from, room) = (from + taken, room - taken);
        }
    }
    groups.into_iter().flat_map(|group| cut(group, TEXT_BYTES)).collect()
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a ArrayRef {
    batch.column_by_name(name).expect("encode checked the schema")
}

fn tally(groups: &[Vec<RecordBatch>]) -> [Tally; 3] {
    let mut tallies = [Tally::default(), Tally::default(), Tally::default()];
    for (group, batches) in groups.iter().enumerate() {
        for (tally, level) in tallies.iter_mut().zip(Level::ALL) {
            let mut shared = Weights::default();
            for batch in batches {
                let lists = column(batch, level.column());
                match lists.as_any_dictionary_opt() {
                    None => tally.add(lists.as_list(), None, group),
                    Some(dictionary) => shared.add(dictionary),
                }
            }
            for (lists, weights) in shared.0 {
                tally.add(lists.as_list(), Some(&weights), group);
            }
        }
    }
    tallies
}

/// How many rows refer to each list of some dictionaries.
#[derive(Default)]
struct Weights<'a>(Vec<(&'a ArrayRef, Vec<u64>)>);

impl<'a> Weights<'a> {
    /// Dictionaries that are looked through: each decoding thread has one at a time.
    const RECENT: usize = 8;

    fn add(&mut self, dictionary: &'a dyn AnyDictionaryArray) {
        let lists = dictionary.values();
        let recent = self.0.len().saturating_sub(Self::RECENT);
        let known = self.0[recent..].iter().position(|(known, _)| Arc::ptr_eq(known, lists));
        let at = known.map_or(self.0.len(), |at| recent + at);
        if known.is_none() {
            self.0.push((lists, vec![0; lists.len()]));
        }
        let weights = &mut self.0[at].1;
        let keys = dictionary.keys().as_primitive::<Int32Type>().values();
        keys.iter().for_each(|key| weights[key.cast_unsigned() as usize] += 1);
    }
}

/// What the entry and the footer say of the rows.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) rows: u64,
    traces: HashSet<[u8; 16]>,
    services: BTreeSet<String>,
    ingest: Option<[i64; 2]>,
    pub(super) groups: Vec<RowGroupEntry>,
    pub(super) hash: u64,
}

fn widen(range: &mut Option<[i64; 2]>, value: i64) {
    let [min, max] = range.unwrap_or([value, value]);
    *range = Some([min.min(value), max.max(value)]);
}

impl Facts {
    /// Columns of [`schema::stored`] that [`Facts::add`] reads.
    pub(super) const COLUMNS: [&'static str; 6] =
        ["trace_id", "span_id", "start_time", "duration_ns", "ingest_time", "service_name"];

    /// Adds the rows of one row group, which has at least [`Facts::COLUMNS`].
    pub(super) fn add(&mut self, group: &RecordBatch) {
        let ids = traces(column(group, "trace_id").as_fixed_size_binary());
        self.add_of(group, &ids.values);
    }

    /// The same, of rows of the traces `ids`, each named once.
    pub(super) fn add_of(&mut self, group: &RecordBatch, ids: &[[u8; 16]]) {
        self.traces.extend(ids);
        let traces = column(group, "trace_id").as_fixed_size_binary();
        let spans = column(group, "span_id").as_fixed_size_binary();
        let starts = column(group, "start_time").as_primitive::<TimestampNanosecondType>();
        let durations = column(group, "duration_ns").as_primitive::<Int64Type>();
        let ingests = column(group, "ingest_time").as_primitive::<TimestampMicrosecondType>();
        let (mut start, mut end) = (None, None);
        for row in 0..group.num_rows() {
            let (trace, span) = (traces.value(row), spans.value(row));
            let (at, took) = (starts.value(row), durations.value(row));
            widen(&mut start, at);
            widen(&mut end, at.saturating_add(took));
            widen(&mut self.ingest, ingests.value(row));
            self.hash = self.hash.wrapping_add(row_hash(trace, span, at, took));
        }
        let services = column(group, "service_name").as_dictionary::<Int32Type>();
        let names = services.values().as_string::<i32>();
        let mut used = vec![false; names.len()];
        services.keys().values().iter().for_each(|key| used[key.cast_unsigned() as usize] = true);
        let used = used.iter().enumerate().filter(|(_, used)| **used);
        self.services.extend(used.map(|(at, _)| names.value(at).to_owned()));
        self.rows += group.num_rows() as u64;
        self.groups.push(RowGroupEntry { start: start.unwrap_or_default(), end: end.unwrap_or_default() });
    }

    fn range(&self, of: impl Fn(&RowGroupEntry) -> [i64; 2]) -> [i64; 2] {
        let mut range = None;
        for [min, max] in self.groups.iter().map(of) {
            widen(&mut range, min);
            widen(&mut range, max);
        }
        range.unwrap_or_default()
    }

    pub(super) fn metadata(&self, spec: &PartSpec, keys: &Keys) -> [(&'static str, String); 4] {
        let ulid = spec.ulid.to_string();
        let mut format = serde_json::json!({
            "format": 1, "level": spec.level, "ulid": ulid, "hour": spec.hour, "sort": spec.sort,
        });
        if spec.stray {
            format["stray"] = true.into();
        }
        let keys = serde_json::to_string(keys).expect("keys are plain data");
        [
            ("wg.format", format.to_string()),
            (keys::METADATA_KEY, keys),
            spec.source.metadata(),
            (STATS_KEY, self.stats().to_string()),
        ]
    }

    /// `wg.stats`
    pub(super) fn stats(&self) -> serde_json::Value {
        serde_json::json!({
            "rows": self.rows, "traces": self.traces.len(), "start": self.range(|g| g.start),
            "end": self.range(|g| g.end), "ingest": self.ingest.unwrap_or_default(),
            "hash": format!("{:016x}", self.hash),
        })
    }

    /// The names of the services, or of the first and the last where there are many.
    pub(super) fn services(&self) -> (Option<Vec<String>>, Option<[String; 2]>) {
        let few = self.services.len() <= MAX_SERVICES;
        let ends =
            || [self.services.first().cloned().unwrap_or_default(), self.services.last().cloned().unwrap_or_default()];
        (few.then(|| self.services.iter().cloned().collect()), (!few).then(ends))
    }

    pub(super) fn entry(&self, spec: &PartSpec, file: &Bytes, sum: &Bytes) -> PartEntry {
        let (date, hour) = spec.hour.split_once('T').unwrap_or((&spec.hour, "00"));
        let length = file.len() as u64;
        let metadata = file.get(file.len().saturating_sub(8)..file.len().saturating_sub(4));
        let metadata = metadata.and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
        let (services, service_range) = self.services();
        let path = format!("spans/date={date}/hour={hour}/{}.parquet", spec.ulid);
        PartEntry {
            index: Some(index::path_of(&path)),
            path,
            level: spec.level,
            hour: spec.hour.clone(),
            rows: self.rows,
            bytes: length,
            footer_bytes: u64::from(metadata) + TRAILER_BYTES,
            start: self.range(|group| group.start),
            end: self.range(|group| group.end),
            ingest: self.ingest.unwrap_or_default(),
            row_groups: self.groups.clone(),
            services,
            service_range,
            lsn: spec.source.lsn(),
            stray: spec.stray,
            schema: SCHEMA_VERSION,
            file_xxh3: hash(file),
            sum_xxh3: hash(sum),
        }
    }
}

/// XXH3-64 over (trace_id, span_id, start_time, duration_ns), by the rule of design.md for hashes over several parts.
pub fn row_hash(trace: &[u8], span: &[u8], start: i64, duration: i64) -> u64 {
    let mut bytes = [0; 48];
    bytes[..4].copy_from_slice(&16_u32.to_le_bytes());
    bytes[4..20].copy_from_slice(trace);
    bytes[20..24].copy_from_slice(&8_u32.to_le_bytes());
    bytes[24..32].copy_from_slice(span);
    bytes[32..40].copy_from_slice(&start.to_le_bytes());
    bytes[40..].copy_from_slice(&duration.to_le_bytes());
    XxHash3_64::oneshot(&bytes)
}

#[cfg(test)]
mod tests {
    use arrow::array::StringViewArray;

    use super::*;
    use crate::store::samples;

    /// Rows of one request whose text lies in one buffer of 80 MiB, which every slice holds whole.
    fn shared_buffer(rows: usize) -> RecordBatch {
        let batch = samples::batch(1, rows).with_ingest_time(1);
        let mut texts = vec!["short".to_owned(); rows];
        texts[0] = "x".repeat(80 << 20);
        let at = batch.schema_ref().index_of("status_message").unwrap();
        let mut columns = batch.columns().to_vec();
        columns[at] = Arc::new(StringViewArray::from_iter_values(&texts)) as ArrayRef;
        RecordBatch::try_new(batch.schema(), columns).unwrap()
    }

    #[test]
    fn slices_that_share_a_buffer_do_not_make_tiny_row_groups() {
        let whole = shared_buffer(64);
        let slices: Vec<_> = (0..64).map(|row| whole.slice(row, 1)).collect();
        let groups = groups(&slices, &Config::at("unused"));
        assert_eq!(groups.len(), 1, "64 rows are less than a zone");
        assert_eq!(groups[0].len(), 64);
    }

    #[test]
    fn a_group_is_whole_zones_and_rows_keep_their_order() {
        let config = Config { row_group_rows: 2 * ZONE_ROWS, ..Config::at("unused") };
        let batches: Vec<_> = (0..5).map(|n| samples::batch(n, 10_000).with_ingest_time(1)).collect();
        let groups = groups(&batches, &config);
        let sizes: Vec<usize> = groups.iter().map(|g| g.iter().map(RecordBatch::num_rows).sum()).collect();
        assert_eq!(sizes, [2 * ZONE_ROWS, 50_000 - 2 * ZONE_ROWS]);
        let ids: Vec<u64> = groups.iter().flatten().flat_map(samples::span_ids).collect();
        let sent: Vec<u64> = batches.iter().flat_map(samples::span_ids).collect();
        assert_eq!(ids, sent);
    }
}
