//! Which traces a statement asks for, and where they are.
//!
//! Duty: [`Pinned`], the ids that filters allow, and [`locate`], the trace indexes' answers for the parts of a view.
//! Guarantee: a row that passes the filters is of one of the ids, and lies where the answers say or in a part without an
//! answer. Left to others: applying the filter itself, which stays above the scan.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, lit};
use datafusion::prelude::col;
use futures::StreamExt as _;

use super::bounds::Bounds;
use crate::store::index::{self, Found, Indexes, Key};
use crate::store::part::Part;
use crate::store::{Rows, View};

/// Ids up to which a filter is a lookup.
const MAX_IDS: usize = 1_000;
/// Indexes that are asked at once.
const AT_ONCE: usize = 32;

/// The traces that a filter allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    ids: BTreeSet<[u8; 16]>,
}

/// The answers of the indexes, by the paths of the parts.
#[derive(Clone, Debug, Default)]
pub struct Located {
    found: HashMap<String, Found>,
}

impl Pinned {
    /// The traces that `filters`, all of which a row must pass, allow; `None` where that is any trace, or too many.
    pub fn of(filters: &[Expr]) -> Option<Self> {
        let ids = all_of(filters.iter().flat_map(split_conjunction))?;
        (ids.len() <= MAX_IDS).then_some(Self { ids })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether a row in memory may be of one of them.
    pub fn may_be_in(&self, rows: &Rows) -> bool {
        rows.may_hold(&self.ids)
    }

    /// `trace_id` is one of them.
    pub fn filter(&self) -> Expr {
        let literal = |id: &[u8; 16]| lit(ScalarValue::FixedSizeBinary(16, Some(id.to_vec())));
        let mut ids = self.ids.iter().map(literal);
        match (ids.next(), ids.len()) {
            (Some(one), 0) => col("trace_id").eq(one),
            (one, _) => col("trace_id").in_list(one.into_iter().chain(ids).collect(), false),
        }
    }
}

impl Located {
    /// Where the traces are in the part; `None` if all of it may hold some.
    pub fn of(&self, part: &str) -> Option<&Found> {
        self.found.get(part)
    }
}

/// Asks the indexes of the parts of `view` within `bounds`: those of days first, then those of parts that are in none.
pub async fn locate(view: &View, bounds: &Bounds, pinned: &Pinned) -> Located {
    let Some(indexes) = &view.indexes else { return Located::default() };
    let keys: Arc<[Key]> = pinned.ids.iter().map(|id| Key::of(id)).collect();
    let parts: Vec<_> = view.parts.parts.iter().filter(|part| bounds.may_hold_part(&part.entry)).cloned().collect();
    let mut located = Located::default();
    let mut open = Vec::new();
    for (date, parts) in by_day(&parts, indexes).await {
        open.push(ask_day(indexes.clone(), date, parts, keys.clone()));
    }
    let mut answers = futures::stream::iter(open).buffer_unordered(AT_ONCE);
    while let Some(found) = answers.next().await {
        located.found.extend(found);
    }
    let mut open = Vec::new();
    for part in parts {
        if !located.found.contains_key(&part.entry.path) {
            open.push(ask(indexes.clone(), part, keys.clone()));
        }
    }
    let mut answers = futures::stream::iter(open).buffer_unordered(AT_ONCE);
    while let Some((part, answer)) = answers.next().await {
        if let Some(found) = answer {
            located.found.insert(part.entry.path.clone(), found);
        }
    }
    located
}

/// Those of `parts` whose days have an index, by their dates. Of a day that has one part left its own is as good.
async fn by_day(parts: &[Arc<Part>], indexes: &Indexes) -> BTreeMap<String, Vec<Arc<Part>>> {
    let mut by_day: BTreeMap<String, Vec<Arc<Part>>> = BTreeMap::new();
    let days = if parts.len() > 1 { indexes.days().await } else { BTreeSet::new() };
    for part in parts {
        if let Some(date) = index::date_of(&part.entry.path).filter(|date| days.contains(*date)) {
            by_day.entry(date.to_owned()).or_default().push(part.clone());
        }
    }
    by_day.retain(|_, parts| parts.len() > 1);
    by_day
}

async fn ask_day(indexes: Indexes, date: String, parts: Vec<Arc<Part>>, keys: Arc<[Key]>) -> Vec<(String, Found)> {
    indexes.find_in_day(&date, &parts, &keys).await
}

async fn ask(indexes: Indexes, part: Arc<Part>, keys: Arc<[Key]>) -> (Arc<Part>, Option<Found>) {
    let answer = indexes.find(&part.entry, &keys).await;
    (part, answer)
}

/// The ids that all of `conjuncts` allow.
fn all_of<'a>(conjuncts: impl IntoIterator<Item = &'a Expr>) -> Option<BTreeSet<[u8; 16]>> {
    let pinned = conjuncts.into_iter().filter_map(any_of);
    pinned.reduce(|one, other| one.intersection(&other).copied().collect())
}

