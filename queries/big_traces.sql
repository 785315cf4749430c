-- about: traces with the most spans
-- param: since DURATION = 1h how far back
-- param: limit BIGINT = 20 how many
-- example: -p limit=5
SELECT trace_id, root_service, root_name, span_count, error_count, array_length(services) AS services, trace_duration_ns / 1e6 AS trace_ms, start_time
FROM traces
WHERE start_time >= ago($since)
ORDER BY span_count DESC, trace_id
LIMIT $limit;
