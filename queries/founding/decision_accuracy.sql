-- about: Share of decisions that turned out right, by kind; outcomes of the window, their decisions up to 7 days back
-- unit: value ratio
-- unit: labelled ratio
WITH decision AS (
    SELECT attributes['weavergen.decision.id'] AS id, attributes['weavergen.decision.kind'] AS decision, end_time AS made
    FROM spans
    WHERE semconv_type = 'weavergen.ai.decision'
        AND end_time >= $window_start - INTERVAL '7 days' AND end_time < $window_end),
outcome AS (
    SELECT attributes['weavergen.decision.id'] AS id,
        bool_and(CAST(attributes['weavergen.decision.correct'] AS BOOLEAN)) AS correct
    FROM spans
    WHERE semconv_type = 'weavergen.ai.outcome' AND end_time >= $window_start AND end_time < $window_end
    GROUP BY 1)
SELECT d.decision, avg(CAST(o.correct AS INT)) AS value, count(o.correct) AS n,
    least(1.0, count(o.correct) / CAST(nullif(count(*) FILTER (WHERE d.made >= $window_start), 0) AS DOUBLE)) AS labelled
FROM decision d
LEFT JOIN outcome o ON o.id = d.id
GROUP BY 1
