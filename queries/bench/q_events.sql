-- about: canonical query q_events: exceptions by service and type
SELECT service_name, e.attributes['exception.type'] AS type, count(*) AS n FROM span_events e
WHERE e.name = 'exception' AND e.time >= ago('1h') GROUP BY 1, 2 ORDER BY 3 DESC;
