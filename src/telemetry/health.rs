//! The health endpoint (collector_config.md 8).
//!
//! Duty: `GET <path>`, `/ready` and `/live`. Guarantee: 200 means ready as `app` defines it at that moment; what is degraded
//! is named and takes no readiness away. Left to others: what ready and degraded mean.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::config::HealthCheck;
use crate::clock::Clock;

/// How the daemon is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// It does its work.
    pub ready: bool,
    /// What it does less well, one sentence each.
    pub degraded: Vec<String>,
}

/// Asked at every request.
pub type Ask = Arc<dyn Fn() -> Condition + Send + Sync>;

#[derive(Clone)]
struct Health {
    config: HealthCheck,
    ask: Ask,
    clock: Clock,
    since_ns: i64,
}

/// The routes of the health endpoint; `since` is now.
pub fn router(config: HealthCheck, ask: Ask, clock: Clock) -> Router {
    let health = Health { since_ns: clock.now_ns(), config, ask, clock };
    // The configured path is no route: what is a pattern to the router is a name to whoever wrote it.
    Router::new().route("/live", get(live)).route("/ready", get(ready)).fallback(configured).with_state(health)
}

async fn configured(State(health): State<Health>, method: Method, uri: Uri) -> Response {
    if uri.path() != health.config.path {
        return StatusCode::NOT_FOUND.into_response();
    }
    match method {
        Method::GET | Method::HEAD => ready(State(health)).await,
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

async fn ready(State(health): State<Health>) -> Response {
    let condition = (health.ask)();
    health.answer(condition)
}

async fn live(State(health): State<Health>) -> Response {
    health.answer(Condition { ready: true, degraded: Vec::new() })
}

impl Health {
    fn answer(&self, condition: Condition) -> Response {
        let Condition { ready: good, degraded } = condition;
        let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let body = if good { &self.config.healthy_body } else { &self.config.unhealthy_body };
        if let Some(body) = body {
            return (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body.clone()).into_response();
        }
        let (text, since, uptime) = if good {
            let up_ns = self.clock.now_ns() - self.since_ns;
            ("Server available", rfc3339(self.since_ns), go_duration(up_ns))
        } else {
            // The Collector answers with Go's zero time.
            ("Server not available", "0001-01-01T00:00:00Z".to_owned(), String::new())
        };
        let mut json = serde_json::json!({ "status": text, "upSince": since, "uptime": uptime });
        if !degraded.is_empty() {
            json["degraded"] = degraded.into();
        }
        (status, [(header::CONTENT_TYPE, "application/json")], json.to_string()).into_response()
    }
}

fn rfc3339(ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(ns)).map(|t| t.to_string()).unwrap_or_default()
}

/// `1h2m3.5s`, as Go prints a duration.
fn go_duration(ns: i64) -> String {
    let seconds = ns / 1_000_000_000;
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let millis = ns / 1_000_000 % 1_000;
    match (hours, minutes) {
        (0, 0) => format!("{rest}.{millis:03}s"),
        (0, _) => format!("{minutes}m{rest}.{millis:03}s"),
        _ => format!("{hours}h{minutes}m{rest}.{millis:03}s"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn ready_follows_the_daemon_and_live_does_not() {
        let (flag, sick) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let clock = Clock::manual(1_700_000_000_000_000_000, 1);
        let (ready, degraded) = (flag.clone(), sick.clone());
        let condition = move || Condition {
            ready: ready.load(Ordering::Relaxed),
            degraded: if degraded.load(Ordering::Relaxed) { vec!["a file is damaged".to_owned()] } else { vec![] },
        };
        let router = router(HealthCheck::default(), Arc::new(condition), clock.clone());
        let get = |path: &'static str| {
            let router = router.clone();
            async move {
                let response = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
                let status = response.status().as_u16();
                let body = response.into_body().collect().await.unwrap().to_bytes();
                (status, String::from_utf8(body.to_vec()).unwrap())
            }
        };
        clock.advance(Duration::from_millis(61_500));
        let (status, body) = get("/").await;
        assert_eq!(status, 200);
        assert!(body.contains(r#""uptime":"1m1.500s""#), "{body}");
        assert!(!body.contains("degraded"), "{body}");
        sick.store(true, Ordering::Relaxed);
        let (status, body) = get("/ready").await;
        assert_eq!(status, 200, "what is degraded is ready");
        assert!(body.contains(r#""degraded":["a file is damaged"]"#), "{body}");
        assert!(!get("/live").await.1.contains("degraded"));
        flag.store(false, Ordering::Relaxed);
        assert_eq!((get("/ready").await.0, get("/").await.0, get("/live").await.0), (503, 503, 200));
        assert!(get("/").await.1.contains("Server not available"));
        assert_eq!(get("/other").await.0, 404);
    }

    #[tokio::test]
    async fn the_configured_path_is_taken_to_the_letter() {
        for path in ["/:status", "/*all", "/{id}", "/a/{*rest}", "/live", "/health/"] {
            let config = HealthCheck { path: path.to_owned(), ..HealthCheck::default() };
            let condition = || Condition { ready: true, degraded: Vec::new() };
            let router = router(config, Arc::new(condition), Clock::manual(0, 1));
            let status = async |method: &str, path: &str| {
                let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
                router.clone().oneshot(request).await.unwrap().status().as_u16()
            };
            assert_eq!([status("GET", "/ready").await, status("GET", "/x").await], [200, 404], "{path}");
            assert_eq!(status("POST", path).await, 405, "{path}");
            assert_eq!([status("GET", path).await, status("HEAD", path).await], [200; 2], "{path}");
        }
    }
}
