//! What makes two files the same definition (bpmn.md 13).
//!
//! Duty: `version_hash` over bytes, `exec_hash` over what is executed. Guarantee: a part is its length (u32, little-endian)
//! and its bytes, a number is 8 bytes little-endian, an absent part is length 0; hex is lower case. Left to others: what
//! a new version does (`engine`).

use sha2::{Digest, Sha256};

use super::{
    BoundaryTrigger, Definitions, EndResult, Extensions, Mapping, Node, NodeKind, Scope, StartTrigger, Text, Timer,
};

/// SHA-256, as 64 hex digits, over two parts: the file's bytes and those of its bindings file.
pub fn version_hash(file: &[u8], bindings: Option<&[u8]>) -> String {
    let mut parts = Parts::default();
    parts.bytes(file);
    parts.bytes(bindings.unwrap_or_default());
    parts.hex()
}

/// SHA-256, as 64 hex digits, over what the executable processes do: no diagram, names, documentation, drawings.
///
/// Equal for two versions = only the layout changed.
pub fn exec_hash(definitions: &Definitions) -> String {
    let mut parts = Parts::default();
    for process in definitions.processes.iter().filter(|process| process.is_executable()) {
        parts.text("process");
        parts.text(&process.id);
        parts.optional(process.version_tag.as_deref());
        parts.pairs(&process.properties);
        parts.number(process.unsupported.len());
        process.unsupported.keys().for_each(|name| parts.text(name));
        scope(&mut parts, definitions, &process.scope);
    }
    parts.hex()
}

fn scope(parts: &mut Parts, definitions: &Definitions, scope: &Scope) {
    parts.number(scope.nodes.len());
    for node in &scope.nodes {
        parts.text(&node.id);
        parts.text(&node.element);
        kind(parts, definitions, scope, node);
        parts.optional(node.default.map(|flow| scope.flows[flow].id.as_str()));
        extensions(parts, &node.extensions);
    }
    parts.number(scope.flows.len());
    for flow in &scope.flows {
        parts.text(&flow.id);
        parts.text(&scope.nodes[flow.source].id);
        parts.text(&scope.nodes[flow.target].id);
        parts.optional(flow.condition.as_ref().map(Text::expression));
    }
}

fn kind(parts: &mut Parts, definitions: &Definitions, scope_of: &Scope, node: &Node) {
    let error = |parts: &mut Parts, error: Option<usize>| {
        parts.optional(error.and_then(|error| definitions.errors[error].code.as_deref()));
    };
    match &node.kind {
        NodeKind::Start(StartTrigger::None) | NodeKind::End(EndResult::None) => parts.text("none"),
        NodeKind::Start(StartTrigger::Message { message }) => {
            let message = message.map(|message| &definitions.messages[message]);
            parts.text("message");
            parts.optional(message.and_then(|message| message.name.as_deref()));
            parts.optional(message.and_then(|message| message.correlation_key.as_deref()));
        }
        NodeKind::End(EndResult::Error { error: of }) => {
            parts.text("error");
            error(parts, *of);
        }
        NodeKind::Boundary { host, interrupting, trigger } => {
            parts.text(&scope_of.nodes[*host].id);
            parts.text(if *interrupting { "interrupting" } else { "non-interrupting" });
            match trigger {
                BoundaryTrigger::Error { error: of } => {
                    parts.text("error");
                    error(parts, *of);
                }
                BoundaryTrigger::Timer(timer) => {
                    let (kind, text) = match timer {
                        Timer::Date(text) => ("date", Some(text)),
                        Timer::Duration(text) => ("duration", Some(text)),
                        Timer::Cycle(text) => ("cycle", Some(text)),
                        Timer::Missing => ("timer", None),
                    };
                    parts.text(kind);
                    parts.optional(text.map(|text| text.text.as_str()));
                }
            }
        }
        NodeKind::ServiceTask | NodeKind::ExclusiveGateway => {}
        NodeKind::Unsupported { what, inner, .. } => {
            parts.text(what);
            if let Some(inner) = inner {
                scope(parts, definitions, inner);
            }
        }
    }
}

