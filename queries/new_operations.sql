-- about: operations that were seen for the first time lately
-- param: since DURATION = 1d how far back
-- example: -p since=2h
SELECT service_name, name, kind, first_seen, last_seen, spans, errors
FROM operations
WHERE first_seen >= ago($since) AND name IS NOT NULL
ORDER BY first_seen DESC, service_name, name;
