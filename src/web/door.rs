//! What every request passes first.
//!
//! Duty: `Host`, origin and token, in this order. Guarantee: no handler runs for a foreign host, a page of another site
//! (but `/` and `/gates/…`, which are linked to) or a caller without identity. Left to others: the rules (`access`).

use std::net::SocketAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::status::grpc;
use super::{AppState, Error, flight};
use crate::access::is_cross_site;

/// Where the connection of a request came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local {
    /// Our end of it.
    pub address: SocketAddr,
    /// Whether its listener is on loopback.
    pub loopback: bool,
}

pub(super) async fn check(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let is_grpc = flight::is_grpc(request.headers());
    match checked(&state, request, next, is_grpc).await {
        Ok(response) => response,
        Err(error) if is_grpc => grpc(&error).into_http(),
        Err(error) => error.into_response(),
    }
}

async fn checked(state: &AppState, mut request: Request, next: Next, is_grpc: bool) -> Result<Response, Error> {
    let local = request.extensions().get::<Local>().copied();
    let Some(Local { address: local, loopback }) = local else {
        return Err(Error::Host { host: "unknown".to_owned() });
    };
    // HTTP/2 has the host in the request's target.
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let host = match text(request.headers(), header::HOST) {
        Some(host) => host.to_owned(),
        None => authority.unwrap_or_default(),
    };
    if !state.hosts.allows(&host, local) {
        return Err(Error::Host { host: host.chars().take(100).collect() });
    }
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    // What is read changes nothing, but costs what it costs: a page of another site makes none of it run, whatever the
    // method. Pages are open to links.
    let is_api = request.uri().path().starts_with("/api/");
    let headers = request.headers();
    if (changes || is_api) && is_cross_site(text(headers, header::ORIGIN), text(headers, SITE), &host) {
        return Err(Error::CrossSite);
    }
    let authorization = match request.headers().get(header::AUTHORIZATION) {
        // One that is no text is not taken for absent.
        Some(value) => Some(value.to_str().unwrap_or("unreadable")),
        None => None,
    };
    let of_password = authorization.filter(|_| is_grpc).and_then(flight::bearer);
    let identity = state.access.identify(of_password.as_deref().or(authorization), loopback)?;
    request.extensions_mut().insert(identity);
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    // A header that is no text is foreign, not absent.
    headers.get(name).map(|value| value.to_str().unwrap_or("unreadable header"))
}
