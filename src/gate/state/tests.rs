//! The table of gates.md 5 row by row, against a transcription that knows only the history, and as promises.

use proptest::prelude::*;

use super::*;
use crate::clock::Clock;
use Input::{Clear, Fail, Gone, Hold, Pass, Warn};
use Level::Fail as AtFail;
use Level::Warn as AtWarn;

const S: i64 = 1_000_000_000;
const TICK: i64 = 30;
const EVERY: [Input; 6] = [Fail, Warn, Pass, Clear, Hold, Gone];

fn rule(hold_for_s: i64, keep_s: i64) -> Rule {
    let (hold_for_ns, keep_firing_for_ns) = (hold_for_s * S, keep_s * S);
    Rule { interval_ns: TICK * S, hold_for_ns, keep_firing_for_ns, ..Rule::default() }
}

fn often(n: u8, m: u8) -> Rule {
    Rule { fire_after: Some(FireAfter { n, m }), ..rule(0, 0) }
}

fn at(t_s: i64) -> Now<'static> {
    Now { t_ns: t_s * S, wall_ns: (t_s + 20) * S, downtimes: &[] }
}

type Seen = (i64, Cause, Option<(u64, u32)>);

/// Feeds `inputs` on the grid from t = 30 s; all transitions as (tick in seconds, cause, episode and number).
fn run(rule: &Rule, inputs: &[Input]) -> (State, Vec<Seen>) {
    let mut state = State::default();
    let mut seen = Vec::new();
    for (i, x) in inputs.iter().enumerate() {
        let t_s = TICK * (i as i64 + 1);
        let (next, transitions) = step(&state, &at(t_s), *x, rule);
        seen.extend(transitions.iter().map(|t| (t_s, t.cause, t.episode)));
        state = next;
    }
    (state, seen)
}

#[test]
fn rows_1_and_4_a_breach_is_pending_until_it_lasted() {
    let (state, seen) = run(&rule(60, 0), &[Fail, Warn, Warn]);
    assert_eq!(seen, [(30, Cause::Pending, None), (90, Cause::Firing, Some((1, 0)))]);
    assert_eq!(state.phase, Phase::Firing(AtWarn), "fail was there for 0 s only");
    assert_eq!((state.active_at_ns, state.fired_at_ns), (Some(30 * S), Some(90 * S)));
}

#[test]
fn row_2_without_a_hold_time_a_breach_fires_at_once_at_its_level() {
    for (x, level) in [(Warn, AtWarn), (Fail, AtFail)] {
        let (state, seen) = run(&rule(0, 0), &[x]);
        assert_eq!(seen, [(30, Cause::Firing, Some((1, 0)))]);
        assert_eq!(state.phase, Phase::Firing(level));
        assert_eq!((state.active_at_ns, state.fired_at_ns), (Some(30 * S), Some(30 * S)));
    }
}

#[test]
fn row_2_a_resolved_key_opens_the_next_episode() {
    let (_, seen) = run(&rule(0, 0), &[Fail, Clear, Warn]);
    let expected =
        [(30, Cause::Firing, Some((1, 0))), (60, Cause::Passed, Some((1, 1))), (90, Cause::Firing, Some((2, 0)))];
    assert_eq!(seen, expected);
}

#[test]
fn a_hold_time_below_the_interval_fires_on_the_second_effective_tick() {
    let (_, seen) = run(&rule(1, 0), &[Fail, Fail]);
    assert_eq!(seen.last(), Some(&(60, Cause::Firing, Some((1, 0)))));
}

#[test]
fn row_3_a_pending_key_stays_pending() {
    let (state, seen) = run(&rule(300, 0), &[Fail, Fail, Warn]);
    assert_eq!(seen, [(30, Cause::Pending, None)]);
    assert_eq!((state.phase, state.active_at_ns), (Phase::Pending, Some(30 * S)));
}

