//! `choose_variant.sql` orders variants as learn.md 4 asks for.

use datafusion::datasource::MemTable;

use super::*;
use crate::query::params::Param;

/// Tries of one variant: (tries, recovered, tried in the asking run).
type Record = (i64, i64, bool);

/// The order that learn.md 4 asks for.
fn ordered(options: &[&str], records: &BTreeMap<&str, Record>) -> Vec<String> {
    let mut all: Vec<(usize, &str, Record)> = options
        .iter()
        .enumerate()
        .map(|(at, option)| (at, *option, records.get(option).copied().unwrap_or_default()))
        .collect();
    all.sort_by(|(a_at, _, a), (b_at, _, b)| {
        // (1 + r)/(2 + t) compared without division.
        let (left, right) = ((1 + a.1) * (2 + b.0), (1 + b.1) * (2 + a.0));
        a.2.cmp(&b.2).then(right.cmp(&left)).then((a.0 > 0).cmp(&(b.0 > 0))).then(a_at.cmp(b_at))
    });
    all.into_iter().map(|(_, option, record)| format!("{option} {}", record.2)).collect()
}

/// A row of `feedback` in these tests: target, variant, outcome, run.
type Kind = (String, &'static str, Option<&'static str>, i64);

fn feedback_table(rows: &[Kind]) -> Arc<dyn TableProvider> {
    let text = |name| Field::new(name, DataType::Utf8, true);
    let fields = vec![text("gate"), text("pipeline"), text("target"), text("variant"), text("outcome")];
    let run = vec![Field::new("run", DataType::Int64, false)];
    let schema = Arc::new(Schema::new([fields, run].concat()));
    let same = |value: &'static str| Arc::new(StringArray::from(vec![value; rows.len()]));
    let columns: Vec<arrow::array::ArrayRef> = vec![
        same("g"),
        same("p"),
        Arc::new(rows.iter().map(|row| Some(row.0.as_str())).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| Some(row.1)).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.3).collect::<Int64Array>()),
    ];
    let batch = RecordBatch::try_new(schema.clone(), columns);
    Arc::new(MemTable::try_new(schema, vec![vec![batch.unwrap()]]).unwrap())
}

/// Every record of one variant that `rows` rows or fewer can make, with the rows it takes.
fn records(most: i64) -> Vec<(i64, Record)> {
    let mut all = Vec::new();
    for tries in 0..=most {
        for recovered in 0..=tries {
            for here in [false, true] {
                // Without a try, only a void one can have been made here.
                all.push((tries + i64::from(here && tries == 0), (tries, recovered, here)));
            }
        }
    }
    all.retain(|(rows, _)| *rows <= most);
    all
}

/// Rows that make `record`.
fn rows_of(target: &str, variant: &'static str, (tries, recovered, here): Record) -> Vec<Kind> {
    let run = |at: i64| if here && at == 0 { 1 } else { 2 };
    let outcome = |at: i64| match at {
        at if at < recovered => Some("recovered"),
        at if at % 2 == 0 => Some("not_better"),
        _ => None,
    };
    let mut rows: Vec<Kind> = (0..tries).map(|at| (target.to_owned(), variant, outcome(at), run(at))).collect();
    if tries == 0 && here {
        rows.push((target.to_owned(), variant, Some("void"), 1));
    }
    rows
}

#[tokio::test]
async fn choose_variant_orders_as_written_for_small_tables() {
    let cases = small_tables();
    // Each has a plan of its own to make; the next test takes them all.
    let few = cases
        .into_iter()
        .enumerate()
        .filter(|(at, (rows, ..))| *rows <= 1 || at.is_multiple_of(9))
        .map(|(_, case)| case);
    choose(few.collect()).await;
}

#[tokio::test]
#[ignore = "takes a minute: 1266 statements"]
async fn choose_variant_orders_as_written_for_every_small_table() {
    let cases = small_tables();
    assert_eq!(cases.len(), 1266);
    choose(cases).await;
}

/// The rows that a table takes, and the record of each variant.
type Case = (i64, BTreeMap<&'static str, Record>);

/// The statement sees counts only, so every table of three variants and four rows or fewer is one of these, up to void rows
/// of other runs, of which [`choose`] gives each variant one.
fn small_tables() -> Vec<Case> {
    let mut cases = Vec::new();
    for (a_rows, a) in records(4) {
        for (b_rows, b) in records(4) {
            for (c_rows, c) in records(4) {
                let rows = a_rows + b_rows + c_rows;
                if rows <= 4 {
                    cases.push((rows, BTreeMap::from([("a", a), ("b", b), ("c", c)])));
                }
            }
        }
    }
    cases
}

/// Asks the shipped statement about every case and compares with [`ordered`].
async fn choose(cases: Vec<Case>) {
    use futures::StreamExt as _;
    let sql = include_str!("../../../queries/learn/choose_variant.sql");
    let mut table = Vec::new();
    for (at, (_, records)) in cases.iter().enumerate() {
        for (variant, record) in records {
            table.extend(rows_of(&format!("t{at}"), variant, *record));
            table.push((format!("t{at}"), *variant, Some("void"), 2));
        }
    }
    let gateway = gateway(vec![("feedback".to_owned(), feedback_table(&table))]);
    let choose = |(at, (_, records)): (usize, Case)| {
        let gateway = gateway.clone();
        async move {
            let param = |name: &str, value: &str| (name.to_owned(), Param::Text(value.to_owned()));
            let mut params = BTreeMap::from([
                param("options", "c,a,b"),
                param("target", &format!("t{at}")),
                param("gate", ""),
                param("pipeline", "p"),
            ]);
            params.insert("run".to_owned(), Param::Int(1));
            let got = ask(&gateway, sql, Params::Map(params)).await.unwrap();
            let got: Vec<_> = got.iter().map(|row| format!("{} {}", row[0], row[4])).collect();
            assert_eq!(got, ordered(&["c", "a", "b"], &records), "{records:?}");
        }
    };
    futures::stream::iter(cases.into_iter().enumerate().map(choose)).buffer_unordered(2).collect::<Vec<()>>().await;
}
