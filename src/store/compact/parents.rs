//! `parent_service`: the service of the parent span (storage.md 10.3).
//!
//! Duty: [`Parents`], the services of the spans of a job, and filling the column from them. Guarantee: what stands
//! there stays; of several spans with the id of the parent the one stored first counts; memory stays under its bound,
//! above which parents far from their children in time are not found and the column stays null. Left to others: which
//! rows are shown to it (`sort`).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch, StringDictionaryBuilder};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use hashbrown::HashMap;

use crate::store::Error;

/// Columns that [`Parents::learn`] reads.
pub const COLUMNS: [&str; 5] = ["trace_id", "span_id", "start_time", "ingest_time", "service_name"];
/// Memory of a span: ids, position, service, and the map's room to grow.
const SPAN_BYTES: u64 = 96;

/// Trace and span id.
type Id = ([u8; 16], [u8; 8]);

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

    /// Forgets all spans.
    pub fn clear(&mut self) {
        self.spans.clear();
        self.services.clear();
        self.places.clear();
    }

    /// Adds the rows of a batch that `wanted` picks by their start time.
    pub fn learn(&mut self, batch: &RecordBatch, wanted: impl Fn(i64) -> bool) {
        let column = |name: &str| batch.column_by_name(name).expect("the caller reads these columns");
        let (traces, spans) = (column("trace_id").as_fixed_size_binary(), column("span_id").as_fixed_size_binary());
        let starts = column("start_time").as_primitive::<arrow::datatypes::TimestampNanosecondType>().values();
        let ingests = column("ingest_time").as_primitive::<TimestampMicrosecondType>().values();
        let services = column("service_name").as_dictionary::<Int32Type>();
        let words = services.values().as_string::<i32>();
        let mut places = vec![None; words.len()];
        for row in 0..batch.num_rows() {
            if self.spans.len() >= self.most {
                return;
            }
            if !wanted(starts[row]) {
                continue;
            }
            let word = services.keys().value(row).cast_unsigned() as usize;
            let place = *places[word].get_or_insert_with(|| self.place(words.value(word)));
            let found = (ingests[row], place);
            let first = self.spans.entry(id(traces.value(row), spans.value(row))).or_insert(found);
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
        let at = |name: &str| batch.schema_ref().index_of(name).expect("a part has all stored columns");
        let traces = batch.column(at("trace_id")).as_fixed_size_binary();
        let parents = batch.column(at("parent_span_id")).as_fixed_size_binary();
        let place = at("parent_service");
        let there = batch.column(place).as_dictionary::<Int32Type>();
        let words = there.values().as_string::<i32>();
        let mut filled = StringDictionaryBuilder::<Int32Type>::new();
        let mut news = false;
        for row in 0..batch.num_rows() {
            if there.is_valid(row) {
                filled.append_value(words.value(there.keys().value(row).cast_unsigned() as usize));
                continue;
            }
            let parent = parents.is_valid(row).then(|| id(traces.value(row), parents.value(row)));
            let service = parent.and_then(|parent| self.spans.get(&parent));
            news |= service.is_some();
            filled.append_option(service.map(|(_, place)| &self.services[*place as usize]));
        }
        if !news {
            return Ok(batch);
        }
        let mut columns = batch.columns().to_vec();
        columns[place] = Arc::new(filled.finish()) as ArrayRef;
        RecordBatch::try_new(batch.schema(), columns).map_err(|e| Error::Internal { detail: e.to_string() })
    }
}

fn id(trace: &[u8], span: &[u8]) -> Id {
    (trace.try_into().expect("trace ids have 16 bytes"), span.try_into().expect("span ids have 8 bytes"))
}
