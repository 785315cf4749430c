-- about: Share of traces with more than one root, by the service of the first root
-- unit: value ratio
WITH root AS (
    SELECT trace_id, count(*) AS roots, first_value(service_name ORDER BY start_time, span_id) AS service_name
    FROM spans
    WHERE parent_span_id IS NULL
    GROUP BY trace_id)
SELECT service_name, avg(CAST(roots > 1 AS INT)) AS value, count(*) AS n, max(roots) AS most,
    make_array(min(trace_id) FILTER (WHERE roots > 1), max(trace_id) FILTER (WHERE roots > 1)) AS trace_ids
FROM root
GROUP BY 1
