-- about: Share of spans that match a convention and violate it, by service
-- unit: value ratio
-- unit: match_rate ratio
SELECT service_name,
    count(*) FILTER (WHERE finding_level = 'violation') / CAST(nullif(count(semconv_type), 0) AS DOUBLE) AS value,
    count(semconv_type) AS n,
    count(semconv_type) / CAST(count(*) AS DOUBLE) AS match_rate,
    make_array(min(trace_id) FILTER (WHERE finding_level = 'violation'),
        max(trace_id) FILTER (WHERE finding_level = 'violation')) AS trace_ids
FROM spans
GROUP BY 1
