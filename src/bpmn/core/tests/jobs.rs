//! Attempts, retries, effect keys, unknown outcomes.

use super::run::{Run, number, vars};
use crate::core::{
    Action, Answer, Body, Effect, HeaderValue, JobStart, JobStatus, Key, OnUnknown, Rejection, Value, Variables,
};

fn due(run: &Run, id: &str) -> i64 {
    let job = run.element(id).1.job.unwrap();
    match run.view().job(job).unwrap().status {
        JobStatus::Queued { due_ms, .. } => due_ms - run.now_ms,
        other => panic!("{other:?}"),
    }
}

fn effect_key(run: &Run, id: &str) -> String {
    run.view().job(run.element(id).1.job.unwrap()).unwrap().input.effect_key
}

#[test]
fn retries_wait_the_times_of_the_list_within_a_fifth_and_keep_the_effect_key() {
    let mut run = Run::of("start -> t -> end; t.retries := 4; t.header retryBackoff := PT10S,PT100S");
    run.start(&[]);
    let key = effect_key(&run, "t");
    for base in [10_000, 100_000, 100_000] {
        run.fail("t", true);
        let wait = due(&run, "t");
        assert!((base * 8 / 10..=base * 12 / 10).contains(&wait), "{base}: {wait}");
        assert_eq!(effect_key(&run, "t"), key);
        run.advance(wait);
    }
    run.fail("t", true);
    assert_eq!(run.incident("t").unwrap().1, "job-failed");
    run.resolve("t");
    assert_eq!((due(&run, "t"), effect_key(&run, "t")), (0, key));
    run.fail("t", true);
    assert!(due(&run, "t") > 0, "its retries were restored");
}

#[test]
fn a_job_that_is_not_due_is_not_given_out() {
    let mut run = Run::of("start -> t -> end");
    run.start(&[]);
    run.fail("t", true);
    let job = run.element("t").1.job.unwrap();
    let jobs = vec![JobStart { job, rendered: Ok(Default::default()), on_unknown: OnUnknown::Retry }];
    let answer = run.ask(Action::ActivateJobs { worker: "w".to_owned(), jobs }).unwrap();
    assert_eq!(answer, Answer::Activated { jobs: Vec::new() });
}

#[test]
fn a_failure_that_no_retry_can_help_is_an_incident_at_once() {
    let mut run = Run::of("start -> t -> end");
    run.start(&[]);
    run.fail("t", false);
    assert_eq!(run.incident("t").unwrap().1, "job-failed");
}

#[test]
fn later_uses_no_attempt() {
    let mut run = Run::of("start -> t -> end; t.retries := 1");
    run.start(&[]);
    for _ in 0..5 {
        let (job, attempt) = run.activate("t");
        assert_eq!(attempt, 1);
        let at_ms = run.now_ms + 1_000;
        run.ask(Action::JobLater { job, attempt, at_ms }).unwrap();
        assert_eq!(due(&run, "t"), 1_000);
        run.advance(1_000);
    }
    run.complete("t", &[]);
    assert_eq!(run.end().unwrap(), "completed");
}

#[test]
fn after_a_boot_running_attempts_are_unknown_and_follow_their_policy() {
    let boot = || Action::Boot { engine_id: [9; 16] };
    for (policy, attempts) in [("retry", 2), ("incident", 1), ("error:LOST", 1)] {
        let mut run = Run::of(&format!("start -> t -> end; t !LOST -> lost; t.header onUnknown := {policy}"));
        run.start(&[]);
        let (job, attempt) = run.activate("t");
        let key = effect_key(&run, "t");
        run.ask(boot()).unwrap();
        let late = run.ask(Action::JobCompleted { job, attempt, result: Variables::new() });
        assert_eq!(late.unwrap_err().code(), "late-completion");
        match policy {
            "retry" => {
                assert_eq!(due(&run, "t"), 0);
                assert_eq!(run.activate("t").1, attempts);
                assert_eq!(effect_key(&run, "t"), key);
            }
            "incident" => assert_eq!(run.incident("t").unwrap().1, "job-unknown-outcome"),
            _ => assert_eq!(run.waiting(), ["lost"]),
        }
    }
}

