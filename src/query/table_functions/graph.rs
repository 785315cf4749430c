//! `service_graph`: which service calls which.
//!
//! Duty: the statement, as a function of two times and as the relation over the last hour. Guarantee: a call is a
//! server or consumer span whose parent lies in another service; each counts once, whether compaction already knew the
//! service of its parent or not. Left to others: calls whose parent was never sent: there is no caller.
//!
//! Only spans whose `parent_service` is not known are joined with their parents, which are looked for in the time
//! widened by `query.trace_window`. Of several spans with the id of the parent the one stored first counts, as in
//! compaction.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::Result;

use super::arguments::Call;
use super::columns::{double, number, text};
use super::computed::{Computed, instant};
use crate::query::derived::moved;

const NAME: &str = "service_graph";

fn schema() -> &'static SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            text("client"),
            text("server"),
            number("calls"),
            number("errors"),
            double("p50_ms"),
            double("p95_ms"),
        ]))
    });
    &SCHEMA
}

/// `service_graph(from, to)`.
pub fn service_graph(call: &Call<'_>, window: Duration) -> Result<Arc<dyn TableProvider>> {
    call.takes(2..=2, "two times")?;
    let (from, to) = call.time(0)?;
    let window_ns = i64::try_from(window.as_nanos()).unwrap_or(i64::MAX);
    let (lo, hi) = (moved(from, -window_ns), moved(to, window_ns));
    let sql = statement([(from, to), (lo, hi)].map(|(from, to)| (instant(from), instant(to))));
    Ok(Computed::rows(NAME, schema().clone(), sql, Vec::new()))
}

/// The relation `service_graph`.
pub fn service_graph_of_the_last_hour(window: Duration) -> Arc<dyn TableProvider> {
    let (from, to, window) = ("ago('1h')", "now()", window.as_secs());
    let widened = format!("INTERVAL '{window} seconds'");
    let times = [(from.to_owned(), to.to_owned()), (format!("{from} - {widened}"), format!("{to} + {widened}"))];
    Computed::rows(NAME, schema().clone(), statement(times), Vec::new())
}

/// The statement for calls within the first time, with parents within the second.
fn statement([(from, to), (lo, hi)]: [(String, String); 2]) -> String {
    let of_call = "service_name, status_code, duration_ns";
    format!(
        "WITH calls AS (SELECT trace_id, parent_span_id, parent_service, {of_call} FROM spans \
           WHERE start_time >= {from} AND start_time < {to} AND kind IN ('server', 'consumer') \
           AND parent_span_id IS NOT NULL), \
         unresolved AS (SELECT trace_id, parent_span_id, {of_call} FROM calls WHERE parent_service IS NULL), \
         parents AS (SELECT p.trace_id, p.span_id, \
           first_value(CAST(p.service_name AS TEXT) ORDER BY p.ingest_time, p.service_name) AS client FROM spans p \
           WHERE p.start_time >= {lo} AND p.start_time < {hi} AND EXISTS (SELECT 1 FROM unresolved o \
             WHERE o.trace_id = p.trace_id AND o.parent_span_id = p.span_id) \
           GROUP BY p.trace_id, p.span_id), \
         found AS (SELECT CAST(parent_service AS TEXT) AS client, {of_call} FROM calls \
             WHERE parent_service IS NOT NULL \
           UNION ALL SELECT CAST(p.client AS TEXT) AS client, o.service_name, o.status_code, o.duration_ns \
             FROM unresolved o JOIN parents p ON p.trace_id = o.trace_id AND p.span_id = o.parent_span_id) \
         SELECT client, service_name AS server, count(*) AS calls, \
           count(*) FILTER (WHERE status_code = 'error') AS errors, p50(duration_ns) / 1e6 AS p50_ms, \
           p95(duration_ns) / 1e6 AS p95_ms \
         FROM found WHERE client <> service_name GROUP BY client, service_name"
    )
}
