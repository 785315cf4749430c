//! What `on: ingest` asks (gates.md 1.2, 8, class ingest).
//!
//! Duty: the statements that `SELECT by… FROM spans WHERE predicate` becomes, and the rows that two of them give. Guarantee:
//! all of them are about the same spans; each is one scan that is bounded, by event time or by position. Left to others: the
//! statement as it was written (`keys`), asking (`evaluator`, `alone`), what an arrival does (`book`).
//!
//! A matching span is a fail of its key at its event time as soon as it was appended. Which have been looked at is a
//! position of the store that stands with the gate in the journal, in the transaction of what they did: after a restart the
//! spans behind it are read again. A tick asks for the matching spans of its window as any other gate does: while there are
//! some the key fails, and once there are none it clears.
//!
//! So that no order of arrival makes an episode more or less, a span that comes while its key is in an episode changes nothing
//! by itself, for the tick whose window holds it tells it. Only one that came too late for that is no less a fail: it lets a
//! key that recovers relapse.

mod alone;
pub(super) mod keys;

use std::time::Duration;

use serde_json::Value;

use super::definition::{EventTime, Gate, Source};
use super::result::{MAX_ROWS, ResultRow, RunError};
use super::scalar::interval;

pub use alone::rows_of;
pub(super) use keys::{check_comparisons, read};

/// An episode lasts at least so long: no tick that looks away from a late span ends it at once.
pub const KEPT: Duration = Duration::from_secs(30);
/// How far behind its window a tick looks for spans that have come already: farther than any tick closes late.
const AHEAD: Duration = Duration::from_secs(86_400);
/// Columns beside those of results. Names of keys never begin so.
const NEXT: &str = "__next";
const FIRST: &str = "__first";
const ARRIVED: &str = "__arrived";
const OLDEST: &str = "__oldest";
const NEWEST: &str = "__newest";
/// What counts in the window.
const INSIDE: &str = "__at >= $window_start AND __at < $window_end";

/// Which spans match, and their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matching {
    /// The statement as it was given.
    pub written: String,
    /// Columns of the key, each with its expression.
    keys: Vec<(String, String)>,
    /// A condition about one span.
    predicate: String,
    time: EventTime,
    /// Event times count up to so long behind the arrival.
    skew: Duration,
}

/// By what spans come one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By their positions in the store, as in the daemon.
    #[default]
    Arrival,
    /// By their event times: all spans are there, and it is played as if each had come when it ended.
    Event,
}

/// The first span of a key that came, as one row of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// Key, trace and evidence; value and samples are 1.
    pub row: ResultRow,
    /// Its event time, ns since 1970.
    pub at_ns: i64,
    /// Its position, µs.
    pub came_us: i64,
    /// The lowest event time of all that came of the key.
    pub oldest_ns: i64,
    /// The highest one.
    pub newest_ns: i64,
}

/// What came of a gate between two positions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Came {
    /// One a key.
    pub arrivals: Vec<Arrival>,
    /// The later position; `None` = it stays.
    pub until_us: Option<i64>,
    /// Why nothing is known of it.
    pub error: Option<RunError>,
}