/// The ids that `filter` allows; it may be a chain of OR, as short lists and people make them.
fn any_of(filter: &Expr) -> Option<BTreeSet<[u8; 16]>> {
    let mut ids = BTreeSet::new();
    let mut open = vec![filter];
    while let Some(expr) = open.pop() {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                open.extend([left.as_ref(), right.as_ref()])
            }
            Expr::BinaryExpr(BinaryExpr { op: Operator::And, .. }) => ids.extend(all_of(split_conjunction(expr))?),
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
                let literal = if is_trace_id(left) { right } else { Some(left).filter(|_| is_trace_id(right))? };
                ids.extend(id(literal)?);
            }
            Expr::InList(list) if !list.negated && is_trace_id(&list.expr) => {
                for literal in &list.list {
                    ids.extend(id(literal)?);
                }
            }
            _ => return None,
        }
    }
    Some(ids)
}

/// The column; a cast between binary types keeps the bytes.
fn is_trace_id(expr: &Expr) -> bool {
    match expr {
        Expr::Column(column) => column.name == "trace_id",
        Expr::Cast(cast) if cast.field.data_type().is_binary() => is_trace_id(&cast.expr),
        _ => false,
    }
}

/// The id that a literal is; none for one that equals no id, NULL among them.
fn id(literal: &Expr) -> Option<Option<[u8; 16]>> {
    let Expr::Literal(value, _) = literal else { return None };
    match value {
        ScalarValue::FixedSizeBinary(_, bytes)
        | ScalarValue::Binary(bytes)
        | ScalarValue::LargeBinary(bytes)
        | ScalarValue::BinaryView(bytes) => Some(bytes.as_ref().and_then(|bytes| bytes.as_slice().try_into().ok())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, in_list};

    use super::*;

    fn of(number: u8) -> Expr {
        lit(ScalarValue::FixedSizeBinary(16, Some(vec![number; 16])))
    }

    fn pinned(filters: &[Expr]) -> Option<Vec<u8>> {
        Pinned::of(filters).map(|pinned| pinned.ids.iter().map(|id| id[0]).collect())
    }

    #[test]
    fn equalities_lists_and_chains_of_them_pin_traces() {
        let id = || col("trace_id");
        let slow = || col("duration_ns").gt(lit(5_i64));
        let list = |numbers: &[u8]| in_list(id(), numbers.iter().map(|number| of(*number)).collect(), false);
        assert_eq!(pinned(&[id().eq(of(1))]), Some(vec![1]));
        assert_eq!(pinned(&[of(1).eq(id()), slow()]), Some(vec![1]));
        assert_eq!(pinned(&[list(&[3, 1, 2, 9])]), Some(vec![1, 2, 3, 9]));
        assert_eq!(pinned(&[id().eq(of(1)).or(id().eq(of(2))).or(list(&[7]))]), Some(vec![1, 2, 7]));
        assert_eq!(pinned(&[list(&[1, 2, 3]).and(slow()), list(&[2, 3, 4])]), Some(vec![2, 3]));
        assert_eq!(pinned(&[id().eq(of(1)).and(slow()).or(id().eq(of(2)))]), Some(vec![1, 2]));
        assert_eq!(pinned(&[id().eq(of(1)), id().eq(of(2))]), Some(vec![]));
        assert_eq!(pinned(&[id().eq(lit(ScalarValue::FixedSizeBinary(16, None)))]), Some(vec![]));
    }

    #[test]
    fn anything_else_pins_none() {
        let id = || col("trace_id");
        let slow = || col("duration_ns").gt(lit(5_i64));
        let not_in = in_list(id(), vec![of(1)], true);
        let foreign = in_list(id(), vec![of(1), col("linked_trace_id")], false);
        let all = [id().not_eq(of(1)), not_in, foreign, id().eq(of(1)).or(slow()), id().gt(of(1)), slow()];
        for filter in all {
            assert_eq!(pinned(std::slice::from_ref(&filter)), None, "{filter}");
        }
        assert_eq!(pinned(&[]), None);
        let many = |count: u128| {
            let ids = (0..count).map(|n| lit(ScalarValue::FixedSizeBinary(16, Some(n.to_be_bytes().to_vec()))));
            Pinned::of(&[in_list(id(), ids.collect(), false)]).map(|pinned| pinned.len())
        };
        assert_eq!((many(1_000), many(1_001)), (Some(1_000), None));
    }
}