#[test]
fn row_5_a_pass_cancels_a_pending_breach_and_its_time() {
    for good in [Pass, Clear] {
        let (state, seen) = run(&rule(30, 0), &[Fail, good, Fail]);
        let causes: Vec<_> = seen.iter().map(|(_, cause, _)| *cause).collect();
        assert_eq!(causes, [Cause::Pending, Cause::Cancelled, Cause::Pending]);
        assert_eq!(state.active_at_ns, Some(90 * S));
    }
}

#[test]
fn row_6_a_level_rises_once_fail_lasted_by_itself() {
    let (state, seen) = run(&rule(30, 0), &[Warn, Warn, Fail, Fail]);
    let expected = [(30, Cause::Pending, None), (60, Cause::Firing, Some((1, 0))), (120, Cause::Raised, Some((1, 1)))];
    assert_eq!(seen, expected);
    assert_eq!((state.phase, state.fired_at_ns), (Phase::Firing(AtFail), Some(60 * S)));
}

#[test]
fn row_8_a_level_never_falls_and_a_pass_inside_the_band_changes_nothing() {
    let (state, seen) = run(&rule(0, 60), &[Fail, Warn, Pass, Warn, Pass]);
    assert_eq!(seen.len(), 1);
    assert_eq!(state.phase, Phase::Firing(AtFail));
}

#[test]
fn rows_2_and_4_with_fire_after_a_breach_fires_once_it_came_often_enough() {
    let (state, seen) = run(&often(2, 3), &[Fail, Pass, Warn]);
    assert_eq!(seen, [(30, Cause::Pending, None), (90, Cause::Firing, Some((1, 0)))]);
    assert_eq!(state.phase, Phase::Firing(AtWarn), "fail was there once");
    let (state, _) = run(&often(2, 3), &[Fail, Hold, Hold, Pass, Fail]);
    assert_eq!(state.phase, Phase::Firing(AtFail), "held ticks take no place");
    let (_, seen) = run(&often(2, 3), &[Fail, Pass, Pass, Fail]);
    assert_eq!(seen.iter().filter(|(_, cause, _)| *cause == Cause::Firing).count(), 0, "the first has left the ring");
    let (state, _) = run(&often(1, 4), &[Warn]);
    assert_eq!(
        (state.phase, state.active_at_ns, state.fired_at_ns),
        (Phase::Firing(AtWarn), Some(30 * S), Some(30 * S))
    );
    let (state, _) = run(&often(2, 4), &[Fail, Fail, Warn]);
    assert_eq!(state.phase, Phase::Firing(AtFail), "a warn does not take the level away");
}

#[test]
fn row_5_with_fire_after_a_pending_key_is_cancelled_once_no_breach_is_in_the_ring() {
    let (state, seen) = run(&often(2, 3), &[Warn, Clear, Pass]);
    assert_eq!((state.phase, seen.len()), (Phase::Pending, 1));
    let (state, seen) = run(&often(2, 3), &[Warn, Clear, Pass, Clear]);
    assert_eq!((state.phase, seen.last()), (Phase::Inactive, Some(&(120, Cause::Cancelled, None))));
    let (state, _) = run(&often(2, 3), &[Warn, Clear, Hold, Hold, Gone]);
    assert_eq!(state.phase, Phase::Inactive, "row 15 asks for no ring");
}

#[test]
fn row_6_with_fire_after_the_level_rises_once_fail_came_often_enough() {
    let (_, seen) = run(&often(2, 3), &[Warn, Warn, Fail, Pass, Fail]);
    assert_eq!(seen[1..], [(60, Cause::Firing, Some((1, 0))), (150, Cause::Raised, Some((1, 1)))]);
}

