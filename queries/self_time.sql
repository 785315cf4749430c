-- about: where the time goes: duration of each operation without what its children took
-- param: since DURATION = 1h how far back
-- param: service TEXT = '' one service; empty: all
-- param: limit BIGINT = 20 how many
-- example: -p limit=10
-- unit: share ratio
WITH s AS (
  SELECT trace_id, span_id, parent_span_id, service_name, name, CAST(start_time AS BIGINT) AS a, CAST(end_time AS BIGINT) AS b
  FROM spans WHERE start_time >= ago($since)
), clipped AS (
  SELECT p.trace_id, p.span_id, greatest(c.a, p.a) AS a, least(c.b, p.b) AS b
  FROM s p JOIN s c ON c.trace_id = p.trace_id AND c.parent_span_id = p.span_id
  WHERE c.a < p.b AND c.b > p.a
), ordered AS (
  -- up to where earlier children have covered the parent already
  SELECT trace_id, span_id, a, b, max(b) OVER (PARTITION BY trace_id, span_id ORDER BY a, b ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered
  FROM clipped
), children AS (
  SELECT trace_id, span_id, sum(greatest(b - greatest(a, coalesce(covered, a)), 0)) AS ns FROM ordered GROUP BY trace_id, span_id
)
SELECT s.service_name, s.name, count(*) AS calls, sum(s.b - s.a - coalesce(c.ns, 0)) / 1e6 AS self_ms, sum(s.b - s.a) / 1e6 AS total_ms,
  sum(s.b - s.a - coalesce(c.ns, 0)) / CAST(sum(sum(s.b - s.a - coalesce(c.ns, 0))) OVER () AS DOUBLE) AS share
FROM s LEFT JOIN children c ON c.trace_id = s.trace_id AND c.span_id = s.span_id
WHERE $service = '' OR s.service_name = $service
GROUP BY s.service_name, s.name
ORDER BY self_ms DESC, s.service_name, s.name
LIMIT $limit;
