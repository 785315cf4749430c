-- about: attributes, events and links that exporters dropped by their own limits
-- param: since DURATION = 1d how far back
-- example: -p since=1h
SELECT service_name, name, count(*) AS spans, sum(dropped_attributes_count) AS attributes, sum(dropped_events_count) AS events, sum(dropped_links_count) AS links,
  max(trace_id) AS example
FROM spans
WHERE start_time >= ago($since) AND (dropped_attributes_count > 0 OR dropped_events_count > 0 OR dropped_links_count > 0)
GROUP BY service_name, name
ORDER BY attributes + events + links DESC, service_name, name;
