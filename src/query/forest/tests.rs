//! Claims about trees, critical paths and differences, against naive forms of the same rules.

use proptest::prelude::*;

use super::critical::{self, Section};
use super::diff::{self, Side};
use super::*;

fn id(number: u8) -> [u8; 8] {
    [0, 0, 0, 0, 0, 0, 0, number]
}

fn span(number: u8, parent: Option<u8>, start_ns: i64, duration_ns: i64) -> Span {
    Span { id: id(number), parent: parent.map(id), start_ns, duration_ns, stored_us: 0 }
}

/// Few ids and few instants: duplicates, cycles, orphans and equal starts are frequent.
fn traces() -> impl Strategy<Value = Vec<Span>> {
    let one = (1..12_u8, prop::option::weighted(0.9, 1..14_u8), 0..20_i64, 0..12_i64, 0..3_i64)
        .prop_map(|(own, parent, start, length, stored_us)| Span { stored_us, ..span(own, parent, start, length) });
    prop::collection::vec(one, 0..14)
}

/// The rules, each span by itself.
struct Naive<'a>(&'a [Span]);

impl Naive<'_> {
    fn rank(&self, at: usize) -> (i64, [u8; 8], i64, i64, usize) {
        let span = &self.0[at];
        (span.start_ns, span.id, span.stored_us, span.duration_ns, at)
    }

    fn first(&self, id: [u8; 8]) -> Option<usize> {
        let same = (0..self.0.len()).filter(|at| self.0[*at].id == id);
        same.min_by_key(|at| (self.0[*at].stored_us, self.0[*at].start_ns, self.0[*at].duration_ns, *at))
    }

    fn named(&self, at: usize) -> Option<usize> {
        self.0[at].parent.and_then(|parent| self.first(parent))
    }

    /// The parent, without the link of the earliest span of a cycle.
    fn parent(&self, at: usize) -> Option<usize> {
        let above: Vec<usize> =
            std::iter::successors(self.named(at), |at| self.named(*at)).take(self.0.len()).collect();
        let in_cycle = above.contains(&at);
        let earliest = above.iter().copied().min_by_key(|at| self.rank(*at));
        // All that is above a span of a cycle is the cycle.
        if in_cycle && earliest == Some(at) { None } else { self.named(at) }
    }

    fn below(&self, parent: Option<usize>) -> Vec<usize> {
        let mut all: Vec<usize> = (0..self.0.len()).filter(|at| self.parent(*at) == parent).collect();
        all.sort_by_key(|at| self.rank(*at));
        all
    }

    fn walk(&self, parent: Option<usize>, depth: usize, bound: &mut usize, seen: &mut Vec<(usize, Place)>) {
        for (no, at) in self.below(parent).into_iter().enumerate() {
            *bound += 1;
            let (left, place) = (*bound, seen.len());
            seen.push((at, Place::default()));
            self.walk(Some(at), depth + 1, bound, seen);
            *bound += 1;
            seen[place].1 = Place {
                parent,
                depth,
                sibling_no: no + 1,
                left,
                right: *bound,
                self_ns: self.self_ns(at),
                is_orphan: self.0[at].parent.is_some() && parent.is_none(),
                is_duplicate: self.first(self.0[at].id) != Some(at),
            };
        }
    }

    /// Instant by instant.
    fn self_ns(&self, at: usize) -> i64 {
        let children = self.below(Some(at));
        let runs = |at: &usize, instant: i64| (self.0[*at].start_ns..self.0[*at].end_ns()).contains(&instant);
        let instants = self.0[at].start_ns..self.0[at].end_ns();
        instants.filter(|instant| !children.iter().any(|child| runs(child, *instant))).count() as i64
    }

    /// From `to` back to `from`: what ended last before that, and before it began again.
    fn path(&self, at: usize, from: i64, to: i64) -> Vec<Section> {
        let mut left: Vec<(usize, i64, i64)> = self
            .below(Some(at))
            .into_iter()
            .filter(|child| self.first(self.0[*child].id) == Some(*child))
            .map(|child| (child, self.0[child].start_ns.max(from), self.0[child].end_ns().min(to)))
            .filter(|(_, from, to)| from < to)
            .collect();
        let (mut cursor, mut sections) = (to, Vec::new());
        loop {
            left.retain(|(_, _, ended)| *ended <= cursor);
            let last = left.iter().copied().min_by_key(|(child, _, ended)| {
                let span = &self.0[*child];
                (-ended, span.start_ns, span.id, *child)
            });
            let until = last.map_or(from, |(_, _, ended)| ended);
            if until < cursor {
                sections.insert(0, Section { span: at, start_ns: until, end_ns: cursor });
            }
            let Some((child, began, ended)) = last else { return sections };
            left.retain(|(other, ..)| *other != child);
            let mut before = self.path(child, began, ended);
            before.append(&mut sections);
            (sections, cursor) = (before, began);
        }
    }
}

