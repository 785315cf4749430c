//! `/api/v1/store`: what changes the store.
//!
//! Duty: `POST /api/v1/store/flush`. Guarantee: only an admin changes anything. Left to others: the work (`store`),
//! listing (statements over the schema `system`).

use std::collections::HashSet;
use std::time::Instant;

use axum::extract::State;
use axum::{Extension, Json};

use super::{AppState, Error};
use crate::access::{self, Identity, Role};

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
