-- about: template variants, the one to try next first
-- param: options TEXT the variants in declared order, joined by commas
-- param: run BIGINT = 0 the asking run: what it tried already comes last
-- param: target TEXT the codegen job's template folder: variants of other targets are other things
-- param: gate TEXT = '' only this gate's record; empty: all
-- param: pipeline TEXT = '' only this process's record; empty: all
-- example: -p options=stable,complete -p target=instrumentation
WITH asked AS (SELECT unnest(string_to_array($options, ',')) AS variant), record AS (SELECT variant, count(*) FILTER (WHERE outcome IS DISTINCT FROM 'void') AS tries, count(*) FILTER (WHERE outcome = 'recovered') AS recovered, count(*) FILTER (WHERE run = $run) AS here FROM feedback WHERE target = $target AND ($gate = '' OR gate = $gate) AND ($pipeline = '' OR pipeline = $pipeline) GROUP BY 1)
SELECT a.variant, coalesce(r.tries, 0) AS tries, coalesce(r.recovered, 0) AS recovered, (1.0 + coalesce(r.recovered, 0)) / (2.0 + coalesce(r.tries, 0)) AS score, coalesce(r.here, 0) > 0 AS tried_here FROM asked a LEFT JOIN record r ON r.variant = a.variant ORDER BY tried_here, score DESC, tries > 0, array_position(string_to_array($options, ','), a.variant);
