//! The section `semconv` (semconv.md, introduction).

use std::collections::BTreeMap;

use super::source::Source;
use crate::yaml::{Section, Value};

/// Settings of the check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The registry to check against; `None`: only the one of weavergen itself.
    pub registry: Option<Source>,
    /// Service → span types and operation names that it should emit.
    pub expected: BTreeMap<String, Vec<String>>,
}

impl Config {
    /// Reads the section.
    pub fn read(section: &Section<'_>) -> Self {
        let registry = section.text("registry").and_then(|text| match Source::parse(&text) {
            Ok(source) => Some(source),
            Err(error) => {
                section.check("registry", error.to_string());
                None
            }
        });
        section.not_yet(&["matchers"]);
        if section.boolean("search_all_attributes") == Some(false) {
            section.check("search_all_attributes", "false is not supported by weavergen yet");
        }
        // `off` is text in our YAML; `false` says the same.
        let is_off = |value: &Value| *value == Value::Bool(false) || *value == Value::Text("off".to_owned());
        if section.node("heuristics").is_some_and(|node| !is_off(&node.value)) {
            section.check("heuristics", "is not supported by weavergen yet; leave it off");
        }
        Self { registry, expected: expected(&section.block("expected")) }
    }
}

fn expected(section: &Section<'_>) -> BTreeMap<String, Vec<String>> {
    let mut expected = BTreeMap::new();
    for entry in section.entries() {
        let path = format!("{}: want a list of span types and operation names", entry.key);
        let Value::List(items) = &entry.value.value else {
            if !matches!(entry.value.value, Value::Null | Value::Reported) {
                section.check_self(path);
            }
            continue;
        };
        let text = |item: &crate::yaml::Node| match &item.value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        };
        let texts: Vec<String> = items.iter().filter_map(text).collect();
        if texts.len() != items.len() {
            section.check_self(path);
        }
        expected.insert(entry.key.clone(), texts);
    }
    expected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Mark, Problems, parse};

    fn read(text: &str) -> (Config, Vec<String>) {
        let root = parse(text, &Mark::of_source(0, "c.yaml")).unwrap();
        let problems = Problems::new();
        let config = Config::read(&Section::root(&root, &problems));
        (config, problems.into_sorted().iter().map(|p| format!("{}: {}", p.path, p.text)).collect())
    }

    #[test]
    fn a_registry_and_expected_operations_are_read_and_the_rest_is_refused_by_name() {
        let (config, problems) = read(
            "registry: builtin:shop\nexpected: {checkout: [shop.checkout.place_order, POST /checkout]}\n\
             search_all_attributes: true\nmatchers: []\nheuristics: off\n",
        );
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(config.registry, Some(Source::Builtin("shop")));
        assert_eq!(config.expected["checkout"], ["shop.checkout.place_order", "POST /checkout"]);
        let (_, problems) = read(
            "registry: builtin:shap\nexpected: {a: b, c: [1]}\nsearch_all_attributes: false\n\
             matchers: [{id: a}]\nheuristics: on\nregistri: x\n",
        );
        let of = |key: &str| problems.iter().filter(|line| line.starts_with(key)).count();
        assert_eq!(
            (of("registry: "), of("expected: "), of("search_all"), of("matchers: ")),
            (1, 2, 1, 1),
            "{problems:?}"
        );
        assert_eq!((of("heuristics: "), of(": has invalid keys: registri")), (1, 1), "{problems:?}");
    }
}
