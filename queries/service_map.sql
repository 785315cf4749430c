-- about: which service calls which, how often, and how long the callee takes
-- param: since DURATION = 1h how far back
-- example: -p since=1h
-- unit: error_rate ratio
SELECT p.service_name AS caller, c.service_name AS callee, count(*) AS calls,
  count(*) FILTER (WHERE c.status_code = 'error') AS errors, error_rate(c.status_code) AS error_rate,
  p50(c.duration_ns) / 1e6 AS p50_ms, p95(c.duration_ns) / 1e6 AS p95_ms
FROM spans c
JOIN spans p ON p.trace_id = c.trace_id AND p.span_id = c.parent_span_id
WHERE c.service_name <> p.service_name AND c.start_time >= ago($since) AND p.start_time >= ago($since) - INTERVAL '1 hour'
GROUP BY p.service_name, c.service_name
ORDER BY calls DESC, caller, callee;