#[test]
fn unknown_outcomes_use_up_retries() {
    let mut run = Run::of("start -> t -> end; t.retries := 2; t.header onUnknown := retry");
    run.start(&[]);
    run.activate("t");
    run.ask(Action::Boot { engine_id: [9; 16] }).unwrap();
    run.activate("t");
    run.ask(Action::Boot { engine_id: [9; 16] }).unwrap();
    assert_eq!(run.incident("t").unwrap().1, "job-failed");
}

#[test]
fn results_for_another_attempt_a_closed_job_or_no_job_change_nothing() {
    let mut run = Run::of("start -> t -> end");
    run.start(&[]);
    let (job, attempt) = run.activate("t");
    let result = |job, attempt| Action::JobCompleted { job, attempt, result: Variables::new() };
    assert_eq!(run.ask(result(job, attempt + 1)), Err(Rejection::LateCompletion { job, attempt: attempt + 1 }));
    assert_eq!(run.ask(result(9_999, 1)).unwrap_err().code(), "not-found");
    run.ask(result(job, attempt)).unwrap();
    assert_eq!(run.ask(result(job, attempt)), Err(Rejection::LateCompletion { job, attempt }));
}

#[test]
fn templates_are_rendered_once_and_kept_while_text_from_expressions_is_never_one() {
    let mut run = Run::of("start -> t -> end; t.header argv := {{ x }}; t.header from := =x");
    run.start(&[("x", Value::from("{{ evil }}"))]);
    let job = run.element("t").1.job.unwrap();
    let headers = run.view().job(job).unwrap().input.headers;
    assert_eq!(headers["argv"], HeaderValue::Template("{{ x }}".to_owned()));
    assert_eq!(headers["from"], HeaderValue::Value(Value::from("{{ evil }}")));
    let mut rendered = headers.clone();
    rendered.insert("argv".to_owned(), HeaderValue::Value(Value::from("rendered")));
    let activate = |rendered| Action::ActivateJobs {
        worker: "w".to_owned(),
        jobs: vec![JobStart { job, rendered, on_unknown: OnUnknown::Retry }],
    };
    run.ask(activate(Ok(rendered.clone()))).unwrap();
    assert_eq!(run.view().job(job).unwrap().input.headers, rendered);
    run.ask(Action::Boot { engine_id: [9; 16] }).unwrap();
    run.ask(activate(Err("not asked again".to_owned()))).unwrap();
    assert_eq!(run.effects, [Effect::DispatchJob { job, attempt: 2 }]);
}

#[test]
fn a_template_that_cannot_be_rendered_is_an_incident_and_a_resolve_makes_the_job_again() {
    let mut run = Run::of("start -> t -> end; t.header argv := {{ x }}");
    run.start(&[]);
    let (_, row) = run.element("t");
    let jobs = |job, rendered| Action::ActivateJobs {
        worker: "w".to_owned(),
        jobs: vec![JobStart { job, rendered, on_unknown: OnUnknown::Retry }],
    };
    let first = row.job.unwrap();
    let key = effect_key(&run, "t");
    run.ask(jobs(first, Err("undefined value `x`".to_owned()))).unwrap();
    assert_eq!(run.incident("t").unwrap().1, "expression-error");
    run.resolve("t");
    let second = run.element("t").1.job.unwrap();
    assert!(second != first && effect_key(&run, "t") != key, "another input, another key");
}

#[test]
fn only_braces_make_a_header_a_template() {
    let mut run = Run::of("start -> t -> end; t.header query := select 1 where x like '{% a %}'");
    run.start(&[]);
    let job = run.element("t").1.job.unwrap();
    let text = HeaderValue::Value(Value::from("select 1 where x like '{% a %}'"));
    assert_eq!(run.view().job(job).unwrap().input.headers["query"], text);
}

