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
        Revived::Gone(name) => {
            let hint = "configure the receiver again, or leave the message: it is removed after 30 days";
            refused(
                Class::Conflict,
                format!(
                    "nobody takes message {id}: receiver `{name}` is not configured any more, or not at that address"
                ),
                hint,
            )
        }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use axum::response::IntoResponse as _;

    use super::*;
    use crate::clock::Clock;
    use crate::gate::Journal;

    #[tokio::test]
    async fn a_dead_letter_of_a_receiver_that_is_gone_is_not_tried_again_and_it_is_named() {
        let journal = Journal::in_memory().unwrap();
        let lines = |name: &str| BTreeMap::from([(name.to_owned(), vec![name.to_owned()])]);
        journal.keep_lines(&lines("hook")).unwrap();
        journal.commit(&crate::gate::journal::tests::message_to("hook"), 1).unwrap();
        assert_eq!(journal.keep_lines(&lines("other")).unwrap(), 1);
        let id = journal.snapshot().unwrap().outbox("hook", 1).unwrap()[0].0;
        let query = crate::query::Config { threads: 1, ..Default::default() };
        let outbox = Some(Outbox::new(journal, Clock::manual(0, 1)));
        let state = AppState { outbox, ..super::super::tests::state(access::Config::default(), query) };
        let identity = Identity { name: "ann".to_owned(), role: Role::Admin };
        let answer = retry(State(state), Extension(identity), Path(id.to_string())).await.into_response();
        assert_eq!(answer.status().as_u16(), 409);
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains("receiver `hook` is not configured any more"), "{text}");
    }
}
