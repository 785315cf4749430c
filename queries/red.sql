-- about: calls, errors and latency of what enters each service, by operation
-- param: since DURATION = 1h how far back
-- param: service TEXT = '' one service; empty: all
-- example: -p since=30m
-- unit: per_s 1/s
-- unit: error_rate ratio
SELECT service_name, name, count(*) AS calls, count(*) / (dur($since) / 1e9) AS per_s,
  count(*) FILTER (WHERE status_code = 'error') AS errors, error_rate(status_code) AS error_rate,
  p50(duration_ns) / 1e6 AS p50_ms, p95(duration_ns) / 1e6 AS p95_ms, p99(duration_ns) / 1e6 AS p99_ms
FROM spans
WHERE (is_entry OR kind IN ('server', 'consumer')) AND start_time >= ago($since) AND ($service = '' OR service_name = $service)
GROUP BY service_name, name
ORDER BY calls DESC, service_name, name;
