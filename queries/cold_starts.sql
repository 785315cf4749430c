-- about: first calls of a service instance that took much longer than its usual ones
-- param: since DURATION = 1h how far back
-- param: times DOUBLE = 3 how many times the usual
-- example: -p times=5
WITH calls AS (
  SELECT service_name, coalesce(resource['service.instance.id'], resource['host.name'], '') AS instance, trace_id, name, start_time, duration_ns,
    row_number() OVER (PARTITION BY service_name, coalesce(resource['service.instance.id'], resource['host.name'], '') ORDER BY start_time) AS nth
  FROM spans WHERE (is_entry OR kind IN ('server', 'consumer')) AND start_time >= ago($since)
), usual AS (
  SELECT service_name, name, median(duration_ns) AS usual_ns FROM calls WHERE nth > 1 GROUP BY service_name, name
)
SELECT c.service_name, c.instance, c.name, c.start_time, c.duration_ns / 1e6 AS first_ms, u.usual_ns / 1e6 AS usual_ms, c.trace_id
FROM calls c JOIN usual u ON u.service_name = c.service_name AND u.name = c.name
WHERE c.nth = 1 AND c.duration_ns > $times * u.usual_ns
ORDER BY first_ms DESC, c.service_name, c.instance;