#[test]
fn row_7_a_fail_episode_falls_to_warn_after_so_long_without_fail_and_rises_again() {
    let rule = Rule { step_down_after_ns: Some(60 * S), ..rule(0, 60) };
    let (state, seen) = run(&rule, &[Fail, Warn, Fail, Pass, Hold, Warn]);
    assert_eq!(seen, [(30, Cause::Firing, Some((1, 0))), (180, Cause::Lowered, Some((1, 1)))], "a fail begins it anew");
    assert_eq!(state.phase, Phase::Firing(AtWarn));
    let (_, seen) = run(&rule, &[Fail, Warn, Warn, Fail, Warn, Warn]);
    let expected = [
        (30, Cause::Firing, Some((1, 0))),
        (90, Cause::Lowered, Some((1, 1))),
        (120, Cause::Raised, Some((1, 2))),
        (180, Cause::Lowered, Some((1, 3))),
    ];
    assert_eq!(seen, expected);
    let (_, seen) = run(&Rule { step_down_after_ns: Some(0), ..rule }, &[Fail, Fail, Pass]);
    assert_eq!(seen.last(), Some(&(90, Cause::Lowered, Some((1, 1)))));
    assert!(run(&self::rule(0, 60), &[Fail, Pass, Pass, Pass]).1.len() == 1, "without it the level only rises");
}

