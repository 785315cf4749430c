//! Files of OpenSLO as people have them.

use super::super::Format::OpenSlo;
use super::super::tests::said;

const RATIO: &str = r#"apiVersion: openslo/v1
kind: Service
metadata: {name: checkout, displayName: Checkout}
spec: {description: takes the money}
---
apiVersion: openslo/v1
kind: DataSource
metadata: {name: spans}
spec: {type: weavergen, connectionDetails: {url: "http://localhost:8080"}}
---
apiVersion: openslo/v1
kind: SLI
metadata: {name: checkout-good}
spec:
  ratioMetric:
    counter: true
    good:
      metricSource:
        metricSourceRef: spans
        spec: {query: "SELECT count(*) FROM spans WHERE kind = 'server' AND status_code <> 'error'"}
    total:
      metricSource:
        type: weavergen
        spec: {where: "kind = 'server'"}
---
apiVersion: openslo/v1
kind: SLO
metadata:
  name: checkout-availability
  displayName: Checkout answers
  labels: {team: shop, app.kubernetes.io/part-of: [store]}
  annotations: {openslo.com/service-folder: "{{ folder }}", weavergen.dev/by: "service_name"}
spec:
  description: nearly all requests are answered
  service: checkout
  indicatorRef: checkout-good
  timeWindow: [{duration: 4w, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{displayName: nearly all, target: 0.999}]
"#;

#[test]
fn an_slo_over_spans_becomes_a_gate_with_its_texts() {
    let (written, told) = said(OpenSlo, RATIO);
    assert_eq!(
        written.as_deref(),
        Some(
            r#"groups:
  - name: checkout
    gates:
      - gate: checkout-availability
        description: "nearly all requests are answered"
        by:
          - service_name
        slo:
          objective: 99.9
          period: "4w"
          total: "kind = 'server'"
          good: "kind = 'server' AND status_code <> 'error'"
        labels:
          team: shop
          app_kubernetes_io_part_of: store
        annotations:
          openslo_com_service_folder: "{{ '{' }}{{ '{' }} folder }}"
          summary: "Checkout answers"
          objective: "nearly all"
"#
        )
    );
    // The warning of any objective without `min_samples`, at its place in the file it came from.
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("WG-GATE-W04 in.yaml:39:16: gate checkout-availability: "), "{told:?}");
}

/// An SLO with `indicator`, in an `spec` that ends with `rest`.
fn slo(indicator: &str, rest: &str) -> String {
    format!(
        "apiVersion: openslo/v1\nkind: SLO\nmetadata: {{name: s}}\nspec:\n  indicator:\n    spec:\n      {indicator}\n  {rest}\n"
    )
}

const WINDOW: &str = "timeWindow: [{duration: 30d, isRolling: true}]";

#[test]
fn a_threshold_and_several_objectives_become_gates_of_their_own() {
    let metric = "thresholdMetric: {metricSource: {type: weavergen, spec: {value: duration_ns / 1e6, where: \"kind = 'server'\"}}}";
    let objectives = "objectives: [{op: lt, value: 300, target: 0.95}, {op: lte, value: 1000.5, targetPercent: 99.5}]";
    let (written, told) = said(OpenSlo, &slo(metric, &format!("{WINDOW}\n  {objectives}")));
    let written = written.unwrap_or_else(|| panic!("{told:?}"));
    for part in [
        "gate: s-1\n",
        "objective: 95.0\n          period: \"30d\"\n          total: \"(kind = 'server') AND (duration_ns / 1e6) IS NOT NULL\"\n          \
         good: \"(duration_ns / 1e6) < 300\"",
        "gate: s-2\n",
        "good: \"(duration_ns / 1e6) <= 1000.5\"",
    ] {
        assert!(written.contains(part), "{part} in\n{written}");
    }
    let (written, told) =
        said(OpenSlo, &slo(&metric.replace("1e6", "1e6) OR (true"), &format!("{WINDOW}\n  {objectives}")));
    assert!(written.is_none() && told[0].contains("`value`: SQL"), "{told:?}");
}

