//! The critical path of a trace: what its root waited for (sql.md 5.3).
//!
//! Duty: cut the time of a span into sections, each of which belongs to the one span that everything else waited for.
//! Guarantee: the sections follow each other without a gap and add up to the duration of the span. Left to others:
//! which span stands for a trace ([`Forest::root`]).
//!
//! It is walked backwards from the end: of the children that ended by then the last to end is what the span waited for;
//! before that child began, again. A child that overruns its parent is clipped to it, one that begins after its
//! parent's end is left out: nothing waited for it.

use super::{Forest, Span};

/// A time in which a span was what its trace waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// The span, by its index.
    pub span: usize,
    /// First instant, ns since 1970.
    pub start_ns: i64,
    /// First instant behind it.
    pub end_ns: i64,
}

impl Section {
    /// Its length.
    pub fn ns(&self) -> i64 {
        self.end_ns - self.start_ns
    }
}

/// A span that is being walked: from `cursor` back to `from`.
struct Walk {
    span: usize,
    from: i64,
    to: i64,
    cursor: i64,
    /// Of its children, where to go on.
    next: usize,
}

/// The sections of the time of `root`, in the order of time.
pub fn path(forest: &Forest, root: usize) -> Vec<Section> {
    let spans = forest.spans();
    // As the children lie, each family in the order in which its parent is walked.
    let mut families = forest.children.of.clone();
    let mut sections = Vec::new();
    let mut open = vec![enter(forest, &mut families, root, spans[root].start_ns, spans[root].end_ns())];
    while let Some(walk) = open.last_mut() {
        let (first, end) = (forest.children.first[walk.span], forest.children.first[walk.span + 1]);
        let family = &families[first..end];
        let mut child = None;
        while child.is_none() && walk.next < family.len() {
            let at = family[walk.next];
            walk.next += 1;
            let (from, to) = clipped(&spans[at], walk.from, walk.to);
            let waited_for = from < to && to <= walk.cursor && !forest.places[at].is_duplicate;
            child = waited_for.then_some((at, from, to));
        }
        let until = child.map_or(walk.from, |(_, _, to)| to);
        if until < walk.cursor {
            sections.push(Section { span: walk.span, start_ns: until, end_ns: walk.cursor });
        }
        match child {
            Some((at, from, to)) => {
                walk.cursor = from;
                let below = enter(forest, &mut families, at, from, to);
                open.push(below);
            }
            None => {
                open.pop();
            }
        }
    }
    sections.reverse();
    sections
}

/// A walk through `span` between `from` and `to`: its children that end last come first, of those the longest.
fn enter(forest: &Forest, families: &mut [usize], span: usize, from: i64, to: i64) -> Walk {
    let family = &mut families[forest.children.first[span]..forest.children.first[span + 1]];
    family.sort_unstable_by_key(|at| {
        let child = &forest.spans[*at];
        (std::cmp::Reverse(child.end_ns().min(to)), child.start_ns, child.id, *at)
    });
    Walk { span, from, to, cursor: to, next: 0 }
}

fn clipped(span: &Span, from: i64, to: i64) -> (i64, i64) {
    (span.start_ns.max(from), span.end_ns().min(to))
}
