//! What a statement's filters say about time.
//!
//! Duty: read ranges of `start_time`, `end_time` and `ingest_time` off the conjuncts of a filter. Guarantee: a row that
//! passes the filter lies in all three ranges; the ranges may be wider than the filter. Left to others: applying the
//! filter itself, which stays above the scan.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use crate::span::{TimeRange, schema};
use crate::store::manifest::{PartEntry, RowGroupEntry};

/// Time ranges that a filter allows, ns since 1970, ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of `start_time`.
    pub start: TimeRange,
    /// Of `end_time`.
    pub end: TimeRange,
    /// Of `ingest_time`.
    pub ingest: TimeRange,
}

const ALL: TimeRange = TimeRange { min_ns: i64::MIN, max_ns: i64::MAX };

impl Bounds {
    /// No restriction.
    pub const ALL: Self = Self { start: ALL, end: ALL, ingest: ALL };

    /// The ranges that `filters`, all of which a row must pass, allow.
    pub fn of(filters: &[Expr]) -> Self {
        let mut bounds = Self::ALL;
        for conjunct in filters.iter().flat_map(split_conjunction) {
            bounds.narrow(conjunct);
        }
        bounds
    }

    fn narrow(&mut self, conjunct: &Expr) {
        match conjunct {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (column(left), instant(right)) {
                (Some(name), Some(at)) => self.compare(name, *op, at),
                _ => {
                    if let (Some(at), Some(name), Some(op)) = (instant(left), column(right), op.swap()) {
                        self.compare(name, op, at);
                    }
                }
            },
            Expr::Between(between) if !between.negated => {
                if let Some(name) = column(&between.expr) {
                    if let Some(low) = instant(&between.low) {
                        self.compare(name, Operator::GtEq, low);
                    }
                    if let Some(high) = instant(&between.high) {
                        self.compare(name, Operator::LtEq, high);
                    }
                }
            }
            _ => {}
        }
    }

    fn compare(&mut self, column: &str, op: Operator, at_ns: i64) {
        let range = match column {
            "start_time" => &mut self.start,
            "end_time" => &mut self.end,
            "ingest_time" => &mut self.ingest,
            _ => return,
        };
        if matches!(op, Operator::Eq | Operator::Gt | Operator::GtEq) {
            range.min_ns = range.min_ns.max(at_ns);
        }
        if matches!(op, Operator::Eq | Operator::Lt | Operator::LtEq) {
            range.max_ns = range.max_ns.min(at_ns);
        }
    }

    /// Whether a row of the part may pass.
    pub fn may_hold_part(&self, part: &PartEntry) -> bool {
        let ingest = part.ingest.map(|us| us.saturating_mul(1_000));
        self.start.overlaps(range(part.start))
            && self.end.overlaps(range(part.end))
            && self.ingest.overlaps(range(ingest))
    }

    /// Whether a row of the row group may pass.
    pub fn may_hold_group(&self, group: &RowGroupEntry) -> bool {
        self.start.overlaps(range(group.start)) && self.end.overlaps(range(group.end))
    }
}

fn range([min_ns, max_ns]: [i64; 2]) -> TimeRange {
    TimeRange { min_ns, max_ns }
}

/// The column's name; a cast to nanoseconds keeps instants, one to a coarser unit cuts them.
fn column(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Column(column) => Some(&column.name),
        Expr::Cast(cast)
            if matches!(cast.field.data_type(), DataType::Timestamp(TimeUnit::Nanosecond, Some(_)))
                || (matches!(cast.field.data_type(), DataType::Timestamp(TimeUnit::Microsecond, Some(_)))
                    && matches!(&*cast.expr, Expr::Column(of) if of.name == schema::INGEST_TIME)) =>
        {
            column(&cast.expr)
        }
        _ => None,
    }
}

/// The instant that a literal names, ns since 1970.
pub fn instant(expr: &Expr) -> Option<i64> {
    let Expr::Literal(value, _) = expr else { return None };
    let (value, ns_per_unit) = match value {
        ScalarValue::TimestampSecond(v, _) => (*v, 1_000_000_000),
        ScalarValue::TimestampMillisecond(v, _) => (*v, 1_000_000),
        ScalarValue::TimestampMicrosecond(v, _) => (*v, 1_000),
        ScalarValue::TimestampNanosecond(v, _) => (*v, 1),
        _ => return None,
    };
    Some(value?.saturating_mul(ns_per_unit))
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn at(ns: i64) -> Expr {
        lit(ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into())))
    }

    #[test]
    fn conjuncts_narrow_and_anything_else_does_not() {
        let filters = [
            col("start_time").gt_eq(at(10)).and(at(20).gt(col("start_time"))),
            col("end_time").between(at(5), at(50)),
            col("ingest_time").eq(lit(ScalarValue::TimestampMicrosecond(Some(7), Some("UTC".into())))),
            col("start_time").gt(at(15)).or(col("name").eq(lit("x"))),
        ];
        let bounds = Bounds::of(&filters);
        assert_eq!(bounds.start, TimeRange { min_ns: 10, max_ns: 20 });
        assert_eq!(bounds.end, TimeRange { min_ns: 5, max_ns: 50 });
        assert_eq!(bounds.ingest, TimeRange { min_ns: 7_000, max_ns: 7_000 });
    }

    #[test]
    fn a_cast_that_cuts_an_instant_narrows_nothing() {
        let cut = |name, unit| {
            let to = DataType::Timestamp(unit, Some("UTC".into()));
            let cast = datafusion::logical_expr::cast(col(name), to);
            Bounds::of(&[cast.lt_eq(at(5_000_000_000))])
        };
        assert_eq!(cut("start_time", TimeUnit::Second), Bounds::ALL);
        assert_eq!(cut("start_time", TimeUnit::Microsecond), Bounds::ALL);
        assert_eq!(cut("ingest_time", TimeUnit::Millisecond), Bounds::ALL);
        assert_eq!(cut("start_time", TimeUnit::Nanosecond).start.max_ns, 5_000_000_000);
        assert_eq!(cut("ingest_time", TimeUnit::Microsecond).ingest.max_ns, 5_000_000_000);
    }
}
