//! `GET /api/v1/openapi.json`.
//!
//! Duty: the table of routes as an OpenAPI 3.1 document, with the shapes of JSON that requests and answers have. Guarantee:
//! each route of the router is in it and nothing else is (it is made of the same table); a shape that no route names, or
//! that a route names and that is not there, fails a test. Left to others: the routes (`routes`).

use axum::Json;
use serde_json::{Map, Value, json};

use super::routes::{ALL, Body, PROBLEM, Route};

pub(super) async fn document() -> Json<Value> {
    Json(of(ALL))
}

/// The document of `routes`.
fn of(routes: &[Route]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "weavergen",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "SQL over spans, gates, and what changes store and pipelines. Flight SQL is spoken on the same port.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        // On loopback no token is needed unless one is configured.
        "security": [{}, {"token": []}],
    })
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn operation(route: &Route) -> Value {
    let parameters = route.parameters.iter().map(|parameter| {
        json!({
            "name": parameter.name,
            "in": parameter.place,
            "required": parameter.is_needed,
            "description": parameter.about,
            "schema": {"type": "string"},
        })
    });
    let content = |media: &[&str], schema: Option<&str>| {
        let of = |(at, media): (usize, &&str)| {
            let schema =
                schema.filter(|_| at == 0).map_or_else(|| json!({}), |name| json!({"schema": reference(name)}));
            ((*media).to_owned(), schema)
        };
        media.iter().enumerate().map(of).collect::<Map<_, _>>()
    };
    // What answers as Prometheus does refuses as it does.
    let is_prometheus = route.answer.schema.is_some_and(|schema| schema.starts_with("Prometheus"));
    let error = match route.answer.error {
        PROBLEM => "Problem",
        _ if is_prometheus => "PrometheusError",
        _ => "Error",
    };
    let mut operation = json!({
        "summary": route.about,
        "parameters": parameters.collect::<Vec<_>>(),
        "responses": {
            route.answer.status.to_string(): {
                "description": "done",
                "content": content(route.answer.media, route.answer.schema),
            },
            "default": {
                "description": "why it was not done",
                "content": content(&[route.answer.error], Some(error)),
            },
        },
    });
    if let Some(Body { media, schema, is_needed }) = &route.body {
        operation["requestBody"] = json!({"required": is_needed, "content": content(media, Some(schema))});
    }
    if route.admin {
        operation["description"] = "Needs the role admin.".into();
    }
    operation
}

fn text() -> Value {
    json!({"type": "string"})
}

fn number() -> Value {
    json!({"type": "integer"})
}

fn or_null(mut of: Value) -> Value {
    of["type"] = json!([of["type"], "null"]);
    of
}

fn list(of: Value) -> Value {
    json!({"type": "array", "items": of})
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let required: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    json!({"type": "object", "required": required, "properties": Map::from_iter(members.map(|(k, v)| (k.to_owned(), v)))})
}

/// As [`object`], but only the first `needed` members must be there.
fn request<const N: usize>(needed: usize, members: [(&str, Value); N]) -> Value {
    let mut of = object(members);
    let required: Vec<Value> = of["required"].as_array().map(|all| all[..needed].to_vec()).unwrap_or_default();
    of["required"] = required.into();
    of["additionalProperties"] = false.into();
    of
}

