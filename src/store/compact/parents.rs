//! `parent_service`: the service of the parent span (storage.md 10.3).
//!
//! Duty: [`Parents`], the services of the spans of a job, and filling the column from them. Guarantee: what stands
//! there stays; of several spans with the id of the parent the one stored first counts; memory stays under its bound,
//! above which parents far from their children in time are not found and the column stays null. Left to others: which
//! rows are shown to it (`sort`).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray as _, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use hashbrown::HashMap;

use super::work::kernel_error;
use crate::store::Error;

/// Columns that [`Parents::learn`] reads.
pub const COLUMNS: [&str; 5] = ["trace_id", "span_id", "start_time", "ingest_time", "service_name"];
/// Memory of a span: ids, position, service, and the map's room to grow.
const SPAN_BYTES: u64 = 96;

/// Trace and span id.
pub type Id = ([u8; 16], [u8; 8]);

/// Services of spans by their ids.
#[derive(Debug)]
pub struct Parents {
    spans: HashMap<Id, (i64, u32)>,
    services: Vec<String>,
    places: HashMap<String, u32>,
    most: usize,
}

impl Parents {
    /// Of at most `bytes` of memory.
    pub fn new(bytes: u64) -> Self {
        let most = usize::try_from(bytes / SPAN_BYTES).unwrap_or(usize::MAX);
        Self { spans: HashMap::new(), services: Vec::new(), places: HashMap::new(), most }
    }

    /// Whether so many spans fit.
    pub fn holds(&self, spans: u64) -> bool {
        usize::try_from(spans).is_ok_and(|spans| spans <= self.most)
    }

    /// Whether no further span fits.
    pub fn is_full(&self) -> bool {
        self.spans.len() >= self.most
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Forgets all spans.
    pub fn clear(&mut self) {
        self.spans.clear();
        self.services.clear();
        self.places.clear();
    }

    /// Adds the rows of a batch that `wanted` picks by their start time.
    pub fn learn(&mut self, batch: &RecordBatch, wanted: impl Fn(i64) -> bool) {
        self.learn_those(batch, |_, start| wanted(start));
    }

    /// Adds the rows of a batch that `wanted` picks by id and start time.
    pub fn learn_those(&mut self, batch: &RecordBatch, wanted: impl Fn(&Id, i64) -> bool) {
        let column = |name: &str| batch.column_by_name(name).expect("the caller reads these columns");
        let (traces, spans) = (column("trace_id").as_fixed_size_binary(), column("span_id").as_fixed_size_binary());
        let starts = column("start_time").as_primitive::<arrow::datatypes::TimestampNanosecondType>().values();
        let ingests = column("ingest_time").as_primitive::<TimestampMicrosecondType>().values();
        let services = column("service_name").as_dictionary::<Int32Type>();
        let words = services.values().as_string::<i32>();
        let mut places = vec![None; words.len()];
        for row in 0..batch.num_rows() {
            if self.is_full() {
                return;
            }
            let id = id(traces.value(row), spans.value(row));
            if !wanted(&id, starts[row]) {
                continue;
            }
            let word = services.keys().value(row).cast_unsigned() as usize;
            let place = *places[word].get_or_insert_with(|| self.place(words.value(word)));
            let found = (ingests[row], place);
            let first = self.spans.entry(id).or_insert(found);
            *first = (*first).min(found);
        }
    }

    fn place(&mut self, service: &str) -> u32 {
        if let Some(place) = self.places.get(service) {
            return *place;
        }
        let place = u32::try_from(self.services.len()).expect("fewer services than spans");
        self.services.push(service.to_owned());
        self.places.insert(service.to_owned(), place);
        place
    }

    /// `batch` with the parents' services that are known.
    pub fn fill(&self, batch: RecordBatch) -> Result<RecordBatch, Error> {
        let Some(filled) = self.filled(&batch)? else { return Ok(batch) };
        let place = batch.schema_ref().index_of("parent_service").expect("it was read");
        let mut columns = batch.columns().to_vec();
        columns[place] = filled;
        RecordBatch::try_new(batch.schema(), columns).map_err(|e| kernel_error(&e))
    }

    /// The column `parent_service` of `batch` with those that are known, which has `trace_id`, `parent_span_id` and
    /// itself; `None` if it stays as it is.
    pub fn filled(&self, batch: &RecordBatch) -> Result<Option<ArrayRef>, Error> {
        let at = |name: &str| batch.schema_ref().index_of(name).expect("a part has all stored columns");
        let traces = batch.column(at("trace_id")).as_fixed_size_binary();
        let parents = batch.column(at("parent_span_id")).as_fixed_size_binary();
        let there = batch.column(at("parent_service")).as_dictionary::<Int32Type>();
        let words = there.values().as_string::<i32>();
        let mut texts: Vec<Option<&str>> = words.iter().collect();
        // The keys of services among `texts`.
        let mut keys: HashMap<u32, i32> = HashMap::new();
        let filled: Vec<Option<i32>> = (0..batch.num_rows())
            .map(|row| {
                if there.is_valid(row) {
                    return Some(there.keys().value(row));
                }
                let parent = parents.is_valid(row).then(|| id(traces.value(row), parents.value(row)))?;
                let (_, service) = self.spans.get(&parent)?;
                Some(*keys.entry(*service).or_insert_with(|| {
                    texts.push(Some(self.services[*service as usize].as_str()));
                    i32::try_from(texts.len() - 1).expect("no more texts than rows")
                }))
            })
            .collect();
        if keys.is_empty() {
            return Ok(None);
        }
        let filled = DictionaryArray::try_new(Int32Array::from(filled), Arc::new(StringArray::from(texts)));
        Ok(Some(Arc::new(filled.map_err(|e| kernel_error(&e))?)))
    }
}

/// The id of a span.
pub fn id(trace: &[u8], span: &[u8]) -> Id {
    (trace.try_into().expect("trace ids have 16 bytes"), span.try_into().expect("span ids have 8 bytes"))
}
