-- about: Share of their ticks that gates did not judge, or not for every key, by group of gates, and why
-- unit: value ratio
SELECT gate_group AS observed_group,
    sum(missed) / CAST(nullif(sum(gates), 0) AS DOUBLE) AS value,
    sum(gates) AS n,
    sum(overrun) AS overrun,
    sum(downtime) AS downtime,
    sum(timeout) AS timeout
FROM gate_ticks
GROUP BY 1
