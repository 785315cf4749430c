-- about: How well the order of predicted durations follows that of the actual ones (Spearman), by workflow
WITH step AS (
    SELECT attributes['weavergen.workflow.name'] AS workflow,
        CAST(attributes['weavergen.prediction.duration_ms'] AS DOUBLE) AS predicted, duration_ns
    FROM spans
    WHERE semconv_type = 'weavergen.workflow.step' AND attributes['weavergen.prediction.duration_ms'] IS NOT NULL),
-- Equal values share the mean of their ranks.
ranked AS (
    SELECT workflow,
        rank() OVER (PARTITION BY workflow ORDER BY predicted) + (count(*) OVER (PARTITION BY workflow, predicted) - 1)
        / 2.0 AS p,
        rank() OVER (PARTITION BY workflow ORDER BY duration_ns) + (count(*) OVER (PARTITION BY workflow, duration_ns)
        - 1) / 2.0 AS d
    FROM step)
SELECT workflow, corr(p, d) AS value, count(*) AS n FROM ranked GROUP BY 1
