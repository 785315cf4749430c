-- about: the slowest traces, from the start of their first span to the end of their last
-- param: since DURATION = 1h how far back
-- param: service TEXT = '' only traces whose root is of this service; empty: all
-- param: limit BIGINT = 20 how many
-- example: -p limit=5
SELECT trace_id, start_time, root_service, root_name, root_status, trace_duration_ns / 1e6 AS trace_ms, span_count, error_count
FROM traces
WHERE start_time >= ago($since) AND ($service = '' OR root_service = $service)
ORDER BY trace_duration_ns DESC, trace_id
LIMIT $limit;
