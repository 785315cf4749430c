//! A gate with `on: ingest` as it is written (gates.md 1.2, 8).
//!
//! Duty: its statement to a [`Matching`], with code 027 where it is no plain selection of spans, and where other keys ask for
//! what such a gate does not have. Guarantee: what is read is about one span at a time. Left to others: names and types
//! (`plan`), text that does not parse (`plan`).

use std::time::Duration;

use datafusion::sql::sqlparser::ast::{Expr, Ident, SelectItem, SetExpr, Statement};
use datafusion::sql::sqlparser::parser::Parser;

use super::Matching;
use crate::gate::definition::{Comparison, EventTime};
use crate::gate::problem::Code;
use crate::gate::reader::Keys;
use crate::gate::run::TRACE_IDS;
use crate::query::condition::condition;
use crate::query::dialect::Postgres;
use crate::query::place_of;
use crate::yaml::Mark;

/// Columns that the statements make.
const MADE: [&str; 3] = ["value", "n", TRACE_IDS];
/// Keys that have no meaning, and why.
const MEANINGLESS: [(&str, &str); 6] = [
    ("value_column", "the value is the number of matching spans"),
    ("n_column", "the samples are the matching spans"),
    ("unit", "the value is the number of matching spans"),
    ("warn", "every matching span is a fail"),
    ("conclusive_when", "every matching span is a fail"),
    ("baseline", "every matching span is a fail"),
];
/// What may stand behind the condition, or in front of it, of a statement that is more.
const MORE: [&str; 10] = ["with", "distinct", "join", "group", "having", "window", "union", "order", "limit", "offset"];
const NEXT: &str = "write `SELECT` and the columns of `by`, `FROM spans WHERE` and a condition, or remove `on`";

/// Why a statement is no plain selection of spans.
#[derive(Debug)]
enum Fault {
    /// It does not parse, or is no query: planning tells it.
    Other,
    /// What is wrong, and the word in the text that shows it.
    Shape(String, Option<String>),
}

fn shape(what: impl Into<String>, word: Option<&str>) -> Fault {
    Fault::Shape(what.into(), word.map(str::to_owned))
}

/// What a gate with `on: ingest` matches by `sql`, which stands at `source`. `None`: it is not told here, or it was told, and
/// then the second is true.
pub(in crate::gate) fn read(
    keys: &Keys<'_>,
    (sql, source): (&str, Option<&Mark>),
    by: &[String],
    (time, skew): (EventTime, Duration),
) -> (Option<Matching>, bool) {
    let place = keys.place("on");
    if let Some(other) = ["slo", "assert", "finding"].into_iter().find(|key| keys.is_given(key)) {
        let what = format!("`on: ingest` looks at spans one by one, and `{other}` counts them");
        keys.tell(Code::On, &place, what, "remove `on`, or write `sql`");
        return (None, true);
    }
    let Some(source) = source else { return (None, false) };
    for (key, why) in MEANINGLESS {
        if let Some(given) = keys.entry(key) {
            let what = format!("`{key}` has no meaning with `on: ingest`: {why}");
            keys.tell(Code::On, &given.mark, what, "remove it, or remove `on`");
        }
    }
    match matching(sql, by, time, skew) {
        Ok(matching) => (Some(matching), false),
        Err(Fault::Other) => (None, false),
        Err(Fault::Shape(what, word)) => {
            let at = word.and_then(|word| place_of(&word, sql));
            let at = at.map(|at| format!(" {}:{}", at.line, at.column)).unwrap_or_default();
            keys.tell(Code::On, source, format!("`on: ingest`: SQL{at}: {what}"), NEXT);
            (None, true)
        }
    }
}

/// Tells a comparison that does not say that every matching span is a fail and none of them a pass.
pub(in crate::gate) fn check_comparisons(keys: &Keys<'_>, pass: &Comparison, clear: &Comparison) {
    let is_meant = pass.test.holds(0.0) && ![1.0, 2.0, 1e15].into_iter().any(|count| pass.test.holds(count));
    // What is no comparison was told, and has no text.
    if keys.is_given("pass") && !pass.text.is_empty() && !is_meant {
        let what = format!("with `on: ingest` every matching span is a fail, and `pass` is {}", pass.text);
        keys.tell(Code::On, &keys.place("pass"), what, "write `== 0`, or remove it");
    }
    if keys.is_given("clear") && !clear.text.is_empty() && !clear.test.holds(0.0) {
        let what = format!("with `on: ingest` a key clears when no span matches, and `clear` is {}", clear.text);
        keys.tell(Code::On, &keys.place("clear"), what, "remove it");
    }
}

