//! The files of `queries/`, compiled in.
//!
//! Duty: path and text of each. ★ add a file there and here. Guarantee: a test compares the list with the folder. Left to
//! others: what the texts say (`head`), files on disk (`library`).

/// Path below `queries/`, and text.
pub const FILES: &[(&str, &str)] = &[
    ("attribute_cardinality.sql", include_str!("../../../queries/attribute_cardinality.sql")),
    ("before_after.sql", include_str!("../../../queries/before_after.sql")),
    ("big_traces.sql", include_str!("../../../queries/big_traces.sql")),
    ("clock_skew.sql", include_str!("../../../queries/clock_skew.sql")),
    ("cold_starts.sql", include_str!("../../../queries/cold_starts.sql")),
    ("critical_path_share.sql", include_str!("../../../queries/critical_path_share.sql")),
    ("delivery/late_spans.sql", include_str!("../../../queries/delivery/late_spans.sql")),
    ("dropped.sql", include_str!("../../../queries/dropped.sql")),
    ("error_hotspots.sql", include_str!("../../../queries/error_hotspots.sql")),
    ("error_messages.sql", include_str!("../../../queries/error_messages.sql")),
    ("external_calls.sql", include_str!("../../../queries/external_calls.sql")),
    ("fan_out.sql", include_str!("../../../queries/fan_out.sql")),
    ("founding/ai_fallback.sql", include_str!("../../../queries/founding/ai_fallback.sql")),
    ("founding/ai_high_confidence.sql", include_str!("../../../queries/founding/ai_high_confidence.sql")),
    ("founding/ai_response_mean.sql", include_str!("../../../queries/founding/ai_response_mean.sql")),
    ("founding/completeness_falling.sql", include_str!("../../../queries/founding/completeness_falling.sql")),
    ("founding/decision_accuracy.sql", include_str!("../../../queries/founding/decision_accuracy.sql")),
    ("founding/error_recovery.sql", include_str!("../../../queries/founding/error_recovery.sql")),
    ("founding/performance_correlation.sql", include_str!("../../../queries/founding/performance_correlation.sql")),
    (
        "founding/performance_rank_correlation.sql",
        include_str!("../../../queries/founding/performance_rank_correlation.sql"),
    ),
    ("founding/span_completeness.sql", include_str!("../../../queries/founding/span_completeness.sql")),
    ("founding/span_coverage.sql", include_str!("../../../queries/founding/span_coverage.sql")),
    ("founding/step_duration_mean.sql", include_str!("../../../queries/founding/step_duration_mean.sql")),
    ("founding/validation_automation.sql", include_str!("../../../queries/founding/validation_automation.sql")),
    ("founding/workflow_completion.sql", include_str!("../../../queries/founding/workflow_completion.sql")),
    ("founding/workflow_modifications.sql", include_str!("../../../queries/founding/workflow_modifications.sql")),
    ("instrumentation.sql", include_str!("../../../queries/instrumentation.sql")),
    ("instrumentation/orphans.sql", include_str!("../../../queries/instrumentation/orphans.sql")),
    (
        "instrumentation/resource_attributes.sql",
        include_str!("../../../queries/instrumentation/resource_attributes.sql"),
    ),
    ("instrumentation/several_roots.sql", include_str!("../../../queries/instrumentation/several_roots.sql")),
    ("instrumentation/tiny_spans.sql", include_str!("../../../queries/instrumentation/tiny_spans.sql")),
    ("late_spans.sql", include_str!("../../../queries/late_spans.sql")),
    ("latency_histogram.sql", include_str!("../../../queries/latency_histogram.sql")),
    ("learn/choose_variant.sql", include_str!("../../../queries/learn/choose_variant.sql")),
    ("n_plus_one.sql", include_str!("../../../queries/n_plus_one.sql")),
    ("new_operations.sql", include_str!("../../../queries/new_operations.sql")),
    ("orphan_spans.sql", include_str!("../../../queries/orphan_spans.sql")),
    ("patterns/error_hotspot.sql", include_str!("../../../queries/patterns/error_hotspot.sql")),
    ("patterns/missing_attribute.sql", include_str!("../../../queries/patterns/missing_attribute.sql")),
    ("patterns/new_operation.sql", include_str!("../../../queries/patterns/new_operation.sql")),
    ("queue_delay.sql", include_str!("../../../queries/queue_delay.sql")),
    ("red.sql", include_str!("../../../queries/red.sql")),
    ("repair/missing_attributes.sql", include_str!("../../../queries/repair/missing_attributes.sql")),
    ("retries.sql", include_str!("../../../queries/retries.sql")),
    ("self_time.sql", include_str!("../../../queries/self_time.sql")),
    ("semconv/match_rate.sql", include_str!("../../../queries/semconv/match_rate.sql")),
    ("semconv/violations.sql", include_str!("../../../queries/semconv/violations.sql")),
    ("service_map.sql", include_str!("../../../queries/service_map.sql")),
    ("silent_services.sql", include_str!("../../../queries/silent_services.sql")),
    ("slow_database.sql", include_str!("../../../queries/slow_database.sql")),
    ("slow_operations.sql", include_str!("../../../queries/slow_operations.sql")),
    ("slower.sql", include_str!("../../../queries/slower.sql")),
    ("slowest_traces.sql", include_str!("../../../queries/slowest_traces.sql")),
    ("status_codes.sql", include_str!("../../../queries/status_codes.sql")),
    ("throughput.sql", include_str!("../../../queries/throughput.sql")),
    ("top_values.sql", include_str!("../../../queries/top_values.sql")),
    ("trace.sql", include_str!("../../../queries/trace.sql")),
    ("trace_spans.sql", include_str!("../../../queries/trace_spans.sql")),
    ("versions.sql", include_str!("../../../queries/versions.sql")),
];

/// The text of the file `path` below `queries/`.
pub fn compiled(path: &str) -> Option<&'static str> {
    FILES.iter().find(|(known, _)| *known == path).map(|(_, text)| *text)
}
