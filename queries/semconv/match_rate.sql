-- about: Share of spans that a convention of the registry describes, by service
-- unit: value ratio
SELECT service_name, count(semconv_type) / CAST(count(*) AS DOUBLE) AS value, count(*) AS n
FROM spans
GROUP BY 1
