-- about: a required attribute that spans of a service and span type lack
-- by: service_name, semconv_type, attribute
WITH total AS (SELECT service_name, semconv_type, count(*) AS n FROM spans WHERE semconv_type IS NOT NULL GROUP BY 1, 2), lack AS (SELECT service_name, semconv_type, trace_id, start_time, unnest(semconv_findings) AS f FROM spans WHERE semconv_type IS NOT NULL),
 one AS (SELECT service_name, semconv_type, f['key'] AS attribute, count(*) AS support, newest(trace_id, start_time) AS trace_ids FROM lack WHERE f['id'] = 'required_attribute_not_present' GROUP BY 1, 2, 3)
SELECT o.service_name, o.semconv_type, o.attribute, o.support, t.n, o.trace_ids FROM one o JOIN total t ON t.service_name = o.service_name AND t.semconv_type = o.semconv_type;
