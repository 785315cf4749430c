//! `weavergen store ls`: parts, log segments and files of the catalogue, one a row.
//!
//! Duty: the statement. Guarantee: parts before log before catalogue, each by path, so by hour, lsn and version. Left
//! to others: running it (`sql`), the relations (`query::system`).

/// Parts have the store position of their rows as ingest time, log segments as lsns.
pub const SQL: &str = "\
SELECT 'part' AS kind, path, rows, bytes, min_start, max_start, min_ingest, max_ingest, NULL AS first_lsn, NULL AS last_lsn
FROM system.parts
UNION ALL
SELECT 'log', path, spans, bytes, NULL, NULL, NULL, NULL, first_lsn, last_lsn FROM system.wal_segments
UNION ALL
SELECT 'catalogue', path, NULL, bytes, NULL, NULL, NULL, NULL, NULL, NULL FROM system.files WHERE kind = 'catalogue'
ORDER BY array_position(['part', 'log', 'catalogue'], kind), path";
