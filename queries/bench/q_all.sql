-- about: canonical query q_all: newest slow failures of an operation within a time range
-- param: from TIMESTAMP = now-1h first start
-- param: to TIMESTAMP = now last start
SELECT trace_id, span_id, start_time, duration_ms FROM spans
WHERE service_name = 'checkout' AND name = 'POST /pay' AND duration_ns > dur('200ms')
  AND attributes['http.response.status_code'] = 500 AND start_time BETWEEN $from AND $to
ORDER BY start_time DESC LIMIT 20;
