//! Alerts as Prometheus knows them: labels, annotations and state of what is pending or fires (gates.md 10).
//!
//! Duty: one alert of an active key or of a health condition; the series `ALERTS` and `ALERTS_FOR_STATE`. Guarantee: labels
//! are those that receivers are sent; at most `limit` series a gate, the worst ones; a gate in `dry_run` has none, for
//! nobody is told of it. Left to others: which keys are active (`live`), forms of JSON (`web`).

use std::collections::BTreeMap;

use prometheus::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::book::{annotations, sent_labels};
use super::definition::{Gate, Group, Mode};
use super::journal::Notice;
use super::live::{ActiveKey, Live};
use super::state::Phase;
use super::template::Values;
use crate::span::TraceId;

const ALERTS: (&str, &str) = ("ALERTS", "1 for each alert that is pending or fires.");
const FOR_STATE: (&str, &str) =
    ("ALERTS_FOR_STATE", "Seconds since 1970 at which the breach of a pending or firing alert began.");

/// An alert that is pending or fires.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Those that receivers are sent.
    pub labels: BTreeMap<String, String>,
    /// Rendered with the latest verdict.
    pub annotations: BTreeMap<String, String>,
    /// `pending` or `firing`.
    pub state: &'static str,
    /// First tick of the breach, ns since 1970.
    pub active_at_ns: i64,
    /// Tick since which it only fires for `keep_firing_for`.
    pub keeps_since_ns: Option<i64>,
    /// Value of the latest verdict; of a health alert 1.
    pub value: Option<f64>,
}

impl Alert {
    /// That of `key` of `gate` in `group`.
    pub fn of(group: &Group, gate: &Gate, key: &ActiveKey) -> Self {
        let values = values(gate, key);
        Self {
            labels: sent_labels(group, gate, &values, key.level),
            annotations: annotations(gate, &values),
            state: state(key),
            active_at_ns: key.active_at_ns,
            keeps_since_ns: key.keeps_since_ns,
            value: values.value,
        }
    }

    /// A health alert that fires, as it was told.
    pub fn of_health(notice: &Notice) -> Self {
        Self {
            labels: notice.labels.clone(),
            annotations: notice.annotations.clone(),
            state: "firing",
            active_at_ns: notice.starts_at_ns,
            keeps_since_ns: None,
            value: Some(1.0),
        }
    }
}

fn state(key: &ActiveKey) -> &'static str {
    if key.phase == Phase::Pending { "pending" } else { "firing" }
}

fn values(gate: &Gate, key: &ActiveKey) -> Values {
    let mut values = Values {
        labels: key.labels.clone(),
        gate: gate.name.clone(),
        level: key.level.as_str().to_owned(),
        episode: key.episode,
        value: key.last.and_then(|(_, value)| value),
        ..Values::default()
    };
    if let Some(run) = &key.run {
        values.n = run.n;
        // Cut evidence is whole columns, so it is always an object.
        values.row = serde_json::from_str(&run.evidence).unwrap_or_default();
        values.outcome = run.outcome.as_str().to_owned();
        values.window_start_ns = run.window.start_ns;
        values.window_end_ns = run.window.end_ns;
        values.trace_ids = run.trace_ids.iter().map(|id| TraceId(*id)).collect();
    }
    values
}

/// The two series of every scrape.
#[derive(Debug)]
pub struct Alerts {
    live: Live,
    descriptions: [Desc; 2],
}

impl Alerts {
    /// Shows the alerts of `live` to who scrapes `registry`.
    ///
    /// Errors: a name is taken.
    pub fn register(registry: &Registry, live: Live) -> prometheus::Result<()> {
        // Their labels differ from alert to alert, so none are declared.
        let describe = |(name, help): (&str, &str)| {
            Desc::new(name.to_owned(), help.to_owned(), Vec::new(), std::collections::HashMap::new())
        };
        registry.register(Box::new(Self { live, descriptions: [describe(ALERTS)?, describe(FOR_STATE)?] }))
    }

