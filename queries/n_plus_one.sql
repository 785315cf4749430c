-- about: the same call made again and again under one span: a loop that wants one query
-- param: since DURATION = 1h how far back
-- param: min BIGINT = 5 fewest repetitions under one parent
-- param: limit BIGINT = 20 how many
-- example: -p min=10
WITH loops AS (
  SELECT trace_id, parent_span_id, service_name, name, count(*) AS n, sum(duration_ns) AS total_ns
  FROM spans
  WHERE kind = 'client' AND parent_span_id IS NOT NULL AND start_time >= ago($since)
  GROUP BY trace_id, parent_span_id, service_name, name
  HAVING count(*) >= $min
)
SELECT l.service_name, p.name AS operation, l.name AS repeated, count(*) AS times_seen, max(l.n) AS most_calls,
  avg(l.n) AS average_calls, sum(l.total_ns) / 1e6 AS total_ms, first_value(l.trace_id ORDER BY l.n DESC, l.trace_id) AS example
FROM loops l
LEFT JOIN spans p ON p.trace_id = l.trace_id AND p.span_id = l.parent_span_id AND p.start_time >= ago($since) - INTERVAL '1 hour'
GROUP BY l.service_name, p.name, l.name
ORDER BY total_ms DESC, l.service_name, operation
LIMIT $limit;
