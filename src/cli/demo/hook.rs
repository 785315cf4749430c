//! The webhook that the demo runs: it keeps what it is told, once.
//!
//! Guarantee: a notice that comes again with the `Idempotency-Key` of an earlier one is that one (delivery is at least
//! once). Left to others: what a notice says (`notify`).

use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;

/// Notices in the order in which they came first, with their keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Hook {
    told: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Hook {
    /// Listens on a free port; its address.
    pub(super) async fn listen() -> anyhow::Result<(Self, String)> {
        let hook = Self::default();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.context("no free port")?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let router = axum::Router::new().route("/hook", post(take)).with_state(hook.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok((hook, url))
    }

    /// The notices about `service` with this status, `firing` or `resolved`.
    pub(super) fn about(&self, service: &str, status: &str) -> Vec<Value> {
        let told = self.told.lock().expect("no holder of this lock panics");
        let is_it = |notice: &&Value| {
            notice["status"] == status && notice.pointer("/groupLabels/service_name").is_some_and(|s| s == service)
        };
        told.iter().map(|(_, notice)| notice).filter(is_it).cloned().collect()
    }

    /// All that was told.
    pub(super) fn count(&self) -> usize {
        self.told.lock().expect("no holder of this lock panics").len()
    }
}

async fn take(State(hook): State<Hook>, headers: HeaderMap, Json(notice): Json<Value>) -> StatusCode {
    let Some(key) = headers.get("Idempotency-Key").and_then(|key| key.to_str().ok()) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut told = hook.told.lock().expect("no holder of this lock panics");
    if told.iter().all(|(known, _)| known != key) {
        told.push((key.to_owned(), notice));
    }
    StatusCode::OK
}
