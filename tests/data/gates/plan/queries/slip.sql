-- about: a slip
SELECT
  avg(duraton_ns) AS value
FROM spans
