//! The API on port 8080.
//!
//! Duty: `POST /api/v1/sql` and its kin, Flight SQL, gates, what changes store and pipelines, the plain page at `/`. Guarantee: every
//! error has the JSON shape of sql.md 10, those of pipelines that of bpmn.md 17, and its status is decided in one place.
//! Left to others: running statements (`query`), who may call (`access`).

mod answer;
mod bind;
mod body;
pub mod config;
mod door;
mod error;
mod flight;
mod idle;
mod gates;
mod openapi;
mod outbox;
mod page;
mod pieces;
mod pipelines;
mod request;
mod routes;
mod rules;
mod schema;
mod serve;
mod status;
mod store;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use tower::ServiceExt as _;

pub use bind::bind;
pub use config::Config;
pub use error::Error;
pub use page::Links;
pub use serve::serve;

use crate::access::{Access, Hosts};
use crate::clock::Clock;
use crate::engine::Engine;
use crate::gate::Live;
use crate::notify::Outbox;
use crate::query::Gateway;
use crate::store::Store;

/// What requests need; cheap to clone.
#[derive(Clone, Debug)]
pub struct AppState {
    /// Runs statements.
    pub gateway: Gateway,
    /// Takes what changes the store; `None` where only statements are answered.
    pub store: Option<Store>,
    /// Takes what changes pipelines; `None` where none run.
    pub engine: Option<Engine>,
    /// Shows messages to receivers; `None` where no gates are judged.
    pub outbox: Option<Outbox>,
    /// Reads and closes gates; `None` where none are judged.
    pub gates: Option<Live>,
    /// Knows callers.
    pub access: Arc<Access>,
    /// Accepted values of `Host`.
    pub hosts: Arc<Hosts>,
    /// What the page at `/` links to.
    pub links: Arc<Links>,
    /// Whether Flight SQL is spoken.
    pub flight: bool,
    /// Time and chance of tickets.
    pub clock: Clock,
}

/// All routes. A request must carry [`door::Local`], the address it came to, as an extension; [`serve`] adds it.
fn router(state: AppState) -> Router {
    let mut router = Router::new();
    for route in routes::ALL {
        router = router.route(route.path, (route.handler)());
    }
    if state.flight {
        let server = flight::Server::new(state.gateway.clone(), &state.clock).map_request(body::in_time);
        router = router.route_service(flight::PATH, server);
    }
    router
        .fallback(|| async { Error::NotFound })
        .method_not_allowed_fallback(|| async { Error::Method })
        .layer(from_fn_with_state(state.clone(), door::check))
        .with_state(state)
}

#[cfg(test)]
mod tests;
