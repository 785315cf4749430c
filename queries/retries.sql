-- about: calls that were tried again after a failure, and whether the last try helped
-- param: since DURATION = 1h how far back
-- param: limit BIGINT = 20 how many
-- example: -p since=1h
-- unit: saved ratio
WITH tries AS (
  SELECT trace_id, parent_span_id, service_name, name, count(*) AS tries,
    min(end_time) FILTER (WHERE status_code = 'error') AS first_failure, max(start_time) AS last_try,
    last_value(status_code ORDER BY start_time) AS last_status, max(end_time) - min(start_time) AS took
  FROM spans
  WHERE kind = 'client' AND parent_span_id IS NOT NULL AND start_time >= ago($since)
  GROUP BY trace_id, parent_span_id, service_name, name
)
SELECT service_name, name, count(*) AS retried, max(tries) AS most_tries, avg(tries) AS average_tries,
  avg(CASE WHEN last_status = 'error' THEN 0.0 ELSE 1.0 END) AS saved, max(trace_id) AS example
FROM tries
WHERE tries > 1 AND first_failure <= last_try
GROUP BY service_name, name
ORDER BY retried DESC, service_name, name
LIMIT $limit;
