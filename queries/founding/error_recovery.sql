-- about: Share of failed steps that the same step of the same run made good within 10 minutes, by workflow
-- unit: value ratio
WITH step AS (
    SELECT span_id, attributes['weavergen.workflow.name'] AS workflow, attributes['weavergen.workflow.run.id'] AS run,
        attributes['weavergen.workflow.step.name'] AS step, start_time, end_time, status_code
    FROM spans
    WHERE semconv_type = 'weavergen.workflow.step'
        AND end_time >= $window_start - INTERVAL '10 minutes' AND end_time < $window_end)
-- A failure that may still be made good is open: it is no sample, but it is there, so that its workflow is not one in which
-- nothing failed.
SELECT workflow, coalesce(avg(CAST(ok AS INT)) FILTER (WHERE NOT is_open), 0) AS value,
    count(*) FILTER (WHERE NOT is_open) AS n, count(*) FILTER (WHERE is_open) AS open
FROM (
    SELECT f.workflow, f.span_id, f.end_time >= $window_end - INTERVAL '10 minutes' AS is_open,
        bool_or(g.run IS NOT NULL) AS ok
    FROM step f
    LEFT JOIN step g ON g.run = f.run AND g.step = f.step AND g.status_code <> 'error'
        AND g.start_time >= f.end_time AND g.end_time <= f.end_time + INTERVAL '10 minutes'
    WHERE f.status_code = 'error'
    GROUP BY 1, 2, 3)
GROUP BY workflow
