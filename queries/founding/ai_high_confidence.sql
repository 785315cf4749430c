-- about: Share of decisions with a confidence of at least 0.8, by kind; labelled = share that says
-- unit: value ratio
-- unit: labelled ratio
SELECT attributes['weavergen.decision.kind'] AS decision,
    avg(CAST(CAST(attributes['weavergen.decision.confidence'] AS DOUBLE) >= 0.8 AS INT)) AS value,
    count(attributes['weavergen.decision.confidence']) AS n,
    count(attributes['weavergen.decision.confidence']) / CAST(count(*) AS DOUBLE) AS labelled
FROM spans
WHERE semconv_type = 'weavergen.ai.decision'
GROUP BY 1
