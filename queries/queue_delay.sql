-- about: how long messages wait between the producer's span and the consumer's
-- param: since DURATION = 1h how far back
-- example: -p since=1h
WITH hops AS (
  SELECT p.service_name AS producer, c.service_name AS consumer, coalesce(c.attributes['messaging.destination.name'], p.attributes['messaging.destination.name']) AS destination,
    greatest(CAST(c.start_time AS BIGINT) - CAST(p.end_time AS BIGINT), 0) AS wait_ns, c.trace_id
  FROM spans c
  JOIN spans p ON p.trace_id = c.trace_id AND p.span_id = c.parent_span_id
  WHERE p.kind = 'producer' AND c.kind = 'consumer' AND c.start_time >= ago($since) AND p.start_time >= ago($since) - INTERVAL '1 hour'
)
SELECT producer, consumer, destination, count(*) AS messages, p50(wait_ns) / 1e6 AS p50_ms, p95(wait_ns) / 1e6 AS p95_ms, max(wait_ns) / 1e6 AS max_ms,
  first_value(trace_id ORDER BY wait_ns DESC) AS slowest
FROM hops
GROUP BY producer, consumer, destination
ORDER BY p95_ms DESC, producer, consumer;
