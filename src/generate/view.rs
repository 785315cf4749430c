//! The registry as templates see it.
//!
//! Duty: the resolved v2 view with every attribute reference replaced by its definition, as template values. Guarantee:
//! a reference keeps its own fields (`requirement_level`, refinements) over those of the definition; keys are sorted.
//! Left to others: resolving (`semconv`).

use std::collections::BTreeMap;

use minijinja::Value;
use serde_json::{Map, Value as Json};

/// Lists that hold references into `attribute_catalog`.
const REFERENCES: [&str; 3] = ["attributes", "identity", "description"];

/// `view` with its references replaced.
pub(super) fn expanded(view: &Json) -> Json {
    let catalog = view.get("attribute_catalog").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    let mut view = view.clone();
    for part in ["registry", "refinements"] {
        if let Some(part) = view.get_mut(part) {
            expand(part, catalog);
        }
    }
    view
}

fn expand(value: &mut Json, catalog: &[Json]) {
    match value {
        Json::Array(items) => items.iter_mut().for_each(|item| expand(item, catalog)),
        Json::Object(map) => {
            for (key, value) in map.iter_mut() {
                match value {
                    Json::Array(items) if REFERENCES.contains(&key.as_str()) => {
                        items.iter_mut().for_each(|item| replace(item, catalog));
                    }
                    _ => expand(value, catalog),
                }
            }
        }
        _ => {}
    }
}

fn replace(item: &mut Json, catalog: &[Json]) {
    let of = |index: &Json| catalog.get(usize::try_from(index.as_u64()?).ok()?).cloned();
    match item {
        Json::Number(_) => {
            if let Some(definition) = of(item) {
                *item = definition;
            }
        }
        Json::Object(map) => {
            let Some(Json::Object(definition)) = map.get("base").and_then(of) else { return };
            let own = std::mem::take(map);
            *map = definition;
            map.extend(own.into_iter().filter(|(key, value)| key != "base" && !value.is_null()));
        }
        _ => {}
    }
}

/// JSON as a template value.
pub fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::from(int),
            (None, Some(int)) => Value::from(int),
            _ => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::from(items.iter().map(value).collect::<Vec<_>>()),
        Json::Object(map) => object(map),
    }
}

fn object(map: &Map<String, Json>) -> Value {
    Value::from(map.iter().map(|(key, json)| (key.clone(), value(json))).collect::<BTreeMap<_, _>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_become_definitions_with_their_own_fields_on_top() {
        let view = json!({
            "attribute_catalog": [{"key": "a", "type": "string", "brief": "A"}, {"key": "b", "type": "int", "brief": "B"}],
            "registry": {
                "attributes": [1, 0],
                "spans": [{"type": "s", "attributes": [{"base": 0, "requirement_level": "required", "note": null}]}],
            },
        });
        let view = expanded(&view);
        assert_eq!(view["registry"]["attributes"][0]["key"], "b");
        assert_eq!(
            view["registry"]["spans"][0]["attributes"][0],
            json!({"key": "a", "type": "string", "brief": "A", "requirement_level": "required"})
        );
        let unknown = expanded(&json!({"attribute_catalog": [], "registry": {"attributes": [7]}}));
        assert_eq!(unknown["registry"]["attributes"], json!([7]));
    }
}
