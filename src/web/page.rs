//! The plain page at `/`: what is here and how to ask it.

use axum::extract::State;
use axum::response::Html;

use super::Api;

/// `GET /`
pub(super) async fn page(State(api): State<Api>) -> Html<String> {
    let link = |what: &str, address: Option<std::net::SocketAddr>, path: &str| {
        address.map_or(String::new(), |a| format!("<li><a href=\"http://{a}{path}\">{what}</a></li>\n"))
    };
    let metrics = link("metrics of the daemon", api.links.metrics, "/metrics");
    let health = link("health", api.links.health, "/");
    let sql = "/api/v1/sql?q=SELECT%20service_name,%20name,%20count(*)%20AS%20calls%20FROM%20spans%20GROUP%20BY%201,2%20ORDER%20BY%203%20DESC%20LIMIT%2020";
    let version = env!("CARGO_PKG_VERSION");
    Html(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>weavergen</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}}\
         code,pre{{background:#f3f3f3;padding:.1rem .3rem}}pre{{padding:.7rem;overflow-x:auto}}</style></head>\n\
         <body><h1>weavergen {version}</h1>\n<p>Spans in, durable, SQL out.</p>\n<ul>\n\
         <li><a href=\"{sql}\">calls by service and operation</a>, by <code>GET /api/v1/sql?q=…</code></li>\n\
         {metrics}{health}</ul>\n<p>Ask from a shell:</p>\n\
         <pre>weavergen sql \"SELECT name, duration_ms FROM spans ORDER BY duration_ns DESC LIMIT 10\"</pre>\n\
         <p>Or over HTTP:</p>\n\
         <pre>curl -s localhost:8080/api/v1/sql -H 'content-type: application/json' \\\n  -d '{{\"sql\": \"SELECT count(*) FROM spans\"}}'</pre>\n\
         </body></html>\n"
    ))
}
