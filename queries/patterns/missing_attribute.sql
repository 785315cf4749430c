-- about: a required attribute that spans of a service and span type lack
-- by: service_name, semconv_type, attribute
WITH total AS (SELECT service_name, semconv_type, count(*) AS n FROM spans WHERE semconv_type IS NOT NULL GROUP BY 1, 2), lack AS (SELECT service_name, semconv_type, trace_id, start_time, unnest(semconv_findings) AS f FROM spans WHERE semconv_type IS NOT NULL),
 one AS (SELECT service_name, semconv_type, f['key'] AS attribute, trace_id, row_number() OVER (PARTITION BY service_name, semconv_type, f['key'] ORDER BY start_time DESC, trace_id) AS newest FROM lack WHERE f['id'] = 'required_attribute_not_present')
SELECT o.service_name, o.semconv_type, o.attribute, count(*) AS support, max(t.n) AS n, array_agg(o.trace_id ORDER BY o.newest) FILTER (WHERE o.newest <= 5) AS trace_ids FROM one o JOIN total t ON t.service_name = o.service_name AND t.semconv_type = o.semconv_type GROUP BY 1, 2, 3;
