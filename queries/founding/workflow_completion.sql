-- about: Share of runs that completed within their deadline of 10 minutes, by workflow; an open run past it counts as failed
-- unit: value ratio
WITH run AS (
    SELECT attributes['weavergen.workflow.name'] AS workflow, attributes['weavergen.workflow.run.id'] AS run,
        min(start_time) FILTER (WHERE semconv_type IN ('weavergen.workflow.start', 'weavergen.workflow.run')) AS began,
        min(end_time) FILTER (
            WHERE semconv_type = 'weavergen.workflow.run' AND attributes['weavergen.workflow.outcome'] = 'completed') AS done
    FROM spans
    WHERE end_time >= $window_start - INTERVAL '10 minutes' AND end_time < $window_end
        AND attributes['weavergen.workflow.run.id'] IS NOT NULL
    GROUP BY 1, 2)
SELECT workflow, avg(CAST(done IS NOT NULL AND done <= began + INTERVAL '10 minutes' AS INT)) AS value, count(*) AS n
FROM run
-- Those whose deadline is over.
WHERE began >= $window_start - INTERVAL '10 minutes' AND began < $window_end - INTERVAL '10 minutes'
GROUP BY workflow