fn extensions(parts: &mut Parts, extensions: &Extensions) {
    match &extensions.task {
        None => parts.optional(None),
        Some(task) => {
            parts.text(&task.r#type.text);
            parts.optional(task.retries.as_ref().map(|retries| retries.text.as_str()));
        }
    }
    parts.number(extensions.headers.len());
    for header in &extensions.headers {
        parts.text(&header.key);
        parts.text(&header.value.text);
    }
    let mappings = |parts: &mut Parts, mappings: &[Mapping]| {
        parts.number(mappings.len());
        for mapping in mappings {
            parts.text(&mapping.source.text);
            parts.text(&mapping.target.text);
        }
    };
    mappings(parts, &extensions.inputs);
    mappings(parts, &extensions.outputs);
    parts.pairs(&extensions.properties);
    parts.number(extensions.unsupported.len());
    extensions.unsupported.keys().for_each(|name| parts.text(name));
}

/// Parts on their way into one hash.
#[derive(Default)]
struct Parts(Sha256);

impl Parts {
    fn bytes(&mut self, bytes: &[u8]) {
        // A file has at most 16 MiB, and so has every text in it.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.0.update(length.to_le_bytes());
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn optional(&mut self, text: Option<&str>) {
        self.text(text.unwrap_or_default());
    }

    fn number(&mut self, number: usize) {
        self.0.update(u64::try_from(number).unwrap_or(u64::MAX).to_le_bytes());
    }

    fn pairs(&mut self, pairs: &[(String, String)]) {
        self.number(pairs.len());
        for (name, value) in pairs {
            self.text(name);
            self.text(value);
        }
    }

    fn hex(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    const FILE: &str = include_str!("../../../tests/data/bpmn/repair.bpmn");

    fn hash(file: &str) -> String {
        exec_hash(&parse(file.as_bytes()).unwrap())
    }

    #[test]
    fn the_version_is_the_hash_of_lengths_and_bytes_of_both_files() {
        // printf '\x01\x00\x00\x00a\x00\x00\x00\x00' | sha256sum
        let alone = "9f7059dea53b801cd0608b789f11aa6515675c660286399e7334d4f7bec8ae0d";
        assert_eq!(version_hash(b"a", None), alone);
        assert_eq!(version_hash(b"a", Some(b"")), alone);
        assert_ne!(version_hash(b"a", Some(b"b")), version_hash(b"ab", None));
    }

    #[test]
    fn names_documentation_and_diagrams_are_not_executed() {
        let plain = hash(FILE);
        assert_eq!(plain.len(), 64);
        for (from, to) in [
            ("name=\"Repair\"", "name=\"Mend\""),
            ("<bpmn:documentation>", "<bpmn:documentation>More: "),
            ("x=\"160\"", "x=\"161\""),
            ("name=\"fixed?\"", ""),
        ] {
            assert!(FILE.contains(from), "{from}");
            assert_eq!(hash(&FILE.replace(from, to)), plain, "{from}");
        }
    }

    #[test]
    fn everything_that_runs_is_hashed() {
        let plain = hash(FILE);
        let mut seen = std::collections::BTreeSet::from([plain]);
        for (from, to) in [
            ("type=\"codegen\"", "type=\"command\""),
            ("value=\"greet\"", "value=\"wave\""),
            ("PT10M", "PT11M"),
            ("= verdict = \"pass\"", "= verdict = \"warn\""),
            ("errorCode=\"GATE_FAILED\"", "errorCode=\"OTHER\""),
            ("name=\"weavergen.gate\"", "name=\"weavergen.gate.x\""),
            ("default=\"no\"", ""),
            ("target=\"service\"", "target=\"services\""),
            ("retries=\"2\"", "retries=\"4\""),
        ] {
            assert!(FILE.contains(from), "{from}");
            assert!(seen.insert(hash(&FILE.replace(from, to))), "{from}");
        }
    }
}
