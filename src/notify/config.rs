//! The section `notify` (gates.md 9).
//!
//! Duty: its keys, defaults and checks. Guarantee: a receiver has exactly one kind and a plain name; secrets come from files
//! and are never shown. Left to others: reading a secret's file (`open`, at start), the keys of each kind (`kinds`).

mod kinds;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::gate::state::Level;
use crate::yaml::Section;

pub use kinds::{Alertmanager, Auth, Format, Kind, PagerDuty, Slack, Tls, Username, Webhook};

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
    pub receivers: BTreeMap<String, Receiver>,
}

/// One that is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// How it is spoken to.
    pub kind: Kind,
    /// Least level told.
    pub min_level: Level,
    /// Whether ends are told.
    pub send_resolved: bool,
}

impl Receiver {
    /// One of `kind` that is told everything.
    pub const fn of(kind: Kind) -> Self {
        Self { kind, min_level: Level::Warn, send_resolved: true }
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
            if !is_name(&entry.key) {
                receiver.check_self(
                    "a receiver's name is made of letters, digits, `_`, `.` and `-`; rename it, here and where `notify` names it",
                );
            }
            if let Some(receiver) = read_receiver(&receiver) {
                receivers.insert(entry.key.clone(), receiver);
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

fn read_receiver(receiver: &Section<'_>) -> Option<Receiver> {
    let given: Vec<&'static str> = kinds::NAMES.into_iter().filter(|kind| receiver.has(kind)).collect();
    match given[..] {
        [name] => {
            let block = receiver.block(name);
            let kind = Kind::read(name, &block);
            let levels = [("warn", Level::Warn), ("fail", Level::Fail)];
            let min_level = block.choice("min_level", &levels).unwrap_or(Level::Warn);
            Some(Receiver { kind, min_level, send_resolved: block.boolean("send_resolved").unwrap_or(true) })
        }
        [] => {
            let kinds = kinds::NAMES.join(", ");
            receiver.check_self(format!("a receiver needs a kind, one of {kinds}; e.g. `webhook: {{url: …}}`"));
            None
        }
        [first, second, ..] => {
            let text = format!("a receiver has exactly one kind, and `{first}` is given too; make it another receiver");
            receiver.check(second, text);
            None
        }
    }
}

/// Lines of an Alertmanager are told from names of receivers by their `@`.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
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
        assert_eq!(
            (config.default.as_slice(), config.external_url.as_str()),
            (&["hook".to_owned()][..], "http://localhost:8080")
        );
        let hook = &config.receivers["hook"];
        assert_eq!((hook.min_level, hook.send_resolved), (Level::Warn, true));
        let Kind::Webhook(webhook) = &hook.kind else { panic!("{hook:?}") };
        assert_eq!((webhook.url.as_str(), webhook.format), ("http://h/x", Format::Alertmanager));
    }

    #[test]
    fn each_kind_is_read_with_its_defaults() {
        let text = "receivers:
  am: {alertmanager: {urls: ['http://a:9093', 'https://b/am/'], tls: {ca_file: ca.pem}, auth: {bearertokenauth: {filename: t}}}}
  pd: {pagerduty: {routing_key_file: key, min_level: fail}}
  chat: {slack: {url_file: chat, send_resolved: false}}
  bus: {webhook: {url: 'http://e', format: cloudevents}}";
        let (config, problems) = read(text);
        assert_eq!(problems, [] as [String; 0]);
        let Kind::Alertmanager(am) = &config.receivers["am"].kind else { panic!() };
        assert_eq!(am.urls, ["http://a:9093", "https://b/am"]);
        assert_eq!(am.tls.as_ref().unwrap().ca_file, Some("ca.pem".into()));
        assert_eq!(am.auth, Some(Auth::Bearer { scheme: "Bearer".into(), filename: "t".into() }));
        let pd = &config.receivers["pd"];
        let expected = PagerDuty { routing_key_file: "key".into(), url: "https://events.pagerduty.com".into() };
        assert_eq!((&pd.kind, pd.min_level), (&Kind::PagerDuty(expected), Level::Fail));
        let chat = &config.receivers["chat"];
        assert_eq!((&chat.kind, chat.send_resolved), (&Kind::Slack(Slack { url_file: "chat".into() }), false));
        let Kind::Webhook(bus) = &config.receivers["bus"].kind else { panic!() };
        assert_eq!(bus.format, Format::CloudEvents);
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let text = "default: [gone]
external_url: localhost
resend_interval: 5s
receivers:
  am: {alertmanager: {urls: ['ftp://a', 'http://b', 'http://b/', 'http://u:p@c', 'http://d/api/v2/alerts']}}
  tls: {alertmanager: {urls: ['http://a'], tls: {cert_file: c, server_name_override: x}, auth: {}}}
  both: {alertmanager: {urls: ['http://a'], auth: {basicauth: {username: u}, bearertokenauth: {filename: f}}}}
  half: {alertmanager: {urls: [], auth: {basicauth: {client_auth: {username: u, username_file: v}}}}}
  none: {}
  'a@b:9093': {webhook: {url: 'http://h'}}
  two: {webhook: {url: 'http://h'}, slack: {url_file: x}}
  pd: {pagerduty: {url: nowhere}}
  chat: {slack: {url: 'http://secret'}}
  hook: {webhook: {url: 'ftp://h', format: xml, min_level: bad, headers: {'a b': c}}}";
        let (_, problems) = read(text);
        for expected in [
            "default: no receiver `gone`",
            "external_url: must be an http",
            "resend_interval: must be at least 10s",
            "receivers::am::alertmanager::urls: `ftp://a` is no http",
            "receivers::am::alertmanager::urls: `http://b/` is given twice",
            "receivers::am::alertmanager::urls: an address holds no user and no password",
            "receivers::am::alertmanager::urls: `http://d/api/v2/alerts` is written without",
            "receivers::tls::alertmanager::tls::cert_file: ",
            "receivers::tls::alertmanager::tls::server_name_override: ",
            "receivers::tls::alertmanager::auth: needs",
            "receivers::both::alertmanager::auth: needs exactly one",
            "receivers::half::alertmanager::urls: ",
            "receivers::half::alertmanager::auth::basicauth::client_auth: ",
            "receivers::none: a receiver needs a kind",
            "receivers::a@b:9093: a receiver's name is made of",
            "receivers::two::slack: a receiver has exactly one kind",
            "receivers::pd::pagerduty: `routing_key_file` is required",
            "receivers::pd::pagerduty::url: must be an http",
            "receivers::chat::slack: `url_file` is required",
            "receivers::chat::slack: has invalid keys: url",
            "receivers::hook::webhook::url: must be",
            "receivers::hook::webhook::format: must be one of",
            "receivers::hook::webhook::min_level: must be one of",
            "receivers::hook::webhook::headers: `a b`",
        ] {
            assert!(problems.iter().any(|p| p.starts_with(expected)), "{expected}: {problems:#?}");
        }
        assert!(!problems.iter().any(|p| p.contains("u:p@")), "{problems:#?}");
    }

    #[test]
    fn headers_and_addresses_are_not_shown() {
        let (config, _) =
            read("receivers: {hook: {webhook: {url: 'http://h/s3cret', headers: {Authorization: t0ken}}}}");
        let shown = format!("{config:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("t0ken"), "{shown}");
    }
}
