-- about: canonical query q_graph: who calls whom
SELECT * FROM service_graph(ago('6h'), now()) ORDER BY calls DESC;
