-- about: HTTP status codes by route
-- param: since DURATION = 1h how far back
-- param: min BIGINT = 0 only codes from here on: 500 for what the servers did wrong
-- example: -p min=400
SELECT service_name, coalesce(attributes['http.request.method'], attributes['http.method']) AS method, attributes['http.route'] AS route,
  CAST(coalesce(attributes['http.response.status_code'], attributes['http.status_code']) AS BIGINT) AS status, count(*) AS calls, p95(duration_ns) / 1e6 AS p95_ms,
  max(trace_id) AS example
FROM spans
WHERE kind = 'server' AND start_time >= ago($since) AND coalesce(attributes['http.response.status_code'], attributes['http.status_code']) >= $min
GROUP BY 1, 2, 3, 4
ORDER BY status DESC, calls DESC, service_name, route;
