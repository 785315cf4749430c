-- about: canonical query q_traces: the longest traces with an error
SELECT trace_id, root_service, root_name, trace_duration_ns, span_count FROM traces
WHERE start_time >= ago('15m') AND error_count > 0 ORDER BY trace_duration_ns DESC LIMIT 20;
