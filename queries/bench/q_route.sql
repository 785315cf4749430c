-- about: canonical query q_route: 99th percentile by route of a service, over all data
WITH s AS (SELECT * FROM spans WHERE service_name = 'frontend')
SELECT s.attributes['http.route'] AS route, count(*) AS calls, p99(s.duration_ns) AS p99_ns
FROM s GROUP BY 1 ORDER BY 3 DESC LIMIT 20;
