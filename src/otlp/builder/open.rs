//! Blocks: the rows of several small requests in one batch at hand.
//!
//! Duty: a builder that requests share ([`SpanBuilder::shared`]), whose batches are rows of a [`Block`] that is ended once
//! it is full, or once somebody looks at it. Guarantee: what a request appended that failed, or whose decoding panicked,
//! is taken back before anything else is appended or made; whoever looks at a block waits no longer than one request takes
//! to decode. Left to others: which requests may share (`app`).
//!
//! A batch costs some fifty arrays, however few rows it has, when it is made and again in all that reads it: requests of a
//! hundred spans would cost twice as much a span as requests of thousands.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{SpanBuilder, attrs, nested, rows};
use crate::span::{Block, Gather, SpanBatch};

/// A block ends with the request that reaches so many rows (storage.md 5.1: batches of up to 8,192 rows),
const FULL_ROWS: usize = 7_168;
/// so many bytes of the wire, of rejected spans too,
const FULL_SEEN_BYTES: usize = 4 << 20;
/// or so many of columns.
const FULL_BYTES: usize = 8 << 20;

/// What a builder knows of the block at hand; nothing, if it is not shared.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    me: Option<Weak<SharedBuilder>>,
    /// Batches hold it; once they are all gone, nobody can ask for its rows any more.
    block: Weak<Block>,
    before: Before,
    /// A request has begun and not ended.
    is_within: bool,
}

/// How far the batch at hand was filled before the request at hand.
#[derive(Debug, Default)]
struct Before {
    rows: rows::Mark,
    attributes: attrs::Mark,
    events: nested::Mark,
    links: nested::Mark,
    bytes: usize,
}

/// A builder for requests one after the other, and for whoever looks at their rows.
#[derive(Debug)]
pub struct SharedBuilder(Mutex<SpanBuilder>);

impl SharedBuilder {
    /// The builder, for one request.
    pub fn lock(&self) -> MutexGuard<'_, SpanBuilder> {
        // What a panic left half appended is taken back by whoever is next.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gather for SharedBuilder {
    fn end(&self, block: &Block) {
        let mut builder = self.lock();
        if std::ptr::eq(builder.sharing.block.as_ptr(), block) {
            builder.end_block();
        }
    }
}

impl SpanBuilder {
    /// A builder whose batches are rows of blocks.
    pub fn shared() -> Arc<SharedBuilder> {
        Arc::new_cyclic(|me| {
            let sharing = Sharing { me: Some(me.clone()), ..Sharing::default() };
            SharedBuilder(Mutex::new(Self { sharing, ..Self::new() }))
        })
    }

    /// Makes the arrays of the block at hand; what comes next is of another.
    pub fn end_block(&mut self) {
        self.take_back();
        self.end_batch();
    }

    /// Bytes that the columns of the block at hand have become.
    pub fn block_bytes(&self) -> u64 {
        self.at_hand_bytes() as u64
    }

    pub(super) fn is_shared(&self) -> bool {
        self.sharing.me.is_some()
    }

    /// Bytes of the batch at hand that are not of the request at hand.
    pub(super) fn bytes_before(&self) -> usize {
        self.sharing.before.bytes
    }

    /// Begins a request behind those of the block at hand.
    pub(super) fn begin_rows(&mut self) {
        self.take_back();
        if self.sharing.block.strong_count() == 0 && self.rows.len() > 0 {
            // Of requests that were refused.
            self.clear_batch();
        }
        self.sharing.is_within = true;
    }

    fn mark_rows(&mut self) {
        let bytes = if self.rows.len() == 0 { 0 } else { self.at_hand_bytes() };
        self.sharing.before = Before {
            rows: self.rows.mark(),
            attributes: self.attributes.mark(),
            events: self.events.mark(),
            links: self.links.mark(),
            bytes,
        };
    }

    /// Ends the request: its rows are a batch, and the block goes on unless it is full.
    pub(super) fn end_rows(&mut self) {
        self.share_rows();
        self.sharing.is_within = false;
        let is_full = self.rows.len() >= FULL_ROWS || self.at_hand_bytes() >= FULL_BYTES;
        if is_full || self.seen_bytes >= FULL_SEEN_BYTES {
            self.end_batch();
        }
        self.mark_rows();
    }

    /// Takes back what the request at hand has appended, if there is one.
    pub(super) fn take_back(&mut self) {
        if !std::mem::take(&mut self.sharing.is_within) {
            return;
        }
        let Before { rows, attributes, events, links, bytes } = std::mem::take(&mut self.sharing.before);
        self.rows.rollback(rows);
        self.attributes.rollback(attributes);
        self.events.rollback_rows(events, rows.len());
        self.links.rollback_rows(links, rows.len());
        self.forget_request();
        if self.rows.len() == 0 {
            self.clear_batch();
        } else if self.at_hand_bytes() >= FULL_BYTES || self.seen_bytes >= FULL_SEEN_BYTES {
            // Its words and keys are still there.
            self.end_batch();
        }
        self.mark_rows();
        if self.rows.len() > 0 {
            // Whoever comes next is counted with them, for nobody else is.
            self.sharing.before.bytes = bytes;
        }
    }

    /// The block at hand, to be given its arrays, with the rows of the request at hand as a batch of it.
    pub(super) fn block_to_make(&mut self) -> Option<Arc<Block>> {
        self.share_rows();
        std::mem::take(&mut self.sharing.block).upgrade()
    }

    /// The batch at hand has ended, and with it what was before the request at hand.
    pub(super) fn begin_block(&mut self) {
        self.sharing.before = Before::default();
    }

    /// Makes the rows of the request at hand a batch, unless they are none, or are one already.
    fn share_rows(&mut self) {
        let at: Range<usize> = self.sharing.before.rows.len()..self.rows.len();
        if !self.sharing.is_within || at.is_empty() {
            return;
        }
        let Some(starts) = self.rows.start_range(at.clone()) else { return };
        let bytes = self.request_bytes();
        let block = self.sharing.block.upgrade();
        let block = block.or_else(|| {
            let by = self.sharing.me.as_ref()?.upgrade()?;
            Some(Arc::new(Block::new(by)))
        });
        let Some(block) = block else { return };
        self.sharing.block = Arc::downgrade(&block);
        self.made_bytes += bytes;
        self.batches.push(SpanBatch::shared(block, at, starts, bytes));
    }
}
