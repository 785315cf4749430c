-- about: an attribute value whose spans fail more often than the other spans of their service
-- by: service_name, key, value
-- min_support: 10
-- min_effect: 2
-- Only failing spans are taken apart; of all spans it is asked which of the pairs that are frequent there they have.
WITH bad AS (SELECT service_name, unnest(attr_pairs(attributes)) AS a FROM spans WHERE status_code = 'error'),
 hot AS (SELECT a['key'] AS key, a['value'] AS value FROM bad GROUP BY service_name, a['key'], a['value'] HAVING count(*) >= 10),
 service AS (SELECT service_name, count(*) AS n, count(*) FILTER (WHERE status_code = 'error') AS bad, tally(attr_pairs(attributes, (SELECT array_agg(named_struct('key', key, 'value', value)) FROM hot)), status_code = 'error', trace_id, start_time) AS found FROM spans GROUP BY 1),
 seen AS (SELECT service_name, n, bad, unnest(found) AS f FROM service)
SELECT s.service_name, s.f['key'] AS key, s.f['value'] AS value, s.f['marked'] AS support, s.f['n'] AS n, s.bad - s.f['marked'] AS rest_support, s.n - s.f['n'] AS rest_n, s.f['trace_ids'] AS trace_ids FROM seen s WHERE s.f['marked'] >= 10 AND s.f['n'] < s.n;
