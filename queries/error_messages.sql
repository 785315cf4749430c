-- about: exceptions and failure messages, most frequent first
-- param: since DURATION = 1h how far back
-- param: service TEXT = '' one service; empty: all
-- param: limit BIGINT = 20 how many
-- example: -p service=web
WITH told AS (
  SELECT e.service_name, e.attributes['exception.type'] AS type, e.attributes['exception.message'] AS message, e.time AS at, e.trace_id
  FROM span_events e
  WHERE e.name = 'exception' AND e.time >= ago($since)
  UNION ALL
  SELECT service_name, NULL, status_message, start_time, trace_id
  FROM spans
  WHERE status_code = 'error' AND status_message <> '' AND start_time >= ago($since)
)
SELECT service_name, type, message, count(*) AS n, count(DISTINCT trace_id) AS traces, min(at) AS first_seen, max(at) AS last_seen, max(trace_id) AS example
FROM told
WHERE $service = '' OR service_name = $service
GROUP BY service_name, type, message
ORDER BY n DESC, service_name, message
LIMIT $limit;
