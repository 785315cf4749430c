-- about: the most frequent values of one attribute, and how the spans with them fare
-- param: key TEXT the attribute, e.g. http.route
-- param: since DURATION = 1h how far back
-- param: service TEXT = '' one service; empty: all
-- param: limit BIGINT = 20 how many
-- example: -p key=app.tenant
-- unit: share ratio
-- unit: error_rate ratio
SELECT attributes[$key] AS value, count(*) AS spans, count(*) / CAST(sum(count(*)) OVER () AS DOUBLE) AS share, error_rate(status_code) AS error_rate,
  p50(duration_ns) / 1e6 AS p50_ms, p95(duration_ns) / 1e6 AS p95_ms
FROM spans
WHERE attributes[$key] IS NOT NULL AND start_time >= ago($since) AND ($service = '' OR service_name = $service)
GROUP BY 1
ORDER BY spans DESC, value
LIMIT $limit;
