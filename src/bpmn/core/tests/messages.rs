//! Message starts (S16, S33).

use super::run::{Run, number, vars};
use crate::core::{Action, Answer, Trigger, Value};

fn message(key: &str, id: Option<&str>, only: Option<&str>) -> Action {
    Action::PublishMessage {
        name: "m".to_owned(),
        key: key.to_owned(),
        message_id: id.map(str::to_owned),
        variables: vars(&[("x", number(1))]),
        only: only.map(str::to_owned),
        trigger: only.map(|_| Trigger { gate: "g".to_owned(), key: key.to_owned(), episode: 1, links: Vec::new() }),
        depth: 0,
    }
}

fn started(answer: Answer) -> Vec<u64> {
    match answer {
        Answer::Published { started } => started,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_starts_a_run_with_its_payload() {
    let mut run = Run::of("on_m -> t -> end");
    let instances = started(run.ask(message("k", None, None)).unwrap());
    assert_eq!(run.view().variable(instances[0], "x"), Some(number(1)));
    let mut run = Run::of("on_m -> t -> end; on_m.out y := =x + 1");
    let instances = started(run.ask(message("", None, None)).unwrap());
    assert_eq!(run.view().variables(instances[0]), vars(&[("y", number(2))]));
}

#[test]
fn an_empty_key_always_starts_and_a_key_only_when_none_of_its_runs_is_active() {
    let mut run = Run::of("on_m -> t -> end");
    assert_eq!(started(run.ask(message("", None, None)).unwrap()).len(), 1);
    assert_eq!(started(run.ask(message("", None, None)).unwrap()).len(), 1);
    assert_eq!(started(run.ask(message("k", None, None)).unwrap()).len(), 1);
    assert_eq!(started(run.ask(message("k", None, None)).unwrap()).len(), 0, "dropped: ttl 0");
    assert_eq!(started(run.ask(message("l", None, None)).unwrap()).len(), 1);
    for _ in 0..4 {
        run.complete("t", &[]);
    }
    assert_eq!(started(run.ask(message("k", None, None)).unwrap()).len(), 1);
}

#[test]
fn a_message_id_counts_once_within_24_hours() {
    let mut run = Run::of("on_m -> t -> end");
    run.ask(message("k", Some("1"), None)).unwrap();
    assert_eq!(run.ask(message("k", Some("1"), None)).unwrap_err().code(), "duplicate-message");
    assert!(run.ask(message("l", Some("1"), None)).is_ok(), "of another key it is another");
    run.now_ms += 86_400_000;
    assert!(run.ask(message("k", Some("1"), None)).is_ok());
    run.advance(86_400_000);
    let kept = run.state.rows().filter(|(key, _)| format!("{key:?}").starts_with("Message")).count();
    assert_eq!(kept, 1, "only the start event is left");
}

#[test]
fn a_gate_is_told_busy_while_a_run_of_its_key_is_active_and_its_message_id_stays_free() {
    let mut run = Run::of("on_m -> t -> end");
    run.ask(message("k", Some("a#1"), Some("p"))).unwrap();
    assert_eq!(run.ask(message("k", Some("a#2"), Some("p"))).unwrap_err().code(), "busy");
    run.complete("t", &[]);
    assert_eq!(started(run.ask(message("k", Some("a#2"), Some("p"))).unwrap()).len(), 1);
    assert_eq!(run.ask(message("k", None, Some("q"))).unwrap_err().code(), "no-such-start");
}

#[test]
fn an_operator_may_start_a_process_at_its_message_start() {
    let mut run = Run::of("on_m -> t -> end; on_m.out y := =x");
    let start = |start: Option<&str>| Action::Start {
        process: "p".to_owned(),
        version: None,
        start: start.map(str::to_owned),
        variables: vars(&[("x", Value::from("payload"))]),
    };
    assert_eq!(run.ask(start(None)).unwrap_err().code(), "ambiguous-start");
    let Ok(Answer::Started { instance }) = run.ask(start(Some("on_m"))) else { panic!("not started") };
    assert_eq!(run.view().variables(instance), vars(&[("y", Value::from("payload"))]));
}
