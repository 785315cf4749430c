//! Tests of a selector as SQL over one span (gates.md 13).
//!
//! Duty: a test to a condition on columns of `spans`. Guarantee: the condition is true or false, never NULL, and what was
//! written stands in it as a literal only, whatever it holds. Left to others: where a span stands (`statement`).

use super::selector::{About, Column, Field, Literal, Op, Test};

/// A whole number beyond it is no double.
const EXACT: u64 = 1 << 53;

/// The type of a span: what the registry found, else what was sent.
pub(super) const TYPE: &str = "coalesce(semconv_type, span_type)";

/// A text literal.
pub(in crate::gate) fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// What `test` asks of a span.
pub(super) fn condition(test: &Test) -> String {
    let holds = match &test.about {
        About::Exists(Field::Attribute(key)) => format!("has_attr(attributes, {})", text(key)),
        About::Exists(Field::Resource(key)) => format!("has_attr(resource, {})", text(key)),
        About::Exists(Field::Column(column)) => format!("{} IS NOT NULL", of_column(*column)),
        About::Compared(field, op, literal) => compared(field, *op, literal),
    };
    // What a span does not have is NULL: neither `a = 1` nor `a != 1` holds then, and both `not(…)` do.
    format!("{}coalesce({holds}, false)", if test.is_negated { "NOT " } else { "" })
}

const fn of_column(column: Column) -> &'static str {
    match column {
        Column::Name => "name",
        Column::Kind => "kind",
        Column::Status => "status_code",
        Column::Service => "service_name",
        Column::Type => TYPE,
        Column::Duration => "duration_ns",
    }
}

fn compared(field: &Field, op: Op, literal: &Literal) -> String {
    let value = value(field, op, literal);
    let literal = match literal {
        Literal::Text(value) => text(value),
        Literal::Number(number) => number.clone(),
        Literal::Duration(ns) => ns.to_string(),
        Literal::Bool(value) => value.to_string(),
    };
    match op {
        Op::Is => format!("{value} = {literal}"),
        Op::IsNot => format!("{value} <> {literal}"),
        Op::Above | Op::AtLeast | Op::Below | Op::AtMost => format!("{value} {} {literal}", op.as_str()),
        Op::StartsWith => format!("starts_with({value}, {literal})"),
        Op::EndsWith => format!("ends_with({value}, {literal})"),
        Op::Contains => format!("contains({value}, {literal})"),
        Op::Matches => format!("regexp_like({value}, {literal})"),
    }
}

/// `field` in the type of what it is compared with.
fn value(field: &Field, op: Op, literal: &Literal) -> String {
    let (container, key) = match field {
        // Functions of text take no dictionaries.
        Field::Column(column) if is_of_text(op) => return format!("CAST({} AS TEXT)", of_column(*column)),
        Field::Column(column) => return of_column(*column).to_owned(),
        Field::Attribute(key) => ("attributes", text(key)),
        Field::Resource(key) => ("resource", text(key)),
    };
    let function = match literal {
        Literal::Bool(_) => "attr_bool",
        Literal::Text(_) => "attr_text",
        // The types of numbers that were sent are mixed, and 3 is 3.0.
        Literal::Number(number) if is_beyond_doubles(number) => "attr_int",
        Literal::Number(_) | Literal::Duration(_) => "attr_float",
    };
    format!("{function}({container}, {key})")
}

fn is_beyond_doubles(number: &str) -> bool {
    number.trim_start_matches('-').parse::<u64>().is_ok_and(|number| number > EXACT)
}

const fn is_of_text(op: Op) -> bool {
    matches!(op, Op::StartsWith | Op::EndsWith | Op::Contains | Op::Matches)
}

#[cfg(test)]
mod tests {
    use super::super::selector::Selector;
    use super::*;

    fn conditions(tests: &str) -> Vec<String> {
        let selector = Selector::parse(&format!("span[{tests}]")).unwrap();
        selector.paths[0][0].tests.iter().map(condition).collect()
    }

    #[test]
    fn a_test_becomes_a_condition_in_the_type_of_its_literal() {
        for (test, sql) in [
            ("name=\"charge\"", "coalesce(name = 'charge', false)"),
            ("service != 'cart'", "coalesce(service_name <> 'cart', false)"),
            (
                "type ^= \"http.\"",
                "coalesce(starts_with(CAST(coalesce(semconv_type, span_type) AS TEXT), 'http.'), false)",
            ),
            ("duration >= 1.5s", "coalesce(duration_ns >= 1500000000, false)"),
            ("not(status=\"error\")", "NOT coalesce(status_code = 'error', false)"),
            ("not(not(kind=\"server\"))", "coalesce(kind = 'server', false)"),
            ("attr.\"a b\" contains \"x\"", "coalesce(contains(attr_text(attributes, 'a b'), 'x'), false)"),
            ("http.status_code >= 500", "coalesce(attr_float(attributes, 'http.status_code') >= 500, false)"),
            ("app.id = 9007199254740993", "coalesce(attr_int(attributes, 'app.id') = 9007199254740993, false)"),
            ("app.load < -0.5e-3", "coalesce(attr_float(attributes, 'app.load') < -0.5e-3, false)"),
            ("app.paid = true", "coalesce(attr_bool(attributes, 'app.paid') = true, false)"),
            ("resource.\"k8s.pod\" ~= \"^a\"", "coalesce(regexp_like(attr_text(resource, 'k8s.pod'), '^a'), false)"),
            ("exists(http.route)", "coalesce(has_attr(attributes, 'http.route'), false)"),
            ("not(exists(type))", "NOT coalesce(coalesce(semconv_type, span_type) IS NOT NULL, false)"),
        ] {
            assert_eq!(conditions(test), [sql], "{test}");
        }
    }

    #[test]
    fn quotes_in_keys_and_texts_stay_inside_their_literals() {
        assert_eq!(
            conditions("attr.\"it's\" = \"'; DROP TABLE spans; --\""),
            ["coalesce(attr_text(attributes, 'it''s') = '''; DROP TABLE spans; --', false)"]
        );
        assert_eq!(conditions(r#"name = "a\"b\\' OR '1'='1""#), [r#"coalesce(name = 'a"b\'' OR ''1''=''1', false)"#]);
    }
}
