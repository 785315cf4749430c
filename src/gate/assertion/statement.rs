//! An assertion as one statement (gates.md 13).
//!
//! Duty: traces that settled in the window, the trees of their spans, what selectors select in them, and the share that keeps
//! to all checks. Guarantee: one scan of `spans`, bounded on both sides by the window, from twice `give_up` before it; no
//! common table expression is read twice, so that no step of a selector doubles the work; rows are as many as keys, and one
//! without `by`. Left to others: running it like any other explicit query.
//!
//! Why twice `give_up`: a trace that settles in the window has its first span at most `give_up` before it. Of one that began
//! earlier still, the spans there are not more than `give_up` apart, so some lie in the half before, and what is seen of it
//! is given up before the window begins, or has settled there.

use std::fmt::Write as _;

use super::predicate::{self, TYPE};
use super::selector::{Narrowed, Relation, Selector, Step};
use super::{Assertion, By, Check, Expect};
use crate::gate::definition::Test;
use crate::gate::scalar::interval;

/// A trace, or what of it lies between two silences of `give_up`.
const TRACE: &str = "PARTITION BY trace_id, part";
/// Trace ids of a key.
const MOST_IDS: usize = 5;

impl Assertion {
    /// The statement: `value`, `n`, how many passed, were given up, failed each check and are not settled, and the newest
    /// traces that failed.
    pub fn sql(&self) -> String {
        self.until("$window_end", "")
    }

    /// The statement for what has settled also by arrival: `quiet` before the end of the window, which is now, no span of the
    /// trace came any more, or it is given up.
    pub fn sql_arrived(&self) -> String {
        let quiet = interval(self.quiet);
        self.until("$window_end", &format!(" AND (bool_or(given_up) OR max(ingest_time) <= $window_end - {quiet})"))
    }

    /// The statement for spans behind which none will come: `quiet` is over at once.
    pub fn sql_at_end(&self) -> String {
        self.until(&format!("$window_end + {}", interval(self.quiet)), "")
    }

    /// The statement over the spans of the window; what settles before `until` is judged, if what `also` says holds of it.
    fn until(&self, until: &str, also: &str) -> String {
        let mut flags = Flags::default();
        let waits: Vec<String> =
            self.wait_for.iter().map(|of| flags.of_span(known(&format!("{TYPE} = {}", predicate::text(of))))).collect();
        let mut checks: Vec<String> = self.checks.iter().map(|check| flags.check(check)).collect();
        if self.is_complete {
            checks.push(
                "count(*) FILTER (WHERE is_orphan) = 0 AND count(*) FILTER (WHERE depth = 0) = 1 AND NOT bool_or(given_up)"
                    .to_owned(),
            );
        }
        let mut sql = format!("WITH {}", self.seen(&flags));
        sql += &self.settled(&waits, until);
        let steps = flags.steps(&mut sql);
        sql += &self.judged(&checks, &steps, (until, also));
        sql
    }

    /// Every span that can be in a trace of the window, with what is asked of it alone.
    fn seen(&self, flags: &Flags) -> String {
        let mut columns =
            "trace_id, span_id, parent_span_id, start_time, end_time, duration_ns, ingest_time".to_owned();
        match self.by {
            None => {}
            Some(By::RootName) => columns += ",\n    CAST(name AS TEXT) AS of_root",
            Some(By::RootService) => columns += ",\n    CAST(service_name AS TEXT) AS of_root",
        }
        for (at, condition) in flags.of_span.iter().enumerate() {
            let _ = write!(columns, ",\n    {condition} AS is_{}", at + 1);
        }
        format!(
            "seen AS (\n  SELECT {columns}\n  FROM spans\n  WHERE end_time >= $window_start - {} AND end_time < \
             $window_end\n)",
            interval(self.give_up.saturating_mul(2))
        )
    }

