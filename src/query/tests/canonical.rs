//! Claims about the plans of the canonical queries: column "must be true of the plan" of sql.md 11.
//!
//! What is read is seen below the plans, in the bytes that scans ask for, so that it holds however columns are decoded;
//! how it is read is seen in the nodes of the physical plan, which is made as the gateway makes it. How many row
//! groups are left out while q_top and q_slow run is claimed in `plans`.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::datasource::physical_plan::ParquetSource;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};

use super::fetched::{Fetched, Recorder, fetched};
use super::fixture::*;
use crate::query::library::Library;
use crate::query::params::Params;
use crate::query::{Config, guard};
use crate::store::View;

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3_600 * SECOND;
/// Parts of an hour each, the last of which ends at [`NOW`], of row groups of 6 minutes.
const PARTS: i64 = 4;
const GROUPS: i64 = 10;
const ROWS: i64 = 120;

/// The trace of a span.
fn trace(part: i64, group: i64, row: i64) -> i64 {
    1 + (part * GROUPS / 2 + group / 2) * ROWS + row
}

/// Even row groups hold roots of `checkout`, most of which fail; the next one what they call of `frontend`. Durations grow
/// with the row group. Of the calls three do not know the service of their parent.
fn span(part: i64, group: i64, row: i64) -> Span {
    let start = NOW - (PARTS - part) * HOUR + (group * ROWS + row) * 3 * SECOND;
    let trace = u64::try_from(trace(part, group, row)).unwrap();
    let (is_root, fails) = (group % 2 == 0, row % 8 != 0);
    let span = Span {
        parent: (!is_root).then_some(2 * trace),
        start,
        duration: (group + 1) * SECOND / 10 + row,
        service: if is_root { "checkout" } else { "frontend" },
        name: ["POST /pay", "render", "GET /cart", "render"][usize::try_from(group % 4).unwrap()],
        status: if is_root && fails { "error" } else { "unset" },
        parent_service: (!is_root && (part, group, row / 3) != (PARTS - 1, GROUPS - 1, 0)).then_some("checkout"),
        ..Span::new(u128::from(trace), 2 * trace + u64::from(!is_root))
    };
    let mut span = span
        .with("http.route", if group == 3 { "/api/cart" } else { "/other" })
        .with("http.response.status_code", if fails { 500 } else { 200 })
        .with("note", row);
    if !is_root {
        span = span.with("db.system.name", "postgresql");
    }
    if (part, group, row / 5) == (2, 7, 0) {
        span = span.with("app.coupon", "SPRING");
    }
    if is_root && row % 40 == 1 {
        span.events = vec![(start, "exception", vec![("exception.type".to_owned(), "Timeout".into())])];
    }
    span
}

async fn store() -> View {
    let promotions = [
        ("attr.http.route", DataType::Utf8View),
        ("attr.http.response.status_code", DataType::Int64),
        ("attr.db.system.name", DataType::Utf8View),
    ];
    let promotions: Promotions = promotions.map(|(name, of)| (name.to_owned(), of)).into();
    let group_rows = usize::try_from(ROWS).unwrap();
    let mut fill = Fill::new();
    for part in 0..PARTS {
        let spans = (0..GROUPS).flat_map(|group| (0..ROWS).map(move |row| span(part, group, row)));
        fill = fill.part(&spans.collect::<Vec<_>>(), &promotions, group_rows).await;
    }
    let newest = |n: u64| {
        let base = Span::new(u128::from(1_000_000 + n), 1_000_000 + n);
        let start = NOW - SECOND + i64::try_from(n).unwrap();
        Span { parent: None, start, service: "checkout", status: "error", ..base }
    };
    fill.memory(&(0..10).map(newest).collect::<Vec<_>>()).view()
}

/// A canonical query and its values.
fn canonical(name: &str, given: &[(&str, String)]) -> (String, Params) {
    let library = Library::shipped(Some(concat!(env!("CARGO_MANIFEST_DIR"), "/queries").into()));
    let query = library.query(&format!("bench/{name}")).unwrap();
    let given: Vec<_> = given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let values = serde_json::Value::from(query.bind(&given, NOW).unwrap());
    (query.sql, Params::from_json(&values).unwrap())
}

