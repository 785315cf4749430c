-- about: How well predicted durations of steps follow the actual ones (Pearson), by workflow
SELECT attributes['weavergen.workflow.name'] AS workflow,
    corr(CAST(attributes['weavergen.prediction.duration_ms'] AS DOUBLE), duration_ns / 1e6) AS value, count(*) AS n
FROM spans
WHERE semconv_type = 'weavergen.workflow.step' AND attributes['weavergen.prediction.duration_ms'] IS NOT NULL
GROUP BY 1
