-- about: an operation that its service did not have in the hour before the window
-- by: service_name, operation
-- min_support: 1
-- Spans are counted before anything is joined: what is compared are operations, however many spans they have.
WITH cur AS (SELECT service_name, name AS operation, count(*) AS support, newest(trace_id, start_time) AS trace_ids FROM spans WHERE end_time >= $window_start AND end_time < $window_end GROUP BY 1, 2),
 past AS (SELECT DISTINCT service_name, name AS operation FROM spans WHERE end_time >= $window_start - INTERVAL '1 hour' AND end_time < $window_start),
 found AS (SELECT coalesce(c.service_name, p.service_name) AS service_name, c.operation, c.support, c.trace_ids, p.operation IS NOT NULL AS is_old FROM cur c FULL JOIN past p ON p.service_name = c.service_name AND p.operation = c.operation),
 judged AS (SELECT *, sum(support) OVER (PARTITION BY service_name) AS n, count(*) FILTER (WHERE is_old) OVER (PARTITION BY service_name) AS old FROM found)
SELECT service_name, operation, support, n, trace_ids FROM judged WHERE old > 0 AND NOT is_old;
