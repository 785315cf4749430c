//! `weavergen store ls`: parts and log segments, one a row.
//!
//! Duty: the statement. Guarantee: parts before log, each by path, so by hour and by lsn. Left to others: running it
//! (`sql`), the relations (`query::system`).

/// Parts have the store position of their rows as ingest time, log segments as lsns.
pub const SQL: &str = "\
SELECT 'part' AS kind, path, rows, bytes, min_start, max_start, min_ingest, max_ingest, NULL AS first_lsn, NULL AS last_lsn
FROM system.parts
UNION ALL
SELECT 'log', path, spans, bytes, NULL, NULL, NULL, NULL, first_lsn, last_lsn FROM system.wal_segments
ORDER BY kind DESC, path";