    /// The spans of traces that settled in the window, and the first of each that has not yet, with their places.
    fn settled(&self, waits: &[String], until: &str) -> String {
        let (quiet, give_up) = (interval(self.quiet), interval(self.give_up));
        let arrived = "ORDER BY end_time, span_id";
        let so_far = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW";
        let mut whole = vec![("root_end".to_owned(), "parent_span_id IS NULL".to_owned())];
        whole.extend(waits.iter().enumerate().map(|(at, flag)| (format!("wait_{}_end", at + 1), flag.clone())));
        let ends: String = whole
            .iter()
            .map(|(name, flag)| format!(",\n    min(CASE WHEN {flag} THEN end_time END) OVER ({TRACE}) AS {name}"))
            .collect();
        let are_there: String = whole.iter().map(|(name, _)| format!("end_time >= {name} AND ")).collect();
        format!(
            ",\nparts AS (\n  SELECT *, sum(CASE WHEN end_time > end_before + {give_up} THEN 1 ELSE 0 END) OVER (PARTITION BY \
             trace_id {arrived} {so_far}) AS part\n  FROM (SELECT *, lag(end_time) OVER (PARTITION BY trace_id {arrived}) AS \
             end_before FROM seen) AS seen_before\n),\n\
             arrived AS (\n  SELECT *, row_number() OVER ({TRACE} {arrived}) AS arrival,\n    lead(end_time) OVER ({TRACE} \
             {arrived}) AS end_after,\n    min(end_time) OVER ({TRACE}) + {give_up} AS given_up_at{ends}\n  FROM parts\n),\n\
             quiet AS (\n  SELECT *, min(CASE WHEN {are_there}(end_after IS NULL OR end_after >= end_time + {quiet}) THEN \
             end_time + {quiet} END) OVER ({TRACE}) AS quiet_at\n  FROM arrived\n),\n\
             settled AS (\n  SELECT * FROM (\n    SELECT *, CASE WHEN quiet_at <= given_up_at THEN quiet_at ELSE given_up_at END \
             AS settled_at,\n      NOT coalesce(quiet_at <= given_up_at, false) AS given_up\n    FROM quiet\n  ) AS timed\n  WHERE \
             settled_at >= {until} AND arrival = 1\n    OR settled_at >= $window_start AND settled_at < {until} AND \
             end_time < settled_at\n),\n\
             tree AS (\n  SELECT *, get_field(place, 'depth') AS depth, get_field(place, 'sibling_no') AS sibling_no,\n    \
             get_field(place, 'nested_left') AS nested_left, get_field(place, 'nested_right') AS nested_right,\n    \
             get_field(place, 'parent_left') AS parent_left, get_field(place, 'is_orphan') AS is_orphan,\n    get_field(place, \
             'is_root') AS is_root\n  FROM (\n    SELECT *, tree_place(span_id, parent_span_id, start_time, duration_ns, \
             ingest_time) OVER ({TRACE}) AS place\n    FROM settled\n  ) AS placed\n  WHERE NOT get_field(place, \
             'is_duplicate')\n)"
        )
    }

