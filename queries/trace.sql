-- about: one trace in a line: its root, how long it took, how many spans and errors, which services
-- param: trace TEXT its id, 32 hex digits
-- example: -p trace=00000000000000000000000000000002
SELECT trace_id, start_time, trace_duration_ns / 1e6 AS trace_ms, root_service, root_name, root_status, span_count, error_count, services, has_root
FROM traces
WHERE trace_id = trace_id($trace);
