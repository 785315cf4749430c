-- about: The least number of messages that waited for their receivers when ticks were written: above 0, delivery stands still
-- unit: value count
SELECT min(outbox_waiting) AS value, count(DISTINCT tick) AS n, max(outbox_waiting) AS most, max(outbox_dead) AS dead
FROM gate_ticks
WHERE outbox_waiting IS NOT NULL
