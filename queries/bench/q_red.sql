-- about: canonical query q_red: rate, errors and duration by minute and service
SELECT time_bucket('1m', start_time) AS t, service_name, count(*) AS calls,
  count(*) FILTER (WHERE status_code = 'error') AS errors, p95(duration_ns) / 1e6 AS p95_ms
FROM spans WHERE is_entry AND start_time >= ago('1h') GROUP BY 1, 2 ORDER BY 1, 2;
