-- about: an attribute value whose spans fail more often than the other spans of their service
-- by: service_name, key, value
-- min_support: 10
-- min_effect: 2
WITH bad AS (SELECT service_name, trace_id, start_time, unnest(attr_pairs(attributes)) AS a FROM spans WHERE status_code = 'error'), every AS (SELECT service_name, unnest(attr_pairs(attributes)) AS a FROM spans),
 hot AS (SELECT service_name, a['key'] AS key, a['value'] AS value, count(*) AS support FROM bad GROUP BY 1, 2, 3 HAVING count(*) >= 10),
 seen AS (SELECT h.service_name, h.key, h.value, max(h.support) AS support, count(*) AS n FROM hot h JOIN every e ON e.service_name = h.service_name AND e.a['key'] = h.key AND e.a['value'] = h.value GROUP BY 1, 2, 3),
 ids AS (SELECT service_name, key, value, array_agg(trace_id ORDER BY newest) AS trace_ids FROM (SELECT service_name, a['key'] AS key, a['value'] AS value, trace_id, row_number() OVER (PARTITION BY service_name, a['key'], a['value'] ORDER BY start_time DESC, trace_id) AS newest FROM bad) WHERE newest <= 5 GROUP BY 1, 2, 3),
 total AS (SELECT service_name, count(*) AS n, count(*) FILTER (WHERE status_code = 'error') AS bad FROM spans GROUP BY 1)
SELECT s.service_name, s.key, s.value, s.support, s.n, t.bad - s.support AS rest_support, t.n - s.n AS rest_n, i.trace_ids FROM seen s JOIN total t ON t.service_name = s.service_name JOIN ids i ON i.service_name = s.service_name AND i.key = s.key AND i.value = s.value WHERE s.n < t.n;
