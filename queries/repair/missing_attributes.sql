-- about: required attributes that spans of one service lack, most often missing first
-- param: service TEXT whose spans
-- param: from TIMESTAMP = now-1h only spans that ended at or after it
-- param: to TIMESTAMP = now only spans that ended before it
-- example: -p service=checkout
WITH lack AS (
  SELECT semconv_type, trace_id, unnest(semconv_findings) AS finding
  FROM spans
  WHERE service_name = $service AND end_time >= $from AND end_time < $to
)
SELECT finding['key'] AS attribute, semconv_type, count(*) AS spans, min(trace_id) AS example
FROM lack
WHERE finding['id'] = 'required_attribute_not_present'
GROUP BY 1, 2
ORDER BY spans DESC, attribute, semconv_type;