#[test]
fn a_person_begins_the_time_over_all_tries_anew_and_a_retry_does_not() {
    let mut run = Run::of("start -> t -> end; t.retries := 2");
    run.start(&[]);
    let job = run.element("t").1.job.unwrap();
    let first = |run: &Run| run.view().job(job).unwrap().first_activated_ms;
    run.fail("t", true);
    let began = run.now_ms;
    run.advance(70_000);
    run.fail("t", true);
    assert_eq!(first(&run), Some(began));
    run.advance(3_600_000);
    run.resolve("t");
    run.activate("t");
    assert_eq!(first(&run), Some(run.now_ms));
}

#[test]
fn a_job_that_nobody_works_is_an_incident_and_a_resolve_reads_its_type_again() {
    let mut run = Run::of("start -> t -> end; t.type := =kind");
    run.start(&[("kind", Value::from("sq1"))]);
    let job = run.element("t").1.job.unwrap();
    run.ask(Action::RefuseJob { job, message: "nobody works it".to_owned() }).unwrap();
    assert_eq!(run.incident("t").unwrap().1, "expression-error");
    assert_eq!(run.ask(Action::RefuseJob { job, message: String::new() }).unwrap_err().code(), "not-found");
    run.resolve("t");
    assert_ne!(run.element("t").1.job, Some(job));
    run.complete("t", &[]);
    assert_eq!(run.end().unwrap(), "completed");
}

#[test]
fn an_error_that_brings_what_it_must_not_write_still_ends_its_attempt() {
    let mut run = Run::of("start -> t -> end; t !* -> caught");
    run.start(&[]);
    run.throw("t", "E1", &[("run", number(1))]);
    assert_eq!(run.incident("t").unwrap().1, "job-failed");
    run.resolve("t");
    run.throw("t", "E1", &[]);
    assert_eq!(run.waiting(), ["caught"]);
}

#[test]
fn the_next_look_is_not_later_than_the_hour_in_which_a_message_id_is_forgotten() {
    let mut run = Run::of("on_go -> t -> end");
    assert_eq!(run.view().next_due(run.now_ms), None);
    let publish = |id: &str| Action::PublishMessage {
        name: "go".to_owned(),
        key: String::new(),
        message_id: Some(id.to_owned()),
        variables: Variables::new(),
        only: None,
        trigger: None,
        depth: 0,
    };
    run.advance(1_234);
    run.ask(publish("a")).unwrap();
    let due = run.view().next_due(run.now_ms).unwrap();
    assert_eq!(due - super::run::START_MS, 25 * 3_600_000);
    run.advance(due - run.now_ms);
    assert_eq!(run.view().next_due(run.now_ms), None, "it is forgotten");
}

#[test]
fn without_its_definition_nothing_of_a_run_is_lost_and_it_goes_on_when_it_is_back() {
    let text = "start -> t -> end; t @PT5M -> late";
    for how in ["completes", "fails", "waits", "late"] {
        let mut run = Run::of(text);
        run.start(&[]);
        let active = (how != "waits").then(|| run.activate("t"));
        let models = std::mem::take(&mut run.models);
        let message = "it broke".to_owned();
        let action = match (how, active) {
            ("completes", Some((job, attempt))) => {
                Action::JobCompleted { job, attempt, result: vars(&[("n", number(1))]) }
            }
            ("fails", Some((job, attempt))) => {
                Action::JobFailed { job, attempt, message, retryable: false, backoff_ms: None }
            }
            ("late", _) => {
                run.now_ms += 300_000;
                Action::Tick
            }
            _ => {
                let job = run.state.rows().find_map(|(key, _)| if let Key::Job(job) = key { Some(*job) } else { None });
                let job = job.unwrap();
                let start = JobStart { job, rendered: Ok(Default::default()), on_unknown: OnUnknown::Retry };
                Action::ActivateJobs { worker: "w".to_owned(), jobs: vec![start] }
            }
        };
        run.ask_without_models(action);
        run.models = models;
        assert_eq!(run.incident("t").unwrap().1, "internal", "{how}");
        run.resolve("t");
        if how != "completes" {
            run.complete("t", &[]);
        }
        assert_eq!(run.end().as_deref(), Some("completed"), "{how}");
    }
}