/// A session whose scans run one by one, so that none reads ahead of a filter that changes, in batches that are smaller
/// than a row group, as they are in a store.
fn one_by_one(view: &View) -> SessionContext {
    let session = session_with(view, &Config { threads: 1, ..Config::default() });
    let state = session.state_ref();
    state.write().config_mut().options_mut().set("datafusion.execution.batch_size", "50").unwrap();
    session
}

/// The plan as the gateway makes it, the cap of rows above it.
async fn planned(session: &SessionContext, sql: &str, params: &Params) -> Arc<dyn ExecutionPlan> {
    let statement = guard::check(sql, params).unwrap().statement;
    let state = session.state();
    let plan = state.statement_to_plan(statement).await.unwrap();
    let capped = LogicalPlanBuilder::from(plan).limit(0, Some(10_001)).unwrap().build().unwrap();
    state.create_physical_plan(&capped).await.unwrap()
}

/// A query that was planned and run.
struct Ran {
    plan: Arc<dyn ExecutionPlan>,
    answer: Vec<RecordBatch>,
    fetched: Fetched,
}

async fn ran(name: &str, given: &[(&str, String)]) -> Ran {
    let mut view = store().await;
    let recorder = Recorder::before(&mut view);
    let session = one_by_one(&view);
    let (sql, params) = canonical(name, given);
    let plan = planned(&session, &sql, &params).await;
    let answer = collect(plan.clone(), session.task_ctx()).await.unwrap();
    Ran { plan, answer, fetched: fetched(&view, &recorder).await }
}

/// `plan` and all below it, those above first.
fn nodes(plan: &Arc<dyn ExecutionPlan>) -> Vec<Arc<dyn ExecutionPlan>> {
    let mut all = vec![plan.clone()];
    all.extend(plan.children().into_iter().flat_map(nodes));
    all
}

fn line(node: &Arc<dyn ExecutionPlan>) -> String {
    displayable(node.as_ref()).one_line().to_string()
}

fn parquet(node: &Arc<dyn ExecutionPlan>) -> Option<&ParquetSource> {
    Some(node.downcast_ref::<DataSourceExec>()?.downcast_to_file_source::<ParquetSource>()?.1)
}

/// Rows that came out of `node`.
fn rows_of(node: &Arc<dyn ExecutionPlan>) -> usize {
    match node.metrics().and_then(|metrics| metrics.output_rows()) {
        Some(rows) => rows,
        None => node.children().into_iter().map(rows_of).sum(),
    }
}

impl Ran {
    fn rows(&self) -> usize {
        self.answer.iter().map(RecordBatch::num_rows).sum()
    }

    fn parts(&self) -> BTreeSet<usize> {
        self.fetched.keys().map(|(part, _)| *part).collect()
    }

    fn groups(&self) -> Vec<(usize, usize)> {
        self.fetched.keys().copied().collect()
    }

    fn columns(&self) -> BTreeSet<&str> {
        self.fetched.values().flatten().map(String::as_str).collect()
    }

    fn all<T: ExecutionPlan>(&self) -> Vec<Arc<dyn ExecutionPlan>> {
        nodes(&self.plan).into_iter().filter(|node| node.is::<T>()).collect()
    }

    /// The scans of parts, of which there must be some.
    fn scans(&self) -> Vec<Arc<dyn ExecutionPlan>> {
        let scans: Vec<_> = nodes(&self.plan).into_iter().filter(|node| parquet(node).is_some()).collect();
        assert!(!scans.is_empty(), "{}", self.shown());
        scans
    }

    /// Whether the decoder filters and whether it uses the page index, in every scan.
    fn decoder(&self, filters: bool, page_index: bool) {
        for scan in self.scans() {
            let options = &parquet(&scan).unwrap().table_parquet_options().global;
            assert_eq!((options.pushdown_filters, options.enable_page_index), (filters, page_index), "{}", line(&scan));
        }
    }

    fn shown(&self) -> String {
        displayable(self.plan.as_ref()).indent(false).to_string()
    }
}