    fn series(&self) -> [Vec<Metric>; 2] {
        let (mut alerts, mut for_state) = (Vec::new(), Vec::new());
        let mut add = |labels: &BTreeMap<String, String>, state: &str, active_at_ns: i64| {
            #[allow(clippy::cast_precision_loss, reason = "a gauge is a double")]
            let active_s = active_at_ns as f64 / 1e9;
            alerts.push(metric(&exposed(labels, Some(state)), 1.0));
            for_state.push(metric(&exposed(labels, None), active_s));
        };
        for (group, gate) in self.live.gates().filter(|(_, gate)| gate.mode == Mode::Enforce) {
            let Some(now) = self.live.now(&gate.name) else { continue };
            for key in now.active.iter().take(gate.limit) {
                // Label templates see nothing but labels and the name of the gate.
                let values = Values { labels: key.labels.clone(), gate: gate.name.clone(), ..Values::default() };
                add(&sent_labels(group, gate, &values, key.level), state(key), key.active_at_ns);
            }
        }
        let health = self.live.health().unwrap_or_else(|error| {
            tracing::warn!(%error, "health alerts cannot be read for a scrape");
            Vec::new()
        });
        let mut shown: BTreeMap<&str, usize> = BTreeMap::new();
        for notice in &health {
            let limit = self.live.gate(&notice.gate).map_or(1, |(_, gate)| gate.limit);
            let count = shown.entry(&notice.gate).or_default();
            *count += 1;
            if *count <= limit {
                add(&notice.labels, "firing", notice.starts_at_ns);
            }
        }
        [alerts, for_state]
    }
}

impl Collector for Alerts {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let family = |((name, help), metrics): ((&str, &str), Vec<Metric>)| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(MetricType::GAUGE);
            family.set_metric(metrics);
            family
        };
        [ALERTS, FOR_STATE].into_iter().zip(self.series()).map(family).collect()
    }
}

fn metric(labels: &BTreeMap<String, String>, value: f64) -> Metric {
    let pair = |(name, value): (&String, &String)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.clone());
        pair.set_value(value.clone());
        pair
    };
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_gauge(gauge);
    metric.set_label(labels.iter().map(pair).collect());
    metric
}

/// Labels with names that the text format takes. What would stand on a name that is taken gets Prometheus' `exported_`.
fn exposed(labels: &BTreeMap<String, String>, state: Option<&str>) -> BTreeMap<String, String> {
    let mut exposed = BTreeMap::new();
    if let Some(state) = state {
        exposed.insert("alertstate".to_owned(), state.to_owned());
    }
    // Names that need no change keep their place.
    let (plain, changed): (Vec<_>, Vec<_>) = labels.iter().partition(|(name, _)| label_name(name) == **name);
    for (name, value) in plain.into_iter().chain(changed) {
        let mut name = label_name(name);
        while exposed.contains_key(&name) || name == "alertstate" {
            name.insert_str(0, "exported_");
        }
        exposed.insert(name, value.clone());
    }
    exposed
}

fn label_name(name: &str) -> String {
    let fits = |(at, c): (usize, char)| c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit());
    let mut exposed: String = name.chars().enumerate().map(|(at, c)| if fits((at, c)) { c } else { '_' }).collect();
    if exposed.is_empty() {
        exposed.push('_');
    }
    // Names that begin so are Prometheus' own.
    match exposed.strip_prefix("__") {
        Some(rest) => format!("_{}", rest.trim_start_matches('_')),
        None => exposed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_names_that_the_text_format_takes_and_none_is_lost() {
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let given =
            labels(&[("a.b", "1"), ("a_b", "2"), ("alertstate", "3"), ("9x", "4"), ("__name__", "5"), ("ü", "6")]);
        let expected = labels(&[
            ("exported_a_b", "1"),
            ("a_b", "2"),
            ("alertstate", "firing"),
            ("exported_alertstate", "3"),
            ("_x", "4"),
            ("_name__", "5"),
            ("_", "6"),
        ]);
        assert_eq!(exposed(&given, Some("firing")), expected);
        let without = exposed(&given, None);
        assert_eq!((without.len(), without.get("exported_alertstate").map(String::as_str)), (6, Some("3")));
    }
}
