//! Our functions as `pg_proc` lists them.
//!
//! Duty: names, kinds and forms of what a session can call. Guarantee: the number of a function is the same as long as
//! the daemon runs. Left to others: their texts (`query::docs`).

use datafusion::execution::session_state::SessionState;

use crate::query::docs::{self, Kind};
use crate::query::session::SCHEMA;

/// The number of the first; those of PostgreSQL's own are below 16384, those of relations far below this.
const FIRST: i32 = 1_000_000;

/// A function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routine {
    /// Its number.
    pub oid: i32,
    /// Its name.
    pub name: String,
    /// `f` a function of values, `a` one of groups.
    pub kind: &'static str,
    /// Whether it gives rows.
    pub gives_rows: bool,
    /// Its arguments as they are written; empty where nobody says them.
    pub arguments: String,
    /// What it gives; empty where nobody says it.
    pub result: String,
}

impl Routine {
    /// How it would be made; nobody can.
    pub fn definition(&self) -> String {
        let Self { name, arguments, result, .. } = self;
        let what = if self.kind == "a" { "AGGREGATE" } else { "FUNCTION" };
        let returns = if result.is_empty() { String::new() } else { format!("\n RETURNS {result}") };
        format!("CREATE {what} {SCHEMA}.{name}({arguments}){returns}\n LANGUAGE internal\nAS '{name}'\n")
    }
}

/// All of a session, by name.
pub fn routines(state: &SessionState) -> Vec<Routine> {
    let of = |kind: Kind, names: Vec<String>| names.into_iter().map(move |name| (name, kind));
    let mut all: Vec<(String, Kind)> = of(Kind::Scalar, state.scalar_functions().keys().cloned().collect())
        .chain(of(Kind::Aggregate, state.aggregate_functions().keys().cloned().collect()))
        .chain(of(Kind::Table, state.table_functions().keys().cloned().collect()))
        .collect();
    all.sort_by(|a, b| (&a.0, a.1 as u8).cmp(&(&b.0, b.1 as u8)));
    let routine = |(oid, (name, kind)): (i32, (String, Kind))| {
        let form = docs::of(kind, &name).map(|doc| doc.form);
        let (arguments, result) = form.map_or(("", ""), parts);
        Routine {
            oid,
            kind: if kind == Kind::Aggregate { "a" } else { "f" },
            gives_rows: kind == Kind::Table,
            arguments: arguments.to_owned(),
            result: result.to_owned(),
            name,
        }
    };
    (FIRST..).zip(all).map(routine).collect()
}

/// Arguments and result of `f(a, b) → TEXT`.
fn parts(form: &str) -> (&str, &str) {
    let (call, result) = form.split_once(" → ").unwrap_or((form, ""));
    let arguments = call.split_once('(').map_or("", |(_, rest)| rest.strip_suffix(')').unwrap_or(rest));
    (arguments, result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_arguments_and_a_result() {
        assert_eq!(parts("f(a, g(b)) → TEXT"), ("a, g(b)", "TEXT"));
        assert_eq!(parts("f"), ("", ""));
    }
}
