-- about: Share of the operations that a service should emit and does, by service; missing = those it did not emit
-- unit: value ratio
WITH seen AS (
    SELECT service_name, name AS operation FROM spans
    UNION
    SELECT service_name, semconv_type FROM spans WHERE semconv_type IS NOT NULL),
size AS (SELECT service_name, count(*) AS n FROM spans GROUP BY 1)
SELECT e.service_name,
    CASE WHEN max(z.n) > 0 THEN CAST(count(s.operation) AS DOUBLE) / count(*) END AS value,
    max(z.n) AS n,
    array_agg(e.operation ORDER BY e.operation) FILTER (WHERE s.operation IS NULL) AS missing
FROM expected_operations e
LEFT JOIN seen s ON s.service_name = e.service_name AND s.operation = e.operation
LEFT JOIN size z ON z.service_name = e.service_name
WHERE NOT e.deprecated
GROUP BY e.service_name
