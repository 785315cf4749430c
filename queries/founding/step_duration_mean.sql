-- about: Mean duration of the steps of workflows, by workflow and step; p95 beside it, so that a mean hides no tail
-- unit: value s
-- unit: p95 s
SELECT attributes['weavergen.workflow.name'] AS workflow, attributes['weavergen.workflow.step.name'] AS step,
    avg(duration_ns) / 1e9 AS value, count(*) AS n,
    approx_percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ns) / 1e9 AS p95
FROM spans
WHERE semconv_type = 'weavergen.workflow.step'
GROUP BY 1, 2
