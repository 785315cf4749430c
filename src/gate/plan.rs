//! Whether a gate's SQL can be asked again and again (gates.md 1.5 codes 015 to 022, 2).
//!
//! Duty: plan every query against the real schema and check its columns, its steadiness and its bounds. Guarantee: a
//! query without a problem here plans for every window, reads only rows, and gives columns that `run` can read. Left to
//! others: running it (`run`).

mod matching;
mod objective;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::catalog::TableProvider;

use super::definition::Gate;
use super::gate_keys::Places;
use super::problem::{Code, Problems, Who};
use super::run;
use crate::query::params;
use crate::query::probe::{Ground, Probe, Scan, probe};
use crate::query::within::{Spans, Within};
use crate::query::{self, Position, place_of, session};
use crate::span::TimeRange;
use crate::yaml::{Mark, nearest};

/// A planner recurses over trees as deep as the guard lets through.
pub(crate) const STACK_BYTES: usize = 16 << 20;
pub(crate) const MEMORY_BYTES: usize = 64 << 20;
const DAY_NS: i64 = 86_400_000_000_000;
/// How far a bound may lie outside the window.
pub(crate) const FARTHEST_NS: i64 = 90 * DAY_NS;
/// Ends of two windows, 15 March and 20 May 2200: the months before them differ in length, and the second has an odd
/// nanosecond. A bound that moves by exactly their distance is made of the window and constant intervals.
pub(crate) const PROBE_ENDS_NS: [i64; 2] = [7_264_425_600_000_000_000, 7_270_128_000_000_000_123];
/// Functions that other engines have, and that depend on the clock or on chance.
pub(crate) const FOREIGN: &[&str] = &[
    "age",
    "clock_timestamp",
    "curdate",
    "current_time",
    "current_date",
    "current_timestamp",
    "curtime",
    "gen_random_uuid",
    "localtime",
    "localtimestamp",
    "now",
    "rand",
    "random",
    "statement_timestamp",
    "sysdate",
    "timeofday",
    "transaction_timestamp",
    "today",
    "unix_timestamp",
    "utc_timestamp",
    "uuid",
    "uuidv4",
    "uuidv7",
];

/// Plans the SQL of gates over no rows.
#[derive(Clone, Debug)]
pub struct Planner {
    ground: Result<Ground, query::Error>,
}

impl Default for Planner {
    fn default() -> Self {
        Self::new(query::Config::default(), Vec::new())
    }
}

/// What a message is about.
struct Report<'a> {
    gate: &'a Gate,
    who: Who,
    source: &'a Mark,
    problems: &'a Problems,
}

impl Planner {
    /// Against `spans`, the relations over it, and `tables` of other modules.
    pub fn new(config: query::Config, tables: Vec<(String, Arc<dyn TableProvider>)>) -> Self {
        let engine = session::runtime(MEMORY_BYTES, None);
        let failed = |e| query::Error::new(query::Code::Internal, format!("the planner cannot start: {e}"));
        Self { ground: engine.map(|engine| Ground { config, engine, extra: tables }).map_err(failed) }
    }

    /// Tells what is wrong with the query of `gate`, and by its answer whether it may share states with others; if not, why.
    pub(super) fn check(&self, gate: &Gate, places: &Places, problems: &Problems) -> Result<(), String> {
        let unplanned = || Err("it is not planned".to_owned());
        let Some(source) = &places.source else { return unplanned() };
        let report = Report { gate, who: Who::Gate(gate.name.clone()), source, problems };
        if gate.slo.is_some() && !self.is_about_spans(gate, places, &report) {
            return unplanned();
        }
        if !self.asserts_of_spans(gate, places, &report) || !self.matches_spans(gate, &report) {
            return unplanned();
        }
        let mut unknown = false;
        for (name, at) in params::names(&gate.source.sql) {
            if !run::PARAMETERS.contains(&name.as_str()) {
                unknown = true;
                let next = match nearest(&name, run::PARAMETERS) {
                    Some(near) => format!("did you mean `${near}`?"),
                    None => "there are `$window_start`, `$window_end` and `$gate`".to_owned(),
                };
                report.sql(Code::Parameter, at, &format!("unknown parameter `${name}`"), next);
            }
        }
        if unknown {
            return unplanned();
        }
        let ends = if gate.source.explicit_window { PROBE_ENDS_NS.as_slice() } else { &PROBE_ENDS_NS[..1] };
        let mut probes = Vec::new();
        for end_ns in ends {
            match self.probe(gate, *end_ns) {
                Ok(probe) => probes.push(probe),
                Err(error) => {
                    report.refused(&error);
                    return unplanned();
                }
            }
        }
        for name in &probes[0].unsteady {
            let words: &[&str] = match name.as_str() {
                "now" => &["now", "current_timestamp"],
                "current_date" => &["current_date", "today"],
                other => &[other],
            };
            let written = words.iter().find_map(|word| Some((*word, place_of(word, &gate.source.sql)?)));
            let (word, at) = written.map_or((name.as_str(), None), |(word, at)| (word, Some(at)));
            report.unsteady(word, at);
        }
        report.columns(&probes[0].schema, places);
        if gate.exemplars.is_some() {
            self.check_exemplars(gate, places, &report);
        }
        if let [first, second] = probes.as_slice() {
            report.bounds(first, second);
        }
        match &probes[0].alone {
            _ if gate.source.explicit_window => Err("it bounds its own window".to_owned()),
            Some(why) => Err(why.clone()),
            None => Ok(()),
        }
    }

