//! What is promised of FEEL, as cases and as properties.

mod cases;
mod functions;
mod laws;
mod limits;

use super::{Budget, Context, Error, Names, Value, Warning, compile};

/// Variables that the cases read.
fn variables() -> Context {
    let order = r#"{"total": 120.5, "lines": [{"sku": "a", "price": 10, "count": 2}, {"sku": "b", "price": 20.25, "count": 1}],
        "customer": {"name": "Ada", "Postal Code": "1010"}}"#;
    let json = format!(
        r#"{{"a": 1, "b": 2, "yes": true, "no": false, "none": null, "word": "cart", "list": [1, 2, 3], "empty": [],
        "order": {order}, "Current Status": "open", "a-b": 7, "Current": 3, "Status": 4, "one": [5]}}"#
    );
    match Value::from_json(&serde_json::from_str(&json).unwrap()) {
        Value::Context(context) => context,
        other => panic!("{other}"),
    }
}

fn known() -> Names {
    variables().into_keys().chain(["Postal Code".to_owned()]).collect()
}

fn result(text: &str) -> Result<(Value, Vec<Warning>), Budget> {
    match compile(text, &known()) {
        Ok(expr) => expr.eval(&variables(), 0),
        Err(error) => panic!("{text}: {error}"),
    }
}

/// The FEEL text of the value of `text`.
fn value(text: &str) -> String {
    result(text).unwrap_or_else(|budget| panic!("{text}: {budget}")).0.to_string()
}

fn refused(text: &str) -> Error {
    match compile(text, &known()) {
        Ok(expr) => panic!("`{text}` compiles to `{expr}`"),
        Err(error) => error,
    }
}

/// Every pair is an expression and the FEEL text of its value.
#[track_caller]
fn check(cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(text, expected)| {
            let found = value(text);
            (found != *expected).then(|| format!("{text}\n  is       {found}\n  expected {expected}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
