-- about: the spans of one trace in the order in which they began
-- param: trace TEXT its id, 32 hex digits
-- example: -p trace=00000000000000000000000000000001
WITH s AS (SELECT * FROM spans WHERE trace_id = trace_id($trace)), t AS (SELECT min(start_time) AS start FROM s)
SELECT (CAST(s.start_time AS BIGINT) - CAST(t.start AS BIGINT)) / 1e6 AS offset_ms, s.duration_ms, s.service_name, s.name, s.kind, s.status_code,
  s.span_id, s.parent_span_id, s.status_message
FROM s CROSS JOIN t
ORDER BY s.start_time, s.span_id;
