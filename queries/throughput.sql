-- about: calls and errors of each service over time
-- param: since DURATION = 1h how far back
-- param: every DURATION = 1m how long a step is
-- param: service TEXT = '' one service; empty: all
-- example: -p every=10m
-- unit: per_s 1/s
SELECT time_bucket($every, start_time) AS at, service_name, count(*) AS calls, count(*) / (dur($every) / 1e9) AS per_s,
  count(*) FILTER (WHERE status_code = 'error') AS errors, p95(duration_ns) / 1e6 AS p95_ms
FROM spans
WHERE (is_entry OR kind IN ('server', 'consumer')) AND start_time >= ago($since) AND ($service = '' OR service_name = $service)
GROUP BY 1, 2
ORDER BY 1, 2;
