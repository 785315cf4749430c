//! The plain page at `/`.
//!
//! Duty: where health, metrics and SQL are (collector_config.md 17); what all plain pages share. Guarantee: it needs no script
//! and no other file. Left to others: the page of a gate (`gates::page`), the web page proper (a later issue).

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::AppState;

/// Addresses of other listeners, as URLs; `None` where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// Of the health check.
    pub health: Option<String>,
    /// Of our own metrics.
    pub metrics: Option<String>,
}

pub(super) async fn page(State(state): State<AppState>) -> impl IntoResponse {
    let link = |name: &str, url: &Option<String>| match url {
        Some(url) => format!("<li><a href=\"{0}\">{name}</a> {0}</li>\n", escape(url)),
        None => String::new(),
    };
    let body = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>weavergen</title></head><body>\n\
         <h1>weavergen {}</h1>\n<ul>\n{}{}\
         <li><a href=\"/api/v1/sql?q=SELECT+*+FROM+spans+ORDER+BY+start_time+DESC+LIMIT+20\">SQL</a> \
         POST /api/v1/sql, or GET /api/v1/sql?q=</li>\n\
         <li><a href=\"/api/v1/schema\">tables and functions</a> /api/v1/schema</li>\n\
         <li><a href=\"/api/v1/gates\">gates</a> /api/v1/gates, /api/v1/rules, /api/v1/alerts</li>\n</ul>\n</body></html>\n",
        env!("CARGO_PKG_VERSION"),
        link("health", &state.links.health),
        link("metrics", &state.links.metrics),
    );
    html(body)
}

/// A page as an answer: nothing in it runs, and nobody puts it into a frame.
pub(super) fn html(body: String) -> impl IntoResponse {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, policy)], body)
}

/// Text as text of HTML, also within a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
