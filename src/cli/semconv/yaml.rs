//! JSON values as YAML in block style.
//!
//! Duty: [`text`]. Guarantee: stable bytes for the same value, whose order of keys is kept. Left to others: how YAML is written
//! (`yaml`).

use serde_json::Value;

use crate::yaml::{self, Entry, Map, Mark, Node};

/// `value` as a document.
pub(super) fn text(value: &Value) -> String {
    yaml::text(&node(value, &Mark::of_source(0, "")))
}

fn node(value: &Value, mark: &Mark) -> Node {
    use crate::yaml::Value as Yaml;
    let value = match value {
        Value::Null => Yaml::Null,
        Value::Bool(value) => Yaml::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Yaml::Int(number),
            (None, Some(number)) => Yaml::Float(number),
            (None, None) => Yaml::Text(number.to_string()),
        },
        Value::String(text) => Yaml::Text(text.clone()),
        Value::Array(items) => Yaml::List(items.iter().map(|item| node(item, mark)).collect()),
        Value::Object(entries) => {
            let mut map = Map::default();
            for (key, value) in entries {
                map.put(Entry { key: key.clone(), mark: mark.clone(), value: node(value, mark) });
            }
            Yaml::Map(map)
        }
    };
    Node { value, mark: mark.clone() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::semconv::{Registry, Source};
    use crate::yaml::parse;

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
