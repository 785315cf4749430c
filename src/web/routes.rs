//! The routes of the API, as data.
//!
//! Duty: for each path and method its handler and what people are told of it. Guarantee: the router is built from this
//! table and so is the OpenAPI document: what is not here is not served, what is here is told. ★ a route is added here.
//! Left to others: the document's form (`openapi`), the answers (handlers).

use axum::http::Method;
use axum::routing::{MethodRouter, delete, get, post};

use super::{AppState, answer, gates, openapi, outbox, page, pipelines, rules, schema, store};

/// A path with one method.
pub(super) struct Route {
    pub method: Method,
    pub path: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// Whether only an admin may.
    pub admin: bool,
    pub parameters: &'static [Parameter],
    pub body: Option<Body>,
    pub answer: Answer,
    pub handler: fn() -> MethodRouter<AppState>,
}

/// A value in the address or a header.
pub(super) struct Parameter {
    pub name: &'static str,
    /// `query`, `path` or `header`.
    pub place: &'static str,
    pub is_needed: bool,
    pub about: &'static str,
}

/// What a request carries.
pub(super) struct Body {
    /// Media types; the first is described by `schema`.
    pub media: &'static [&'static str],
    /// Name of a schema of the document.
    pub schema: &'static str,
    pub is_needed: bool,
}

/// What comes back when all went well.
pub(super) struct Answer {
    pub status: u16,
    /// Media types; the first is described by `schema`.
    pub media: &'static [&'static str],
    /// Name of a schema of the document; none for what is no JSON.
    pub schema: Option<&'static str>,
    /// Media type of an error.
    pub error: &'static str,
}

const JSON: &str = "application/json";
const STATEMENT: Option<Body> = Some(Body { media: &[JSON, "text/plain"], schema: "Statement", is_needed: true });
const ROWS: Answer = Answer {
    status: 200,
    media: &[
        JSON,
        "application/x-ndjson",
        "text/csv",
        "application/vnd.apache.arrow.stream",
        "application/vnd.apache.parquet",
    ],
    schema: Some("Answer"),
    error: JSON,
};
const FORMAT: Parameter = query("format", "json, ndjson, csv, arrow or parquet; in place of `Accept`");
const DICTIONARIES: Parameter = query("dictionaries", "`keep` leaves dictionaries of top-level columns in Arrow");
const IDEMPOTENCY: Parameter = Parameter {
    name: "Idempotency-Key",
    place: "header",
    is_needed: false,
    about: "the same key gets the same answer for 24 hours",
};

const GATE: Parameter = Parameter { name: "name", place: "path", is_needed: true, about: "name of the gate" };

const fn query(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, place: "query", is_needed: false, about }
}

const fn json(schema: &'static str) -> Answer {
    Answer { status: 200, media: &[JSON], schema: Some(schema), error: JSON }
}

