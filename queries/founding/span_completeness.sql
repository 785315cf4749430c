-- about: Required attributes present ÷ required over matched spans, by service; strict = share of spans with all of them
-- unit: value ratio
-- unit: match_rate ratio
-- unit: strict ratio
SELECT service_name, sum(required_present) / CAST(nullif(sum(required_total), 0) AS DOUBLE) AS value, count(semconv_type) AS n, count(semconv_type) / CAST(count(*) AS DOUBLE) AS match_rate, avg(CASE WHEN required_total > 0 THEN CAST(required_present = required_total AS INT) END) AS strict,
    make_array(min(trace_id) FILTER (WHERE required_present < required_total), max(trace_id) FILTER (WHERE required_present < required_total)) AS trace_ids FROM spans GROUP BY service_name;
