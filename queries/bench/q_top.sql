-- about: canonical query q_top: the newest 100 failed spans of a service, all columns
SELECT * FROM spans WHERE service_name = 'checkout' AND status_code = 'error' ORDER BY start_time DESC LIMIT 100;
