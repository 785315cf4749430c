//! The keys of each kind of receiver (gates.md 9).
//!
//! Duty: read them, and refuse what cannot work. Guarantee: what may be a secret is not shown by `Debug`; a password, token
//! or key is named by its file only. Left to others: the keys that all kinds have (the parent), reading files (`open`). TLS
//! and authentication are spelled as collector_config.md does: its TLS client block and the keys of the extensions
//! `basicauth` and `bearertokenauth`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use super::is_http;
use crate::yaml::{Section, Value};

/// Keys that name a kind.
pub(super) const NAMES: [&str; 4] = ["webhook", "alertmanager", "pagerduty", "slack"];
const PAGERDUTY: &str = "https://events.pagerduty.com";

/// Headers that nobody else may set, in lower case.
const OURS: [&str; 6] =
    ["content-type", "content-length", "transfer-encoding", "host", "connection", "idempotency-key"];
const OURS_PREFIX: &str = "x-weavergen-";

/// How a receiver is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A POST a transition.
    Webhook(Webhook),
    /// API v2 of Alertmanagers.
    Alertmanager(Alertmanager),
    /// Events API v2.
    PagerDuty(PagerDuty),
    /// An incoming webhook of Slack.
    Slack(Slack),
}

/// The body of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// That of Alertmanager's webhook, version 4.
    Alertmanager,
    /// CloudEvents 1.0, structured JSON.
    CloudEvents,
}

/// A receiver of kind webhook.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where to POST.
    pub url: String,
    /// Of the body.
    pub format: Format,
    /// Its content signs every message.
    pub secret_file: Option<PathBuf>,
    /// Sent with every message.
    pub headers: BTreeMap<String, String>,
}

impl fmt::Debug for Webhook {
    /// Addresses and headers of webhooks hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("format", &self.format).finish_non_exhaustive()
    }
}

/// A receiver of kind alertmanager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alertmanager {
    /// Each is told everything; without a slash at the end.
    pub urls: Vec<String>,
    /// For https.
    pub tls: Option<Tls>,
    /// Who we are.
    pub auth: Option<Auth>,
}

/// TLS of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates trusted, PEM; without it those of the build.
    pub ca_file: Option<PathBuf>,
    /// Beside those of `ca_file`, also those of the build.
    pub include_system_ca_certs_pool: bool,
    /// Our certificate and its key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whoever answers is believed.
    pub insecure_skip_verify: bool,
}

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// User and password.
    Basic {
        /// The user.
        username: Username,
        /// Holds the password.
        password_file: PathBuf,
    },
    /// A token in `Authorization`.
    Bearer {
        /// Word before the token; empty = the token alone.
        scheme: String,
        /// Its first line is the token.
        filename: PathBuf,
    },
}

/// A user as text or in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Username {
    /// As written.
    Text(String),
    /// The content of this file.
    File(PathBuf),
}

/// A receiver of kind pagerduty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagerDuty {
    /// Holds the integration's key.
    pub routing_key_file: PathBuf,
    /// Without path and without a slash at the end.
    pub url: String,
}

/// A receiver of kind slack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slack {
    /// Holds the address of the incoming webhook, which is a secret.
    pub url_file: PathBuf,
}

impl Kind {
    /// Reads the block of the kind `name`, one of [`NAMES`].
    pub(super) fn read(name: &str, block: &Section<'_>) -> Self {
        match name {
            "alertmanager" => Self::Alertmanager(Alertmanager::read(block)),
            "pagerduty" => Self::PagerDuty(PagerDuty::read(block)),
            "slack" => Self::Slack(Slack { url_file: required_file(block, "url_file") }),
            _ => Self::Webhook(Webhook::read(block)),
        }
    }
}

/// Whether every message bears this header already, or HTTP needs it: a second one would make the message unreadable.
fn is_ours(header: &str) -> bool {
    let name = header.to_ascii_lowercase();
    OURS.contains(&name.as_str()) || name.starts_with(OURS_PREFIX)
}

impl Webhook {
    fn read(block: &Section<'_>) -> Self {
        let url = block.text("url").unwrap_or_default();
        if url.is_empty() {
            block.check_self("`url` is required");
        } else if !is_http(&url) {
            block.check("url", "must be an http or https address");
        }
        let headers_section = block.block("headers");
        let mut headers = BTreeMap::new();
        for (name, entry) in headers_section.named_texts() {
            if let Value::Text(value) = &entry.value.value {
                let is_valid = reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
                    && reqwest::header::HeaderValue::from_str(value).is_ok();
                if !is_valid {
                    block.check("headers", format!("`{name}` is no valid HTTP header"));
                } else if is_ours(name) {
                    let text = format!("`{name}` is set by weavergen or by HTTP itself; choose another name");
                    block.check("headers", text);
                }
                headers.insert(name.to_owned(), value.clone());
            }
        }
        let formats = [("alertmanager", Format::Alertmanager), ("cloudevents", Format::CloudEvents)];
        Self {
            url,
            format: block.choice("format", &formats).unwrap_or(Format::Alertmanager),
            secret_file: block.text("secret_file").map(PathBuf::from),
            headers,
        }
    }
}

