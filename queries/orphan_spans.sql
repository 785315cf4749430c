-- about: spans whose parent is not there: lost, never exported, or begun a day before
-- param: since DURATION = 1h how far back
-- param: settled DURATION = 10s younger spans are left out, their parents may come
-- param: limit BIGINT = 20 how many
-- example: -p settled=0s
SELECT c.service_name, c.name, count(*) AS orphans, count(DISTINCT c.trace_id) AS traces, max(c.start_time) AS latest,
  max(c.trace_id) AS example
FROM spans c
WHERE c.parent_span_id IS NOT NULL AND c.start_time >= ago($since) AND c.ingest_time <= ago($settled)
  AND NOT EXISTS (SELECT 1 FROM spans p WHERE p.trace_id = c.trace_id AND p.span_id = c.parent_span_id AND p.start_time >= ago($since) - INTERVAL '1 day')
GROUP BY c.service_name, c.name
ORDER BY orphans DESC, c.service_name, c.name
LIMIT $limit;
