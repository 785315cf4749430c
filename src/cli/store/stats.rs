//! `weavergen store stats`: sums over the store.
//!
//! Duty: the statement. Guarantee: `total` counts each row once: those in parts and those in memory; the log holds rows
//! of both. Left to others: running it (`sql`), the relations (`query::system`).

/// `what` is `total`, `parts`, `memory`, `log`, `files` by their kind (of parts that have left, too), or `column` with
/// the largest first. `bytes` are those of files and of memory; `compression` is that of the columns' pages: footers,
/// indexes and filters are aside.
pub const SQL: &str = "\
WITH columns AS (
  SELECT column_name, count(*) AS files, sum(bytes) AS bytes, sum(uncompressed_bytes) AS uncompressed_bytes
  FROM system.part_columns GROUP BY 1
), held AS (
  SELECT count(*) AS files, sum(rows) AS rows, sum(bytes) AS bytes, min(min_start) AS min_start, max(max_start) AS max_start
  FROM system.parts
), sums AS (
  SELECT 1 AS place, 'total' AS what, 'parts and memory' AS name, held.files AS files,
         coalesce(held.rows, 0) + memory.rows AS rows, coalesce(held.bytes, 0) AS bytes,
         (SELECT sum(uncompressed_bytes) FROM columns) AS uncompressed_bytes,
         (SELECT sum(bytes) FROM columns) AS compressed_bytes,
         least(held.min_start, memory.min_start) AS min_start, greatest(held.max_start, memory.max_start) AS max_start
  FROM held CROSS JOIN system.memory AS memory
  UNION ALL
  SELECT 2, 'parts', concat('level ', level), count(*), sum(rows), sum(bytes), NULL, NULL, min(min_start), max(max_start)
  FROM system.parts GROUP BY level
  UNION ALL
  SELECT 3, 'memory', 'not in parts yet', NULL, rows, bytes, NULL, NULL, min_start, max_start FROM system.memory
  UNION ALL
  SELECT 4, 'log', 'segments', count(*), coalesce(sum(spans), 0), coalesce(sum(bytes), 0), NULL, NULL, NULL, NULL
  FROM system.wal_segments
  UNION ALL
  SELECT 5, 'files', kind, count(*), NULL, sum(bytes), NULL, NULL, NULL, NULL FROM system.files GROUP BY kind
  UNION ALL
  SELECT 6, 'column', column_name, files, NULL, bytes, uncompressed_bytes, bytes AS compressed_bytes, NULL, NULL FROM columns
)
SELECT what, name, files, rows, bytes, uncompressed_bytes,
       round(CAST(uncompressed_bytes AS DOUBLE) / nullif(compressed_bytes, 0), 2) AS compression, min_start, max_start
FROM sums ORDER BY place, bytes DESC, name";
