-- about: operations that are slower now than they were at the same time of an earlier day or hour
-- param: window DURATION = 1h how long the two windows are
-- param: back DURATION = 1d how much earlier the other one ends
-- param: times DOUBLE = 1.5 only operations whose p95 grew by this factor
-- example: -p times=2
-- unit: factor ratio
WITH s AS (
  SELECT service_name, name, duration_ns, start_time >= ago($window) AS now,
    start_time >= ago($window) - (now() - ago($back)) AND start_time < ago($back) AS then
  FROM spans
  WHERE (is_entry OR kind IN ('server', 'consumer')) AND start_time >= ago($window) - (now() - ago($back))
), p AS (
  SELECT service_name, name, count(*) FILTER (WHERE then) AS calls_then, count(*) FILTER (WHERE now) AS calls_now,
    p95(duration_ns) FILTER (WHERE then) / 1e6 AS p95_then_ms, p95(duration_ns) FILTER (WHERE now) / 1e6 AS p95_now_ms
  FROM s GROUP BY service_name, name
)
SELECT service_name, name, calls_then, calls_now, p95_then_ms, p95_now_ms, p95_now_ms / p95_then_ms AS factor
FROM p
WHERE p95_now_ms / p95_then_ms >= $times
ORDER BY factor DESC, service_name, name;
