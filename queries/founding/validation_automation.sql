-- about: Verdicts that gates reached, of those and the episodes that people closed by hand
-- unit: value ratio
SELECT a.auto / CAST(nullif(a.auto + m.manual, 0) AS DOUBLE) AS value, a.auto + m.manual AS n
FROM (
    SELECT coalesce(sum(evaluations), 0) AS auto
    FROM gate_results
    WHERE outcome IN ('pass', 'warn', 'fail') AND gate <> $gate) a
CROSS JOIN (SELECT count(*) AS manual FROM gate_transitions WHERE cause = 'manual') m
