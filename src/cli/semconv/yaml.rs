//! JSON values as YAML in block style.
//!
//! Duty: [`text`]. Guarantee: a YAML reader gets the same value back: text that could be taken for anything else is
//! quoted. Left to others: the order of keys, which is that of the value.

use std::fmt::Write as _;

use serde_json::Value;

/// `value` as a document.
pub(super) fn text(value: &Value) -> String {
    let mut into = String::new();
    block(value, 0, &mut into);
    into
}

/// Writes `value` at the start of a line.
fn block(value: &Value, indent: usize, into: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let _ = write!(into, "{pad}{}:", word(key));
                below(value, indent + 2, into);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let mut inner = String::new();
                block(item, indent + 2, &mut inner);
                // The item's first line goes behind the dash.
                let _ = write!(into, "{pad}- {}", inner.trim_start_matches(' '));
            }
        }
        other => {
            let _ = writeln!(into, "{pad}{}", scalar(other));
        }
    }
}

/// Writes `value` behind a key.
fn below(value: &Value, indent: usize, into: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            into.push('\n');
            block(value, indent, into);
        }
        Value::Array(items) if !items.is_empty() => {
            into.push('\n');
            block(value, indent, into);
        }
        other => {
            let _ = writeln!(into, " {}", scalar(other));
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => word(text),
        // `{}` and `[]` too: only empty ones come here.
        other => other.to_string(),
    }
}

/// Text, quoted unless no YAML reader can take it for another thing.
fn word(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '-'))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    // A JSON string is a double-quoted scalar of YAML.
    if plain { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::semconv::{Registry, Source};
    use crate::yaml::{Mark, Node, parse};

    fn json(node: &Node) -> Value {
        use crate::yaml::Value as Yaml;
        match &node.value {
            Yaml::Null | Yaml::Reported => Value::Null,
            Yaml::Bool(value) => json!(value),
            Yaml::Int(value) => json!(value),
            Yaml::Float(value) => json!(value),
            Yaml::Text(text) => json!(text),
            Yaml::List(items) => items.iter().map(json).collect(),
            Yaml::Map(map) => map.entries().iter().map(|entry| (entry.key.clone(), json(&entry.value))).collect(),
        }
    }

    #[test]
    fn a_yaml_reader_gets_the_same_value_back() {
        let odd = json!({
            "a": [], "b": {}, "c": [[1, [2, {"x": null}]], {"d": true, "e": [{"f": 1.5}]}], "true": "null",
            "g": ["0x10", "1.5", "no", "", " x", "a: b", "# c", "é\n\"", "-", "~", "a.b/c", "{x}"], "h i": {"j": {"k": "l"}},
        });
        for value in [odd, Registry::load(&Source::parse("builtin:shop").unwrap(), None).unwrap().registry.v2_view()] {
            let text = text(&value);
            let root = parse(&text, &Mark::of_source(0, "out")).unwrap_or_else(|problem| panic!("{problem:?}\n{text}"));
            assert_eq!(json(&root), value, "{text}");
        }
    }
}
