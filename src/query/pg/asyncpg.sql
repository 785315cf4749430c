WITH RECURSIVE typeinfo_tree(oid, elemtype, depth) AS (
    SELECT t.oid, t.typelem, 0 FROM pg_catalog.pg_type t WHERE t.oid = any($1::oid[])
    UNION ALL
    SELECT e.oid, e.typelem, tree.depth + 1
    FROM pg_catalog.pg_type e JOIN typeinfo_tree tree ON e.oid = tree.elemtype
)
SELECT DISTINCT typeinfo_tree.*, typeinfo_tree.elemtype::regtype::text AS elemtype_name FROM typeinfo_tree ORDER BY depth DESC
