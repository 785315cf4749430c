-- about: services that sent spans and do so no more
-- param: quiet DURATION = 10m how long nothing came
-- example: -p quiet=15m
-- unit: silent_s s
SELECT service_name, last_seen, (CAST(CAST(now() AS TIMESTAMP) AS BIGINT) - CAST(last_seen AS BIGINT)) / 1e9 AS silent_s, first_seen, spans
FROM services
WHERE last_seen < ago($quiet) AND service_name IS NOT NULL
ORDER BY last_seen DESC, service_name;