    /// Traces by their checks, keys by their traces.
    fn judged(&self, checks: &[String], tree: &str, (until, also): (&str, &str)) -> String {
        let (mut key, mut of_trace) = (String::new(), String::new());
        let (mut grouped, mut only) = (String::new(), String::new());
        if let Some(by) = self.by {
            let by = by.as_str();
            key = format!("{by}, ");
            of_trace = format!("max(CASE WHEN is_root THEN of_root END) AS {by}, ");
            grouped = format!(" GROUP BY {by}");
            // Who has traces that have not settled alone is no key yet: their root may still come.
            only = "\nWHERE n > 0".to_owned();
        }
        let numbered = |what: &dyn Fn(usize, &String) -> String| -> Vec<String> {
            checks.iter().enumerate().map(|(at, check)| what(at + 1, check)).collect()
        };
        let verdicts = numbered(&|no, check| format!("({check}) AS check_{no}")).join(",\n    ");
        let all = numbered(&|no, _| format!("check_{no}")).join(" AND ");
        let failed =
            numbered(&|no, _| format!(",\n    count(*) FILTER (WHERE is_settled AND NOT check_{no}) AS failed_{no}"))
                .concat();
        let evidence = numbered(&|no, _| format!(", failed_{no}")).concat();
        format!(
            ",\njudged AS (\n  SELECT trace_id, part, {of_trace}max(settled_at) AS settled_at,\n    max(settled_at) < {until}{also} \
             AS is_settled, bool_or(given_up) AS given_up,\n    {verdicts}\n  FROM {tree}\n  GROUP BY trace_id, part\n),\n\
             keyed AS (\n  SELECT {key}count(*) FILTER (WHERE is_settled) AS n, count(*) FILTER (WHERE is_settled AND passed) AS \
             passed,\n    count(*) FILTER (WHERE is_settled AND given_up) AS incomplete, count(*) FILTER (WHERE NOT is_settled) \
             AS not_settled{failed},\n    array_agg(trace_id ORDER BY rank_no) FILTER (WHERE is_settled AND NOT passed AND rank_no <= \
             {MOST_IDS}) AS trace_ids\n  FROM (\n    SELECT *, row_number() OVER (PARTITION BY {key}is_settled, passed ORDER BY \
             settled_at DESC, trace_id) AS rank_no\n    FROM (SELECT *, {all} AS passed FROM judged) AS with_passed\n  ) AS \
             ranked{grouped}\n)\n\
             SELECT {key}value, n, passed, incomplete, unsettled{evidence}, trace_ids\nFROM (\n  SELECT *, CASE WHEN n > 0 THEN \
             CAST(passed AS DOUBLE) / n END AS value, sum(not_settled) OVER () AS unsettled\n  FROM keyed\n) AS counted{only}"
        )
    }
}

/// Columns of booleans that selectors and predicates become.
#[derive(Default)]
struct Flags {
    /// About a span alone: conditions, in the order of their columns `is_1`, `is_2`, …
    of_span: Vec<String>,
    /// About its place: `name` and condition by stage; one of a stage names those of the stages before.
    by_stage: Vec<Vec<(String, String)>>,
    count: usize,
}

impl Flags {
    /// The column of a condition about a span alone.
    fn of_span(&mut self, condition: String) -> String {
        let known = self.of_span.iter().position(|known| *known == condition);
        let at = known.unwrap_or_else(|| {
            self.of_span.push(condition);
            self.of_span.len() - 1
        });
        format!("is_{}", at + 1)
    }

    /// The column of a condition about a place.
    fn at_stage(&mut self, stage: usize, condition: String) -> String {
        self.count += 1;
        let name = format!("in_{}", self.count);
        self.by_stage.resize_with(self.by_stage.len().max(stage + 1), Vec::new);
        self.by_stage[stage].push((name.clone(), condition));
        name
    }

    /// Appends the stages to `sql`; gives the last relation.
    fn steps(&self, sql: &mut String) -> String {
        let mut last = "tree".to_owned();
        for (at, columns) in self.by_stage.iter().enumerate() {
            let name = format!("stage_{}", at + 1);
            let columns: String =
                columns.iter().map(|(name, condition)| format!(",\n    {condition} AS {name}")).collect();
            let _ = write!(sql, ",\n{name} AS (\n  SELECT *{columns}\n  FROM {last}\n)");
            last = name;
        }
        last
    }

    /// A condition about all spans of a trace.
    fn check(&mut self, check: &Check) -> String {
        match check {
            Check::Before { first, then } => {
                let (first, then) = (self.selector(first), self.selector(then));
                let (ended, started) =
                    (format!("max(end_time) FILTER (WHERE {first})"), format!("min(start_time) FILTER (WHERE {then})"));
                // NULL where one of them selects nothing.
                format!("coalesce({ended} <= {started}, false)")
            }
            Check::Spans { select, that, expect } => {
                let selected = self.selector(select);
                let keeps: Vec<String> = that.iter().map(|predicate| self.of_span(known(predicate))).collect();
                let both: String = keeps.iter().map(|keeps| format!(" AND {keeps}")).collect();
                let keep = format!("count(*) FILTER (WHERE {selected}{both})");
                match expect {
                    Expect::All if keeps.is_empty() => format!("{keep} >= 1"),
                    Expect::All => format!(
                        "count(*) FILTER (WHERE {selected} AND NOT ({})) = 0 AND count(*) FILTER (WHERE {selected}) >= 1",
                        keeps.join(" AND ")
                    ),
                    Expect::Any => format!("{keep} >= 1"),
                    Expect::None => format!("{keep} = 0"),
                    Expect::Count(_, test) => compared(&keep, *test),
                }
            }
        }
    }

