-- about: span attributes by how many values they have: what is too fine to group by, and what costs
-- param: since DURATION = 1h how far back
-- param: service TEXT = '' one service; empty: all
-- param: limit BIGINT = 50 how many
-- example: -p limit=10
-- unit: text_bytes bytes
WITH pairs AS (
  SELECT service_name, unnest(attr_pairs(attributes)) AS a FROM spans
  WHERE start_time >= ago($since) AND ($service = '' OR service_name = $service)
)
SELECT a['key'] AS key, count(*) AS spans, count(DISTINCT a['value']) AS distinct_values, count(DISTINCT service_name) AS services,
  sum(octet_length(a['value'])) AS text_bytes, min(a['value']) AS example
FROM pairs
GROUP BY a['key']
ORDER BY distinct_values DESC, key
LIMIT $limit;
