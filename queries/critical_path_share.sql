-- about: which services requests wait for: the time of each on the critical paths of the newest traces
-- param: since DURATION = 1h how far back
-- param: condition TEXT = true only traces with a span like this: a condition over spans
-- param: traces BIGINT = 1000 at most so many traces, newest first
-- example: -p since=1h
-- unit: share ratio
SELECT service_name, section_ns / 1e6 AS path_ms, share, traces
FROM critical_path_by($condition, ago($since), now(), 'service', $traces)
ORDER BY share DESC, service_name;
