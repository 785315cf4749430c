-- about: Spans that came too late for windows that had closed, by group of gates
-- unit: value count
SELECT gate_group AS observed_group, sum(late_spans) AS value, count(late_spans) AS n
FROM gate_ticks
GROUP BY 1
