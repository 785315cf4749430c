//! Names that stay the same across restarts, reloads and generations (gates.md 6).
//!
//! Duty: alert key, alert id, transition id, the ids of health alerts, and of the span of an evaluation. Guarantee: an
//! alert's id depends on the tenant, the gate and the key alone, never on level, severity, value, labels or annotations. Left to others: counting episodes
//! (`journal`).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use crate::span::hex;

/// The only tenant until there are others.
pub const TENANT: &str = "default";

/// Names one alert: a gate and a key, or a health condition.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AlertId(pub [u8; 16]);

impl AlertId {
    /// Of `gate` and the values of its `by` columns by name.
    pub fn new(tenant: &str, gate: &str, key: &BTreeMap<String, String>) -> Self {
        Self::of_parts(["weavergen.gate.v1", tenant, gate].into_iter(), key)
    }

    /// Of a health alert: what is wrong, with which gate or receiver, and with which key of it.
    pub fn of_health(tenant: &str, kind: &str, about: &str, key: &BTreeMap<String, String>) -> Self {
        Self::of_parts(["weavergen.health.v1", tenant, kind, about].into_iter(), key)
    }

    fn of_parts<'a>(parts: impl Iterator<Item = &'a str>, key: &'a BTreeMap<String, String>) -> Self {
        let parts = parts.chain(key.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]));
        let digest = hash_of(parts).finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }
}

/// Each part with its length before it: parts do not run into each other.
fn hash_of<'a>(parts: impl Iterator<Item = &'a str>) -> Sha256 {
    parts.fold(Sha256::new(), |hash, part| {
        // A part above 4 GiB cannot come out of a result of limited size.
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        hash.chain_update(length.to_le_bytes()).chain_update(part.as_bytes())
    })
}

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `name=value` of each `by` column in name order, joined by `,`, with `\` before `,`, `=` and `\`; empty without `by`.
pub fn alert_key(key: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (name, value) in key {
        if !text.is_empty() {
            text.push(',');
        }
        escape_into(&mut text, name);
        text.push('=');
        escape_into(&mut text, value);
    }
    text
}

fn escape_into(text: &mut String, part: &str) {
    for c in part.chars() {
        if matches!(c, ',' | '=' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
}

/// `alert_id/episode/number`; `number` counts from 0 inside the episode.
pub fn transition_id(alert: AlertId, episode: u64, number: u32) -> String {
    format!("{alert}/{episode}/{number}")
}

/// Trace id and span id, in hex, of the span of the evaluation of `gate` at tick `t_ns`: known before it is exported, so
/// that what it starts can link to it (bpmn.md 15).
pub fn evaluation_span(tenant: &str, gate: &str, t_ns: i64) -> (String, String) {
    let digest =
        hash_of(["weavergen.evaluation.v1", tenant, gate].into_iter()).chain_update(t_ns.to_le_bytes()).finalize();
    (hex(&digest[..16]), hex(&digest[16..24]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tick_of_each_gate_has_a_span_of_its_own() {
        let (trace, span) = evaluation_span(TENANT, "errors", 1_000);
        assert_eq!((trace.len(), span.len()), (32, 16));
        assert_eq!(evaluation_span(TENANT, "errors", 1_000), (trace.clone(), span));
        for other in [evaluation_span(TENANT, "errors", 2_000), evaluation_span(TENANT, "error", 1_000)] {
            assert_ne!(other.0, trace);
        }
    }

    fn key(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Expected ids by coreutils: `printf '\x11\0\0\0weavergen.gate.v1\x07\0\0\0default…' | sha256sum | head -c 32`.
    #[test]
    fn an_alert_id_is_a_hash_of_tenant_gate_and_key() {
        let id = AlertId::new(TENANT, "span_completeness", &key(&[("service_name", "cart")]));
        assert_eq!(id.to_string(), "fac8138099076ce7eae86abe59715a95");
        assert_eq!(AlertId::new(TENANT, "up", &key(&[])).to_string(), "2c002f2ea36dee4f3a4fc608123a093a");
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let ids = [
            AlertId::new(TENANT, "g", &key(&[("a", "bc")])),
            AlertId::new(TENANT, "g", &key(&[("ab", "c")])),
            AlertId::new(TENANT, "ga", &key(&[("", "bc")])),
            AlertId::new(TENANT, "g", &key(&[("a", "bc"), ("", "")])),
            AlertId::of_health(TENANT, "g", "a", &key(&[])),
        ];
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }

    #[test]
    fn an_alert_key_can_be_told_from_every_other() {
        assert_eq!(alert_key(&key(&[])), "");
        assert_eq!(alert_key(&key(&[("b", "2"), ("a", "1")])), "a=1,b=2");
        assert_eq!(alert_key(&key(&[("a", r"x,b=\y")])), r"a=x\,b\=\\y");
        assert_ne!(alert_key(&key(&[("a", "1,b=2")])), alert_key(&key(&[("a", "1"), ("b", "2")])));
    }

    #[test]
    fn a_transition_id_names_alert_episode_and_number() {
        assert_eq!(transition_id(AlertId([0xab; 16]), 3, 0), format!("{}/3/0", "ab".repeat(16)));
    }
}