#[test]
fn bad_spans_are_the_others_and_annotations_stand_for_sources_of_other_stores() {
    let metric = "ratioMetric: {bad: {metricSource: {type: weavergen, spec: {where: \"status_code = 'error'\"}}}, total: \
                  {metricSource: {type: weavergen, spec: {where: \"true\"}}}}";
    let (written, told) = said(OpenSlo, &slo(metric, &format!("{WINDOW}\n  objectives: [{{target: 0.9}}]")));
    assert!(written.is_some_and(|text| text.contains("good: \"(status_code = 'error') IS NOT TRUE\"")), "{told:?}");

    let metric = "ratioMetric: {good: {metricSource: {type: Prometheus, spec: {query: 'rate(x[5m])'}}}, total: {metricSource: \
                  {type: Prometheus, spec: {query: 'rate(y[5m])'}}}}";
    let text = slo(metric, &format!("{WINDOW}\n  objectives: [{{target: 0.9}}]"));
    let ours = "{name: s, annotations: {weavergen.dev/total: \"kind = 'server'\", weavergen.dev/good: \"status_code <> 'error'\"}}";
    let (written, told) = said(OpenSlo, &text.replace("{name: s}", ours));
    assert!(written.is_some_and(|text| text.contains("total: \"kind = 'server'\"")), "{told:?}");
    let (written, told) = said(OpenSlo, &text);
    assert!(written.is_none());
    assert_eq!(told.len(), 2, "both sources are told: {told:?}");
    assert!(
        told[0].starts_with(
            "WG-GATE-031 in.yaml:7:49: SLO s: the metric is read from Prometheus, and gates read spans; write `"
        ),
        "{told:?}"
    );
}

#[test]
fn everything_that_has_no_counterpart_is_told_with_its_line() {
    let text = r#"apiVersion: openslo/v1
kind: SLO
metadata:
  name: 9lives
  labels: {tags: [a, b]}
spec:
  indicator:
    spec:
      ratioMetric:
        raw: {metricSource: {type: weavergen, spec: {where: "true"}}}
        rawType: success
  timeWindow: [{duration: 1M, calendar: {startTime: 2020-01-01 00:00:00, timeZone: UTC}}]
  budgetingMethod: Timeslices
  objectives: [{target: 0.9, timeSliceTarget: 0.9, weight: 3}]
  alertPolicies: [page]
---
apiVersion: openslo/v1
kind: AlertPolicy
metadata: {name: page}
---
apiVersion: openslo/v1
kind: SLI
metadata: {name: unused}
---
apiVersion: openslo/v1alpha
kind: SLO
metadata: {name: old}
"#;
    let (written, told) = said(OpenSlo, text);
    assert!(written.is_none());
    let places: Vec<String> = told.iter().map(|line| line.split(": ").next().unwrap_or_default().to_owned()).collect();
    assert_eq!(
        places,
        [
            "WG-GATE-008 in.yaml:4:9",
            "WG-GATE-023 in.yaml:5:18",
            "WG-GATE-031 in.yaml:10:9",
            "WG-GATE-031 in.yaml:11:9",
            "WG-GATE-010 in.yaml:12:27",
            "WG-GATE-031 in.yaml:12:31",
            "WG-GATE-031 in.yaml:13:20",
            "WG-GATE-004 in.yaml:14:30",
            "WG-GATE-004 in.yaml:14:52",
            "WG-GATE-004 in.yaml:15:3",
            "WG-GATE-004 in.yaml:19:18",
            "WG-GATE-031 in.yaml:23:18",
            "WG-GATE-005 in.yaml:25:13",
        ],
        "{told:#?}"
    );
}

#[test]
fn what_a_gate_file_would_be_refused_for_is_told_at_its_place_in_the_source() {
    let metric = "ratioMetric: {good: {metricSource: {type: weavergen, spec: {where: \"colour = 'green'\"}}}, total: {metricSource: \
                  {type: weavergen, spec: {where: \"true\"}}}}";
    let (written, told) = said(OpenSlo, &slo(metric, &format!("{WINDOW}\n  objectives: [{{target: 0.9}}]")));
    assert!(written.is_none());
    assert!(told.iter().any(|line| line.starts_with("WG-GATE-031 in.yaml:7:74: gate s: `good`: ")), "{told:?}");
    let window = "timeWindow: [{duration: 7d, isRolling: true}]";
    let metric = metric.replace("colour = 'green'", "name = 'x'");
    let (_, told) = said(OpenSlo, &slo(&metric, &format!("{window}\n  objectives: [{{target: 0.9}}]")));
    assert!(told.iter().any(|line| line.contains("there is no table of windows for a period of 7d")), "{told:?}");
}
