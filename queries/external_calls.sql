-- about: calls to what sends no spans itself: who is called, how often, how long, how many fail
-- param: since DURATION = 1h how far back
-- param: limit BIGINT = 20 how many
-- example: -p since=1h
-- unit: error_rate ratio
SELECT c.service_name, coalesce(c.attributes['server.address'], c.attributes['peer.service'], c.attributes['net.peer.name']) AS target, count(*) AS calls,
  error_rate(c.status_code) AS error_rate, p50(c.duration_ns) / 1e6 AS p50_ms, p95(c.duration_ns) / 1e6 AS p95_ms, sum(c.duration_ns) / 1e6 AS total_ms
FROM spans c
WHERE c.kind = 'client' AND c.start_time >= ago($since)
  AND NOT EXISTS (SELECT 1 FROM spans s WHERE s.trace_id = c.trace_id AND s.parent_span_id = c.span_id AND s.start_time >= ago($since) - INTERVAL '1 hour')
GROUP BY c.service_name, coalesce(c.attributes['server.address'], c.attributes['peer.service'], c.attributes['net.peer.name'])
ORDER BY total_ms DESC, c.service_name, target
LIMIT $limit;
