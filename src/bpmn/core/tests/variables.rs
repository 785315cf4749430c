//! Scopes, mappings, results (bpmn.md 7).

use super::run::{Run, number, vars};
use crate::core::{Action, Value, Variables};

fn context(entries: &[(&str, Value)]) -> Value {
    Value::Context(vars(entries))
}

#[test]
fn input_mappings_run_in_order_and_stay_local() {
    let mut run =
        Run::of("start -> t -> end; t.in a := =x + 1; t.in b := =a + 1; t.in to.name := plain; t.in to.n := =b");
    let instance = run.start(&[("x", number(1))]);
    let job = run.view().job(run.element("t").1.job.unwrap()).unwrap();
    let seen = job.input.variables;
    assert_eq!((&seen["a"], &seen["b"], &seen["x"]), (&number(2), &number(3), &number(1)));
    assert_eq!(seen["to"], context(&[("name", Value::from("plain")), ("n", number(3))]));
    run.complete("t", &[]);
    assert_eq!(run.root(instance, "a"), None);
}

#[test]
fn only_mapped_names_leave_to_where_the_name_is_known_above() {
    let mut run = Run::of("start -> t -> u -> end; t.in x := =5; t.out x := =x + r; t.out y := =x; t.out o.k := =r");
    let instance = run.start(&[("x", number(1)), ("o", context(&[("a", number(1))]))]);
    run.complete("t", &[("r", number(2))]);
    assert_eq!(run.view().variable(instance, "x"), Some(number(7)));
    assert_eq!(run.view().variable(instance, "y"), Some(number(7)), "a mapping sees the ones before it");
    assert_eq!(run.view().variable(instance, "r"), None);
    assert_eq!(run.view().variable(instance, "o"), Some(context(&[("a", number(1)), ("k", number(2))])));
}

#[test]
fn a_result_goes_to_the_nearest_scope_that_has_its_name() {
    let mut run = Run::of("start -> t -> u -> end; t.in mine := =0");
    let instance = run.start(&[("known", number(1))]);
    run.complete("t", &[("mine", number(2)), ("known", number(3)), ("new", number(4))]);
    let view = run.view();
    assert_eq!(view.variable(instance, "mine"), None, "an input mapping of the same name keeps the result local");
    assert_eq!(view.variable(instance, "known"), Some(number(3)));
    assert_eq!(view.variable(instance, "new"), Some(number(4)));
}

#[test]
fn result_variable_and_expression_decide_what_a_result_gives() {
    let text = "start -> t -> u -> end; t.header resultVariable := all; t.header resultExpression := ={n: code + 1}";
    let mut run = Run::of(text);
    let instance = run.start(&[]);
    run.complete("t", &[("code", number(1))]);
    assert_eq!(run.view().variables(instance), vars(&[("all", context(&[("code", number(1))])), ("n", number(2))]));
}

#[test]
fn an_error_expression_makes_a_bpmn_error_of_a_result() {
    let text =
        "start -> t -> end; t !BAD -> h; t.header errorExpression := =if code = 0 then null else {code: \"BAD\"}";
    let mut run = Run::of(text);
    run.start(&[]);
    run.complete("t", &[("code", number(1))]);
    assert_eq!(run.waiting(), ["h"]);
    let mut run = Run::of(text);
    run.start(&[]);
    run.complete("t", &[("code", number(0))]);
    assert_eq!(run.end().unwrap(), "completed");
}

#[test]
fn run_is_there_everywhere_and_nobody_writes_it() {
    let mut run = Run::of("start -> t -> end; t.in k := =run.key; t.in p := =run.process + run.started");
    let instance = run.start(&[]);
    let seen = run.view().job(run.element("t").1.job.unwrap()).unwrap().input.variables;
    assert_eq!(
        (&seen["k"], &seen["p"]),
        (&number(i64::try_from(instance).unwrap()), &Value::from("p2025-01-01T00:00:00Z"))
    );
    let start =
        Action::Start { process: "p".to_owned(), version: None, start: None, variables: vars(&[("run", number(1))]) };
    assert_eq!(run.ask(start).unwrap_err().code(), "invalid-variables");
    run.complete("t", &[("run", number(1))]);
    assert_eq!(run.incident("t").unwrap().1, "mapping-error");
    let mut run = Run::of("start -> t -> end; t.in run := =1");
    run.start(&[]);
    assert_eq!(run.incident("t").unwrap().1, "mapping-error");
}

#[test]
fn a_mapping_into_what_is_no_context_is_an_incident_that_a_resolve_tries_again() {
    let mut run = Run::of("start -> t -> end; t.out x.y := =r");
    let instance = run.start(&[("x", number(1))]);
    run.complete("t", &[("r", number(2))]);
    assert_eq!(run.incident("t").map(|(_, kind, count)| (kind, count)), Some(("mapping-error", 1)));
    assert_eq!(run.element("t").1.job, None, "its effect is not repeated");
    run.resolve("t");
    assert_eq!(run.incident("t").map(|(_, kind, count)| (kind, count)), Some(("mapping-error", 2)));
    run.ask(Action::Cancel { instance, reason: None }).unwrap();
}

#[test]
fn a_job_type_or_retries_that_cannot_be_used_is_an_incident() {
    for statement in ["t.type := =missing", "t.retries := many", "t.retries := 0"] {
        let mut run = Run::of(&format!("start -> t -> end; {statement}"));
        run.start(&[]);
        assert_eq!(run.incident("t").unwrap().1, "expression-error", "{statement}");
    }
    let mut run = Run::of("start -> t -> end; t.type := =kind");
    run.start(&[("kind", Value::from("sql"))]);
    assert_eq!(run.view().waiting_job_types().into_iter().map(|(name, _)| name).collect::<Vec<_>>(), ["sql"]);
    assert_eq!(Variables::new().len(), 0);
}
