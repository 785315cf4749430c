-- about: database statements by the time they take in all
-- param: since DURATION = 1h how far back
-- param: limit BIGINT = 20 how many
-- example: -p limit=5
WITH q AS (
  SELECT service_name, coalesce(attributes['db.system.name'], attributes['db.system']) AS system,
    coalesce(attributes['db.query.text'], attributes['db.statement'], name) AS statement, duration_ns, trace_id, status_code
  FROM spans
  WHERE start_time >= ago($since) AND coalesce(attributes['db.system.name'], attributes['db.system']) IS NOT NULL
)
SELECT service_name, system, statement, count(*) AS calls, count(*) FILTER (WHERE status_code = 'error') AS errors, sum(duration_ns) / 1e6 AS total_ms,
  p50(duration_ns) / 1e6 AS p50_ms, p95(duration_ns) / 1e6 AS p95_ms, max(duration_ns) / 1e6 AS max_ms,
  first_value(trace_id ORDER BY duration_ns DESC, trace_id) AS slowest
FROM q
GROUP BY service_name, system, statement
ORDER BY total_ms DESC, service_name, statement
LIMIT $limit;
