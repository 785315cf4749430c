//! Columns of a result to rows of keys (learn.md 3.2).
//!
//! Duty: key, counts, trace ids and evidence of each row. Guarantee: one row a key; a value outside its rule is an error of
//! the run, and nothing of it is taken. Left to others: which rows stay (`fold`).

use std::collections::BTreeMap;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use serde_json::{Map, Value};

use super::fold::Seen;
use super::run::MAX_ROWS;
use crate::gate::identity::alert_key;
use crate::gate::rows::{key_text, trace_ids, unfolded};
use crate::query::render::value::write_json;

/// Most bytes of evidence as JSON.
const EVIDENCE_BYTES: usize = 4 << 10;
/// Stands where a text was cut.
const CUT: &str = "…";
const COUNTS: [&str; 4] = ["support", "n", "rest_support", "rest_n"];
const TRACE_IDS: &str = "trace_ids";

/// The rows of `batches` by key, `by` being the key columns.
///
/// Errors: what is wrong with the first row that is not as learn.md 3.2 says.
pub fn read(by: &[String], batches: &[RecordBatch]) -> Result<BTreeMap<String, Seen>, String> {
    let mut rows = BTreeMap::new();
    for batch in batches {
        let columns = Columns::of(by, batch)?;
        for at in 0..batch.num_rows() {
            let seen = columns.row(at)?;
            let key = alert_key(&seen.labels);
            if rows.insert(key.clone(), seen).is_some() {
                return Err(format!("two rows have the key `{key}`; group the statement by every column of `by`"));
            }
            if rows.len() > MAX_ROWS {
                return Err(format!("the result has more than {MAX_ROWS} rows"));
            }
        }
    }
    Ok(rows)
}

struct Columns {
    keys: Vec<(String, ArrayRef)>,
    counts: [Option<ArrayRef>; 4],
    trace_ids: Option<ArrayRef>,
    evidence: Vec<(String, ArrayRef)>,
}

impl Columns {
    fn of(by: &[String], batch: &RecordBatch) -> Result<Self, String> {
        let mut keys = Vec::new();
        for name in by {
            let column = batch.column_by_name(name).ok_or_else(|| format!("there is no column `{name}`"))?;
            keys.push((name.clone(), unfolded(name, column).map_err(|error| error.to_string())?));
        }
        let mut counts = [const { None }; 4];
        for (place, name) in counts.iter_mut().zip(COUNTS) {
            if let Some(column) = batch.column_by_name(name) {
                let unfolded = unfolded(name, column).map_err(|error| error.to_string())?;
                let read = cast(&unfolded, &DataType::Int64).map_err(|error| format!("`{name}`: {error}"))?;
                *place = Some(read);
            }
        }
        let schema = batch.schema();
        let named = schema.fields().iter().zip(batch.columns()).map(|(field, column)| (field.name(), column));
        let is_evidence = |name: &String| !COUNTS.contains(&name.as_str()) && name != TRACE_IDS && !by.contains(name);
        let evidence =
            named.filter(|(name, _)| is_evidence(name)).map(|(name, column)| (name.clone(), column.clone())).collect();
        Ok(Self { keys, counts, trace_ids: batch.column_by_name(TRACE_IDS).cloned(), evidence })
    }

    fn count(&self, which: usize, at: usize) -> Option<i64> {
        let column = self.counts[which].as_ref()?.as_primitive::<Int64Type>();
        (!column.is_null(at)).then(|| column.value(at))
    }

    fn row(&self, at: usize) -> Result<Seen, String> {
        let mut labels = BTreeMap::new();
        for (name, column) in &self.keys {
            labels.insert(name.clone(), key_text(name, column, at).map_err(|error| error.to_string())?);
        }
        let of = || format!("the row `{}`", alert_key(&labels));
        let required = |which: usize| {
            let value = self.count(which, at).ok_or_else(|| format!("{}: `{}` is NULL", of(), COUNTS[which]))?;
            u64::try_from(value).map_err(|_| format!("{}: `{}` is {value}", of(), COUNTS[which]))
        };
        let (support, n) = (required(0)?, required(1)?);
        if support == 0 || n < support {
            return Err(format!("{}: `support` is {support} and `n` {n}; 1 ≤ support ≤ n is expected", of()));
        }
        let rest = match (self.count(2, at), self.count(3, at)) {
            (None, None) => None,
            (Some(_), Some(_)) => {
                let (rest_support, rest_n) = (required(2)?, required(3)?);
                if rest_support > rest_n {
                    return Err(format!("{}: `rest_support` is {rest_support} and `rest_n` {rest_n}", of()));
                }
                Some((rest_support, rest_n))
            }
            _ => return Err(format!("{}: only one of `rest_support` and `rest_n` is there", of())),
        };
        let ids = match &self.trace_ids {
            Some(column) => trace_ids(column, at).map_err(|error| error.to_string())?,
            None => Vec::new(),
        };
        let mut evidence = Map::new();
        for (name, column) in &self.evidence {
            let mut bytes = Vec::new();
            write_json(column, at, &mut bytes).map_err(|error| format!("`{name}`: {error}"))?;
            let value = serde_json::from_slice(&bytes).map_err(|error| format!("`{name}`: {error}"))?;
            evidence.insert(name.clone(), value);
        }
        let evidence = bounded(evidence);
        Ok(Seen { labels, support, n, rest, trace_ids: ids.into_iter().map(|id| id.0).collect(), evidence })
    }
}

