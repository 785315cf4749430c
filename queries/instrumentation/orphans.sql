-- about: Share of spans that name a parent which never came, by service; parents are looked for an hour back and ahead
-- unit: value ratio
WITH span AS (
    SELECT trace_id, span_id, parent_span_id, service_name, end_time
    FROM spans
    WHERE end_time >= $window_start - INTERVAL '2 hours' AND end_time < $window_end)
SELECT service_name, coalesce(avg(CAST(is_orphan AS INT)) FILTER (WHERE NOT is_open), 0) AS value,
    count(*) FILTER (WHERE NOT is_open) AS n, count(*) FILTER (WHERE is_open) AS open,
    make_array(min(trace_id) FILTER (WHERE is_orphan AND NOT is_open), max(trace_id) FILTER (WHERE is_orphan AND NOT is_open))
        AS trace_ids
FROM (
    -- A parent ends after its children, so a span of the last hour without one may still get it: it is open, and no sample.
    SELECT c.service_name, c.trace_id, p.span_id IS NULL AS is_orphan, c.end_time >= $window_end - INTERVAL '1 hour' AS is_open
    FROM span c
    LEFT JOIN span p ON p.trace_id = c.trace_id AND p.span_id = c.parent_span_id
    WHERE c.parent_span_id IS NOT NULL AND c.end_time >= $window_start - INTERVAL '1 hour')
GROUP BY 1
