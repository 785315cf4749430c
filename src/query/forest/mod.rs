//! The spans of one trace as trees (sql.md 5.3).
//!
//! Duty: who stands below whom, in which order, and how long each span was busy itself. Guarantee: every span has
//! exactly one place, whatever its parent says: a link to a span that is not there, and one that closes a cycle, makes
//! a root. No input recurses on the stack, and none takes more than sorting. Left to others: reading spans and writing
//! rows (`table_functions`).

pub mod critical;
pub mod diff;

use std::collections::HashMap;

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType, TimestampNanosecondType};

/// What of a span makes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its id.
    pub id: [u8; 8],
    /// That of its parent.
    pub parent: Option<[u8; 8]>,
    /// Start, ns since 1970.
    pub start_ns: i64,
    /// At least 0.
    pub duration_ns: i64,
    /// When it was stored, µs since 1970: of several spans with one id the first counts as the parent of others.
    pub stored_us: i64,
}

/// Most spans that trees are built of.
pub const MAX_SPANS: usize = 1_000_000;

impl Span {
    /// Those of the columns `span_id`, `parent_span_id`, `start_time`, `duration_ns` and `ingest_time` of `spans`.
    pub fn of_columns([ids, parents, starts, durations, stored]: [&ArrayRef; 5]) -> Vec<Self> {
        let id = |bytes: &[u8]| -> [u8; 8] { bytes.try_into().expect("span ids have 8 bytes") };
        let (ids, parents) = (ids.as_fixed_size_binary(), parents.as_fixed_size_binary());
        let starts = starts.as_primitive::<TimestampNanosecondType>().values();
        let durations = durations.as_primitive::<Int64Type>().values();
        let stored = stored.as_primitive::<TimestampMicrosecondType>().values();
        let span = |row: usize| Self {
            id: id(ids.value(row)),
            parent: parents.is_valid(row).then(|| id(parents.value(row))),
            start_ns: starts[row],
            duration_ns: durations[row],
            stored_us: stored[row],
        };
        (0..ids.len()).map(span).collect()
    }

    /// First instant behind it.
    pub fn end_ns(&self) -> i64 {
        self.start_ns.saturating_add(self.duration_ns.max(0))
    }
}

/// Where a span stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The span above, by its index.
    pub parent: Option<usize>,
    /// 0 for a root.
    pub depth: usize,
    /// From 1, among the children of one parent, or among the roots.
    pub sibling_no: usize,
    /// Bounds of the nested set: a span below has both of its own between these.
    pub left: usize,
    /// See `left`.
    pub right: usize,
    /// Its duration without the time in which at least one child ran.
    pub self_ns: i64,
    /// It names a parent, and has none: that is missing, or the link was cut because it closes a cycle.
    pub is_orphan: bool,
    /// A span with its id was stored before.
    pub is_duplicate: bool,
}

/// The trees of a trace.
#[derive(Debug)]
pub struct Forest {
    spans: Vec<Span>,
    places: Vec<Place>,
    children: Children,
    roots: Vec<usize>,
    order: Vec<usize>,
}

/// Children of all spans, one after the other.
#[derive(Debug)]
struct Children {
    /// Of span `at` they are `of[first[at]..first[at + 1]]`.
    first: Vec<usize>,
    of: Vec<usize>,
}

impl Children {
    fn of(&self, span: usize) -> &[usize] {
        &self.of[self.first[span]..self.first[span + 1]]
    }
}

impl Forest {
    /// The trees of `spans`, which are those of one trace, in any order.
    pub fn new(spans: Vec<Span>) -> Self {
        let mut ranks: Vec<usize> = (0..spans.len()).collect();
        let key = |at: usize| {
            let span = &spans[at];
            (span.start_ns, span.id, span.stored_us, span.duration_ns, at)
        };
        ranks.sort_unstable_by_key(|at| key(*at));
        let mut places = vec![Place::default(); spans.len()];
        let first_of = first_stored(&spans, &mut places);
        for (at, span) in spans.iter().enumerate() {
            let parent = span.parent.and_then(|parent| first_of.get(&parent).copied());
            places[at].parent = parent;
            places[at].is_orphan = span.parent.is_some() && parent.is_none();
        }
        cut_cycles(&mut places, &ranks);
        let (children, roots) = families(&mut places, &ranks);
        let order = number(&mut places, &children, &roots);
        for (at, place) in places.iter_mut().enumerate() {
            place.self_ns = self_ns(&spans, at, children.of(at));
        }
        Self { spans, places, children, roots, order }
    }

    /// The spans, as they were given.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Indexes of the spans: each before those below it, siblings by start and id.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// The place of a span.
    pub fn place(&self, span: usize) -> &Place {
        &self.places[span]
    }

