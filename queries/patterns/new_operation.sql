-- about: an operation that its service did not have in the hour before the window
-- by: service_name, operation
-- min_support: 1
WITH cur AS (SELECT service_name, name AS operation, trace_id, start_time FROM spans WHERE end_time >= $window_start AND end_time < $window_end), past AS (SELECT DISTINCT service_name, name AS operation FROM spans WHERE end_time >= $window_start - INTERVAL '1 hour' AND end_time < $window_start),
 fresh AS (SELECT c.*, row_number() OVER (PARTITION BY c.service_name, c.operation ORDER BY c.start_time DESC, c.trace_id) AS newest FROM cur c WHERE c.service_name IN (SELECT service_name FROM past) AND NOT EXISTS (SELECT 1 FROM past p WHERE p.service_name = c.service_name AND p.operation = c.operation))
SELECT f.service_name, f.operation, count(*) AS support, max(t.n) AS n, array_agg(f.trace_id ORDER BY f.newest) FILTER (WHERE f.newest <= 5) AS trace_ids FROM fresh f JOIN (SELECT service_name, count(*) AS n FROM cur GROUP BY 1) t ON t.service_name = f.service_name GROUP BY 1, 2;
