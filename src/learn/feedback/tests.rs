//! Claims about outcomes: every line of learn.md 4's table has a case.

use super::*;

const TRY: TryFacts = TryFacts { at_ns: 1_000_000_000, next_ns: None, sandbox: Some(0.5) };
const WELL: Option<(i64, RunEnd)> = Some((3_000_000_000, RunEnd::Completed));

fn episode() -> EpisodeFacts {
    EpisodeFacts { value_before: Some(Some(0.1)), known_until_ns: i64::MAX, ..EpisodeFacts::default() }
}

fn verdict(t_s: i64, is_pass: bool) -> Option<Verdict> {
    Some(Verdict { t_ns: t_s * 1_000_000_000, is_pass, value: Some(0.9) })
}

fn end(t_s: i64, is_passed: bool) -> Option<EpisodeEnd> {
    Some(EpisodeEnd { t_ns: t_s * 1_000_000_000, is_passed })
}

fn told(decision: Decision) -> (Option<&'static str>, Option<f64>, Option<f64>) {
    (decision.outcome.map(Outcome::as_str), decision.seconds, decision.value_after)
}

#[test]
fn line_1_a_later_try_of_the_run_decides_at_that_try() {
    let tried = TryFacts { next_ns: Some(2_500_000_000), ..TRY };
    let of = EpisodeFacts { ended: end(2, true), ..episode() };
    assert_eq!(told(decide(&tried, Some((9, RunEnd::Failed)), &of)), (Some("not_better"), Some(1.5), Some(0.5)));
}

#[test]
fn line_2_while_the_run_is_not_over_the_row_is_open() {
    let of = EpisodeFacts { ended: end(2, true), ..episode() };
    assert_eq!(told(decide(&TRY, None, &of)), (None, None, Some(0.5)));
}

#[test]
fn line_3_a_run_that_failed_or_was_cancelled_gave_up() {
    for how in [RunEnd::Failed, RunEnd::Cancelled] {
        let of = EpisodeFacts { ended: end(2, true), verdict: verdict(9, false), ..episode() };
        assert_eq!(told(decide(&TRY, Some((3_000_000_000, how)), &of)), (Some("gave_up"), Some(2.0), Some(0.5)));
    }
}

#[test]
fn line_4_a_bad_first_verdict_before_the_end_of_the_episode_is_not_better() {
    for ended in [None, end(10, true), end(10, false)] {
        let of = EpisodeFacts { ended, verdict: verdict(9, false), ..episode() };
        assert_eq!(told(decide(&TRY, WELL, &of)), (Some("not_better"), Some(8.0), Some(0.9)), "{ended:?}");
    }
}

#[test]
fn line_5_an_episode_that_passed_is_recovered_at_the_later_of_both_ends() {
    let of = |t, verdict| EpisodeFacts { ended: end(t, true), verdict, ..episode() };
    assert_eq!(told(decide(&TRY, WELL, &of(9, verdict(9, true)))), (Some("recovered"), Some(8.0), Some(0.9)));
    assert_eq!(told(decide(&TRY, WELL, &of(2, None))), (Some("recovered"), Some(2.0), Some(0.5)));
    // A verdict behind the end is none of this episode.
    assert_eq!(told(decide(&TRY, WELL, &of(8, verdict(9, false)))), (Some("recovered"), Some(7.0), Some(0.5)));
}

#[test]
fn line_6_any_other_end_is_void() {
    let of = EpisodeFacts { ended: end(8, false), ..episode() };
    assert_eq!(told(decide(&TRY, WELL, &of)), (Some("void"), Some(7.0), Some(0.5)));
}

#[test]
fn line_7_otherwise_the_row_is_open_and_shows_the_verdict() {
    assert_eq!(told(decide(&TRY, WELL, &episode())), (None, None, Some(0.5)));
    let of = EpisodeFacts { verdict: verdict(9, true), ..episode() };
    assert_eq!(told(decide(&TRY, WELL, &of)), (None, None, Some(0.9)));
}

#[test]
fn an_end_by_hand_waits_for_the_ticks_before_it() {
    let early = EpisodeFacts { ended: end(9, false), known_until_ns: 8_000_000_000, ..episode() };
    assert_eq!(decide(&TRY, WELL, &early).outcome, None);
    let late = EpisodeFacts { verdict: verdict(8, false), known_until_ns: 9_000_000_000, ..early };
    assert_eq!(decide(&TRY, WELL, &late).outcome, Some(Outcome::NotBetter));
    let none = EpisodeFacts { known_until_ns: 9_000_000_000, ..early };
    assert_eq!(decide(&TRY, WELL, &none).outcome, Some(Outcome::Void));
}
