-- about: Share of decisions that a fallback took because the model did not, by kind; labelled = share that says
-- unit: value ratio
-- unit: labelled ratio
SELECT attributes['weavergen.decision.kind'] AS decision,
    avg(CAST(CAST(attributes['weavergen.decision.fallback'] AS BOOLEAN) AS INT)) AS value,
    count(attributes['weavergen.decision.fallback']) AS n,
    count(attributes['weavergen.decision.fallback']) / CAST(count(*) AS DOUBLE) AS labelled
FROM spans
WHERE semconv_type = 'weavergen.ai.decision'
GROUP BY 1
