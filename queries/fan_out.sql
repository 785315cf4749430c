-- about: how many children the spans of each operation have
-- param: since DURATION = 1h how far back
-- param: limit BIGINT = 20 how many
-- example: -p limit=10
WITH children AS (
  SELECT trace_id, parent_span_id, count(*) AS n FROM spans WHERE parent_span_id IS NOT NULL AND start_time >= ago($since) GROUP BY trace_id, parent_span_id
)
SELECT s.service_name, s.name, count(*) AS spans, avg(c.n) AS average_children, p95(c.n) AS p95_children, max(c.n) AS most_children,
  first_value(s.trace_id ORDER BY c.n DESC, s.trace_id) AS example
FROM children c JOIN spans s ON s.trace_id = c.trace_id AND s.span_id = c.parent_span_id AND s.start_time >= ago($since) - INTERVAL '1 hour'
GROUP BY s.service_name, s.name
ORDER BY most_children DESC, s.service_name, s.name
LIMIT $limit;
