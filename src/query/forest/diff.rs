//! Two traces beside each other (sql.md 5.3).
//!
//! Duty: align the spans of two traces by their path: the labels of a span and of all above it. Guarantee: every span
//! of both counts in exactly one row. Left to others: what the labels are, and durations and statuses of the rows.

use std::collections::HashMap;

use super::Forest;

/// The spans of both traces that stand at one path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The row of the path above; `None` for a root.
    pub above: Option<usize>,
    /// The label of its spans.
    pub label: usize,
    /// Spans of the first trace, in its order.
    pub a: Vec<usize>,
    /// Spans of the second trace.
    pub b: Vec<usize>,
}

/// A trace and the label of each of its spans; equal labels of two traces are equal numbers.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Its trees.
    pub forest: &'a Forest,
    /// By span.
    pub labels: &'a [usize],
}

/// Every path of either trace, in the order of the trees: that of the first trace, then what only the second has.
pub fn rows(a: Side<'_>, b: Side<'_>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut known: HashMap<(Option<usize>, usize), usize> = HashMap::new();
    for (side, first) in [(a, true), (b, false)] {
        let mut row_of = vec![0; side.labels.len()];
        for at in side.forest.order().iter().copied() {
            let above = side.forest.place(at).parent.map(|parent| row_of[parent]);
            let label = side.labels[at];
            let row = *known.entry((above, label)).or_insert_with(|| {
                rows.push(Row { above, label, ..Row::default() });
                rows.len() - 1
            });
            row_of[at] = row;
            let spans = if first { &mut rows[row].a } else { &mut rows[row].b };
            spans.push(at);
        }
    }
    in_tree_order(rows)
}

/// `rows`, each before those below it; siblings as they were found.
fn in_tree_order(rows: Vec<Row>) -> Vec<Row> {
    let mut below: Vec<Vec<usize>> = vec![Vec::new(); rows.len()];
    let mut open = Vec::new();
    // Backwards: what is pushed last is taken first.
    for (at, row) in rows.iter().enumerate().rev() {
        match row.above {
            Some(above) => below[above].push(at),
            None => open.push(at),
        }
    }
    let mut moved = vec![0; rows.len()];
    let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
    let mut ordered: Vec<Row> = Vec::with_capacity(rows.len());
    while let Some(at) = open.pop() {
        moved[at] = ordered.len();
        let row = rows[at].take().expect("each row has one place");
        let above = row.above.map(|above| moved[above]);
        ordered.push(Row { above, ..row });
        open.append(&mut below[at]);
    }
    ordered
}