impl Alertmanager {
    fn read(block: &Section<'_>) -> Self {
        let mut urls = Vec::new();
        let mut lines = BTreeSet::new();
        for url in block.texts("urls").unwrap_or_default() {
            let parsed = reqwest::Url::parse(&url).ok();
            if parsed.is_some_and(|url| !url.username().is_empty() || url.password().is_some()) {
                block.check("urls", "an address holds no user and no password; write them into `auth`");
            } else if !is_http(&url) {
                block.check("urls", format!("`{url}` is no http or https address"));
            } else if url.contains("/api/v2") {
                block.check("urls", format!("`{url}` is written without `/api/v2/alerts`, which is added"));
            } else if !lines.insert(place(&url)) {
                block.check("urls", format!("`{url}` is given twice"));
            } else {
                urls.push(url.trim_end_matches('/').to_owned());
            }
        }
        if lines.is_empty() {
            block.check("urls", "at least one address is required, e.g. [http://localhost:9093]");
        }
        Self { urls, tls: Tls::read(&block.block("tls")), auth: Auth::read(block) }
    }

    /// What the one behind `url` is called: queue, metrics and alerts about it bear this name.
    pub(in super::super) fn line(receiver: &str, url: &str) -> String {
        format!("{receiver}@{}", place(url))
    }
}

/// An address without its scheme.
fn place(url: &str) -> String {
    let of = |url: reqwest::Url| {
        let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{port}{}", url.host_str().unwrap_or_default(), url.path().trim_end_matches('/'))
    };
    reqwest::Url::parse(url).map_or_else(|_| url.to_owned(), of)
}

impl Tls {
    fn read(tls: &Section<'_>) -> Option<Self> {
        let file = |key| tls.text(key).map(PathBuf::from);
        tls.not_yet(&["server_name_override", "ca_pem", "cert_pem", "key_pem", "reload_interval", "min_version"]);
        tls.not_yet(&["max_version", "cipher_suites", "curve_preferences"]);
        let identity = match (file("cert_file"), file("key_file")) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (Some(_), None) => {
                tls.check("cert_file", "needs `key_file` beside it");
                None
            }
            (None, Some(_)) => {
                tls.check("key_file", "needs `cert_file` beside it");
                None
            }
            (None, None) => None,
        };
        // The scheme of the address says whether TLS is spoken; `insecure` of the Collector's block says it for gRPC.
        tls.no_effect(&["insecure"]);
        let read = Self {
            ca_file: file("ca_file"),
            include_system_ca_certs_pool: tls.boolean("include_system_ca_certs_pool").unwrap_or(false),
            identity,
            insecure_skip_verify: tls.boolean("insecure_skip_verify").unwrap_or(false),
        };
        tls.is_given().then_some(read)
    }
}

impl Auth {
    fn read(receiver: &Section<'_>) -> Option<Self> {
        if !receiver.is_set("auth") {
            return None;
        }
        let auth = receiver.block("auth");
        auth.refuse("authenticator", "receivers name no extension; write `basicauth` or `bearertokenauth` here");
        let (is_basic, is_bearer) = (auth.has("basicauth"), auth.has("bearertokenauth"));
        match (is_basic, is_bearer) {
            (true, false) => Some(Self::read_basic(&auth.block("basicauth").block("client_auth"))),
            (false, true) => {
                let bearer = auth.block("bearertokenauth");
                let scheme = bearer.text("scheme").unwrap_or_else(|| "Bearer".to_owned());
                if reqwest::header::HeaderValue::from_str(&scheme).is_err() {
                    bearer.check("scheme", "is no word of an HTTP header");
                }
                Some(Self::Bearer { scheme, filename: required_file(&bearer, "filename") })
            }
            _ => {
                auth.check_self(
                    "needs exactly one of `basicauth: {client_auth: {username, password_file}}`, `bearertokenauth: {filename}`",
                );
                None
            }
        }
    }

    fn read_basic(client: &Section<'_>) -> Self {
        let username = match (client.text("username"), client.text("username_file")) {
            (Some(text), None) => Username::Text(text),
            (None, Some(path)) => Username::File(PathBuf::from(path)),
            _ => {
                client.check_self("exactly one of `username`, `username_file` is required");
                Username::Text(String::new())
            }
        };
        Self::Basic { username, password_file: required_file(client, "password_file") }
    }
}

impl PagerDuty {
    fn read(block: &Section<'_>) -> Self {
        let url = block.text("url").unwrap_or_else(|| PAGERDUTY.to_owned());
        if !is_http(&url) {
            block.check("url", "must be an http or https address");
        }
        let routing_key_file = required_file(block, "routing_key_file");
        Self { routing_key_file, url: url.trim_end_matches('/').to_owned() }
    }
}

fn required_file(block: &Section<'_>, key: &'static str) -> PathBuf {
    let path = block.text(key).unwrap_or_default();
    if path.is_empty() {
        block.check_self(format!("`{key}` is required"));
    }
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use crate::yaml::{Mark, Problems, Section, parse};

    #[test]
    fn headers_that_every_message_has_already_are_refused_however_they_are_written() {
        let ours = ["Content-Type", "CONTENT-LENGTH", "transfer-encoding", "Host", "Connection", "idempotency-KEY"];
        for name in ours.into_iter().chain(["X-Weavergen-Signature", "x-weavergen-team"]) {
            let text =
                format!("receivers: {{hook: {{webhook: {{url: 'http://h', headers: {{X-Team: shop, {name}: x}}}}}}}}");
            let problems = Problems::new();
            let tree = parse(&text, &Mark::of_source(0, "test.yaml")).unwrap();
            Config::read(&Section::root(&tree, &problems).with_days());
            let told: Vec<String> =
                problems.into_sorted().into_iter().map(|p| format!("{}: {}", p.path, p.text)).collect();
            let expected = format!("receivers::hook::webhook::headers: `{name}` is set by weavergen");
            assert!(told.len() == 1 && told[0].starts_with(&expected), "{name}: {told:?}");
        }
    }
}