proptest! {
    #[test]
    fn every_span_has_the_place_that_the_rules_give_it(spans in traces()) {
        let forest = Forest::new(spans.clone());
        let mut expected = Vec::new();
        Naive(&spans).walk(None, 0, &mut 0, &mut expected);
        let actual: Vec<(usize, Place)> = forest.order().iter().map(|at| (*at, *forest.place(*at))).collect();
        prop_assert_eq!(actual, expected);
    }

    #[test]
    fn sections_are_those_of_the_rules_and_add_up_to_the_duration_of_the_root(spans in traces()) {
        let forest = Forest::new(spans.clone());
        for (root, span) in spans.iter().enumerate() {
            let (from, to) = (span.start_ns, span.end_ns());
            let sections = critical::path(&forest, root);
            prop_assert_eq!(&sections, &Naive(&spans).path(root, from, to));
            prop_assert_eq!(sections.iter().map(Section::ns).sum::<i64>(), span.duration_ns);
            let mut at = from;
            for section in &sections {
                prop_assert_eq!(section.start_ns, at);
                prop_assert!(section.ns() > 0);
                at = section.end_ns;
            }
        }
    }

    #[test]
    fn each_span_of_two_traces_counts_at_its_path((a, b) in (traces(), traces())) {
        let (forest_a, forest_b) = (Forest::new(a.clone()), Forest::new(b.clone()));
        // Three labels: many spans share a path.
        let label = |spans: &[Span]| spans.iter().map(|span| usize::from(span.id[7] % 3)).collect::<Vec<_>>();
        let (labels_a, labels_b) = (label(&a), label(&b));
        let rows = diff::rows(
            Side { forest: &forest_a, labels: &labels_a },
            Side { forest: &forest_b, labels: &labels_b },
        );
        let path_of = |spans: &[Span], at: usize| {
            let naive = Naive(spans);
            let above = std::iter::successors(Some(at), |at| naive.parent(*at));
            let mut labels: Vec<usize> = above.map(|at| usize::from(spans[at].id[7] % 3)).collect();
            labels.reverse();
            labels
        };
        let mut paths = Vec::new();
        let (mut seen_a, mut seen_b): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
        for (no, row) in rows.iter().enumerate() {
            let mut labels: Vec<usize> =
                std::iter::successors(Some(no), |no| rows[*no].above).map(|no| rows[no].label).collect();
            labels.reverse();
            prop_assert!(row.above.is_none_or(|above| above < no));
            for at in &row.a {
                prop_assert_eq!(&path_of(&a, *at), &labels);
            }
            for at in &row.b {
                prop_assert_eq!(&path_of(&b, *at), &labels);
            }
            prop_assert!(!row.a.is_empty() || !row.b.is_empty());
            seen_a.extend(&row.a);
            seen_b.extend(&row.b);
            paths.push(labels);
        }
        seen_a.sort_unstable();
        seen_b.sort_unstable();
        prop_assert_eq!(seen_a, (0..a.len()).collect::<Vec<_>>());
        prop_assert_eq!(seen_b, (0..b.len()).collect::<Vec<_>>());
        let distinct: std::collections::BTreeSet<_> = paths.iter().collect();
        prop_assert_eq!(distinct.len(), paths.len(), "a path has one row");
    }
}

#[test]
fn what_a_root_waited_for_is_the_child_that_ended_last_and_what_came_before_it() {
    // A root of 0 to 100; two in parallel, the slower of which had a call; one that outlives the root; one after it.
    let spans = [
        span(1, None, 0, 100),
        span(2, Some(1), 10, 20),
        span(3, Some(1), 10, 50),
        span(4, Some(3), 20, 10),
        span(5, Some(1), 80, 60),
        span(6, Some(1), 120, 10),
    ];
    let forest = Forest::new(spans.to_vec());
    let sections = critical::path(&forest, 0);
    let told: Vec<(usize, i64, i64)> = sections.iter().map(|s| (s.span, s.start_ns, s.end_ns)).collect();
    assert_eq!(told, [(0, 0, 10), (2, 10, 20), (3, 20, 30), (2, 30, 60), (0, 60, 80), (4, 80, 100)], "span, from, to");
}

#[test]
fn a_cycle_is_cut_at_its_earliest_span_and_an_orphan_is_a_root() {
    let spans = [span(1, Some(3), 5, 1), span(2, Some(1), 3, 1), span(3, Some(2), 4, 1), span(4, Some(9), 0, 1)];
    let forest = Forest::new(spans.to_vec());
    assert_eq!(forest.order(), [3, 1, 2, 0]);
    assert_eq!(forest.root(), Some(3));
    let orphans: Vec<bool> = (0..4).map(|at| forest.place(at).is_orphan).collect();
    assert_eq!(orphans, [false, true, false, true]);
    let own = [span(7, Some(7), 0, 1)];
    assert_eq!(Forest::new(own.to_vec()).order(), [0]);
}

#[test]
fn a_chain_as_deep_as_a_trace_is_long_takes_no_stack() {
    const SPANS: u64 = 300_000;
    let of = |number: u64| number.to_be_bytes();
    let chain: Vec<Span> = (1..=SPANS)
        .map(|number| Span {
            id: of(number),
            // The first closes the chain to a cycle.
            parent: Some(of(if number == 1 { SPANS } else { number - 1 })),
            start_ns: i64::try_from(number).unwrap(),
            duration_ns: 2 * i64::try_from(SPANS - number).unwrap(),
            stored_us: 0,
        })
        .collect();
    let forest = Forest::new(chain.clone());
    let last = chain.len() - 1;
    assert_eq!((forest.root(), forest.place(last).depth), (Some(0), last));
    let sections = critical::path(&forest, 0);
    assert_eq!(sections.iter().map(Section::ns).sum::<i64>(), chain[0].duration_ns);
    let labels = vec![0; chain.len()];
    let side = Side { forest: &forest, labels: &labels };
    assert_eq!(diff::rows(side, side).len(), chain.len());
}
