//! Cuts, and the end of a batch and of a request.
//!
//! Duty: when a batch ends (storage.md 3), its arrays, [`Decoded`]. Guarantee: no batch has more than [`MAX_ROWS`]
//! rows; its bytes and distinct values stay under their marks unless one span alone is above. Left to others: what the
//! columns hold.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::SpanBuilder;
use super::rows::Columns;
use crate::otlp::Decoded;
use crate::span::{SpanBatch, schema};

/// storage.md 3: a batch is cut at so many rows,
pub(super) const MAX_ROWS: usize = 32_768;
/// so many bytes of the wire,
pub(super) const MAX_RAW_BYTES: usize = 64 << 20;
/// or so many distinct values in any dictionary.
pub(super) const MAX_DISTINCT: usize = 262_144;
/// Bytes of the wire, of rejected spans too, whose keys may stand in the dictionaries of one batch.
const MAX_SEEN_BYTES: usize = 512 << 20;
/// Bytes of the wire that a distinct attribute key takes at the least: tags and lengths alone are four.
const MIN_KEY_BYTES: usize = 4;

impl SpanBuilder {
    /// Ends the request: everything since [`SpanBuilder::begin`]. The builder is ready for the next.
    pub fn finish(&mut self) -> Decoded {
        if self.is_shared() {
            self.end_rows();
        } else {
            self.end_batch();
        }
        let decoded = Decoded {
            batches: std::mem::take(&mut self.batches),
            spans: std::mem::take(&mut self.spans),
            rejected: std::mem::take(&mut self.rejections.detailed),
            rejected_by_reason: std::mem::take(&mut self.rejections.counts),
            advisories: self.advisories.by_label(),
            unknown_fields: self.unknown_fields.by_label(),
        };
        self.begin_request();
        decoded
    }

    /// Forgets the request at hand, as after an error; buffers are kept.
    pub fn reset(&mut self) {
        if self.is_shared() {
            self.take_back();
        } else {
            self.clear_batch();
            self.forget_request();
        }
    }

    pub(super) fn forget_request(&mut self) {
        self.batches.clear();
        self.begin_request();
    }

    fn begin_request(&mut self) {
        self.made_bytes = 0;
        self.spans = 0;
        self.rejections = Default::default();
        self.advisories = Default::default();
        self.unknown_fields = Default::default();
    }

    /// Ends the batch at hand if a span of `bytes` does not fit it.
    pub(super) fn cut_before(&mut self, bytes: usize) {
        let raw = self.raw_bytes.saturating_add(bytes).saturating_add(self.pending_bytes());
        let is_full = self.rows.len() >= MAX_ROWS || (raw > MAX_RAW_BYTES && self.rows.len() > 0);
        let has_seen_enough = self.seen_bytes.saturating_add(bytes) > MAX_SEEN_BYTES;
        if is_full || has_seen_enough || self.has_full_dictionary(bytes) {
            self.end_batch();
        }
    }

    /// About how many bytes the resource and scope at hand add to the batch.
    pub(super) fn pending_bytes(&self) -> usize {
        self.resource.lists.pending_bytes() + self.scope.lists.pending_bytes()
    }

    fn has_full_dictionary(&self, bytes: usize) -> bool {
        // each distinct value was paid for with bytes, so few bytes cannot have filled a dictionary
        if self.seen_bytes.saturating_add(bytes) / MIN_KEY_BYTES <= MAX_DISTINCT {
            return false;
        }
        let lists = [&self.attributes, &self.events.attributes, &self.links.attributes];
        let in_lists = lists.iter().map(|lists| lists.distinct()).max().unwrap_or(0);
        let distinct = in_lists.max(self.rows.distinct());
        let shared = self.resource.lists.distinct().max(self.scope.lists.distinct());
        distinct > 0 && distinct.saturating_add(bytes / MIN_KEY_BYTES) > MAX_DISTINCT
            || shared > 0 && shared.saturating_add(self.pending_bytes() / MIN_KEY_BYTES) > MAX_DISTINCT
    }

    pub(super) fn end_batch(&mut self) {
        let block = self.block_to_make();
        if self.rows.len() == 0 || self.is_shared() && block.is_none() {
            // keys of spans that were set aside may still fill dictionaries
            return self.clear_batch();
        }
        let (resources, scopes) = self.rows.shared();
        let resource = self.resource.lists.finish(resources);
        let scope = self.scope.lists.finish(scopes);
        let Columns { head, tail } = self.rows.finish();
        let mut columns = head;
        columns.push(Arc::new(self.attributes.finish()));
        columns.extend([resource, scope, self.events.finish(), self.links.finish()]);
        columns.extend(tail);
        let batch = RecordBatch::try_new(schema::incoming().clone(), columns)
            .expect("the columns are those of the schema, one value a row");
        match block {
            Some(block) => block.make(batch),
            None => {
                let batch = SpanBatch::try_new(batch).expect("it has the incoming schema");
                self.made_bytes += batch.memory_bytes();
                self.batches.push(batch);
            }
        }
        self.begin_batch();
    }

    pub(super) fn clear_batch(&mut self) {
        self.rows.clear();
        self.attributes.clear();
        self.events.clear();
        self.links.clear();
        self.resource.lists.clear_batch();
        self.scope.lists.clear_batch();
        self.begin_batch();
    }

    fn begin_batch(&mut self) {
        (self.raw_bytes, self.seen_bytes) = (0, 0);
        self.resource.service = None;
        self.scope.words = None;
        self.begin_block();
    }
}
