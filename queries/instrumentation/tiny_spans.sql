-- about: Share of traces in which a service has more than 20 spans under 5 ms, by service
-- unit: value ratio
WITH part AS (
    SELECT service_name, trace_id, count(*) FILTER (WHERE duration_ns < 5000000) AS tiny
    FROM spans
    GROUP BY 1, 2)
SELECT service_name, avg(CAST(tiny > 20 AS INT)) AS value, count(*) AS n, max(tiny) AS most,
    make_array(min(trace_id) FILTER (WHERE tiny > 20), max(trace_id) FILTER (WHERE tiny > 20)) AS trace_ids
FROM part
GROUP BY 1