/// The shapes that routes name, and those within them.
fn schemas() -> Value {
    let any = || json!({});
    let boolean = || json!({"type": "boolean"});
    let column = || object([("name", text()), ("type", text()), ("unit", or_null(text()))]);
    let stats = ["rows", "elapsed_ms", "cpu_ms", "bytes_scanned", "parts", "row_groups"].map(|name| (name, number()));
    let hints = super::request::KNOWN_HINTS.map(|(name, values)| (name, json!({"type": "string", "enum": values})));
    let of_statement = request(
        1,
        [
            ("sql", text()),
            (
                "params",
                json!({"description": "an array for `$1` …, an object for `$name`", "type": ["array", "object", "null"]}),
            ),
            ("limits", request(0, [("rows", number()), ("bytes", number()), ("time_ms", number())])),
            ("hints", request(0, hints)),
            ("as_of", json!({"type": "string", "format": "date-time"})),
            ("tag", text()),
        ],
    );
    let position = object([("line", number()), ("column", number()), ("offset", number())]);
    let error = object([
        ("code", text()),
        ("class", text()),
        ("message", text()),
        ("position", or_null(position)),
        ("hint", or_null(text())),
        ("query_id", or_null(text())),
    ]);
    let problem = json!({
        "type": "object",
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": text(), "title": text(), "status": number(), "code": text(), "detail": text(), "hint": text(),
            "diagnostics": list(json!({"type": "object"})),
        },
    });
    let deployed = [("process_id", text()), ("version", number()), ("hash", text()), ("outcome", text())];
    let map = || json!({"type": "object", "additionalProperties": text()});
    let float = || json!({"type": "number"});
    let time = || json!({"type": "string", "format": "date-time"});
    let success = |data: Value| object([("status", json!({"const": "success"})), ("data", data)]);
    let alert = || {
        let mut alert = object([
            ("labels", map()),
            ("annotations", map()),
            ("state", json!({"enum": ["pending", "firing"]})),
            ("activeAt", time()),
            ("value", text()),
        ]);
        alert["properties"]["keepFiringSince"] = time();
        alert
    };
    let mut rule = object([
        ("type", json!({"const": "alerting"})),
        ("name", text()),
        ("query", text()),
        ("duration", float()),
        ("keepFiringFor", float()),
        ("labels", map()),
        ("annotations", map()),
        ("state", json!({"enum": ["inactive", "pending", "firing"]})),
        ("health", json!({"enum": ["ok", "err", "unknown"]})),
        ("evaluationTime", float()),
        ("lastEvaluation", time()),
        (
            "weavergen",
            object([
                ("class", text()),
                ("mode", text()),
                ("generation", number()),
                ("lag", float()),
                ("missed", number()),
            ]),
        ),
        ("alerts", list(alert())),
    ]);
    rule["properties"]["lastError"] = text();
    let group = object([
        ("name", text()),
        ("file", text()),
        ("interval", float()),
        ("limit", number()),
        ("evaluationTime", float()),
        ("lastEvaluation", time()),
        ("rules", list(rule)),
    ]);
    let mut rules = object([("groups", list(group))]);
    rules["properties"]["groupNextToken"] = text();
    let of_gate = || {
        [
            ("gate", text()),
            ("group", text()),
            ("file", text()),
            ("class", text()),
            ("mode", text()),
            ("generation", number()),
            ("state", text()),
            ("phases", json!({"type": "object", "additionalProperties": number()})),
            ("last_tick", time()),
            ("last_evaluation", or_null(time())),
            ("evaluation_time", float()),
            ("lag", float()),
            ("missed", number()),
            ("error", or_null(text())),
        ]
    };
    let verdict = object([
        ("outcome", text()),
        ("final", boolean()),
        ("value", or_null(float())),
        ("n", or_null(number())),
        ("baseline", or_null(float())),
        ("tick", time()),
        ("window_start", time()),
        ("window_end", time()),
        ("evidence", any()),
        ("trace_ids", list(text())),
    ]);
    let key = object([
        ("key", text()),
        ("labels", map()),
        ("alert_id", text()),
        ("phase", text()),
        ("level", or_null(text())),
        ("episode", or_null(number())),
        ("active_at", or_null(time())),
        ("fired_at", or_null(time())),
        ("missing", number()),
        ("verdict", or_null(verdict.clone())),
    ]);
    let journaled = object([
        ("at", time()),
        ("tick", time()),
        ("key", text()),
        ("from", text()),
        ("to", text()),
        ("cause", text()),
        ("level", or_null(text())),
        ("episode", or_null(number())),
        ("transition", or_null(text())),
        ("actor", or_null(text())),
        ("summary", text()),
    ]);
    let mut whole_gate = object(of_gate());
    for (name, of) in [
        ("definition", json!({"type": "object"})),
        ("keys", list(key)),
        ("next_key", or_null(text())),
        ("journal", list(journaled)),
        ("provisional", list(json!({"allOf": [verdict, object([("key", text()), ("labels", map())])]}))),
    ] {
        whole_gate["properties"][name] = of;
    }
    let estimates =
        object([("rows", or_null(number())), ("rows_exact", boolean()), ("parts", number()), ("bytes", number())]);
    json!({
        "Statement": of_statement,
        "Answer": object([
            ("query_id", text()),
            ("snapshot", text()),
            ("columns", list(column())),
            ("rows", list(list(any()))),
            ("truncated", boolean()),
            ("incomplete", boolean()),
            ("notices", list(text())),
            ("stats", object(stats)),
        ]),
        "Checked": object([
            ("query_id", text()),
            ("snapshot", text()),
            ("columns", or_null(list(column()))),
            ("parameters", list(object([("name", text()), ("type", or_null(text()))]))),
            ("notices", list(text())),
            ("estimates", or_null(estimates)),
        ]),
        "Cancelled": object([("query_id", text()), ("state", text())]),
        "Schema": object([
            ("tables", list(object([
                ("name", text()),
                ("about", or_null(text())),
                ("example", or_null(text())),
                ("columns", list(column())),
            ]))),
            ("functions", list(object([
                ("name", text()),
                ("kind", text()),
                ("returns", or_null(text())),
                ("about", or_null(text())),
                ("example", or_null(text())),
            ]))),
            ("attribute_keys", list(object([("level", text()), ("key", text()), ("type", text())]))),
        ]),
        "Flushed": object(["parts", "rows", "manifest_version", "elapsed_ms"].map(|name| (name, number()))),
        "Compacted": object(["added", "removed", "parts", "manifest_version", "elapsed_ms"].map(|name| (name, number()))),
        "Outbox": object([
            ("messages", list(object([
                ("id", number()),
                ("receiver", text()),
                ("alert", text()),
                ("transition", text()),
                ("status", text()),
                ("level", text()),
                ("line", text()),
                ("written", text()),
                ("attempts", number()),
                ("next_try", or_null(text())),
                ("dead", or_null(text())),
            ]))),
            ("next", or_null(text())),
        ]),
        "Retried": object([("id", number())]),
        "Files": list(request(1, [("name", text()), ("content", text()), ("base64", text())])),
        "Deployed": object([("deployed", list(object(deployed)))]),
        "Start": request(1, [
            ("process_id", text()),
            ("version", number()),
            ("start", text()),
            ("variables", json!({"type": "object"})),
        ]),
        "Started": object([("instance", any())]),
        "PrometheusRules": success(rules),
        "PrometheusAlerts": success(object([("alerts", list(alert()))])),
        "PrometheusError": object([("status", json!({"const": "error"})), ("errorType", text()), ("error", text())]),
        "Gates": object([("gates", list(object(of_gate()))), ("next", or_null(text()))]),
        "Gate": whole_gate,
        "Close": request(0, [("key", text()), ("reason", text())]),
        "Closed": object([
            ("gate", text()),
            ("key", text()),
            ("episode", number()),
            ("phase", text()),
            ("actor", text()),
            ("at", time()),
        ]),
        "OpenApi": json!({"type": "object"}),
        "Error": object([("error", error)]),
        "Problem": problem,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_in_the_document_once_and_nothing_else_is() {
        let document = of(ALL);
        let mut told = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                told.insert(format!("{} {path}", method.to_ascii_uppercase()));
            }
        }
        let served: Vec<String> = ALL.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
        assert_eq!(told, served.iter().cloned().collect());
        assert_eq!(told.len(), served.len(), "none stands twice");
    }

    #[test]
    fn every_shape_that_a_route_names_is_there_and_every_one_that_is_there_is_named() {
        let document = of(ALL).to_string();
        let schemas = schemas();
        let named: BTreeSet<&str> =
            document.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert_eq!(named, schemas.as_object().unwrap().keys().map(String::as_str).collect());
        for route in ALL {
            let placed: Vec<&str> = route.parameters.iter().filter(|p| p.place == "path").map(|p| p.name).collect();
            let in_path: Vec<&str> =
                route.path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
            assert_eq!(placed, in_path, "{}", route.path);
            assert!(route.about.ends_with('.') && !route.answer.media.is_empty(), "{}", route.path);
        }
    }
}
