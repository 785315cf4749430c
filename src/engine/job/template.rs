//! Header templates (bpmn.md 10: a header that holds `{{`).
//!
//! Duty: text with `{{ … }}` over a job's variables. Guarantee: an undefined name is an error, nothing is escaped, no file
//! is read, and it ends within a million steps. Left to others: FEEL.

use std::collections::BTreeMap;

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value as Templated};
use serde_json::{Map, Value};

const FUEL: u64 = 1_000_000;

/// `text` with its expressions replaced.
///
/// Errors: one sentence with the line: it does not parse, a name is undefined, or it runs too long.
pub fn resolve_template(text: &str, variables: &Map<String, Value>) -> Result<String, String> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    env.set_fuel(Some(FUEL));
    let values: BTreeMap<String, Templated> =
        variables.iter().map(|(name, value)| (name.clone(), crate::generate::template_value(value))).collect();
    env.render_str(text, Templated::from(values)).map_err(|error| {
        let line = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
        let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
        format!("the template fails{line}: {}{detail}", word(error.kind()))
    })
}

fn word(kind: minijinja::ErrorKind) -> String {
    minijinja::Error::from(kind).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resolve(text: &str) -> Result<String, String> {
        resolve_template(text, json!({"a": "<x>", "n": 3, "list": [1, "b"]}).as_object().unwrap())
    }

    #[test]
    fn variables_are_put_in_unescaped_and_undefined_names_fail() {
        assert_eq!(resolve("{{ a }} {{ n + 1 }} {{ list | join('-') }} {{ a.upper() }}").unwrap(), "<x> 4 1-b <X>");
        assert_eq!(resolve("no template").unwrap(), "no template");
        for (text, want) in [
            ("x\n{{ missing }}", "in line 2"),
            ("{{ a.b.c }}", "undefined"),
            ("{% include '/etc/passwd' %}", "template not found"),
            ("{{ a", "syntax error"),
            ("{{ 'x' * 1000000000 }}", "fuel"),
        ] {
            let error = resolve(text).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
