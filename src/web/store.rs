//! `/api/v1/store`: what changes the store.
//!
//! Duty: `POST /api/v1/store/flush` and `/api/v1/store/compact`. Guarantee: only an admin changes anything. Left to
//! others: the work (`store`), listing (statements over the schema `system`).

use std::collections::HashSet;
use std::time::Instant;

use axum::extract::{Query, State};
use axum::{Extension, Json};

use super::{AppState, Error};
use crate::access::{self, Identity, Role};
use crate::store::is_hour;

/// Writes all rows in memory to parts; answers `{"parts", "rows", "manifest_version", "elapsed_ms"}` when they are
/// durable: how many parts were added meanwhile, and their rows.
pub(super) async fn flush(
    State(state): State<AppState>,
    Extension(identity): Extension<Identity>,
) -> Result<Json<serde_json::Value>, Error> {
    if identity.role != Role::Admin {
        return Err(access::Error::Denied.into());
    }
    let store = state.store.as_ref().ok_or(Error::NotFound)?;
    let began = Instant::now();
    let before = store.reader().view();
    store.freeze_and_flush().await?;
    let after = store.reader().view();
    let old: HashSet<&str> = before.parts.parts.iter().map(|part| part.entry.path.as_str()).collect();
    let added = || after.parts.parts.iter().filter(|part| !old.contains(part.entry.path.as_str()));
    let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Json(serde_json::json!({
        "parts": added().count(),
        "rows": added().map(|part| part.entry.rows).sum::<u64>(),
        "manifest_version": after.manifest_version,
        "elapsed_ms": elapsed_ms,
    })))
}

/// What [`compact`] is asked for.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// `YYYY-MM-DDTHH`; all hours without it.
    hour: Option<String>,
}

/// Compacts an hour or all of them, however new; answers `{"added", "removed", "parts", "manifest_version",
/// "elapsed_ms"}` when readers see it: parts written and replaced meanwhile, and how many there are.
pub(super) async fn compact(
    State(state): State<AppState>,
    Extension(identity): Extension<Identity>,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<serde_json::Value>, Error> {
    if identity.role != Role::Admin {
        return Err(access::Error::Denied.into());
    }
    let store = state.store.as_ref().ok_or(Error::NotFound)?;
    let hint = || "write ?hour=YYYY-MM-DDTHH in UTC, or nothing for all hours".to_owned();
    let Query(wanted) = wanted.map_err(|error| Error::Request { message: error.body_text(), hint: hint() })?;
    if let Some(hour) = wanted.hour.as_deref().filter(|hour| !is_hour(hour)) {
        return Err(Error::Request { message: format!("`{hour}` is no hour"), hint: hint() });
    }
    let began = Instant::now();
    let before = store.reader().view();
    store.compact(wanted.hour.as_deref()).await?;
    let after = store.reader().view();
    let paths = |view: &crate::store::View| -> HashSet<String> {
        view.parts.parts.iter().map(|part| part.entry.path.clone()).collect()
    };
    let (old, new) = (paths(&before), paths(&after));
    Ok(Json(serde_json::json!({
        "added": new.difference(&old).count(),
        "removed": old.difference(&new).count(),
        "parts": new.len(),
        "manifest_version": after.manifest_version,
        "elapsed_ms": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    })))
}
