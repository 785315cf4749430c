//! Whether a pattern's statement can be asked again and again (learn.md 3.6, codes 001 and 005 to 009).
//!
//! Duty: plan the statement against the real schema and check its columns, its steadiness and its bounds. Guarantee: a
//! statement without a problem here plans for every window, reads only rows, and gives columns that `rows` can read. Left
//! to others: running it (`run`).

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Schema};
use datafusion::catalog::TableProvider;

use super::problem::{At, Code, Teller};
use super::run;
use crate::gate::plan::{
    BOUND, FARTHEST_NS, FOREIGN, MEMORY_BYTES, PROBE_ENDS_NS, STACK_BYTES, is_key, is_trace_ids, listed,
};
use crate::gate::window::nanos;
use crate::query::probe::{Ground, Probe, Scan, probe};
use crate::query::within::Within;
use crate::query::{self, Position, params, place_of, session, sql_type};
use crate::span::TimeRange;
use crate::yaml::nearest;

/// Parameters that a statement may name.
pub(super) const PARAMETERS: [&str; 2] = ["window_start", "window_end"];

/// Plans statements of pattern files over no rows.
#[derive(Clone, Debug)]
pub struct Planner {
    ground: Result<Ground, query::Error>,
}

impl Default for Planner {
    fn default() -> Self {
        Self::new(query::Config::default(), Vec::new())
    }
}

impl Planner {
    /// Against `spans`, the relations over it, and `tables` of other modules.
    pub fn new(config: query::Config, tables: Vec<(String, Arc<dyn TableProvider>)>) -> Self {
        let engine = session::runtime(MEMORY_BYTES, None);
        let failed = |e| query::Error::new(query::Code::Internal, format!("the planner cannot start: {e}"));
        Self { ground: engine.map(|engine| Ground { config, engine, extra: tables }).map_err(failed) }
    }

    /// Tells what is wrong with `sql`; whether it bounds itself.
    pub(super) fn check(&self, sql: &str, by: &[(String, At)], window: Duration, teller: Teller<'_>) -> bool {
        let names = params::names(sql);
        let is_explicit = names.iter().any(|(name, _)| PARAMETERS.contains(&name.as_str()));
        let mut is_known = true;
        for (name, at) in names {
            if !PARAMETERS.contains(&name.as_str()) {
                is_known = false;
                let next = match nearest(&name, PARAMETERS) {
                    Some(near) => format!("did you mean `${near}`?"),
                    None => "there are `$window_start` and `$window_end`".to_owned(),
                };
                teller.tell(Code::Parameter, place(at), format!("unknown parameter `${name}`"), next);
            }
        }
        if !is_known {
            return is_explicit;
        }
        let ends = if is_explicit { PROBE_ENDS_NS.as_slice() } else { &PROBE_ENDS_NS[..1] };
        let mut probes = Vec::new();
        for end_ns in ends {
            match self.probe(sql, *end_ns - nanos(window), *end_ns, is_explicit) {
                Ok(probe) => probes.push(probe),
                Err(error) => {
                    refused(&error, teller);
                    return is_explicit;
                }
            }
        }
        for name in &probes[0].unsteady {
            let what =
                format!("`{name}` depends on more than the spans: the same window would not give the same result");
            teller.tell(Code::Plan, place(place_of(name, sql)), what, "use `$window_start` and `$window_end`");
        }
        columns(&probes[0].schema, by, teller);
        if let [first, second] = probes.as_slice() {
            bounds(sql, first, second, nanos(window), teller);
        }
        is_explicit
    }

    fn probe(&self, sql: &str, start_ns: i64, end_ns: i64, is_explicit: bool) -> Result<Probe, query::Error> {
        let ground = self.ground.as_ref().map_err(Clone::clone)?;
        let params = run::params(sql, start_ns, end_ns);
        // Only the times are looked at, and only those of the statement itself.
        let window = (!is_explicit).then(|| run::window(start_ns, end_ns));
        let within = Within { window, tables: run::TABLES, ..Within::default() };
        let broken = |why: String| query::Error::new(query::Code::Internal, format!("the planner failed: {why}"));
        std::thread::scope(|scope| {
            let work = || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().build().map_err(|e| broken(e.to_string()))?;
                runtime.block_on(probe(ground, sql, &params, &within))
            };
            let thread = std::thread::Builder::new().name("plan".to_owned()).stack_size(STACK_BYTES);
            let handle = thread.spawn_scoped(scope, work).map_err(|e| broken(e.to_string()))?;
            handle.join().unwrap_or_else(|_| Err(broken("it stopped".to_owned())))
        })
    }
}

fn place(at: Option<Position>) -> At {
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    at.map_or((1, 1), |at| (number(at.line), number(at.column)))
}

