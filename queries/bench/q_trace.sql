-- about: canonical query q_trace: one trace by its id, without a time
-- param: trace TEXT which
-- example: -p trace=00000000000000000000000000000001
SELECT * FROM spans WHERE trace_id = trace_id($trace) ORDER BY start_time;