/// As [`Ran::columns`] gives them.
fn names<const N: usize>(names: [&'static str; N]) -> BTreeSet<&'static str> {
    BTreeSet::from(names)
}

#[tokio::test]
async fn q_trace_reads_what_the_index_names() {
    let id = format!("{:032x}", trace(1, 4, 7));
    let ran = ran("q_trace", &[("trace", id)]).await;
    assert_eq!((ran.rows(), ran.groups()), (2, vec![(1, 4), (1, 5)]));
    let lookups = nodes(&ran.plan).iter().filter(|node| node.name() == "TraceLookupExec").count();
    assert_eq!(lookups, 1, "{}", ran.shown());
    ran.decoder(true, false);
    let scans = ran.scans();
    let reads_bloom =
        |scan: &Arc<dyn ExecutionPlan>| parquet(scan).unwrap().table_parquet_options().global.bloom_filter_on_read;
    assert!(!scans.iter().any(reads_bloom), "{}", ran.shown());
}

#[tokio::test]
async fn q_top_visits_the_newest_row_groups_and_ends() {
    let ran = ran("q_top", &[]).await;
    assert_eq!(ran.rows(), 100);
    let fetches: Vec<_> = ran.all::<SortExec>().iter().map(|node| node.fetch()).collect();
    assert!(!fetches.is_empty() && fetches.iter().all(|fetch| *fetch == Some(100)), "{}", ran.shown());
    ran.decoder(true, false);
    for scan in ran.scans() {
        for said in ["sort_order_for_reorder=[start_time@", "reverse_row_groups=true", "DynamicFilter"] {
            assert!(line(&scan).contains(said), "{said}: {}", line(&scan));
        }
    }
    assert!(ran.groups().contains(&(3, 8)), "{:?}", ran.groups());
}

#[tokio::test]
async fn q_slow_reads_seven_columns_of_the_slowest_row_groups_of_the_hour() {
    let ran = ran("q_slow", &[]).await;
    assert_eq!((ran.rows(), ran.parts()), (20, BTreeSet::from([3])));
    ran.decoder(true, false);
    let expected = ["trace_id", "span_id", "name", "start_time", "duration_ns", "service_name", "kind"];
    assert_eq!(ran.columns(), names(expected));
    assert!(ran.groups().contains(&(3, 8)), "{:?}", ran.groups());
    let scans = ran.scans();
    assert!(scans.iter().all(|scan| line(scan).contains("DynamicFilter")), "{}", ran.shown());
}

#[tokio::test]
async fn q_attr_reads_the_promoted_column_alone() {
    let ran = ran("q_attr", &[]).await;
    assert_eq!(ran.answer[0].column(0).as_primitive::<Int64Type>().value(0), PARTS * ROWS);
    assert_eq!(ran.groups(), [(0, 3), (1, 3), (2, 3), (3, 3)]);
    // No byte more than of the raw column.
    assert_eq!(ran.columns(), names(["attr.http.route"]));
    ran.decoder(false, true);
}

#[tokio::test]
async fn q_rare_reads_three_leaves_where_the_key_is() {
    let ran = ran("q_rare", &[]).await;
    assert_eq!((ran.rows(), ran.groups()), (5, vec![(2, 7)]));
    let expected = ["trace_id", "start_time", "attributes.key", "attributes.type", "attributes.s"];
    assert_eq!(ran.columns(), names(expected));
    assert!(!ran.all::<FilterExec>().is_empty(), "{}", ran.shown());
}

#[tokio::test]
async fn q_all_is_pruned_by_time_service_name_and_duration_and_planned_alike_with_values_and_literals() {
    let ran = ran("q_all", &[]).await;
    assert_eq!((ran.rows(), ran.parts()), (20, BTreeSet::from([3])));
    assert!(ran.groups().iter().all(|(_, group)| [4, 8].contains(group)), "{:?}", ran.groups());
    let key = "attributes['http.response.status_code']";
    for scan in ran.scans() {
        let line = line(&scan);
        assert!(line.contains(&format!("{key}::BIGINT@")) && !line.contains(&format!("CAST({key}")), "{line}");
    }
    let view = store().await;
    let (sql, params) = canonical("q_all", &[]);
    let literals = sql.replace("$from", "'2023-11-14T21:13:20Z'").replace("$to", "'2023-11-14T22:13:20Z'");
    let [of_values, of_literals] =
        [planned(&one_by_one(&view), &sql, &params).await, planned(&one_by_one(&view), &literals, &Params::None).await];
    let shown = |plan: &Arc<dyn ExecutionPlan>| displayable(plan.as_ref()).indent(false).to_string();
    assert_eq!(shown(&of_values), shown(&of_literals));
}

#[tokio::test]
async fn q_red_reads_five_columns_and_groups_by_words() {
    let ran = ran("q_red", &[]).await;
    assert!(ran.rows() > 60, "{}", ran.rows());
    assert_eq!(ran.parts(), BTreeSet::from([3]));
    assert_eq!(ran.columns(), names(["start_time", "service_name", "status_code", "duration_ns", "is_entry"]));
    ran.decoder(false, true);
    let aggregate = ran.all::<AggregateExec>().pop().unwrap();
    for schema in [aggregate.children()[0].schema(), aggregate.schema()] {
        let service = schema.fields().iter().find(|field| field.name().ends_with("service_name")).unwrap();
        assert!(matches!(service.data_type(), DataType::Dictionary(..)), "{service}");
    }
    assert!(nodes(&aggregate).iter().all(|node| !node.is::<SortExec>()), "{}", ran.shown());
}

#[tokio::test]
async fn q_route_reads_three_columns_through_the_common_table_expression() {
    let ran = ran("q_route", &[]).await;
    assert_eq!(ran.rows(), 2);
    assert_eq!(ran.columns(), names(["service_name", "duration_ns", "attr.http.route"]));
    ran.decoder(false, true);
}

#[tokio::test]
async fn q_traces_reads_what_its_aggregate_needs_within_the_widened_window() {
    let ran = ran("q_traces", &[]).await;
    assert_eq!(ran.rows(), 20);
    // From an hour before the quarter of an hour that is asked for.
    assert!(ran.groups().iter().all(|(part, group)| *part == 3 || (*part == 2 && *group >= 7)), "{:?}", ran.groups());
    let mut expected = names(["trace_id", "span_id", "parent_span_id", "start_time", "duration_ns"]);
    expected.extend(["service_name", "name", "status_code"]);
    assert_eq!(ran.columns(), expected);
}

#[tokio::test]
async fn q_child_joins_on_both_keys_and_each_side_reads_its_own() {
    let ran = ran("q_child", &[]).await;
    assert_eq!((ran.rows(), ran.parts()), (2, BTreeSet::from([3])));
    let joins = ran.all::<HashJoinExec>();
    let keys: Vec<_> = joins.iter().filter_map(|node| Some(node.downcast_ref::<HashJoinExec>()?.on().len())).collect();
    assert_eq!(keys, [2], "{}", ran.shown());
    let scans = ran.scans();
    assert_eq!(scans.len(), 2, "{}", ran.shown());
    assert!(scans.iter().any(|scan| line(scan).contains("DynamicFilter")), "{}", ran.shown());
    for scan in &scans {
        let others: &[&str] = match line(scan).contains("postgresql") {
            true => &["span_id", "service_name", "attributes"],
            false => &["parent_span_id", "duration_ns", "duration_ms", "attributes"],
        };
        assert!(scan.schema().fields().iter().all(|of| !others.contains(&of.name().as_str())), "{}", line(scan));
    }
    assert!(!ran.columns().contains("attributes.key"), "{:?}", ran.columns());
}

#[tokio::test]
async fn q_graph_joins_only_calls_whose_caller_is_not_known() {
    let ran = ran("q_graph", &[]).await;
    let calls = ran.answer[0].column_by_name("calls").unwrap().as_primitive::<Int64Type>().value(0);
    assert_eq!((ran.rows(), calls), (1, PARTS * GROUPS / 2 * ROWS));
    let joins = ran.all::<HashJoinExec>();
    assert!(!joins.is_empty(), "{}", ran.shown());
    for join in joins {
        let sides: Vec<usize> = join.children().into_iter().map(rows_of).collect();
        assert!(sides.iter().min().is_some_and(|rows| *rows <= 3), "{sides:?}: {}", ran.shown());
    }
    assert!(ran.columns().iter().all(|column| !column.contains('.')), "{:?}", ran.columns());
}

#[tokio::test]
async fn q_events_reads_events_of_what_ended_late_enough_and_no_other_list() {
    let ran = ran("q_events", &[]).await;
    assert_eq!((ran.rows(), ran.parts()), (1, BTreeSet::from([2, 3])));
    let is_wanted =
        |column: &&str| column.starts_with("events.") || ["service_name", "start_time", "duration_ns"].contains(column);
    assert!(ran.columns().iter().all(is_wanted), "{:?}", ran.columns());
    assert!(ran.columns().contains("events.attributes.s"), "{:?}", ran.columns());
}