fn refused(error: &query::Error, teller: Teller<'_>) {
    use query::Code as Q;
    let named = error.message.split('`').nth(1).unwrap_or_default().to_lowercase();
    let several = error.message.contains("more than one statement") || error.message.contains("is empty");
    let is_clock = error.code == Q::UnknownFunction && FOREIGN.contains(&named.as_str());
    let (code, next) = match error.code {
        _ if several => (Code::Unreadable, "write one SELECT, or WITH … SELECT"),
        _ if is_clock => (Code::Plan, "use `$window_start` and `$window_end`"),
        Q::NotAllowed if !error.message.starts_with("not supported") => {
            (Code::Plan, "write one SELECT, or WITH … SELECT")
        }
        _ => (Code::Plan, error.hint.as_deref().unwrap_or("`weavergen sql` shows what the statement says")),
    };
    teller.tell(code, place(error.position), error.message.clone(), next);
}

fn columns(schema: &Schema, by: &[(String, At)], teller: Teller<'_>) {
    let sort = |of: &DataType| sql_type::sql_type(of);
    for (name, at) in by {
        match schema.column_with_name(name) {
            None => {
                let what = format!("`by` names `{name}`, which the statement does not give");
                teller.tell(Code::KeyColumn, *at, what, listed(schema, name));
            }
            Some((_, field)) if !is_key(field.data_type()) => {
                let what = format!(
                    "`by` names `{name}`, which is {}; text, an integer, a boolean or binary is expected",
                    sort(field.data_type())
                );
                teller.tell(Code::KeyColumn, *at, what, "convert it with CAST");
            }
            Some(_) => {}
        }
    }
    let has = |name: &str| schema.column_with_name(name).is_some();
    for (name, is_required) in [("support", true), ("n", true), ("rest_support", false), ("rest_n", false)] {
        match schema.column_with_name(name) {
            None if is_required => {
                let what = format!("the statement gives no column `{name}`");
                teller.tell(Code::CountColumn, (1, 1), what, listed(schema, name));
            }
            Some((_, field)) if !is_integer(field.data_type()) => {
                let what = format!("the column `{name}` is {}, an integer is expected", sort(field.data_type()));
                teller.tell(Code::CountColumn, (1, 1), what, "convert it with CAST(… AS BIGINT)");
            }
            _ => {}
        }
    }
    if has("rest_support") != has("rest_n") {
        let (there, missing) = if has("rest_n") { ("rest_n", "rest_support") } else { ("rest_support", "rest_n") };
        let what = format!("the statement gives `{there}` without `{missing}`");
        teller.tell(Code::CountColumn, (1, 1), what, "give both or none");
    }
    if let Some((_, field)) = schema.column_with_name("trace_ids")
        && !is_trace_ids(field.data_type())
    {
        let what = format!("the column `trace_ids` is {}, a list of trace ids is expected", sort(field.data_type()));
        teller.tell(Code::CountColumn, (1, 1), what, "use array_agg(trace_id)");
    }
    for (at, field) in schema.fields().iter().enumerate() {
        if schema.index_of(field.name()).is_ok_and(|first| first != at) {
            let what = format!("two columns are named `{}`", field.name());
            teller.tell(Code::CountColumn, (1, 1), what, "give one of them another name with AS");
        }
    }
}

fn is_integer(of: &DataType) -> bool {
    match of {
        DataType::Dictionary(_, of) => is_integer(of),
        of => of.is_integer(),
    }
}

/// Whether every scan follows the window on both sides.
fn bounds(sql: &str, first: &Probe, second: &Probe, window_ns: i64, teller: Teller<'_>) {
    let [first_end, second_end] = PROBE_ENDS_NS;
    let follows = |a: i64, b: i64| {
        let is_near = |off: i64| off <= FARTHEST_NS && off >= -window_ns.saturating_add(FARTHEST_NS);
        a.checked_sub(first_end).is_some_and(is_near) && b.checked_sub(a) == Some(second_end - first_end)
    };
    let sides = |pick: fn(TimeRange) -> i64, a: &Scan, b: &Scan| {
        follows(pick(a.start), pick(b.start)) || follows(pick(a.end), pick(b.end))
    };
    if first.scans.len() != second.scans.len() {
        teller.tell(Code::Unbounded, (1, 1), "its scans change with the window", BOUND);
        return;
    }
    for (a, b) in first.scans.iter().zip(&second.scans) {
        let missing = match (sides(|range| range.min_ns, a, b), sides(|range| range.max_ns, a, b)) {
            (true, true) => continue,
            (true, false) => "upper bound",
            (false, true) => "lower bound",
            (false, false) => "bounds",
        };
        let what = format!("a scan of `{}` has no {missing} on its time", a.table);
        teller.tell(Code::Unbounded, place(place_of(&a.table, sql)), what, BOUND);
    }
}
