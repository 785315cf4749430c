//! The names that the shell completes, of what is stored now.
//!
//! Duty: tables, columns, functions and attribute keys, asked for in the background. Guarantee: typing never waits for
//! them; who cannot be asked leaves the names as they were. Left to others: which of them fit (`complete`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use super::complete::Names;
use crate::cli::sql::Failure;
use crate::cli::sql::session::Session;

const COLUMNS: &str = "SELECT CASE WHEN table_schema = 'public' THEN table_name \
                       ELSE concat(table_schema, '.', table_name) END, column_name \
                       FROM information_schema.columns ORDER BY table_schema, table_name, ordinal_position";
const FUNCTIONS: &str = "SELECT DISTINCT routine_name FROM information_schema.routines ORDER BY 1";
/// The keys that most spans have: not all of thirty thousand.
const KEYS: &str =
    "SELECT level, key FROM attribute_keys WHERE key IS NOT NULL ORDER BY rows DESC, level, key LIMIT 2000";
/// They are not asked for again before.
const FRESH: Duration = Duration::from_secs(60);

/// Names that follow the store.
#[derive(Debug)]
pub(super) struct Live {
    session: Arc<Session>,
    names: RwLock<(Names, Option<Instant>)>,
    is_asking: AtomicBool,
}

impl Live {
    pub(super) fn new(session: Arc<Session>, queries: Vec<String>) -> Self {
        let names = Names { queries, ..Names::default() };
        Self { session, names: RwLock::new((names, None)), is_asking: AtomicBool::new(false) }
    }

    /// What is known now.
    pub(super) fn names(&self) -> Names {
        self.names.read().map(|names| names.0.clone()).unwrap_or_default()
    }

    /// Asks again, in the background, if what is known is not of this minute.
    pub(super) fn refresh(self: &Arc<Self>) {
        let is_fresh = self.names.read().is_ok_and(|names| names.1.is_some_and(|at| at.elapsed() < FRESH));
        if is_fresh || self.is_asking.swap(true, Ordering::AcqRel) {
            return;
        }
        let live = self.clone();
        tokio::spawn(async move {
            // Without an answer there is nothing to complete with, and the statements themselves will tell why.
            if let Ok(found) = ask(&live.session).await
                && let Ok(mut names) = live.names.write()
            {
                let queries = std::mem::take(&mut names.0.queries);
                *names = (Names { queries, ..found }, Some(Instant::now()));
            }
            live.is_asking.store(false, Ordering::Release);
        });
    }
}

pub(super) async fn ask(session: &Session) -> Result<Names, Failure> {
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in session.texts(COLUMNS).await? {
        if let [Some(table), Some(column)] = row.as_slice() {
            tables.entry(table.clone()).or_default().push(column.clone());
        }
    }
    let functions = session.texts(FUNCTIONS).await?.into_iter().flatten().flatten().collect();
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if tables.contains_key("attribute_keys") {
        for row in session.texts(KEYS).await? {
            if let [Some(level), Some(key)] = row.as_slice() {
                keys.entry(level.clone()).or_default().push(key.clone());
            }
        }
    }
    Ok(Names { tables, functions, keys, queries: Vec::new() })
}
