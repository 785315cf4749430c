-- about: how far the clocks of two services are apart, where a server span is not within the client span that called it
-- param: since DURATION = 1h how far back
-- example: -p since=1h
-- unit: outside_share ratio
WITH calls AS (
  SELECT p.service_name AS caller, c.service_name AS callee, c.trace_id,
    CAST(c.start_time AS BIGINT) - CAST(p.start_time AS BIGINT) AS head_ns, CAST(p.end_time AS BIGINT) - CAST(c.end_time AS BIGINT) AS tail_ns
  FROM spans c
  JOIN spans p ON p.trace_id = c.trace_id AND p.span_id = c.parent_span_id
  WHERE p.kind = 'client' AND c.kind = 'server' AND c.service_name <> p.service_name AND c.start_time >= ago($since)
    AND p.start_time >= ago($since) - INTERVAL '1 hour'
)
SELECT caller, callee, count(*) AS calls, count(*) FILTER (WHERE head_ns < 0 OR tail_ns < 0) AS outside,
  count(*) FILTER (WHERE head_ns < 0 OR tail_ns < 0) / CAST(count(*) AS DOUBLE) AS outside_share,
  -- the way there and back is taken as equally long
  avg((head_ns - tail_ns) / 2.0) / 1e6 AS callee_ahead_ms, min(head_ns) / 1e6 AS earliest_start_ms, max(trace_id) FILTER (WHERE head_ns < 0 OR tail_ns < 0) AS example
FROM calls
GROUP BY caller, callee
HAVING count(*) FILTER (WHERE head_ns < 0 OR tail_ns < 0) > 0
ORDER BY outside DESC, caller, callee;
