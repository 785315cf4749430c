-- about: Share of spans that name a parent which never came, by service; parents are looked for an hour back and ahead
-- unit: value ratio
WITH span AS (
    SELECT trace_id, span_id, parent_span_id, service_name, end_time
    FROM spans
    WHERE end_time >= $window_start - INTERVAL '1 hour' AND end_time < $window_end)
SELECT c.service_name, avg(CAST(p.span_id IS NULL AS INT)) AS value, count(*) AS n,
    make_array(min(c.trace_id) FILTER (WHERE p.span_id IS NULL), max(c.trace_id) FILTER (WHERE p.span_id IS NULL)) AS trace_ids
FROM span c
LEFT JOIN span p ON p.trace_id = c.trace_id AND p.span_id = c.parent_span_id
-- A parent ends after its children, so the last minutes are left out.
WHERE c.parent_span_id IS NOT NULL
    AND c.end_time >= $window_start - INTERVAL '5 minutes' AND c.end_time < $window_end - INTERVAL '5 minutes'
GROUP BY 1