/// All routes.
pub(super) static ALL: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/",
        about: "A page with links to what there is.",
        admin: false,
        parameters: &[],
        body: None,
        answer: Answer { status: 200, media: &["text/html"], schema: None, error: JSON },
        handler: || get(page::page),
    },
    Route {
        method: Method::GET,
        path: "/gates/{name}",
        about: "A page with the keys of a gate and its last transitions; messages to receivers link to it.",
        admin: false,
        parameters: &[
            GATE,
            query("key", "alert key that stands first"),
            query("window_start", "RFC 3339; the window that the message was about"),
            query("window_end", "its end"),
        ],
        body: None,
        answer: Answer { status: 200, media: &["text/html"], schema: None, error: JSON },
        handler: || get(gates::page::page),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/openapi.json",
        about: "This document.",
        admin: false,
        parameters: &[],
        body: None,
        answer: json("OpenApi"),
        handler: || get(openapi::document),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/sql",
        about: "Runs the statement in `q`.",
        admin: false,
        parameters: &[
            Parameter { name: "q", place: "query", is_needed: true, about: "one statement" },
            FORMAT,
            DICTIONARIES,
        ],
        body: None,
        answer: ROWS,
        handler: || get(answer::get),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/sql",
        about: "Runs the statement of the body.",
        admin: false,
        parameters: &[FORMAT, DICTIONARIES],
        body: STATEMENT,
        answer: ROWS,
        handler: || post(answer::post),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/sql/check",
        about: "Plans the statement of the body and runs nothing: columns, types of parameters, notices, estimates.",
        admin: false,
        parameters: &[],
        body: STATEMENT,
        answer: json("Checked"),
        handler: || post(answer::check),
    },
    Route {
        method: Method::DELETE,
        path: "/api/v1/sql/{id}",
        about: "Stops a running statement: one's own or, for an admin, any.",
        admin: false,
        parameters: &[Parameter { name: "id", place: "path", is_needed: true, about: "its query id" }],
        body: None,
        answer: json("Cancelled"),
        handler: || delete(answer::cancel),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/schema",
        about: "Tables with columns, types and units; functions; attribute keys.",
        admin: false,
        parameters: &[],
        body: None,
        answer: json("Schema"),
        handler: || get(schema::schema),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/store/flush",
        about: "Writes all rows in memory to files.",
        admin: true,
        parameters: &[],
        body: None,
        answer: json("Flushed"),
        handler: || post(store::flush),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/store/compact",
        about: "Merges the files of an hour, or of all.",
        admin: true,
        parameters: &[query("hour", "YYYY-MM-DDTHH in UTC; all hours without it")],
        body: None,
        answer: json("Compacted"),
        handler: || post(store::compact),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/pipelines/deployments",
        about: "Puts BPMN files in force, all or none.",
        admin: true,
        parameters: &[
            query("name", "how findings call a file that is sent as it is"),
            query("dry_run", "`true` says what would be done"),
            IDEMPOTENCY,
        ],
        body: Some(Body { media: &[JSON, "application/xml"], schema: "Files", is_needed: true }),
        answer: Answer { status: 200, media: &[JSON], schema: Some("Deployed"), error: PROBLEM },
        handler: || post(pipelines::deploy),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/pipelines/instances",
        about: "Starts a run of a process.",
        admin: true,
        parameters: &[IDEMPOTENCY],
        body: Some(Body { media: &[JSON], schema: "Start", is_needed: true }),
        answer: Answer { status: 201, media: &[JSON], schema: Some("Started"), error: PROBLEM },
        handler: || post(pipelines::start),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/gates/outbox",
        about: "Messages to receivers that wait or were given up.",
        admin: false,
        parameters: &[
            query("after", "the `next` of the answer before"),
            query("limit", "most messages: 1000, at most 10000"),
        ],
        body: None,
        answer: json("Outbox"),
        handler: || get(outbox::list),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/gates/outbox/{id}/retry",
        about: "Tries a message again that was given up.",
        admin: true,
        parameters: &[Parameter { name: "id", place: "path", is_needed: true, about: "its number" }],
        body: None,
        answer: json("Retried"),
        handler: || post(outbox::retry),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/rules",
        about: "Gates as alerting rules by groups, in Prometheus' shape.",
        admin: false,
        parameters: &[
            query("type", "alert or record; gates are alerting rules"),
            query("rule_name[]", "only gates of this name; repeatable, as the next three"),
            query("rule_group[]", "only groups of this name"),
            query("file[]", "only groups of this file"),
            query("match[]", "only gates whose labels, as their file has them, fit this selector"),
            query("exclude_alerts", "`true` leaves alerts out"),
            query("group_limit", "groups of one answer; `groupNextToken` tells where the next begins"),
            query("group_next_token", "begins there"),
        ],
        body: None,
        answer: json("PrometheusRules"),
        handler: || get(rules::rules),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/alerts",
        about: "What is pending or fires, in Prometheus' shape.",
        admin: false,
        parameters: &[],
        body: None,
        answer: json("PrometheusAlerts"),
        handler: || get(rules::alerts),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/gates",
        about: "Loaded gates by name.",
        admin: false,
        parameters: &[
            query("limit", "gates of one answer, 1000 without it"),
            query("after", "begins behind this gate"),
        ],
        body: None,
        answer: json("Gates"),
        handler: || get(gates::list),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/gates/{name}",
        about: "A gate: its definition, its keys with their last verdicts, those of ticks that are not closed yet, the last rows of \
                its journal.",
        admin: false,
        parameters: &[
            GATE,
            query("limit", "keys of one answer, 1000 without it"),
            query("after", "begins behind this key"),
        ],
        body: None,
        answer: json("Gate"),
        handler: || get(gates::show),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/gates/{name}/close",
        about: "Closes the open episode of a key by hand; answered once it is durable.",
        admin: true,
        parameters: &[GATE],
        body: Some(Body { media: &[JSON], schema: "Close", is_needed: true }),
        answer: json("Closed"),
        handler: || post(gates::close),
    },
];

/// RFC 9457.
pub(super) const PROBLEM: &str = "application/problem+json";