impl Matching {
    const fn at(&self) -> &'static str {
        match self.time {
            EventTime::End => "end_time",
            EventTime::Start => "start_time",
        }
    }

    fn columns(&self) -> String {
        self.keys.iter().map(|(column, _)| format!("\"{column}\", ")).collect()
    }

    fn grouped(&self) -> String {
        match self.columns().trim_end_matches(", ") {
            "" => String::new(),
            columns => format!(" GROUP BY {columns}"),
        }
    }

    /// The spans within `bounds` for which `predicate` holds. A clock that runs ahead puts none of them into the future,
    /// where no tick would end its episode: it counts as if it had been at its arrival, and the skew ahead.
    fn rows(&self, bounds: &str, predicate: &str) -> String {
        let keys: String = self.keys.iter().map(|(column, of)| format!("{of} AS \"{column}\", ")).collect();
        let (at, skew) = (self.at(), interval(self.skew));
        format!(
            "SELECT {keys}least({at}, ingest_time + {skew}) AS __at, ingest_time AS __came, trace_id AS __trace, span_id AS \
             __span\n  FROM spans\n  WHERE {bounds} AND ({predicate})"
        )
    }

    /// What is read for event times from the begin of the window on: no span counts later than it says.
    fn scanned(&self) -> String {
        let at = self.at();
        format!("{at} >= $window_start AND {at} < $window_end + {}", interval(AHEAD))
    }

    /// What a tick asks: matching spans of the window by key, two of their traces, and the first behind the window that has
    /// come already.
    pub fn sql(&self) -> String {
        let (columns, grouped) = (self.columns(), self.grouped());
        let inside = format!("FILTER (WHERE {INSIDE})");
        format!(
            "SELECT {columns}count(*) {inside} AS value, count(*) {inside} AS n,\n  make_array(min(__trace) {inside}, \
             max(__trace) {inside}) AS trace_ids,\n  CAST(min(__at) FILTER (WHERE __at >= $window_end) AS BIGINT) AS \
             {NEXT}\nFROM (\n  {}\n) AS matching{grouped}",
            self.rows(&self.scanned(), &self.predicate)
        )
    }

    /// The first of each key by `order` of what is read within `bounds` and counts within `counting`.
    fn firsts(&self, bounds: &str, counting: &str, order: &str) -> String {
        let (columns, grouped) = (self.columns(), self.grouped());
        format!(
            "SELECT {columns}1 AS value, 1 AS n, make_array(first_value(__trace ORDER BY {order})) AS trace_ids,\n  \
             CAST(first_value(__at ORDER BY {order}) AS BIGINT) AS {FIRST},\n  CAST(min(__came) AS BIGINT) AS {ARRIVED}, \
             CAST(min(__at) AS BIGINT) AS {OLDEST}, CAST(max(__at) AS BIGINT) AS {NEWEST}\nFROM (\n  {}\n) AS \
             matching{counting}{grouped}\nLIMIT {MAX_ROWS}",
            self.rows(bounds, &self.predicate)
        )
    }

    /// The gate that asks which matching spans of `gate` came behind one position and up to another: the bounds of its window,
    /// as instants.
    pub(super) fn arrived(&self, gate: &Gate) -> Gate {
        let bounds = "ingest_time > $window_start AND ingest_time <= $window_end";
        asking(gate, "arrivals", self.firsts(bounds, "", "__came, __at, __span"))
    }

    /// The gate that asks which matching spans of `gate` lie in its window, in event time.
    pub(super) fn ended(&self, gate: &Gate) -> Gate {
        let counting = format!(" WHERE {INSIDE}");
        asking(gate, "ended", self.firsts(&self.scanned(), &counting, "__at, __came, __span"))
    }

    /// The gate that asks which keys of `gate` have spans in its window, matching or not: what a clear of a gate with `on_fail`
    /// rests on, for silence proves nothing.
    pub(super) fn proof(&self, gate: &Gate) -> Gate {
        let (columns, grouped) = (self.columns(), self.grouped());
        let sql = format!(
            "SELECT {columns}count(*) AS value, count(*) AS n\nFROM (\n  {}\n) AS there WHERE {INSIDE}{grouped}",
            self.rows(&self.scanned(), "true")
        );
        asking(gate, "proof", sql)
    }

    /// The arrivals that `rows` of [`Matching::arrived`] or [`Matching::ended`] tell, in the order in which they came.
    pub(super) fn arrivals(&self, rows: Vec<ResultRow>) -> Vec<Arrival> {
        let mut arrivals: Vec<Arrival> = rows.into_iter().filter_map(|row| self.arrival(row)).collect();
        arrivals.sort_by(|a, b| (a.came_us, a.at_ns, &a.row.key).cmp(&(b.came_us, b.at_ns, &b.row.key)));
        arrivals
    }

    /// `None`: without keys there is a row also where nothing matches.
    fn arrival(&self, mut row: ResultRow) -> Option<Arrival> {
        let [first, came, oldest, newest] = [FIRST, ARRIVED, OLDEST, NEWEST].map(|column| take(&mut row, column));
        Some(Arrival { row, at_ns: first?, came_us: came?, oldest_ns: oldest?, newest_ns: newest? })
    }
}

/// Takes out of a tick's row the first matching span behind the window, ns since 1970.
pub(super) fn take_next(row: &mut ResultRow) -> Option<i64> {
    take(row, NEXT)
}

/// Whether spans match, by a row of a tick.
pub(super) fn is_matched(row: &ResultRow) -> bool {
    row.value.is_some_and(|value| value > 0.0)
}

fn take(row: &mut ResultRow, column: &str) -> Option<i64> {
    match row.evidence.remove(column)? {
        Value::Number(number) => number.as_i64(),
        // What is beyond 2^53 is no number of JSON.
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// A gate that asks `sql` about the spans of `gate`.
pub(super) fn asking(gate: &Gate, what: &str, sql: String) -> Gate {
    Gate {
        // No gate has a blank in its name, so what is kept of it is kept apart.
        name: format!("{} {what}", gate.name),
        source: Source { sql, path: None, line: 0, explicit_window: true, is_derived: false },
        exemplars: None,
        ..gate.clone()
    }
}
