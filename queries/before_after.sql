-- about: each operation before and after an instant, such as a deploy: calls, errors and latency
-- param: at TIMESTAMP = now-30m the instant
-- param: window DURATION = 30m how long before and after
-- param: service TEXT = '' one service; empty: all
-- example: -p at=now-55s -p window=10m
-- unit: p95_change ratio
WITH s AS (
  SELECT service_name, name, status_code, duration_ns, start_time >= $at AS after
  FROM spans
  WHERE (is_entry OR kind IN ('server', 'consumer')) AND start_time >= $at - (now() - ago($window)) AND start_time < $at + (now() - ago($window))
    AND ($service = '' OR service_name = $service)
)
SELECT service_name, name, count(*) FILTER (WHERE NOT after) AS calls_before, count(*) FILTER (WHERE after) AS calls_after,
  count(*) FILTER (WHERE NOT after AND status_code = 'error') AS errors_before, count(*) FILTER (WHERE after AND status_code = 'error') AS errors_after,
  p95(duration_ns) FILTER (WHERE NOT after) / 1e6 AS p95_before_ms, p95(duration_ns) FILTER (WHERE after) / 1e6 AS p95_after_ms,
  p95(duration_ns) FILTER (WHERE after) / p95(duration_ns) FILTER (WHERE NOT after) - 1 AS p95_change
FROM s
GROUP BY service_name, name
ORDER BY p95_change DESC NULLS LAST, service_name, name;
