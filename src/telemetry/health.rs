//! The health endpoint (collector_config.md 8).
//!
//! Duty: `GET <path>`, `/ready` and `/live`. Guarantee: 200 means ready as `app` defines it at that moment. Left to
//! others: what ready means.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::config::HealthCheck;
use crate::clock::Clock;

/// Whether the daemon is ready, asked at every request.
pub type IsReady = Arc<dyn Fn() -> bool + Send + Sync>;

#[derive(Clone)]
struct Health {
    config: HealthCheck,
    is_ready: IsReady,
    clock: Clock,
    since_ns: i64,
}

/// The routes of the health endpoint; `since` is now.
pub fn router(config: HealthCheck, is_ready: IsReady, clock: Clock) -> Router {
    let path = config.path.clone();
    let health = Health { since_ns: clock.now_ns(), config, is_ready, clock };
    let mut router = Router::new().route("/live", get(live)).route("/ready", get(ready));
    if path != "/live" && path != "/ready" {
        router = router.route(&path, get(ready));
    }
    router.with_state(health)
}

async fn ready(State(health): State<Health>) -> Response {
    let ready = (health.is_ready)();
    health.answer(ready)
}

async fn live(State(health): State<Health>) -> Response {
    health.answer(true)
}

impl Health {
    fn answer(&self, good: bool) -> Response {
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
        let json = serde_json::json!({ "status": text, "upSince": since, "uptime": uptime });
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
        let flag = Arc::new(AtomicBool::new(true));
        let clock = Clock::manual(1_700_000_000_000_000_000, 1);
        let seen = flag.clone();
        let router = router(HealthCheck::default(), Arc::new(move || seen.load(Ordering::Relaxed)), clock.clone());
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
        flag.store(false, Ordering::Relaxed);
        assert_eq!((get("/ready").await.0, get("/").await.0, get("/live").await.0), (503, 503, 200));
        assert!(get("/").await.1.contains("Server not available"));
        assert_eq!(get("/other").await.0, 404);
    }
}
