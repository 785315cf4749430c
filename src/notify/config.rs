//! The section `notify` (gates.md 9).
//!
//! Duty: its keys, defaults and checks. Guarantee: a receiver has exactly one kind that is built; secrets come from files
//! and are never shown. Left to others: reading a secret's file (`follower`, at start).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::gate::state::Level;
use crate::yaml::{Code, Section};

/// Kinds that are specified and not built.
const COMING: [&str; 3] = ["alertmanager", "pagerduty", "slack"];

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Receivers of gates that name none.
    pub default: Vec<String>,
    /// Where people reach this daemon, without a slash at the end.
    pub external_url: String,
    /// Between re-sends, for kinds that re-send.
    pub resend_interval: Duration,
    /// By name.
    pub receivers: BTreeMap<String, Webhook>,
}

/// A receiver of kind webhook.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where to POST.
    pub url: String,
    /// Its content signs every message.
    pub secret_file: Option<PathBuf>,
    /// Sent with every message.
    pub headers: BTreeMap<String, String>,
    /// Least level told.
    pub min_level: Level,
    /// Whether ends are told.
    pub send_resolved: bool,
}

impl fmt::Debug for Webhook {
    /// Addresses and headers of webhooks hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("min_level", &self.min_level).finish_non_exhaustive()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            default: Vec::new(),
            external_url: "http://localhost:8080".to_owned(),
            resend_interval: Duration::from_secs(60),
            receivers: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Reads the section.
    pub fn read(section: &Section<'_>) -> Self {
        let defaults = Self::default();
        let receivers_section = section.block("receivers");
        let mut receivers = BTreeMap::new();
        for entry in receivers_section.entries() {
            let receiver = receivers_section.block_of(entry);
            if let Some(webhook) = read_receiver(&receiver) {
                receivers.insert(entry.key.clone(), webhook);
            }
        }
        let default = section.texts("default").unwrap_or_default();
        for name in &default {
            if !receivers_section.entries().iter().any(|entry| entry.key == *name) {
                let known: Vec<&str> = receivers.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                section.check("default", format!("no receiver `{name}`; there are: {known}"));
            }
        }
        let external_url = section.text("external_url").unwrap_or(defaults.external_url);
        if !is_http(&external_url) {
            section.check("external_url", format!("must be an http or https address, got \"{external_url}\""));
        }
        let resend_interval = section.duration("resend_interval").unwrap_or(defaults.resend_interval);
        if resend_interval < Duration::from_secs(10) {
            section.check("resend_interval", "must be at least 10s");
        }
        Self { default, external_url: external_url.trim_end_matches('/').to_owned(), resend_interval, receivers }
    }
}

fn read_receiver(receiver: &Section<'_>) -> Option<Webhook> {
    let mut is_coming = false;
    for kind in COMING {
        if receiver.is_set(kind) {
            receiver.warn(kind, Code::NotSupported, "is coming; this version sends to `webhook` only");
            is_coming = true;
        }
    }
    if !receiver.has("webhook") {
        if !is_coming {
            receiver.check_self("a receiver needs a kind: `webhook: {url: …}`");
        }
        return None;
    }
    let webhook = receiver.block("webhook");
    match webhook.text("format").as_deref() {
        None | Some("alertmanager") => {}
        Some("cloudevents") => {
            webhook.warn("format", Code::NotSupported, "cloudevents is coming; this version sends `alertmanager`");
        }
        Some(other) => webhook.check("format", format!("must be alertmanager or cloudevents, got \"{other}\"")),
    }
    let url = webhook.text("url").unwrap_or_default();
    if url.is_empty() {
        webhook.check_self("`url` is required");
    } else if !is_http(&url) {
        webhook.check("url", "must be an http or https address");
    }
    let headers_section = webhook.block("headers");
    let mut headers = BTreeMap::new();
    for (name, entry) in headers_section.named_texts() {
        if let crate::yaml::Value::Text(value) = &entry.value.value {
            let is_valid = reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
                && reqwest::header::HeaderValue::from_str(value).is_ok();
            if !is_valid {
                webhook.check("headers", format!("`{name}` is no valid HTTP header"));
            }
            headers.insert(name.to_owned(), value.clone());
        }
    }
    Some(Webhook {
        url,
        secret_file: webhook.text("secret_file").map(PathBuf::from),
        headers,
        min_level: webhook.choice("min_level", &[("warn", Level::Warn), ("fail", Level::Fail)]).unwrap_or(Level::Warn),
        send_resolved: webhook.boolean("send_resolved").unwrap_or(true),
    })
}

fn is_http(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Mark, Problems, parse};

    fn read(text: &str) -> (Config, Vec<String>) {
        let problems = Problems::new();
        let tree = parse(text, &Mark::of_source(0, "test.yaml")).unwrap();
        let config = Config::read(&Section::root(&tree, &problems).with_days());
        (config, problems.into_sorted().into_iter().map(|p| format!("{}: {}", p.path, p.text)).collect())
    }

    #[test]
    fn a_webhook_is_read_with_its_defaults() {
        let (config, problems) = read("default: [hook]\nreceivers: {hook: {webhook: {url: 'http://h/x'}}}");
        assert_eq!(problems, [] as [String; 0]);
        assert_eq!((config.default.as_slice(), config.external_url.as_str()), (&["hook".to_owned()][..], "http://localhost:8080"));
        let hook = &config.receivers["hook"];
        assert_eq!((hook.url.as_str(), hook.min_level, hook.send_resolved), ("http://h/x", Level::Warn, true));
    }

    #[test]
    fn what_cannot_work_and_what_is_coming_is_refused_by_name() {
        let text = "default: [gone]
external_url: localhost
resend_interval: 5s
receivers:
  am: {alertmanager: {urls: ['http://a']}}
  none: {}
  hook: {webhook: {url: 'ftp://h', format: cloudevents, min_level: bad, headers: {'a b': c}}}";
        let (_, problems) = read(text);
        for expected in [
            "default: no receiver `gone`",
            "external_url: must be an http",
            "resend_interval: must be at least 10s",
            "receivers::am::alertmanager: is coming",
            "receivers::none: a receiver needs a kind",
            "receivers::hook::webhook::url: must be",
            "receivers::hook::webhook::format: cloudevents is coming",
            "receivers::hook::webhook::min_level: must be one of",
            "receivers::hook::webhook::headers: `a b`",
        ] {
            assert!(problems.iter().any(|p| p.starts_with(expected)), "{expected}: {problems:#?}");
        }
    }

    #[test]
    fn headers_and_addresses_are_not_shown() {
        let (config, _) = read("receivers: {hook: {webhook: {url: 'http://h/s3cret', headers: {Authorization: t0ken}}}}");
        let shown = format!("{config:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("t0ken"), "{shown}");
    }
}
