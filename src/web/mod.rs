//! The API on port 8080.
//!
//! Duty: `POST /api/v1/sql` and its kin, and the plain page at `/`. Guarantee: every error has the JSON shape of
//! sql.md 10 and its status is decided in one place. Left to others: running statements (`query`), who may call
//! (`access`).

pub mod config;
mod page;
mod sql;
mod status;

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;

pub use config::Config;

use crate::access::{Access, Hosts, is_cross_site};
use crate::query::{Code, Error, Gateway};

/// Largest body of a request: a statement of 64 KiB, and parameters.
const MAX_BODY_BYTES: usize = 4 << 20;

/// What the handlers work with; cheap to clone.
#[derive(Clone, Debug)]
pub struct Api {
    /// Runs statements.
    pub gateway: Gateway,
    /// Who may call.
    pub access: Access,
    /// Which hosts are ours.
    pub hosts: Hosts,
    /// Addresses of the other endpoints, for the page.
    pub links: Links,
}

/// Addresses that the page at `/` names.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// `/metrics`
    pub metrics: Option<SocketAddr>,
    /// Health.
    pub health: Option<SocketAddr>,
}

/// The routes.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/api/v1/sql", get(sql::get).post(sql::post))
        .fallback(|| async { status::not_found() })
        .method_not_allowed_fallback(|| async { status::method_not_allowed() })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(api.clone(), admit))
        .with_state(api)
}

/// Host, origin and caller, before any handler.
async fn admit(State(api): State<Api>, request: Request, next: Next) -> Response {
    match refusal(&api, &request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}

fn refusal(api: &Api, request: &Request) -> Option<Response> {
    let field = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let host = field("host").or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    if !host.is_some_and(|host| api.hosts.allows(host)) {
        return Some(status::misdirected(host.unwrap_or("none")));
    }
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if changes && is_cross_site(&api.hosts, field("origin"), field("sec-fetch-site")) {
        let error = Error::new(Code::Denied, "the request comes from a page of another site", "call the API directly");
        return Some(status::error(&error, None));
    }
    let denied = api.access.role(field("authorization")).err()?;
    let error = Error::new(Code::Unauthenticated, denied.to_string(), "tokens stand in the file `access.tokens_file`");
    Some(status::error(&error, None))
}