    /// The span that stands for the trace: the first that names no parent, else the first root. `None` without spans.
    pub fn root(&self) -> Option<usize> {
        let roots = || self.roots.iter().copied().filter(|at| !self.places[*at].is_duplicate);
        roots().find(|at| self.spans[*at].parent.is_none()).or_else(|| roots().next())
    }

    /// The span with this id; of several the one stored first.
    pub fn find(&self, id: [u8; 8]) -> Option<usize> {
        self.order.iter().copied().find(|at| self.spans[*at].id == id && !self.places[*at].is_duplicate)
    }
}

/// The index of the span stored first, by id; the others are marked as duplicates.
fn first_stored(spans: &[Span], places: &mut [Place]) -> HashMap<[u8; 8], usize> {
    let key = |at: usize| (spans[at].stored_us, spans[at].start_ns, spans[at].duration_ns, at);
    let mut first: HashMap<[u8; 8], usize> = HashMap::with_capacity(spans.len());
    for (at, span) in spans.iter().enumerate() {
        let known = first.entry(span.id).or_insert(at);
        if *known != at {
            let (early, late) = if key(at) < key(*known) { (at, *known) } else { (*known, at) };
            *known = early;
            places[late].is_duplicate = true;
        }
    }
    first
}

/// Makes the earliest span of each cycle a root.
fn cut_cycles(places: &mut [Place], ranks: &[usize]) {
    let mut rank = vec![0; ranks.len()];
    for (no, at) in ranks.iter().enumerate() {
        rank[*at] = no;
    }
    // The walk that came by, from 1.
    let mut walked = vec![0_usize; places.len()];
    for start in 0..places.len() {
        let mut next = Some(start);
        while let Some(at) = next.filter(|at| walked[*at] == 0) {
            walked[at] = start + 1;
            next = places[at].parent;
        }
        // Back at a span of this walk: from there to there is a cycle.
        let Some(entry) = next.filter(|at| walked[*at] == start + 1) else { continue };
        let (mut earliest, mut at) = (entry, entry);
        while let Some(above) = places[at].parent.filter(|above| *above != entry) {
            at = above;
            if rank[at] < rank[earliest] {
                earliest = at;
            }
        }
        places[earliest].parent = None;
        places[earliest].is_orphan = true;
    }
}

/// Children of each span and the roots, in the order of `ranks`, numbered.
fn families(places: &mut [Place], ranks: &[usize]) -> (Children, Vec<usize>) {
    let mut first = vec![0; places.len() + 1];
    for place in places.iter() {
        if let Some(parent) = place.parent {
            first[parent + 1] += 1;
        }
    }
    for at in 1..first.len() {
        first[at] += first[at - 1];
    }
    let mut free = first.clone();
    let (mut of, mut roots) = (vec![0; first[places.len()]], Vec::new());
    for at in ranks.iter().copied() {
        let Some(parent) = places[at].parent else {
            roots.push(at);
            places[at].sibling_no = roots.len();
            continue;
        };
        of[free[parent]] = at;
        free[parent] += 1;
        places[at].sibling_no = free[parent] - first[parent];
    }
    (Children { first, of }, roots)
}

/// The order of the trees; sets depths and bounds.
fn number(places: &mut [Place], children: &Children, roots: &[usize]) -> Vec<usize> {
    let mut order = Vec::with_capacity(places.len());
    let mut bound = 0;
    // A span and how many of its children were entered.
    let mut open: Vec<(usize, usize)> = Vec::new();
    for root in roots {
        let mut enter = Some(*root);
        loop {
            if let Some(at) = enter.take() {
                bound += 1;
                places[at].left = bound;
                places[at].depth = open.len();
                order.push(at);
                open.push((at, 0));
            }
            let Some((at, entered)) = open.last_mut() else { break };
            match children.of(*at).get(*entered) {
                Some(child) => {
                    *entered += 1;
                    enter = Some(*child);
                }
                None => {
                    bound += 1;
                    places[*at].right = bound;
                    open.pop();
                }
            }
        }
    }
    order
}

/// The duration of a span without the union of its children's intervals, clipped to it.
fn self_ns(spans: &[Span], at: usize, children: &[usize]) -> i64 {
    let (start, end) = (spans[at].start_ns, spans[at].end_ns());
    let (mut covered, mut until) = (0, start);
    // They come by their start.
    for child in children {
        let from = spans[*child].start_ns.max(until);
        let to = spans[*child].end_ns().min(end);
        if to > from {
            covered += to - from;
            until = to;
        }
    }
    end - start - covered
}

#[cfg(test)]
mod tests;
