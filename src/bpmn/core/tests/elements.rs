//! Starts, splits, ends, boundary events.

use super::run::{Run, number};
use crate::core::{Action, Answer, Rejection, Value, Variables};

#[test]
fn a_run_goes_from_start_to_end_and_leaves_nothing_behind() {
    let mut run = Run::of("start -> a -> b -> end");
    run.start(&[]);
    assert_eq!(run.waiting(), ["a"]);
    run.complete("a", &[]);
    run.complete("b", &[]);
    assert_eq!(run.trace(), ["start", "a", "b", "end"]);
    assert_eq!(run.end().unwrap(), "completed");
    let left: Vec<_> = run.state.rows().map(|(key, _)| format!("{key:?}")).collect();
    assert!(
        left.iter().all(|key| key.starts_with("Meta") || key.contains("Version") || key.starts_with("Def")),
        "{left:?}"
    );
}

#[test]
fn an_exclusive_gateway_takes_the_first_true_condition_in_document_order() {
    let text = "start -> gw; gw [x > 1] -> a; gw [x > 0] -> b; gw [default] -> c";
    for (x, taken) in [(2, "a"), (1, "b"), (0, "c")] {
        let mut run = Run::of(text);
        run.start(&[("x", number(x))]);
        assert_eq!(run.waiting(), [taken], "x = {x}");
    }
}

#[test]
fn one_flow_without_condition_acts_as_default() {
    let mut run = Run::of("start -> gw; gw -> a; gw [x = 1] -> b");
    run.start(&[("x", number(1))]);
    run.start(&[("x", number(2))]);
    assert_eq!(run.waiting(), ["a", "b"]);
}

#[test]
fn a_token_stays_at_a_gateway_that_takes_no_flow_until_it_is_resolved() {
    let mut run = Run::of("start -> gw; gw [x = 1] -> a; gw [x = 2] -> b; side -> a");
    run.start(&[("x", number(3))]);
    assert_eq!(run.incident("gw").map(|(_, kind, count)| (kind, count)), Some(("no-flow-taken", 1)));
    run.resolve("gw");
    assert_eq!(run.incident("gw").map(|(_, kind, count)| (kind, count)), Some(("no-flow-taken", 2)));
}

#[test]
fn a_condition_that_is_not_boolean_is_an_incident_with_the_values_it_read() {
    let mut run = Run::of("start -> gw; gw [x] -> a; gw [default] -> b");
    run.start(&[("x", Value::from("yes"))]);
    let (incident, kind, _) = run.incident("gw").unwrap();
    assert_eq!(kind, "condition-not-boolean");
    let row = run.view().incident(incident).unwrap();
    assert_eq!((row.expression.as_deref(), row.reads.get("x")), (Some("x"), Some(&Value::from("yes"))));
    let mut run = Run::of("start -> gw; gw [missing] -> a; gw [default] -> b");
    run.start(&[]);
    assert_eq!(run.incident("gw").unwrap().1, "condition-not-boolean", "null is never silently false");
}

#[test]
fn an_activity_sends_a_token_on_every_flow_whose_condition_holds() {
    let text = "start -> t; t -> a; t [x = 1] -> b; t [x = 2] -> c";
    let mut run = Run::of(text);
    run.start(&[("x", number(1))]);
    run.complete("t", &[]);
    assert_eq!(run.waiting(), ["a", "b"]);
    let mut run = Run::of("start -> t; t [x = 1] -> a; t [default] -> b");
    run.start(&[("x", number(2))]);
    run.complete("t", &[]);
    assert_eq!(run.waiting(), ["b"]);
    let mut run = Run::of("start -> t; t [x = 1] -> a");
    run.start(&[("x", number(2))]);
    run.complete("t", &[]);
    assert_eq!(run.incident("t").unwrap().1, "no-flow-taken");
}