fn matching(sql: &str, by: &[String], time: EventTime, skew: Duration) -> Result<Matching, Fault> {
    let statements = Parser::parse_sql(&Postgres, sql).map_err(|_| Fault::Other)?;
    let [Statement::Query(query)] = statements.as_slice() else { return Err(Fault::Other) };
    let more = || MORE.into_iter().find(|word| place_of(word, sql).is_some());
    let SetExpr::Select(select) = query.body.as_ref() else {
        return Err(shape("it is no plain SELECT of spans", more()));
    };
    let from: Vec<String> = select.from.iter().map(ToString::to_string).collect();
    let is_of_spans = matches!(from.as_slice(), [one] if one.eq_ignore_ascii_case("spans"));
    if !is_of_spans {
        return Err(shape("it reads something else than `spans` alone", Some("from")));
    }
    let Some(predicate) = &select.selection else {
        return Err(shape("it has no WHERE, so every span would be a fail", None));
    };
    let listed: Vec<String> = select.projection.iter().map(|item| format!(" {item}")).collect();
    // What is printed is all that there is.
    let plain = format!("SELECT{} FROM {} WHERE {predicate}", listed.join(","), from.join(""));
    if query.to_string() != plain {
        return Err(shape("it is more than columns, `spans` and a condition", more()));
    }
    let of_one_span = |expr: &Expr| {
        let read = condition(&expr.to_string());
        read.map(|read| read.to_string()).map_err(|error| Fault::Shape(error.message, None))
    };
    let predicate = of_one_span(predicate)?;
    if let Some(made) = by.iter().find(|column| MADE.contains(&column.as_str())) {
        return Err(shape(format!("the column `{made}` of `by` is one that verdicts have; rename it with AS"), None));
    }
    let mut keys: Vec<(String, String)> = Vec::new();
    // Without keys nothing of a span but the condition is looked at.
    for item in select.projection.iter().filter(|_| !by.is_empty()) {
        let Some((column, expr)) = named(item) else {
            return Err(shape(format!("`{item}` has no name; name it with AS as one of `by`"), None));
        };
        if !by.contains(&column) {
            return Err(shape(format!("the column `{column}` is none of `by`"), Some(&column)));
        }
        if keys.iter().any(|(other, _)| *other == column) {
            return Err(shape(format!("two columns are named `{column}`"), Some(&column)));
        }
        keys.push((column, of_one_span(expr)?));
    }
    Ok(Matching { written: sql.to_owned(), keys, predicate, time, skew })
}

/// A column with its name, as the engine names it.
fn named(item: &SelectItem) -> Option<(String, &Expr)> {
    match item {
        SelectItem::ExprWithAlias { expr, alias } => Some((name(alias), expr)),
        SelectItem::UnnamedExpr(expr) => match expr {
            Expr::Identifier(ident) => Some((name(ident), expr)),
            Expr::CompoundIdentifier(parts) => parts.last().map(|ident| (name(ident), expr)),
            _ => None,
        },
        _ => None,
    }
}

fn name(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

#[cfg(test)]
pub(in crate::gate) mod tests {
    use super::*;

    /// What `sql` matches, by the key columns `by`.
    pub(in crate::gate) fn of(sql: &str, by: &[&str]) -> Matching {
        let by: Vec<String> = by.iter().map(|column| (*column).to_owned()).collect();
        matching(sql, &by, EventTime::End, Duration::from_secs(1_000_000)).unwrap()
    }

    fn fault(sql: &str, by: &[&str]) -> String {
        let by: Vec<String> = by.iter().map(|column| (*column).to_owned()).collect();
        match matching(sql, &by, EventTime::End, Duration::ZERO) {
            Err(Fault::Shape(what, _)) => what,
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn columns_are_named_as_the_engine_names_them() {
        let read =
            of("SELECT Service_Name, attributes['k'] AS \"K\" FROM spans WHERE a = 1 OR b;", &["service_name", "K"]);
        let keys: Vec<(&str, &str)> = read.keys.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(keys, [("service_name", "Service_Name"), ("K", "attributes['k']")]);
        assert_eq!(read.predicate, "a = 1 OR b");
        assert!(read.sql().contains("AND (a = 1 OR b)"), "{}", read.sql());
        assert!(of("SELECT * FROM spans WHERE a", &[]).keys.is_empty(), "without keys no column matters");
    }

    #[test]
    fn what_is_more_than_columns_and_a_condition_is_told() {
        let by = &["a"];
        for sql in [
            "SELECT a FROM spans WHERE b GROUP BY a",
            "SELECT DISTINCT a FROM spans WHERE b",
            "SELECT a FROM spans WHERE b ORDER BY a LIMIT 3",
            "WITH s AS (SELECT 1) SELECT a FROM spans WHERE b",
            "SELECT a FROM spans WHERE b HAVING true",
        ] {
            assert_eq!(fault(sql, by), "it is more than columns, `spans` and a condition", "{sql}");
        }
        for sql in
            ["SELECT a FROM traces WHERE b", "SELECT a FROM spans s WHERE b", "SELECT a FROM spans, spans WHERE b"]
        {
            assert_eq!(fault(sql, by), "it reads something else than `spans` alone", "{sql}");
        }
        assert_eq!(fault("SELECT a FROM spans", by), "it has no WHERE, so every span would be a fail");
        assert_eq!(fault("SELECT a, c FROM spans WHERE b", by), "the column `c` is none of `by`");
        assert_eq!(fault("SELECT a, b AS a FROM spans WHERE b", by), "two columns are named `a`");
        assert_eq!(
            fault("SELECT upper(a) FROM spans WHERE b", by),
            "`upper(a)` has no name; name it with AS as one of `by`"
        );
        assert_eq!(fault("SELECT a FROM spans WHERE c IN (SELECT 1)", by), "a condition has no subqueries");
        assert_eq!(fault("SELECT a FROM spans WHERE count(*) > 1", by), "`count` is about more than one row");
        assert!(fault("SELECT a FROM spans WHERE c > $window_start", by).contains("has no value within a condition"));
        assert!(matches!(
            matching("SELECT a FROM spans WHERE", &[], EventTime::End, Duration::ZERO),
            Err(Fault::Other)
        ));
    }
}
