-- about: spans that came long after they had ended: slow exporters, queues, clocks
-- param: since DURATION = 1d how far back
-- param: late DURATION = 5m how long after its end a span counts as late
-- example: -p late=10m
WITH late AS (
  SELECT service_name, name, trace_id, start_time, CAST(CAST(ingest_time AS TIMESTAMP) AS BIGINT) - CAST(end_time AS BIGINT) AS late_ns
  FROM spans WHERE start_time >= ago($since)
)
SELECT service_name, count(*) FILTER (WHERE late_ns > dur($late)) AS late, count(*) AS spans, p50(late_ns) / 1e6 AS p50_ms, max(late_ns) / 1e6 AS max_ms,
  first_value(trace_id ORDER BY late_ns DESC) AS example
FROM late
GROUP BY service_name
HAVING count(*) FILTER (WHERE late_ns > dur($late)) > 0
ORDER BY late DESC, service_name;