#[test]
fn every_token_of_an_uncontrolled_merge_makes_its_own_activation() {
    let mut run = Run::of("start -> t; t -> a; t -> b; a -> m; b -> m; m -> end");
    run.start(&[]);
    run.complete("t", &[]);
    run.complete("a", &[]);
    run.complete("b", &[]);
    assert_eq!(run.waiting(), ["m", "m"]);
    run.complete("m", &[]);
    assert_eq!(run.end(), None, "one token is left");
    run.complete("m", &[]);
    assert_eq!(run.end().unwrap(), "completed");
}

#[test]
fn an_error_end_ends_the_run_failed_and_closes_everything() {
    let mut run = Run::of("start -> t; t -> a; t -> gw; gw [ok] -> b; gw [default] -> fail_E7");
    run.start(&[("ok", Value::from(false))]);
    run.complete("t", &[]);
    assert_eq!((run.end().unwrap().as_str(), run.waiting().len()), ("failed E7", 0));
}

#[test]
fn an_exact_error_code_is_caught_before_the_catch_all_and_closes_the_host() {
    let text = "start -> t -> end; t !* -> any; t !E1 -> one; t @PT5S -> late";
    for (code, to) in [("E1", "one"), ("E2", "any")] {
        let mut run = Run::of(text);
        run.start(&[]);
        run.throw("t", code, &[]);
        assert_eq!(run.waiting(), [to]);
        run.advance(10_000);
        assert_eq!(run.waiting(), [to], "the timer went with its host");
    }
}

#[test]
fn an_error_that_nothing_catches_is_an_incident_and_a_resolve_queues_the_job_again() {
    let mut run = Run::of("start -> t -> end; t !E1 -> one");
    run.start(&[]);
    run.throw("t", "E2", &[]);
    assert_eq!(run.incident("t").unwrap().1, "uncaught-error");
    run.resolve("t");
    assert_eq!(run.incident("t"), None);
    run.complete("t", &[]);
    assert_eq!(run.end().unwrap(), "completed");
}

#[test]
fn what_is_thrown_enters_at_the_boundary_event_with_code_and_message_for_its_mappings() {
    let mut run = Run::of("start -> t -> end; t !E1 -> h; t !E1.out seen := =errorCode + \":\" + errorMessage");
    let instance = run.start(&[]);
    run.throw("t", "E1", &[("n", number(4))]);
    assert_eq!(run.root(instance, "seen"), Some(Value::from("E1:thrown")));
    assert_eq!(run.root(instance, "n"), None, "only mapped names leave");
    let mut run = Run::of("start -> t -> end; t !E1 -> h");
    let instance = run.start(&[]);
    run.throw("t", "E1", &[("n", number(4))]);
    assert_eq!(run.root(instance, "n"), Some(number(4)));
    assert_eq!(run.view().variable(instance, "errorCode"), None, "locals of the catch event");
}

#[test]
fn an_interrupting_timer_closes_its_host_once_and_late_results_are_refused() {
    let mut run = Run::of("start -> t -> end; t @PT5S -> late");
    run.start(&[]);
    let (job, attempt) = run.activate("t");
    run.advance(4_999);
    assert_eq!(run.waiting(), ["t"]);
    run.advance(1);
    assert_eq!(run.waiting(), ["late"]);
    assert_eq!(run.effects, [crate::core::Effect::CancelJob { job, attempt }]);
    let late = run.ask(Action::JobCompleted { job, attempt, result: Variables::new() });
    assert_eq!(late, Err(Rejection::LateCompletion { job, attempt }));
    run.advance(100_000);
    assert_eq!(run.waiting(), ["late"]);
}

#[test]
fn a_timer_that_does_not_interrupt_adds_a_token_and_the_host_goes_on() {
    let mut run = Run::of("start -> t -> end; t ~PT5S -> remind");
    run.start(&[]);
    run.advance(60_000);
    assert_eq!(run.waiting(), ["remind", "t"]);
    run.complete("t", &[]);
    run.complete("remind", &[]);
    assert_eq!(run.end().unwrap(), "completed");
}

