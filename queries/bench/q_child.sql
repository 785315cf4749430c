-- about: canonical query q_child: slow database calls by caller and callee
-- param: from TIMESTAMP = now-1h first start
SELECT p.name AS caller, c.name AS callee, count(*) AS n, avg(c.duration_ms) AS ms
FROM spans p JOIN spans c ON c.trace_id = p.trace_id AND c.parent_span_id = p.span_id
WHERE p.service_name = 'checkout' AND c.attributes['db.system.name'] = 'postgresql'
  AND c.duration_ns > dur('50ms') AND p.start_time >= $from AND c.start_time >= $from
GROUP BY 1, 2;
