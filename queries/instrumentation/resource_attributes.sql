-- about: Share of spans whose resource names service, version and environment, by service
-- unit: value ratio
-- unit: versioned ratio
-- unit: placed ratio
SELECT service_name,
    avg(CAST(resource['service.name'] IS NOT NULL AND resource['service.version'] IS NOT NULL
        AND resource['deployment.environment.name'] IS NOT NULL AS INT)) AS value,
    count(*) AS n,
    avg(CAST(resource['service.version'] IS NOT NULL AS INT)) AS versioned,
    avg(CAST(resource['deployment.environment.name'] IS NOT NULL AS INT)) AS placed
FROM spans
GROUP BY 1
