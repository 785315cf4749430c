-- about: operations by the errors that begin there: spans that failed while none of their children did
-- param: since DURATION = 1h how far back
-- param: limit BIGINT = 20 how many
-- example: -p since=1h
-- unit: share ratio
WITH failed AS (
  SELECT trace_id, span_id, parent_span_id, service_name, name, kind, status_message, start_time
  FROM spans WHERE status_code = 'error' AND start_time >= ago($since)
)
SELECT f.service_name, f.name, f.kind, count(*) AS errors, count(*) / CAST(sum(count(*)) OVER () AS DOUBLE) AS share,
  max(f.status_message) AS status_message, max(f.start_time) AS latest, max(f.trace_id) AS example
FROM failed f
WHERE NOT EXISTS (SELECT 1 FROM failed c WHERE c.trace_id = f.trace_id AND c.parent_span_id = f.span_id)
GROUP BY f.service_name, f.name, f.kind
ORDER BY errors DESC, f.service_name, f.name
LIMIT $limit;