#[test]
fn a_failed_task_whose_timer_fires_without_its_definition_begins_anew_when_it_is_resolved() {
    for is_back in [true, false] {
        let mut run = Run::of("start -> t -> end; t @PT5M -> late");
        run.start(&[]);
        run.fail("t", false);
        let (incident, ..) = run.incident("t").unwrap();
        let models = std::mem::take(&mut run.models);
        run.now_ms += 300_000;
        run.ask_without_models(Action::Tick);
        if !is_back {
            run.ask_without_models(Action::Resolve { incident });
        }
        run.models = models;
        assert_eq!(run.incident("t").unwrap().1, "internal", "it is known what keeps it, also after a resolve");
        run.resolve("t");
        assert_eq!(run.incident("t"), None);
        run.complete("t", &[]);
        assert_eq!(run.end().as_deref(), Some("completed"));
    }
}

#[test]
fn one_concurrency_key_runs_one_job_at_a_time() {
    let mut run = Run::of("start -> t -> end; t.header concurrencyKey := k");
    run.start(&[]);
    run.start(&[]);
    let jobs: Vec<u64> = run.elements().iter().map(|(_, _, row)| row.job.unwrap()).collect();
    let start = |job: &u64| JobStart { job: *job, rendered: Ok(Default::default()), on_unknown: OnUnknown::Retry };
    let both = Action::ActivateJobs { worker: "w".to_owned(), jobs: jobs.iter().map(start).collect() };
    assert_eq!(run.ask(both.clone()).unwrap(), Answer::Activated { jobs: vec![jobs[0]] });
    run.ask(Action::JobCompleted { job: jobs[0], attempt: 1, result: Variables::new() }).unwrap();
    assert_eq!(run.ask(both).unwrap(), Answer::Activated { jobs: vec![jobs[1]] });
}

#[test]
fn a_retry_with_other_variables_gets_an_effect_key_of_its_own() {
    let mut run = Run::of("start -> t -> end; t.header q := =x");
    run.start(&[("x", number(1))]);
    let key = effect_key(&run, "t");
    run.fail("t", false);
    let job = run.element("t").1.job.unwrap();
    let retry = |x: i64| Action::Retry { job, retries: Some(1), variables: vars(&[("x", number(x))]) };
    run.ask(retry(1)).unwrap();
    assert_eq!(effect_key(&run, "t"), key, "the same input keeps its key");
    run.fail("t", false);
    run.ask(retry(2)).unwrap();
    assert_ne!(effect_key(&run, "t"), key);
    let headers = run.view().job(job).unwrap().input.headers;
    assert_eq!(headers["q"], HeaderValue::Value(number(2)));
    run.complete("t", &[]);
    let attempts = run.log.iter().filter(|event| matches!(event.body, Body::JobActivated { .. })).count();
    assert_eq!((attempts, run.end().unwrap().as_str()), (3, "completed"));
}

#[test]
fn a_header_the_engine_reads_must_be_readable() {
    for header in ["timeout := soon", "retryBackoff := PT1S;", "onUnknown := perhaps", "retryBackoff := often"] {
        let mut run = Run::of(&format!("start -> t -> end; t.header {header}"));
        run.start(&[]);
        let job = run.element("t").1.job.unwrap();
        let jobs = vec![JobStart { job, rendered: Ok(Default::default()), on_unknown: OnUnknown::Retry }];
        run.ask(Action::ActivateJobs { worker: "w".to_owned(), jobs }).unwrap();
        let bad = !header.contains("PT1S");
        assert_eq!(run.element("t").1.held.is_some(), bad, "{header}");
    }
}
