//! `/api/v1/gates/outbox`: messages to receivers that wait or were given up (gates.md 12).
//!
//! Duty: `GET` of the list, `POST …/{id}/retry`. Guarantee: only an admin changes anything; a message that cannot be tried
//! again is told why. Left to others: the work (`notify`).

use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::{AppState, Error};
use crate::access::{self, Identity, Role};
use crate::error::Class;
use crate::gate::journal::Revived;
use crate::notify::Outbox;

/// Messages of an answer, and the most of one.
const MESSAGES: usize = 1_000;
const MOST: usize = 10_000;

/// What [`list`] is asked for.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// The `next` of the answer before.
    after: Option<String>,
    /// Most messages.
    limit: Option<usize>,
}

/// Answers `{"messages": […], "next"}`; `next` is null at the end.
pub(super) async fn list(
    State(state): State<AppState>,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Value>, Error> {
    let outbox = outbox(&state)?;
    let hint = "write ?after=NEXT&limit=N with the `next` of the answer before, or nothing";
    let bad = |message: String| Error::Request { message, hint: hint.to_owned() };
    let Query(Wanted { after, limit }) = wanted.map_err(|error| bad(error.body_text()))?;
    let limit = limit.unwrap_or(MESSAGES);
    if !(1..=MOST).contains(&limit) {
        return Err(bad(format!("`limit` must be from 1 to {MOST}, got {limit}")));
    }
    match outbox.list(after.as_deref(), limit).await.map_err(unreadable)? {
        Some(page) => Ok(Json(json!({ "messages": page.messages, "next": page.next }))),
        None => Err(bad(format!("`{}` is no place in the list", after.unwrap_or_default()))),
    }
}

/// Tries a dead letter again; answers `{"id"}`, its new number.
pub(super) async fn retry(
    State(state): State<AppState>,
    Extension(identity): Extension<Identity>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Error> {
    if identity.role != Role::Admin {
        return Err(access::Error::Denied.into());
    }
    let outbox = outbox(&state)?;
    let hint = "`weavergen gates outbox` lists messages and their numbers";
    let Ok(number) = id.parse::<u64>() else {
        return Err(Error::Request { message: format!("`{id}` is no number of a message"), hint: hint.to_owned() });
    };
    let refused = |class, message: String, hint| Err(Error::Outbox { class, message, hint });
    match outbox.retry(number).await.map_err(unreadable)? {
        Revived::Again(id) => Ok(Json(json!({ "id": id }))),
        Revived::Unknown => {
            refused(Class::NotFound, format!("there is no message {id}: it arrived, or never was"), hint)
        }
        Revived::Waiting => refused(Class::Conflict, format!("message {id} is tried anyway"), "wait for its next try"),
        Revived::Overtaken => {
            let hint = "later messages of its alert say how things are; `weavergen gates show` too";
            refused(Class::Conflict, format!("message {id} tells what is over: its alert has changed since"), hint)
        }
    }
}

fn outbox(state: &AppState) -> Result<&Outbox, Error> {
    state.outbox.as_ref().ok_or(Error::NotFound)
}

fn unreadable(error: crate::gate::journal::Error) -> Error {
    Error::Outbox { class: error.class(), message: error.to_string(), hint: "the daemon's log says more" }
}