#[test]
fn due_timers_fire_in_due_order_and_an_overdue_one_once() {
    let mut run = Run::of("start -> a; a @PT9S -> late_a; a ~PT3S -> early; a ~2025-01-01T00:00:06Z -> middle");
    run.start(&[]);
    run.advance(3_600_000);
    assert_eq!(run.waiting(), ["early", "late_a", "middle"]);
    let fired: Vec<_> = run
        .log
        .iter()
        .filter_map(|event| match &event.body {
            crate::core::Body::TimerFired { lateness_ms, .. } => Some(*lateness_ms),
            _ => None,
        })
        .collect();
    assert_eq!(fired, [3_597_000, 3_594_000, 3_591_000]);
}

#[test]
fn a_timer_that_cannot_be_read_is_an_incident_before_any_is_armed() {
    let mut run = Run::of("start -> t; t @PT5S -> a; t @=x -> b");
    run.start(&[("x", Value::from("soon"))]);
    assert_eq!(run.incident("t").unwrap().1, "timer-invalid");
    run.advance(10_000);
    assert_eq!(run.waiting(), ["t"]);
}

#[test]
fn a_cycle_without_a_wait_is_stopped_and_a_resolve_grants_another_round() {
    let mut run = Run::of("start -> gw1; gw1 -> gw2; gw2 -> gw1");
    let instance = run.start(&[]);
    let node = run.waiting().remove(0);
    assert_eq!(run.incident(&node).unwrap().1, "runaway-loop");
    assert_eq!(run.trace().len(), 10_000);
    run.resolve(&node);
    assert_eq!(run.trace().len(), 20_001, "the token that waited, and 10,000 arrivals");
    run.ask(Action::Cancel { instance, reason: None }).unwrap();
    assert_eq!(run.end().unwrap(), "cancelled");
}

#[test]
fn cancel_closes_jobs_timers_and_incidents() {
    let mut run = Run::of("start -> t; t -> a; t -> b; t -> c; a @PT1H -> x");
    let instance = run.start(&[]);
    run.complete("t", &[]);
    let (job, attempt) = run.activate("a");
    run.fail("b", false);
    run.ask(Action::Cancel { instance, reason: Some("test".to_owned()) }).unwrap();
    assert_eq!((run.waiting().len(), run.end().unwrap().as_str()), (0, "cancelled"));
    assert_eq!(run.effects, [crate::core::Effect::CancelJob { job, attempt }]);
    let again = run.ask(Action::Cancel { instance, reason: None });
    assert_eq!(again.unwrap_err().code(), "not-found");
}

#[test]
fn several_plain_starts_must_be_told_apart_and_none_at_all_means_every_source() {
    let mut run = Run::of("start_a -> a; start_b -> b");
    let start = |named: Option<&str>| Action::Start {
        process: "p".to_owned(),
        version: None,
        start: named.map(str::to_owned),
        variables: Variables::new(),
    };
    assert_eq!(run.ask(start(None)).unwrap_err().code(), "ambiguous-start");
    assert_eq!(run.ask(start(Some("nowhere"))).unwrap_err().code(), "no-such-start");
    assert!(matches!(run.ask(start(Some("start_b"))), Ok(Answer::Started { .. })));
    assert_eq!(run.waiting(), ["b"]);
    let mut run = Run::of("a -> c; b -> c");
    run.start(&[]);
    assert_eq!(run.waiting(), ["a", "b"]);
}

#[test]
fn a_run_stays_with_the_version_it_started_on() {
    let mut run = Run::of("start -> a -> end");
    run.start(&[]);
    run.deploy("start -> b -> end");
    run.start(&[]);
    assert_eq!(run.waiting(), ["a", "b"]);
    let names = |answer: Answer| match answer {
        Answer::Deployed(all) => all.into_iter().map(|d| (d.version, d.outcome.as_str())).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let same = run.deploy("start -> b -> end");
    assert_eq!(names(same), [(2, "same")]);
    let layout = run.deploy("start ->  b -> end");
    assert_eq!(names(layout), [(3, "layout-only")]);
    let back = run.deploy("start -> a -> end");
    assert_eq!(names(back), [(1, "new")], "an earlier file in force again keeps its number");
    let next = run.deploy("start -> c -> end");
    assert_eq!(names(next), [(4, "new")]);
}
