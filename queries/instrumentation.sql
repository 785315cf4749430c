-- about: what makes the spans of each service: SDKs and instrumentation libraries with their versions
-- param: since DURATION = 1d how far back
-- param: service TEXT = '' one service; empty: all
-- example: -p since=1h
SELECT service_name, resource['telemetry.sdk.language'] AS language, resource['telemetry.sdk.version'] AS sdk_version, scope_name, scope_version,
  count(*) AS spans, count(DISTINCT name) AS operations, max(start_time) AS last_seen
FROM spans
WHERE start_time >= ago($since) AND ($service = '' OR service_name = $service)
GROUP BY 1, 2, 3, 4, 5
ORDER BY service_name, spans DESC, scope_name;