    /// Whether a span is selected.
    fn selector(&mut self, selector: &Selector) -> String {
        let paths: Vec<String> = selector.paths.iter().map(|steps| self.path(steps)).collect();
        match paths.as_slice() {
            [one] => one.clone(),
            _ => format!("({})", paths.join(" OR ")),
        }
    }

    /// Whether a span is selected by the last of `steps`.
    fn path(&mut self, steps: &[Step]) -> String {
        let (mut stage, mut before) = (0, String::new());
        for step in steps {
            let mut all = Vec::new();
            for test in &step.tests {
                let condition = predicate::condition(test);
                all.push(self.of_span(condition));
            }
            all.extend(related(step.relation, &before));
            for narrowed in &step.narrowed {
                if narrowed.is_rank() {
                    let among = self.at_stage(stage, conjunction(&all));
                    stage += 1;
                    all = vec![among.clone(), ranked(*narrowed, &among)];
                    continue;
                }
                all.push(match narrowed {
                    Narrowed::Root => "(depth = 0 AND NOT is_orphan)".to_owned(),
                    Narrowed::Leaf => "nested_right = nested_left + 1".to_owned(),
                    _ => self.of_span(known("status_code = 'error'")),
                });
            }
            before = self.at_stage(stage, conjunction(&all));
            stage += 1;
        }
        before
    }
}

/// A condition that is false where it would be NULL.
fn known(condition: &str) -> String {
    format!("coalesce({condition}, false)")
}

fn conjunction(all: &[String]) -> String {
    match all {
        [] => "true".to_owned(),
        all => all.join(" AND "),
    }
}

/// Whether a span stands in `relation` to one for which `flag` holds.
fn related(relation: Relation, flag: &str) -> Option<String> {
    Some(match relation {
        Relation::Anywhere => return None,
        // Of all spans that are entered before this one, only those around it are left after it.
        Relation::Descendant => format!(
            "coalesce(max(CASE WHEN {flag} THEN nested_right END) OVER ({TRACE} ORDER BY nested_left ROWS BETWEEN UNBOUNDED \
             PRECEDING AND 1 PRECEDING) > nested_right, false)"
        ),
        Relation::Child => format!("coalesce(of_parent({flag}, nested_left, parent_left) OVER ({TRACE}), false)"),
        Relation::LaterSibling => format!(
            "coalesce(min(CASE WHEN {flag} THEN sibling_no END) OVER ({TRACE}, parent_left) < sibling_no AND parent_left > 0, \
             false)"
        ),
    })
}

/// Whether a span for which `flag` holds has this rank among all of them.
fn ranked(narrowed: Narrowed, flag: &str) -> String {
    let count = |rows: &str| {
        format!("count(CASE WHEN {flag} THEN 1 END) OVER ({TRACE} ORDER BY nested_left ROWS BETWEEN {rows})")
    };
    match narrowed {
        Narrowed::Nth(rank) => format!("{} = {rank}", count("UNBOUNDED PRECEDING AND CURRENT ROW")),
        _ => format!("{} = 0", count("1 FOLLOWING AND UNBOUNDED FOLLOWING")),
    }
}

/// `test` of a count.
fn compared(count: &str, test: Test) -> String {
    match test {
        Test::Above(x) => format!("{count} > {x:?}"),
        Test::AtLeast(x) => format!("{count} >= {x:?}"),
        Test::Below(x) => format!("{count} < {x:?}"),
        Test::AtMost(x) => format!("{count} <= {x:?}"),
        Test::Is(x) => format!("{count} = {x:?}"),
        Test::IsNot(x) => format!("{count} <> {x:?}"),
        Test::In(low, high) => format!("{count} >= {low:?} AND {count} <= {high:?}"),
        Test::NotIn(low, high) => format!("({count} < {low:?} OR {count} > {high:?})"),
    }
}
