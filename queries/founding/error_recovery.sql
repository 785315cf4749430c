-- about: Share of failed steps that the same step of the same run made good within 10 minutes, by workflow
-- unit: value ratio
WITH step AS (
    SELECT span_id, attributes['weavergen.workflow.name'] AS workflow, attributes['weavergen.workflow.run.id'] AS run,
        attributes['weavergen.workflow.step.name'] AS step, start_time, end_time, status_code
    FROM spans
    WHERE semconv_type = 'weavergen.workflow.step'
        AND end_time >= $window_start - INTERVAL '10 minutes' AND end_time < $window_end)
SELECT workflow, avg(CAST(ok AS INT)) AS value, count(*) AS n
FROM (
    SELECT f.workflow, f.span_id, bool_or(g.run IS NOT NULL) AS ok
    FROM step f
    LEFT JOIN step g ON g.run = f.run AND g.step = f.step AND g.status_code <> 'error'
        AND g.start_time >= f.end_time AND g.end_time <= f.end_time + INTERVAL '10 minutes'
    WHERE f.status_code = 'error' AND f.end_time < $window_end - INTERVAL '10 minutes'
    GROUP BY 1, 2)
GROUP BY workflow