/// `evidence` as JSON of at most 4 KiB: the longest values are cut first, as text, and end in `…`; columns for which even
/// that leaves no room are left out from the last one.
fn bounded(mut evidence: Map<String, Value>) -> String {
    loop {
        let text = Value::Object(evidence.clone()).to_string();
        let Some(excess) = text.len().checked_sub(EVIDENCE_BYTES).filter(|excess| *excess > 0) else { return text };
        let longest = evidence.iter().map(|(name, value)| (value.to_string().len(), name.clone())).max();
        let Some((size, name)) = longest else { return "{}".to_owned() };
        if size <= 32 {
            let last = evidence.keys().next_back().cloned().unwrap_or_default();
            evidence.remove(&last);
            continue;
        }
        let whole = match &evidence[&name] {
            Value::String(text) => text.trim_end_matches(CUT).to_owned(),
            other => other.to_string(),
        };
        // Escapes make a text longer in JSON than it is, so it may take more than one turn.
        // A text of nothing but `…` is empty by now.
        let most = whole.len().saturating_sub(1);
        let keep = whole.len().saturating_sub(excess + CUT.len()).max(whole.len() / 4).min(most);
        let mut end = keep;
        while !whole.is_char_boundary(end) {
            end -= 1;
        }
        evidence.insert(name, Value::String(format!("{}{CUT}", &whole[..end])));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Float64Array, Int64Array, StringArray};
    use arrow::datatypes::{Field, Schema};
    use proptest::prelude::*;

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        let field = |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, array)| array).collect()).unwrap()
    }

    fn told(support: Vec<Option<i64>>, n: Vec<Option<i64>>, rest: Option<(Option<i64>, Option<i64>)>) -> String {
        let keys: ArrayRef = Arc::new(StringArray::from(vec!["a"; support.len()]));
        let mut columns: Vec<(&str, ArrayRef)> =
            vec![("k", keys), ("support", Arc::new(Int64Array::from(support))), ("n", Arc::new(Int64Array::from(n)))];
        if let Some((support, n)) = rest {
            columns.push(("rest_support", Arc::new(Int64Array::from(vec![support]))));
            columns.push(("rest_n", Arc::new(Int64Array::from(vec![n]))));
        }
        read(&["k".to_owned()], &[batch(columns)]).map_or_else(|why| why, |rows| format!("{} rows", rows.len()))
    }

    #[test]
    fn a_value_outside_its_rule_is_an_error_of_the_run() {
        let one = |support, n, rest| told(vec![support], vec![n], rest);
        assert_eq!(one(Some(1), Some(1), None), "1 rows");
        assert_eq!(one(Some(1), Some(1), Some((Some(0), Some(0)))), "1 rows");
        assert_eq!(one(None, Some(1), None), "the row `k=a`: `support` is NULL");
        assert_eq!(one(Some(1), None, None), "the row `k=a`: `n` is NULL");
        assert_eq!(one(Some(-1), Some(1), None), "the row `k=a`: `support` is -1");
        assert!(one(Some(0), Some(1), None).contains("1 ≤ support ≤ n is expected"));
        assert!(one(Some(2), Some(1), None).contains("1 ≤ support ≤ n is expected"));
        assert!(one(Some(1), Some(1), Some((Some(2), Some(1)))).contains("`rest_support` is 2 and `rest_n` 1"));
        assert!(one(Some(1), Some(1), Some((None, Some(1)))).contains("only one of"));
        let twice = told(vec![Some(1); 2], vec![Some(1); 2], None);
        assert_eq!(twice, "two rows have the key `k=a`; group the statement by every column of `by`");
    }

    fn any_column() -> impl Strategy<Value = ArrayRef> {
        use proptest::option::of;
        prop_oneof![
            of(any::<i64>()).prop_map(|v| Arc::new(Int64Array::from(vec![v])) as ArrayRef),
            of(any::<f64>()).prop_map(|v| Arc::new(Float64Array::from(vec![v])) as ArrayRef),
            of(any::<bool>()).prop_map(|v| Arc::new(BooleanArray::from(vec![v])) as ArrayRef),
            of(".{0,20}").prop_map(|v| Arc::new(StringArray::from(vec![v])) as ArrayRef),
        ]
    }

    proptest! {
        #[test]
        fn no_result_panics(
            columns in proptest::collection::btree_map(
                proptest::sample::select(vec!["k", "support", "n", "rest_support", "rest_n", "trace_ids", "x"]),
                any_column(),
                1..7,
            ),
        ) {
            let batch = batch(columns.into_iter().collect());
            let _ = read(&["k".to_owned()], &[batch]);
        }
    }

    #[test]
    fn evidence_is_cut_at_its_longest_text_and_marked() {
        let of = |long: &str| {
            let mut map = Map::new();
            map.insert("a".into(), Value::from("short"));
            map.insert("b".into(), Value::from(long));
            bounded(map)
        };
        assert_eq!(of("x"), r#"{"a":"short","b":"x"}"#);
        for long in ["é".repeat(9000), "\n".repeat(9000), "\"\\".repeat(3000)] {
            let text = of(&long);
            assert!(text.len() <= EVIDENCE_BYTES, "{}", text.len());
            let read: Map<String, Value> = serde_json::from_str(&text).unwrap();
            assert_eq!(read["a"], "short");
            assert!(read["b"].as_str().unwrap().ends_with(CUT) && text.len() > 900, "{}", text.len());
        }
        // What marks a cut may also be all that a text holds.
        let marks = of(&CUT.repeat(3000));
        assert_eq!(marks, r#"{"a":"short","b":"…"}"#);
        let many: Map<String, Value> = (0..2000).map(|i| (format!("c{i:04}"), Value::from(i))).collect();
        assert!(bounded(many).len() <= EVIDENCE_BYTES);
    }
}
