-- about: New executable versions of deployed pipelines; changes of a drawing alone do not count
-- unit: value count
SELECT process_id AS workflow,
    count(*) FILTER (
        WHERE version > 1 AND change = 'executable' AND deployed_at >= $window_start AND deployed_at < $window_end) AS value,
    count(*) AS n
FROM pipeline_definitions
GROUP BY 1
