-- about: Share of spans that arrived more than 20 s after their end, by service; slowest = the longest delay
-- unit: value ratio
-- unit: slowest s
SELECT service_name,
    avg(CAST(ingest_time > end_time + INTERVAL '20 seconds' AS INT)) AS value,
    count(*) AS n,
    CAST(max(to_unixtime(ingest_time) - to_unixtime(end_time)) AS DOUBLE) AS slowest
FROM spans
GROUP BY 1
