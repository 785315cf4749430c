-- about: how durations are distributed: one row for each doubling
-- param: since DURATION = 1h how far back
-- param: service TEXT = '' one service; empty: all
-- param: operation TEXT = '' one operation; empty: all
-- example: -p service=resize
-- unit: share ratio
WITH d AS (
  SELECT floor(log2(greatest(duration_ns, 1) / 1e6)) AS step
  FROM spans
  WHERE (is_entry OR kind IN ('server', 'consumer')) AND start_time >= ago($since) AND ($service = '' OR service_name = $service) AND ($operation = '' OR name = $operation)
)
SELECT power(2.0, step) AS from_ms, power(2.0, step + 1) AS to_ms, count(*) AS spans, count(*) / CAST(sum(count(*)) OVER () AS DOUBLE) AS share,
  repeat('█', CAST(ceil(40.0 * count(*) / max(count(*)) OVER ()) AS BIGINT)) AS bar
FROM d
GROUP BY step
ORDER BY step;