#[test]
fn row_7_time_in_recovering_counts_and_a_relapse_itself_lowers_nothing() {
    let rule = Rule { step_down_after_ns: Some(60 * S), ..rule(0, 300) };
    let (_, seen) = run(&rule, &[Fail, Clear, Clear, Warn, Warn]);
    let expected = [
        (30, Cause::Firing, Some((1, 0))),
        (60, Cause::Recovering, Some((1, 1))),
        (120, Cause::Relapsed, Some((1, 2))),
        (150, Cause::Lowered, Some((1, 3))),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_ring_that_gets_longer_or_shorter_keeps_what_it_saw_last() {
    let (state, _) = run(&often(3, 3), &[Fail, Pass, Fail]);
    let (longer, _) = step(&state, &at(120), Warn, &often(3, 5));
    assert_eq!(longer.phase, Phase::Firing(AtWarn));
    let (shorter, _) = step(&state, &at(120), Pass, &often(1, 1));
    assert_eq!(shorter.phase, Phase::Inactive);
    let (without, _) = step(&state, &at(120), Fail, &rule(300, 0));
    assert_eq!((without.phase, without.ring.len()), (Phase::Pending, 0), "the fails of before were no run");
}

#[test]
fn row_9_without_a_keep_time_the_first_clear_resolves() {
    let (state, seen) = run(&rule(0, 0), &[Fail, Clear]);
    assert_eq!(seen.last(), Some(&(60, Cause::Passed, Some((1, 1)))));
    assert_eq!(state.resolved_wall_ns, Some(80 * S));
}

#[test]
fn rows_10_to_12_a_key_recovers_for_as_long_as_it_must() {
    let (state, seen) = run(&rule(0, 60), &[Fail, Clear, Clear, Clear]);
    let expected =
        [(30, Cause::Firing, Some((1, 0))), (60, Cause::Recovering, Some((1, 1))), (120, Cause::Passed, Some((1, 2)))];
    assert_eq!(seen, expected);
    assert_eq!(state.phase, Phase::Resolved);
}

#[test]
fn row_13_a_relapse_is_the_same_episode_and_starts_the_keep_time_again() {
    for bad in [Warn, Fail, Pass] {
        let (_, seen) = run(&rule(0, 60), &[Fail, Clear, Clear, bad, Clear, Clear, Clear]);
        let expected = [
            (30, Cause::Firing, Some((1, 0))),
            (60, Cause::Recovering, Some((1, 1))),
            (120, Cause::Relapsed, Some((1, 2))),
            (150, Cause::Recovering, Some((1, 3))),
            (210, Cause::Passed, Some((1, 4))),
        ];
        assert_eq!(seen, expected, "{bad:?}");
    }
}

#[test]
fn row_13_a_relapse_into_fail_raises_at_the_same_tick() {
    let (state, seen) = run(&rule(0, 60), &[Warn, Clear, Fail]);
    assert_eq!(seen[2..], [(90, Cause::Relapsed, Some((1, 2))), (90, Cause::Raised, Some((1, 3)))]);
    assert_eq!(state.phase, Phase::Firing(AtFail));
}

#[test]
fn row_14_what_is_held_changes_nothing_in_any_phase() {
    for inputs in [&[][..], &[Fail], &[Fail, Fail], &[Fail, Fail, Clear], &[Warn, Warn]] {
        let (state, _) = run(&rule(30, 60), inputs);
        let (held, seen) = step(&state, &at(600), Hold, &rule(30, 60));
        assert_eq!((held, seen), (state, vec![]), "{inputs:?}");
    }
}

#[test]
fn a_tick_after_held_ticks_adds_one_interval() {
    let (state, seen) = run(&rule(60, 0), &[Fail, Hold, Hold, Hold, Fail]);
    assert_eq!(state.phase, Phase::Pending, "{seen:?}");
    let (state, _) = step(&state, &at(180), Fail, &rule(60, 0));
    assert_eq!(state.phase, Phase::Firing(AtFail));
}

#[test]
fn rows_15_and_16_a_key_that_is_gone_says_so() {
    let (state, seen) = run(&rule(30, 0), &[Fail, Gone]);
    assert_eq!((state.phase, seen.last()), (Phase::Inactive, Some(&(60, Cause::Stale, None))));
    for (inputs, number) in [(&[Fail, Gone][..], 1), (&[Fail, Clear, Gone], 2)] {
        let (state, seen) = run(&rule(0, 90), inputs);
        assert_eq!(state.phase, Phase::Resolved);
        assert_eq!(seen.last().map(|(_, cause, id)| (*cause, *id)), Some((Cause::Stale, Some((1, number)))));
    }
}

#[test]
fn row_17_an_operator_closes_only_what_is_open() {
    let (open, _) = run(&rule(0, 90), &[Fail, Clear]);
    let (state, transition) = close(&open, &at(90), false).unwrap();
    assert_eq!((state.phase, transition.cause, transition.episode), (Phase::Resolved, Cause::Manual, Some((1, 2))));
    assert!(transition.is_told());
    assert_eq!(close(&state, &at(120), false), None);
    let (pending, _) = run(&rule(60, 0), &[Fail]);
    assert_eq!(close(&pending, &at(60), false), None);
}

#[test]
fn row_18_a_generation_that_ends_resolves_what_fired() {
    let (open, _) = run(&rule(0, 0), &[Fail]);
    for cause in [Cause::Superseded, Cause::Removed] {
        let (state, transition) = end(&open, &at(60), cause, false).unwrap();
        assert_eq!((state.phase, transition.cause, transition.is_told()), (Phase::Resolved, cause, true));
    }
    let (pending, _) = run(&rule(60, 0), &[Fail]);
    let (state, transition) = end(&pending, &at(60), Cause::Removed, false).unwrap();
    assert_eq!((state.phase, transition.is_told(), transition.episode), (Phase::Inactive, false, None));
    let (resolved, _) = run(&rule(0, 0), &[Fail, Clear]);
    assert_eq!(end(&resolved, &at(90), Cause::Removed, false), None);
    assert_eq!(end(&State::default(), &at(90), Cause::Removed, false), None);
}

#[test]
fn row_19_a_resolved_key_is_inactive_after_a_quarter_of_an_hour() {
    let (resolved, _) = run(&rule(0, 0), &[Fail, Clear]);
    let end_s = 80 + 15 * 60;
    for x in [Pass, Clear, Hold] {
        for (wall_s, phase) in [(end_s - 1, Phase::Resolved), (end_s, Phase::Inactive)] {
            let now = Now { t_ns: 90 * S, wall_ns: wall_s * S, downtimes: &[] };
            let (state, seen) = step(&resolved, &now, x, &rule(0, 0));
            assert_eq!((state.phase, seen), (phase, vec![]), "{x:?} {wall_s}");
        }
    }
}

#[test]
fn a_dry_run_changes_phases_and_suppresses_what_would_be_told() {
    let dry = Rule { dry_run: true, ..rule(0, 60) };
    let (mut state, mut suppressed) = (State::default(), Vec::new());
    for (i, x) in [Fail, Clear, Warn, Clear, Clear, Clear].into_iter().enumerate() {
        let (next, transitions) = step(&state, &at(TICK * (i as i64 + 1)), x, &dry);
        suppressed.extend(transitions.iter().map(|t| (t.cause, t.suppressed)));
        state = next;
    }
    let expected = [
        (Cause::Firing, true),
        (Cause::Recovering, false),
        (Cause::Relapsed, false),
        (Cause::Recovering, false),
        (Cause::Passed, true),
    ];
    assert_eq!(suppressed, expected);
}

#[test]
fn downtime_adds_nothing_to_a_hold_time() {
    let downtimes = [Downtime { from_ns: 65 * S, to_ns: 200 * S }];
    let (pending, _) = run(&rule(60, 0), &[Fail, Fail]);
    let step_at = |state: &State, t_s: i64| {
        let now = Now { t_ns: t_s * S, wall_ns: t_s * S, downtimes: &downtimes };
        step(state, &now, Fail, &rule(60, 0)).0
    };
    let at_210 = step_at(&pending, 210);
    assert_eq!(at_210.phase, Phase::Pending, "30 s before it and none within");
    assert_eq!(step_at(&at_210, 240).phase, Phase::Firing(AtFail));
    let inside = step_at(&step_at(&pending, 90), 120);
    assert_eq!(inside.phase, Phase::Pending, "both ends of the last step lie within the downtime");
}

#[test]
fn episodes_go_on_counting_where_an_earlier_generation_stopped() {
    let (state, seen) = step(&State::fresh(7), &at(30), Fail, &rule(0, 0));
    assert_eq!((state.episode, seen[0].episode), (8, Some((8, 0))));
}

/// The table once more, from the whole history instead of counters: slow and literal.
pub(in crate::gate) struct Transcript {
    rule: Rule,
    history: Vec<(i64, Input)>,
    pub(in crate::gate) phase: Phase,
    recovering_since: Option<usize>,
    failing_since: Option<usize>,
    resolved_at_s: i64,
}

impl Transcript {
    pub(in crate::gate) fn new(rule: Rule) -> Self {
        Self {
            rule,
            history: Vec::new(),
            phase: Phase::Inactive,
            recovering_since: None,
            failing_since: None,
            resolved_at_s: 0,
        }
    }

    /// Event time that a run of `counts` at the end of the effective ticks has lasted.
    fn lasted(&self, counts: impl Fn(Input) -> bool) -> Option<i64> {
        let effective: Vec<_> = self.history.iter().filter(|(_, x)| x.is_effective()).collect();
        let run: Vec<i64> = effective.iter().rev().take_while(|(_, x)| counts(*x)).map(|(t, _)| *t).collect();
        (!run.is_empty()).then(|| run.windows(2).map(|pair| (pair[0] - pair[1]).min(TICK)).sum())
    }

    /// The last m effective x; with `fire_after`.
    fn ring(&self) -> Option<Vec<Input>> {
        let FireAfter { m, .. } = self.rule.fire_after?;
        let effective = self.history.iter().rev().map(|(_, x)| *x).filter(|x| x.is_effective());
        Some(effective.take(usize::from(m)).collect())
    }

    /// `x` is the newest input.
    fn armed(&self, level: Level, x: Input) -> bool {
        let counts = |x: Input| if level == AtFail { x == Fail } else { x.is_breach() };
        let enough = match (self.rule.fire_after, self.ring()) {
            (Some(FireAfter { n, .. }), Some(ring)) => {
                ring.into_iter().filter(|x| counts(*x)).count() >= usize::from(n)
            }
            _ => self.lasted(counts).is_some_and(|s| s * S >= self.rule.hold_for_ns),
        };
        counts(x) && enough
    }

    /// d: event time at level fail since the last F.
    fn calm_s(&self) -> i64 {
        let since = self.failing_since.expect("it is at level fail");
        let ticks: Vec<_> = self.history[since..].iter().filter(|(_, x)| x.is_effective()).collect();
        let last_fail = ticks.iter().rposition(|(_, x)| *x == Fail).expect("level fail begins with F");
        ticks[last_fail..].windows(2).map(|pair| (pair[1].0 - pair[0].0).min(TICK)).sum()
    }

    pub(in crate::gate) fn step(&mut self, t_s: i64, x: Input) -> Vec<Cause> {
        self.history.push((t_s, x));
        let highest = [AtFail, AtWarn].into_iter().find(|level| self.armed(*level, x));
        let keep_s = self.rule.keep_firing_for_ns / S;
        let (phase, causes) = match (self.phase, x) {
            (Phase::Firing(_) | Phase::Recovering(_), Gone) => (Phase::Resolved, vec![Cause::Stale]),
            (Phase::Pending, Gone) => (Phase::Inactive, vec![Cause::Stale]),
            (Phase::Resolved, Pass | Clear | Hold | Gone) if t_s + 20 - self.resolved_at_s >= 900 => {
                (Phase::Inactive, vec![])
            }
            (same, Hold | Gone) => (same, vec![]),
            (Phase::Inactive | Phase::Resolved, Warn | Fail) => match highest {
                None => (Phase::Pending, vec![Cause::Pending]),
                Some(level) => (Phase::Firing(level), vec![Cause::Firing]),
            },
            (Phase::Pending, Warn | Fail) => match highest {
                None => (Phase::Pending, vec![]),
                Some(level) => (Phase::Firing(level), vec![Cause::Firing]),
            },
            (Phase::Pending, _) if self.ring().is_some_and(|ring| ring.into_iter().any(Input::is_breach)) => {
                (Phase::Pending, vec![])
            }
            (Phase::Pending, _) => (Phase::Inactive, vec![Cause::Cancelled]),
            (Phase::Inactive | Phase::Resolved, _) => (self.phase, vec![]),
            (Phase::Firing(AtWarn), Fail) if highest == Some(AtFail) => (Phase::Firing(AtFail), vec![Cause::Raised]),
            (Phase::Firing(AtFail), Warn | Pass)
                if self.rule.step_down_after_ns.is_some_and(|after_ns| self.calm_s() * S >= after_ns) =>
            {
                (Phase::Firing(AtWarn), vec![Cause::Lowered])
            }
            (Phase::Firing(level), Warn | Fail | Pass) => (Phase::Firing(level), vec![]),
            (Phase::Firing(_), _) if keep_s == 0 => (Phase::Resolved, vec![Cause::Passed]),
            (Phase::Firing(level), _) => {
                self.recovering_since = Some(self.history.len() - 1);
                (Phase::Recovering(level), vec![Cause::Recovering])
            }
            (Phase::Recovering(level), Clear) => {
                let since = self.recovering_since.expect("it recovers");
                let ticks: Vec<i64> =
                    self.history[since..].iter().filter(|(_, x)| x.is_effective()).map(|(t, _)| *t).collect();
                let q: i64 = ticks.windows(2).map(|pair| (pair[1] - pair[0]).min(TICK)).sum();
                if q >= keep_s { (Phase::Resolved, vec![Cause::Passed]) } else { (Phase::Recovering(level), vec![]) }
            }
            (Phase::Recovering(AtWarn), Fail) if highest == Some(AtFail) => {
                (Phase::Firing(AtFail), vec![Cause::Relapsed, Cause::Raised])
            }
            (Phase::Recovering(level), _) => (Phase::Firing(level), vec![Cause::Relapsed]),
        };
        if phase == Phase::Resolved && self.phase != Phase::Resolved {
            self.resolved_at_s = t_s + 20;
        }
        if phase.level() == Some(AtFail) {
            self.failing_since.get_or_insert(self.history.len() - 1);
        } else {
            self.failing_since = None;
        }
        self.phase = phase;
        causes
    }
}

proptest! {
    // 40 steps a case: more than 200,000.
    #![proptest_config(ProptestConfig::with_cases(6_000))]

    #[test]
    fn the_machine_does_what_the_table_says(
        inputs in prop::collection::vec((0..EVERY.len(), 1_i64..4), 1..80),
        hold_for_s in prop::sample::select(vec![0, 1, 30, 45, 60, 120]),
        keep_s in prop::sample::select(vec![0, 1, 30, 60, 100]),
        (n, m) in (1_u8..4, 0_u8..6),
        step_down_s in prop::option::of(prop::sample::select(vec![0, 1, 30, 45, 60, 90])),
    ) {
        let fire_after = (n <= m).then_some(FireAfter { n, m });
        let hold_for_s = if fire_after.is_some() { 0 } else { hold_for_s };
        let rule = Rule { fire_after, step_down_after_ns: step_down_s.map(|s| s * S), ..rule(hold_for_s, keep_s) };
        let mut transcript = Transcript::new(rule);
        let (mut state, mut t_s) = (State::default(), 0);
        for (x, gap) in inputs {
            // A gap above 1: ticks were missed.
            t_s += TICK * gap;
            let (next, transitions) = step(&state, &at(t_s), EVERY[x], &rule);
            let expected = transcript.step(t_s, EVERY[x]);
            let causes: Vec<_> = transitions.iter().map(|t| t.cause).collect();
            prop_assert_eq!((next.phase, causes), (transcript.phase, expected), "at {} s", t_s);
            state = next;
        }
    }
}

/// Episodes of a history without holds, as (tick of firing, tick of resolving), from runs alone.
fn episodes(inputs: &[Input], hold_ticks: usize, keep_ticks: usize) -> Vec<(usize, Option<usize>)> {
    let mut i = 0;
    episodes_of(inputs, keep_ticks, |from| {
        i = i.max(from);
        while i < inputs.len() {
            let run = inputs[i..].iter().take_while(|x| x.is_breach()).count();
            if run > hold_ticks {
                return Some(i + hold_ticks);
            }
            i += run.max(1);
        }
        None
    })
}

/// The same with `fire_after`: at a breach that is the n-th or more of the last m inputs, whatever episode they were of.
fn frequent(inputs: &[Input], FireAfter { n, m }: FireAfter, keep_ticks: usize) -> Vec<(usize, Option<usize>)> {
    let is_due = |at: &usize| {
        let last = &inputs[(at + 1).saturating_sub(usize::from(m))..=*at];
        inputs[*at].is_breach() && last.iter().filter(|x| x.is_breach()).count() >= usize::from(n)
    };
    episodes_of(inputs, keep_ticks, |from| (from..inputs.len()).find(is_due))
}

/// `next`: the tick of firing at or behind a tick.
fn episodes_of(
    inputs: &[Input],
    keep_ticks: usize,
    mut next: impl FnMut(usize) -> Option<usize>,
) -> Vec<(usize, Option<usize>)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(fired) = next(from) {
        let ends = |from: &usize| {
            inputs[*from..].len() > keep_ticks && inputs[*from..=from + keep_ticks].iter().all(|x| *x == Clear)
        };
        let resolved = (fired + 1..inputs.len()).find(ends).map(|from| from + keep_ticks);
        found.push((fired, resolved));
        from = resolved.map_or(inputs.len(), |tick| tick + 1);
    }
    found
}

#[test]
fn an_episode_is_a_run_of_breach_that_lasted_merged_over_short_gaps() {
    let chance = Clock::manual(0, 11);
    let mut steps = 0;
    while steps < 1_000_000 {
        let (hold_ticks, keep_ticks) = (chance.random() as usize % 5, chance.random() as usize % 5);
        let m = 1 + chance.random() as u8 % 8;
        let often = FireAfter { n: 1 + chance.random() as u8 % m, m };
        let lasting = rule(hold_ticks as i64 * TICK, keep_ticks as i64 * TICK);
        // Long runs, so that hold times are reached.
        let mut inputs = Vec::new();
        while inputs.len() < 400 {
            let x = EVERY[chance.random() as usize % 4];
            inputs.extend(vec![x; 1 + chance.random() as usize % 8]);
        }
        let counting = Rule { hold_for_ns: 0, fire_after: Some(often), ..lasting };
        for (rule, expected) in
            [(lasting, episodes(&inputs, hold_ticks, keep_ticks)), (counting, frequent(&inputs, often, keep_ticks))]
        {
            let (_, seen) = run(&rule, &inputs);
            let tick = |t_s: i64| (t_s / TICK - 1) as usize;
            let fired = seen.iter().filter(|(_, cause, _)| *cause == Cause::Firing).map(|(t, ..)| tick(*t));
            let mut resolved = seen.iter().filter(|(_, cause, _)| *cause == Cause::Passed).map(|(t, ..)| tick(*t));
            let pairs: Vec<_> = fired.map(|at| (at, resolved.next())).collect();
            assert_eq!(pairs, expected, "{rule:?} {inputs:?}");
            assert_eq!(resolved.next(), None);
            steps += inputs.len();
        }
    }
}

#[test]
fn a_value_that_wanders_between_warn_and_clear_is_told_at_most_once() {
    let chance = Clock::manual(0, 12);
    for _ in 0..500 {
        let m = 1 + chance.random() as u8 % 6;
        let often = FireAfter { n: 1 + chance.random() as u8 % m, m };
        let keep_s = (chance.random() % 4) as i64 * TICK;
        let rule = match chance.random() % 2 {
            0 => rule((chance.random() % 4) as i64 * TICK, keep_s),
            _ => Rule { fire_after: Some(often), ..rule(0, keep_s) },
        };
        let rule = Rule { step_down_after_ns: Some((chance.random() % 4) as i64 * TICK * S), ..rule };
        let inputs: Vec<_> = (0..200).map(|_| [Warn, Pass, Hold][chance.random() as usize % 3]).collect();
        let (_, seen) = run(&rule, &inputs);
        let is_told = |cause| matches!(cause, Cause::Firing | Cause::Raised | Cause::Lowered | Cause::Passed);
        let told = seen.iter().filter(|(_, cause, _)| is_told(*cause));
        assert!(told.count() <= 1, "{inputs:?}");
    }
}

proptest! {
    #[test]
    fn every_episode_has_one_firing_and_one_resolved_and_numbers_without_gaps(
        inputs in prop::collection::vec(0..EVERY.len(), 1..200),
        hold in 0_i64..3,
        keep in 0_i64..3,
    ) {
        let inputs: Vec<_> = inputs.into_iter().map(|i| EVERY[i]).collect();
        let (state, seen) = run(&rule(hold * TICK, keep * TICK), &inputs);
        let mut expected = (0, 0);
        for (_, cause, id) in &seen {
            let Some((episode, number)) = id else { continue };
            if *cause == Cause::Firing {
                expected = (expected.0 + 1, 0);
            }
            prop_assert_eq!((*episode, *number), expected);
            expected.1 += 1;
        }
        let count = |wanted: &[Cause]| seen.iter().filter(|(_, c, id)| id.is_some() && wanted.contains(c)).count();
        let open = usize::from(state.phase.is_open());
        prop_assert_eq!(count(&[Cause::Firing]), count(&[Cause::Passed, Cause::Stale]) + open);
    }
}
