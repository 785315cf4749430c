-- about: canonical query q_slow: the slowest 20 requests of a service within the hour
SELECT trace_id, span_id, name, start_time, duration_ms FROM spans
WHERE service_name = 'checkout' AND kind = 'server' AND start_time >= ago('1h') ORDER BY duration_ns DESC LIMIT 20;