    fn probe(&self, gate: &Gate, end_ns: i64) -> Result<Probe, query::Error> {
        let ground = self.ground.as_ref().map_err(Clone::clone)?;
        let window_ns = i64::try_from(gate.window.as_nanos()).unwrap_or(FARTHEST_NS);
        let window = super::result::Window { start_ns: end_ns - window_ns, end_ns };
        let (params, within) =
            (run::params(gate, window), run::within(gate, window, &super::result::Selection::OfGate));
        // Only the times are looked at, and only those of the query itself.
        let within = Within { cut_us: None, spans: Spans::default(), ..within };
        let broken = |why: String| query::Error::new(query::Code::Internal, format!("the planner failed: {why}"));
        std::thread::scope(|scope| {
            let work = || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .map_err(|e| broken(e.to_string()))?;
                runtime.block_on(probe(ground, &gate.source.sql, &params, &within))
            };
            let thread = std::thread::Builder::new().name("plan".to_owned()).stack_size(STACK_BYTES);
            let handle = thread.spawn_scoped(scope, work).map_err(|e| broken(e.to_string()))?;
            handle.join().unwrap_or_else(|_| Err(broken("it stopped".to_owned())))
        })
    }
}

impl Report<'_> {
    fn tell(&self, code: Code, mark: &Mark, what: String, next: String) {
        self.problems.add(code, mark, &self.who, what, next);
    }

    /// A problem of the SQL text, with its place in it.
    fn sql(&self, code: Code, at: Option<Position>, what: &str, next: String) {
        let place = at.map(|at| format!(" {}:{}", at.line, at.column)).unwrap_or_default();
        let text = match &self.gate.source.path {
            Some(path) => format!("{}{}", path.display(), place.replace(' ', ":")),
            None => format!("SQL{place}"),
        };
        self.tell(code, self.source, format!("{text}: {what}"), next);
    }

    fn unsteady(&self, word: &str, at: Option<Position>) {
        let what = format!("`{word}` depends on more than the spans: the same window would not give the same result");
        self.sql(Code::Clock, at, &what, "use `$window_start`, `$window_end` and what the spans hold".to_owned());
    }

    fn refused(&self, error: &query::Error) {
        use query::Code as Q;
        let named = error.message.split('`').nth(1).unwrap_or_default().to_lowercase();
        if error.code == Q::UnknownFunction && FOREIGN.contains(&named.as_str()) {
            return self.unsteady(&named, error.position);
        }
        let several = error.message.contains("more than one statement") || error.message.contains("is empty");
        let code = match error.code {
            _ if several && self.gate.source.path.is_some() => Code::SqlFile,
            Q::NotAllowed if error.message.starts_with("not supported") => Code::Plan,
            Q::NotAllowed => Code::NotReadOnly,
            _ => Code::Plan,
        };
        let next = match code {
            Code::NotReadOnly | Code::SqlFile => "write one SELECT, or WITH … SELECT",
            _ => error.hint.as_deref().unwrap_or("`weavergen sql` shows what the query says"),
        };
        self.sql(code, error.position, &error.message, next.to_owned());
    }

    fn columns(&self, schema: &Schema, places: &Places) {
        let gate = self.gate;
        self.column(schema, &gate.value_column, &places.value, is_number, "a number or a boolean");
        let has_n = schema.column_with_name(&gate.n_column).is_some();
        if has_n {
            self.column(schema, &gate.n_column, &places.n, is_count, "a number");
        } else if gate.min_samples > 1 {
            let what = format!("`min_samples` is {} and there is no column `{}`", gate.min_samples, gate.n_column);
            self.tell(Code::Column, &places.n, what, listed(schema, &gate.n_column));
        }
        for (name, mark) in gate.by.iter().zip(&places.by) {
            self.column(schema, name, mark, is_key, "text, an integer, a boolean or binary");
        }
        if let Some((name, _)) = &gate.conclusive_when {
            self.column(schema, name, &places.guard, is_number, "a number or a boolean");
        }
        if schema.column_with_name(run::TRACE_IDS).is_some() {
            self.column(schema, run::TRACE_IDS, self.source, is_trace_ids, "a list of trace ids");
        }
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for field in schema.fields() {
            *seen.entry(field.name()).or_default() += 1;
        }
        for (name, _) in seen.into_iter().filter(|(_, count)| *count > 1) {
            let what = format!("two columns are named `{name}`");
            self.sql(Code::ColumnType, None, &what, "give one of them another name with AS".to_owned());
        }
    }

    fn column(&self, schema: &Schema, name: &str, mark: &Mark, fits: fn(&DataType) -> bool, wanted: &str) {
        match schema.column_with_name(name) {
            None => {
                let what = format!("the query gives no column `{name}`");
                self.tell(Code::Column, mark, what, listed(schema, name));
            }
            Some((_, field)) if !fits(field.data_type()) => {
                let of = query::sql_type::sql_type(field.data_type());
                let what = format!("the column `{name}` is {of}, {wanted} is expected");
                self.tell(Code::ColumnType, mark, what, "convert it with CAST".to_owned());
            }
            Some(_) => {}
        }
    }

    /// Whether every scan follows the window on both sides.
    fn bounds(&self, first: &Probe, second: &Probe) {
        let [first_end, second_end] = PROBE_ENDS_NS;
        let window_ns = i64::try_from(self.gate.window.as_nanos()).unwrap_or(FARTHEST_NS);
        let follows = |a: i64, b: i64| {
            let near = a
                .checked_sub(first_end)
                .is_some_and(|off| off <= FARTHEST_NS && off >= -window_ns.saturating_add(FARTHEST_NS));
            near && b.checked_sub(a) == Some(second_end - first_end)
        };
        let sides = |pick: fn(TimeRange) -> i64, a: &Scan, b: &Scan| {
            follows(pick(a.start), pick(b.start)) || follows(pick(a.end), pick(b.end))
        };
        if first.scans.len() != second.scans.len() {
            self.sql(Code::Unbounded, None, "its scans change with the window", BOUND.to_owned());
            return;
        }
        let mut told = Vec::new();
        for (a, b) in first.scans.iter().zip(&second.scans) {
            let (lower, upper) = (sides(|range| range.min_ns, a, b), sides(|range| range.max_ns, a, b));
            let missing = match (lower, upper) {
                (true, true) => continue,
                (true, false) => "upper bound",
                (false, true) => "lower bound",
                (false, false) => "bounds",
            };
            let what = format!("a scan of `{}` has no {missing} on its time", a.table);
            if !told.contains(&what) {
                // Of several scans the plan does not say which is which in the text.
                let alone = first.scans.iter().filter(|scan| scan.table == a.table).count() == 1;
                let at = alone.then(|| place_of(&a.table, &self.gate.source.sql)).flatten();
                self.sql(Code::Unbounded, at, &what, BOUND.to_owned());
                told.push(what);
            }
        }
    }
}

pub(crate) const BOUND: &str = "bound each one by `start_time` or `end_time` against `$window_start` and `$window_end`, at most 90 days \
                     off, or name neither parameter";

pub(crate) fn listed(schema: &Schema, name: &str) -> String {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    match nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let some: Vec<String> = names.iter().take(20).map(|name| format!("`{name}`")).collect();
            format!("it gives {}", if some.is_empty() { "none".to_owned() } else { some.join(", ") })
        }
    }
}

pub(super) fn is_count(of: &DataType) -> bool {
    of.is_numeric() || matches!(of, DataType::Null)
}

pub(super) fn is_number(of: &DataType) -> bool {
    is_count(of) || matches!(of, DataType::Boolean)
}

pub(crate) fn is_key(of: &DataType) -> bool {
    match of {
        DataType::Dictionary(_, of) => is_key(of),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Boolean | DataType::Null => true,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => true,
        of => of.is_integer(),
    }
}

pub(crate) fn is_trace_ids(of: &DataType) -> bool {
    let id = |of: &DataType| {
        matches!(of, DataType::FixedSizeBinary(16) | DataType::Binary | DataType::BinaryView | DataType::Null)
    };
    match of {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => id(item.data_type()),
        of => matches!(of, DataType::Null),
    }
}
