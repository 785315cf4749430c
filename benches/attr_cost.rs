//! What a bracket costs beside the column that it is read from (sql.md 3.6).
//!
//! Duty: the rows `attr_cost`: CPU time of a filter and an aggregate over parts with the filter on a bracket, beside the
//! same over these Parquet files with the filter on their column, by its name. Guarantee: both answers are equal; all
//! threads of the process count; a row is the median of several runs, warm. Left to others: more data (`sql_peers.sh`).

use std::path::Path;
use std::time::Duration;

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use prometheus::Registry;
use weavergen::clock::Clock;
use weavergen::otlp::{Limits, SpanBuilder, decode};
use weavergen::query::gateway::Resources;
use weavergen::query::{Config, Gateway, Statement, plain};
use weavergen::span::{Coding, Delivery, Origin, RequestBody};
use weavergen::store::Store;

use super::store::{self, process_time};
use super::{Bench, RUNS, load};

/// Requests, and spans of each.
const REQUESTS: u64 = 300;
const REQUEST_SPANS: usize = 1_000;
/// Attributes of a span: up to [`RESIDUAL`].
const ATTRIBUTES: usize = 11;
/// Statements of a run.
const CALLS: u32 = 20;
/// A key that has a column, with a thousand values as the other one.
const PROMOTED: &str = "http.route";
/// A key that is kept in lists.
const RESIDUAL: &str = "app.user.id";
/// FROM and WHERE of a statement by `{spans}` with the filter on `{key}` of `s`.
const FORMS: [(&str, &str); 4] = [
    ("direct", "{spans} AS s WHERE {key} = 'value-7'"),
    ("aliased", "(SELECT s.duration_ns, {key} AS k FROM {spans} AS s) AS s WHERE k = 'value-7'"),
    ("cte", "(WITH s AS (SELECT * FROM {spans}) SELECT * FROM s WHERE {key} = 'value-7') AS s"),
    ("join", "{spans} AS s JOIN (SELECT 'value-7' AS k) AS v ON {key} = v.k"),
];

/// Prints a row a form, and one for the key in lists.
pub fn run(bench: &Bench) {
    let wanted = |form: &str| bench.wants(&format!("attr_cost/{form}"));
    if !FORMS.iter().any(|(form, _)| wanted(form)) && !wanted("residual") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    runtime.block_on(async {
        let (store, parts, _dir) =
            store::open_with(16 << 30, |config| config.promote_never = vec![RESIDUAL.to_owned()]).await;
        fill(&store).await;
        store.freeze_and_flush().await.expect("the disk takes it");
        let ours = Gateway::new(store.reader(), Config::default(), Clock::os(), &Registry::new()).expect("threads");
        let files = plain(&parts).await;
        for (form, text) in FORMS {
            if wanted(form) {
                let raw = cost(&files, &statement(text, plain::NAME, &format!("s.\"attr.{PROMOTED}\""))).await;
                let bracket = cost(&ours, &statement(text, "spans", &format!("s.attributes['{PROMOTED}']"))).await;
                assert_eq!(bracket.1, raw.1, "{form}");
                row(form, bracket.0, raw.0);
            }
        }
        if wanted("residual") {
            let text = FORMS[0].1;
            let raw = cost(&files, &statement(text, plain::NAME, &format!("s.\"attr.{PROMOTED}\""))).await;
            let bracket = cost(&ours, &statement(text, "spans", &format!("s.attributes['{RESIDUAL}']"))).await;
            row("residual", bracket.0, raw.0);
        }
        drop((ours, files));
        store.close().await.expect("the store closes");
    });
}

async fn fill(store: &Store) {
    let (mut builder, limits) = (SpanBuilder::new(), Limits::default());
    for seed in 0..REQUESTS {
        let body = load::body(seed, REQUEST_SPANS, ATTRIBUTES);
        let batches = decode(&body, &limits, &mut builder).expect("a good request").batches;
        let decoded_len = u32::try_from(body.len()).expect("a request of some MiB");
        let body = RequestBody { bytes: Bytes::from(body), coding: Coding::Identity, decoded_len };
        let delivery = Delivery { batches, body: Some(body), identity: u128::from(seed) + 1, origin: Origin::Received };
        store.append(delivery).await.expect("the store takes it");
    }
}

/// A gateway over the files below `parts` as they are.
async fn plain(parts: &Path) -> Gateway {
    let files = plain::files(parts).expect("parts were made");
    let table = plain::table(&files).await.expect("they are Parquet files");
    let extra = vec![(plain::NAME.to_owned(), table)];
    let (config, clock, registry) = (Config::default(), Clock::os(), Registry::new());
    Gateway::with(plain::no_spans(), config, Resources::default(), extra, clock, &registry).expect("threads")
}

fn statement(form: &str, spans: &str, key: &str) -> String {
    let from = form.replace("{spans}", spans).replace("{key}", key);
    format!("SELECT count(*), sum(s.duration_ns) FROM {from}")
}

/// CPU time of a statement, and how many rows passed its filter.
async fn cost(gateway: &Gateway, sql: &str) -> (Duration, i64) {
    let rows = count(gateway, sql).await;
    assert!(rows > 0, "{sql}");
    let mut runs = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let before = process_time();
        for _ in 0..CALLS {
            assert_eq!(count(gateway, sql).await, rows, "{sql}");
        }
        runs.push((process_time() - before) / CALLS);
    }
    runs.sort_unstable();
    (runs[RUNS / 2], rows)
}

async fn count(gateway: &Gateway, sql: &str) -> i64 {
    let mut answer = gateway.run(Statement::new(sql)).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let batches = answer.collect().await.expect("an answer");
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

fn row(form: &str, bracket: Duration, raw: Duration) {
    let [bracket, raw] = [bracket, raw].map(|time| time.as_secs_f64() * 1e3);
    let name = format!("attr_cost/{form}");
    println!("{name:<24} bracket {bracket:>8.3} CPU-ms  raw column {raw:>8.3} CPU-ms  {:>6.2}x", bracket / raw);
}
