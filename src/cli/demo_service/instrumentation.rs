//! The instrumentation file: span type → attributes → where their values come from.
//!
//! Duty: read what `generate` wrote. Guarantee: an unknown key, type or source is an error with line and column, so a bad
//! template cannot pass for a silent service. Left to others: values (`work`).

use std::collections::BTreeMap;
use std::path::Path;

use crate::yaml::{self, Mark, Node, Value};

/// What a service sets on its spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Instrumentation {
    /// Span type → (attribute key, name under which the service's code knows the value), in file order.
    pub(super) spans: BTreeMap<String, Vec<(String, String)>>,
}

impl Instrumentation {
    /// Reads `path` for `service`. The error is one sentence that begins with `path:line:col`.
    pub(super) fn read(path: &Path, service: &str) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        Self::parse(&text, &path.display().to_string(), service)
    }

    fn parse(text: &str, source: &str, service: &str) -> Result<Self, String> {
        let place = |mark: &Mark| match mark.position() {
            Some((line, column)) => format!("{source}:{line}:{column}"),
            None => source.to_owned(),
        };
        let at = |node: &Node| place(&node.mark);
        let root = yaml::parse(text, &Mark::of_source(0, source))
            .map_err(|problem| format!("{}: {}", place(&problem.mark), problem.text))?;
        let members = |node: &Node, what: &str| -> Result<Vec<(String, Node)>, String> {
            let map = node.as_map().ok_or_else(|| format!("{}: {what} must be a mapping", at(node)))?;
            Ok(map.entries().iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect())
        };
        let mut spans = BTreeMap::new();
        let mut named = false;
        for (key, value) in members(&root, "an instrumentation file")? {
            match key.as_str() {
                "service" => match &value.value {
                    Value::Text(name) if name == service => named = true,
                    _ => return Err(format!("{}: this is not the instrumentation of \"{service}\"", at(&value))),
                },
                "spans" => {
                    for (span_type, attributes) in members(&value, "`spans`")? {
                        let mut pairs = Vec::new();
                        for (key, from) in members(&attributes, "a span type")? {
                            let Value::Text(from_name) = &from.value else {
                                return Err(format!("{}: the source of \"{key}\" must be a name", at(&from)));
                            };
                            pairs.push((key, from_name.clone()));
                        }
                        spans.insert(span_type, pairs);
                    }
                }
                other => return Err(format!("{}: unknown key \"{other}\"; known: service, spans", at(&value))),
            }
        }
        if named { Ok(Self { spans }) } else { Err(format!("{source}: required key missing: service")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_sources_are_read_and_anything_else_is_told_with_its_place() {
        let good = "service: payment\nspans:\n  shop.payment.charge:\n    rpc.method: rpc.method\n    app.x: app.y\n";
        let read = Instrumentation::parse(good, "i.yaml", "payment").unwrap();
        let pairs = &read.spans["shop.payment.charge"];
        assert_eq!(pairs[1], ("app.x".to_owned(), "app.y".to_owned()));
        let wrong = [
            ("service: cart\nspans: {}\n", "i.yaml:1:10: this is not the instrumentation of \"payment\""),
            ("service: payment\nspan: {}\n", "i.yaml:2:7: unknown key \"span\"; known: service, spans"),
            ("service: payment\nspans: [a]\n", "i.yaml:2:8: `spans` must be a mapping"),
            ("spans: {}\n", "i.yaml: required key missing: service"),
        ];
        for (text, problem) in wrong {
            assert_eq!(Instrumentation::parse(text, "i.yaml", "payment").unwrap_err(), problem);
        }
    }
}
