//! Gates over what gates gave (gates.md 8, class derived).
//!
//! Duty: tell them by their SQL, put them apart, and say how far their ticks may close. Guarantee: a derived gate is asked
//! about a tick time after all other gates of that tick time are written. Left to others: closing ticks (`evaluator`).

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{ObjectName, visit_relations};
use datafusion::sql::sqlparser::parser::Parser;

use super::definition::Group;
use super::window::Grid;
use crate::query::dialect::Postgres;

/// Tables that other gates fill.
const TABLES: [&str; 5] = ["gate_results", "gate_state", "gate_transitions", "gate_episodes", "gate_ticks"];

/// Whether `sql` reads a table that gates fill. Text that does not parse reads none.
pub(super) fn is_derived(sql: &str) -> bool {
    let is_ours = |name: &ObjectName| {
        let last = name.0.last().and_then(|part| part.as_ident());
        last.is_some_and(|ident| TABLES.contains(&ident.value.to_lowercase().as_str()))
    };
    let statements = Parser::parse_sql(&Postgres, sql).unwrap_or_default();
    let found = visit_relations(&statements, |name| match is_ours(name) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// Whether it is a group of derived gates, as [`apart`] makes them.
pub(super) fn is_group(group: &Group) -> bool {
    group.gates.first().is_some_and(|gate| gate.source.is_derived)
}

/// The groups without their derived gates, then groups of the derived gates alone, both in order, without empty ones, and
/// apart by schedule: gates of one group that runs have the same ticks.
///
/// A derived gate's tick waits for the slowest group, so that it is not overrun by ticks it has to wait for.
pub(super) fn apart(groups: &[Group]) -> Vec<Group> {
    let half = |is_derived: bool| {
        groups.iter().flat_map(move |group| {
            let mut parts: Vec<Group> = Vec::new();
            for gate in group.gates.iter().filter(|gate| gate.source.is_derived == is_derived) {
                match parts.iter_mut().find(|part| part.gates[0].cron == gate.cron) {
                    Some(part) => part.gates.push(gate.clone()),
                    None => parts.push(Group { gates: vec![gate.clone()], ..group.clone() }),
                }
            }
            parts
        })
    };
    let mut all: Vec<Group> = half(false).collect();
    let slowest = all.iter().map(|group| group.query_offset).max().unwrap_or_default();
    all.extend(half(true).map(|group| Group { query_offset: group.query_offset.max(slowest), ..group }));
    all
}

/// The first tick time of a derived group's grid that waits: another group has a tick then and did not close it yet.
/// `others`: their grids and last closed ticks. With schedules, those up to `until_ns` are looked at.
pub(super) fn first_held<'a>(grid: &Grid, others: impl Iterator<Item = (&'a Grid, i64)>, until_ns: i64) -> i64 {
    let shared = |(other, last_ns): (&Grid, i64)| {
        // Of two the one with fewer ticks is walked.
        let walked = match (&other.cron, &grid.cron) {
            (Some(_), _) => Some((other, grid)),
            (None, Some(_)) => Some((grid, other)),
            (None, None) => None,
        };
        if let Some((walked, held)) = walked {
            return walked.ticks(last_ns, until_ns).find(|t_ns| held.has(*t_ns)).unwrap_or(i64::MAX);
        }
        let step = grid.interval_ns / gcd(grid.interval_ns, other.interval_ns);
        let Some(step) = step.checked_mul(other.interval_ns) else { return i64::MAX };
        (last_ns.div_euclid(step) + 1).saturating_mul(step)
    };
    others.map(shared).min().unwrap_or(i64::MAX)
}

const fn gcd(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::definition::tests::gate;
    use super::super::definition::{Gate, Test};
    use super::*;
    use crate::clock::cron::Cron;

    #[test]
    fn a_gate_is_derived_if_its_text_reads_what_gates_gave_wherever_it_stands() {
        for sql in [
            "SELECT count(*) AS value FROM gate_results",
            "SELECT sum(late_spans) AS value FROM gate_ticks",
            "SELECT 1 AS value FROM spans WHERE trace_id IN (SELECT trace_id FROM public.\"gate_state\")",
            "WITH a AS (SELECT * FROM GATE_TRANSITIONS t WHERE t.tick > $window_start) SELECT count(*) AS value FROM a",
        ] {
            assert!(is_derived(sql), "{sql}");
        }
        for sql in ["SELECT count(*) AS value, 'gate_results' AS g FROM spans", "SELECT FROM", "SELECT 1 AS gate_state"]
        {
            assert!(!is_derived(sql), "{sql}");
        }
    }

    #[test]
    fn derived_gates_come_last_and_wait_for_the_slowest_group() {
        let named = |name: &str, is_derived| {
            let mut gate: Gate = gate(name, Test::Above(0.0));
            gate.source.is_derived = is_derived;
            gate
        };
        let group = |name: &str, offset_s, gates| Group {
            name: name.into(),
            file: "f".into(),
            interval: Duration::from_secs(30),
            query_offset: Duration::from_secs(offset_s),
            labels: Default::default(),
            gates,
        };
        let groups = [
            group("a", 20, vec![named("d", true), named("p", false)]),
            group("b", 50, vec![named("q", false)]),
            group("c", 90, vec![named("e", true)]),
        ];
        let seen: Vec<_> = apart(&groups)
            .iter()
            .map(|group| (group.name.clone(), group.gates[0].name.clone(), group.query_offset.as_secs()))
            .collect();
        let expected = [("a", "p", 20), ("b", "q", 50), ("a", "d", 50), ("c", "e", 90)];
        assert_eq!(seen, expected.map(|(group, gate, offset)| (group.to_owned(), gate.to_owned(), offset)));
    }

    #[test]
    fn a_tick_time_is_held_by_every_other_group_that_has_it_on_its_grid() {
        let held = |others: &[(i64, i64)]| {
            let others: Vec<(Grid, i64)> =
                others.iter().map(|(interval, last)| (Grid::every(*interval, 0), *last)).collect();
            first_held(&Grid::every(30, 0), others.iter().map(|(grid, last)| (grid, *last)), i64::MAX)
        };
        assert_eq!(held(&[]), i64::MAX);
        assert_eq!(held(&[(30, 60)]), 90);
        assert_eq!(held(&[(20, 60)]), 120, "80 and 100 are no ticks of the derived group");
        assert_eq!(held(&[(30, 60), (20, 0)]), 60);
        assert_eq!(held(&[(60, 59)]), 60);
        let minute = 60_000_000_000;
        let hourly = Grid { cron: Cron::parse("0 * * * *", "UTC").ok(), ..Grid::every(1, 0) };
        let quarter = Grid::every(15 * minute, 0);
        for (derived, other) in [(&hourly, &quarter), (&quarter, &hourly)] {
            let held = |last_ns, until_ns| first_held(derived, std::iter::once((other, last_ns)), until_ns);
            assert_eq!(held(15 * minute, 90 * minute), 60 * minute);
            assert_eq!((held(60 * minute, 90 * minute), held(60 * minute, 120 * minute)), (i64::MAX, 120 * minute));
        }
    }
}
