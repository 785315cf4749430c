-- about: operations by their slowest calls, each with a trace to look at
-- param: since DURATION = 1h how far back
-- param: service TEXT = '' one service; empty: all
-- param: over DURATION = 0s only calls that took longer
-- param: limit BIGINT = 20 how many
-- example: -p over=100ms
SELECT service_name, name, kind, count(*) AS calls, p50(duration_ns) / 1e6 AS p50_ms, p99(duration_ns) / 1e6 AS p99_ms, max(duration_ns) / 1e6 AS max_ms,
  first_value(trace_id ORDER BY duration_ns DESC, trace_id) AS slowest
FROM spans
WHERE start_time >= ago($since) AND ($service = '' OR service_name = $service) AND duration_ns > dur($over)
GROUP BY service_name, name, kind
ORDER BY max_ms DESC, service_name, name
LIMIT $limit;
