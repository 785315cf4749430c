-- about: Completeness one hour ahead, if it goes on as in the last hour, by key of span_completeness
-- unit: value ratio
-- unit: now ratio
WITH point AS (
    SELECT key, value, CAST(to_unixtime(last_tick) AS DOUBLE) / 3600 AS hour
    FROM gate_results
    WHERE gate = 'span_completeness' AND outcome IN ('pass', 'warn', 'fail') AND value IS NOT NULL)
SELECT key AS of_key, max(now) + regr_slope(value, hour) AS value, count(*) AS n, max(now) AS now
FROM (SELECT *, last_value(value) OVER (PARTITION BY key ORDER BY hour ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED
    FOLLOWING) AS now FROM point)
GROUP BY key
