-- about: versions of each service side by side: calls, errors and latency
-- param: since DURATION = 1d how far back
-- param: service TEXT = '' one service; empty: all
-- example: -p service=shop
-- unit: error_rate ratio
SELECT service_name, resource['service.version'] AS version, count(*) AS calls, error_rate(status_code) AS error_rate,
  p50(duration_ns) / 1e6 AS p50_ms, p95(duration_ns) / 1e6 AS p95_ms, min(start_time) AS first_seen, max(start_time) AS last_seen
FROM spans
WHERE (is_entry OR kind IN ('server', 'consumer')) AND start_time >= ago($since) AND ($service = '' OR service_name = $service)
GROUP BY service_name, resource['service.version']
ORDER BY service_name, first_seen;
