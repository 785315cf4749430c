-- about: Mean time in which models answer, by model
-- unit: value s
SELECT coalesce(attributes['gen_ai.response.model'], attributes['gen_ai.request.model'], 'unknown') AS model,
    avg(duration_ns) / 1e9 AS value, count(*) AS n
FROM spans
WHERE attributes['gen_ai.operation.name'] IS NOT NULL OR semconv_type = 'weavergen.ai.decision'
GROUP BY 1
