//! Which rows of the engine's tables a statement can want.
//!
//! Duty: read the run and the time of `started_at` off the filters of a scan. Guarantee: a row that passes the filters is
//! among those wanted; more may be. Left to others: applying the filters, which stay above the scan.

use std::ops::RangeInclusive;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

const NS_PER_MS: i64 = 1_000_000;

/// Runs by key, and when they began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Keys.
    pub runs: RangeInclusive<u64>,
    /// Of rows that began before, ms since 1970, none is wanted.
    pub since_ms: i64,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { runs: 0..=u64::MAX, since_ms: i64::MIN }
    }
}

impl Wanted {
    /// What `filters`, all of which a row must pass, leave.
    pub fn of<'a>(filters: impl IntoIterator<Item = &'a Expr>) -> Self {
        let mut wanted = Self::default();
        for conjunct in filters.into_iter().flat_map(split_conjunction) {
            wanted.narrow(conjunct);
        }
        wanted
    }

    /// Whether `filter` leaves rows out of a scan.
    pub fn knows(filter: &Expr) -> bool {
        Self::of([filter]) != Self::default()
    }

    fn narrow(&mut self, conjunct: &Expr) {
        match conjunct {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (column(left), number(right)) {
                (Some(name), Some(value)) => self.compare(name, *op, value),
                _ => {
                    if let (Some(value), Some(name), Some(op)) = (number(left), column(right), op.swap()) {
                        self.compare(name, op, value);
                    }
                }
            },
            Expr::Between(between) if !between.negated => {
                let Some(name) = column(&between.expr) else { return };
                if let Some(low) = number(&between.low) {
                    self.compare(name, Operator::GtEq, low);
                }
                if let Some(high) = number(&between.high) {
                    self.compare(name, Operator::LtEq, high);
                }
            }
            Expr::InList(list) if !list.negated && column(&list.expr) == Some("run") => {
                let keys: Option<Vec<i64>> = list.list.iter().map(number).collect();
                if let Some((low, high)) = keys.and_then(|keys| Some((*keys.iter().min()?, *keys.iter().max()?))) {
                    self.compare("run", Operator::GtEq, low);
                    self.compare("run", Operator::LtEq, high);
                }
            }
            _ => {}
        }
    }

    fn compare(&mut self, column: &str, op: Operator, value: i64) {
        let from = matches!(op, Operator::Eq | Operator::Gt | Operator::GtEq);
        let to = matches!(op, Operator::Eq | Operator::Lt | Operator::LtEq);
        match column {
            "run" => {
                let (mut low, mut high) = self.runs.clone().into_inner();
                if from {
                    low = low.max(u64::try_from(value).unwrap_or(0));
                }
                if to {
                    high = high.min(u64::try_from(value).unwrap_or(0));
                }
                self.runs = low..=high;
            }
            "started_at" if from => self.since_ms = self.since_ms.max(value.div_euclid(NS_PER_MS)),
            _ => {}
        }
    }
}

/// The column's name; a cast between times of a zone keeps instants.
fn column(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Column(column) => Some(&column.name),
        Expr::Cast(cast) if matches!(cast.field.data_type(), DataType::Timestamp(_, Some(_))) => column(&cast.expr),
        _ => None,
    }
}

/// A key, or an instant in ns since 1970.
fn number(expr: &Expr) -> Option<i64> {
    let Expr::Literal(value, _) = expr else { return None };
    match value {
        ScalarValue::Int64(value) => *value,
        ScalarValue::TimestampSecond(value, _) => value.map(|value| value.saturating_mul(1_000_000_000)),
        ScalarValue::TimestampMillisecond(value, _) => value.map(|value| value.saturating_mul(NS_PER_MS)),
        ScalarValue::TimestampMicrosecond(value, _) => value.map(|value| value.saturating_mul(1_000)),
        ScalarValue::TimestampNanosecond(value, _) => *value,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn at(ms: i64) -> Expr {
        lit(ScalarValue::TimestampNanosecond(Some(ms * NS_PER_MS), Some("UTC".into())))
    }

    #[test]
    fn conjuncts_on_run_and_start_narrow_and_anything_else_does_not() {
        let of = |filters: &[Expr]| Wanted::of(filters);
        let one = of(&[col("run").eq(lit(7_i64)).and(col("state").eq(lit("running")))]);
        assert_eq!(one, Wanted { runs: 7..=7, since_ms: i64::MIN });
        assert_eq!(of(&[col("run").in_list(vec![lit(9_i64), lit(4_i64)], false)]).runs, 4..=9);
        assert_eq!(of(&[col("run").between(lit(2_i64), lit(5_i64)), lit(3_i64).lt_eq(col("run"))]).runs, 3..=5);
        assert_eq!(of(&[col("started_at").gt_eq(at(10)), at(5).lt(col("started_at"))]).since_ms, 10);
        let free = [
            col("run").eq(lit(1_i64)).or(col("run").eq(lit(2_i64))),
            col("run").not_eq(lit(1_i64)),
            col("run").in_list(vec![lit(1_i64)], true),
            col("started_at").lt(at(10)),
            col("version").eq(lit(1_i64)),
        ];
        for filter in free {
            assert!(!Wanted::knows(&filter), "{filter}");
        }
        // A key that no run has leaves no run, and not all of them.
        assert!(of(&[col("run").lt(lit(-1_i64))]).runs.end() == &0);
    }
}
