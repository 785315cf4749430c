//! One POST and its answer.
//!
//! Duty: clients, with or without certificates of their own, and what an answer says. Guarantee: a redirect is an answer, not
//! followed; an error's text holds no address, for it may be a secret; what is on this machine is spoken to without a proxy.
//! Left to others: bodies, and what follows from an answer (`retry`).

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt as _;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};

use super::config::Tls;
use super::retry::{self, Reply};

/// Time for one answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// What of an answer's body is kept in a dead letter, in bytes.
const KEPT_TEXT: usize = 512;
pub(super) const JSON: &str = "application/json";

/// Speaks to receivers.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// To those on this machine: a proxy would look for them on its own.
    here: reqwest::Client,
    /// To all others, by the proxy that the environment names if it names one.
    beyond: reqwest::Client,
}

impl Client {
    /// A POST to `url`.
    pub(super) fn post(&self, url: &str) -> reqwest::RequestBuilder {
        if is_here(url) { self.here.post(url) } else { self.beyond.post(url) }
    }
}

/// Whether `url` is on loopback.
fn is_here(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    let host = url.host_str().unwrap_or_default();
    // An address of IPv6 has brackets.
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// A client that waits for an answer for `timeout`, and whose certificates are those of `tls`.
///
/// Errors: the key of `tls` that is wrong, its file, and why; without a key, the client's own words.
pub(super) fn client(timeout: Duration, tls: Option<&Tls>) -> Result<Client, (Option<&'static str>, String)> {
    Ok(Client { here: built(builder(timeout, tls)?.no_proxy())?, beyond: built(builder(timeout, tls)?)? })
}

fn built(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, (Option<&'static str>, String)> {
    builder.build().map_err(|error| (None, chain(&error)))
}

fn builder(timeout: Duration, tls: Option<&Tls>) -> Result<reqwest::ClientBuilder, (Option<&'static str>, String)> {
    let mut builder = reqwest::Client::builder()
        .timeout(timeout)
        // A redirected POST would become a GET, and arrive as nothing.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("weavergen/", env!("CARGO_PKG_VERSION")));
    if let Some(tls) = tls {
        builder = builder.danger_accept_invalid_certs(tls.insecure_skip_verify);
        if let Some(path) = &tls.ca_file {
            let certificates = reqwest::Certificate::from_pem_bundle(&read(path, "tls::ca_file")?);
            let certificates = certificates.map_err(|error| unusable(path, "tls::ca_file", &error))?;
            if certificates.is_empty() {
                return Err(unusable(path, "tls::ca_file", &"it holds no certificate in PEM"));
            }
            builder = builder.tls_built_in_root_certs(tls.include_system_ca_certs_pool);
            for certificate in certificates {
                builder = builder.add_root_certificate(certificate);
            }
        }
        if let Some((certificate, key)) = &tls.identity {
            let mut pem = read(certificate, "tls::cert_file")?;
            pem.push(b'\n');
            pem.extend(read(key, "tls::key_file")?);
            let identity = reqwest::Identity::from_pem(&pem);
            builder = builder.identity(identity.map_err(|error| unusable(key, "tls::key_file", &error))?);
        }
    }
    Ok(builder)
}

fn read(path: &Path, key: &'static str) -> Result<Vec<u8>, (Option<&'static str>, String)> {
    std::fs::read(path).map_err(|error| unusable(path, key, &error))
}

fn unusable(path: &Path, key: &'static str, why: &dyn std::fmt::Display) -> (Option<&'static str>, String) {
    (Some(key), format!("cannot use {}: {why}; check the path, its rights and its content", path.display()))
}

/// Sends `request` with `body`.
pub(super) async fn post(request: reqwest::RequestBuilder, content_type: &str, body: String, now_ns: i64) -> Reply {
    match request.header(CONTENT_TYPE, content_type).body(body).send().await {
        Ok(response) => answer(response, now_ns).await,
        Err(error) if error.is_timeout() => Reply::Timeout,
        // The address may hold a secret.
        Err(error) => Reply::Network(chain(&error.without_url())),
    }
}

async fn answer(response: reqwest::Response, now_ns: i64) -> Reply {
    let code = response.status().as_u16();
    let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = asked.and_then(|text| retry::retry_after(text, now_ns));
    let mut text = Vec::new();
    if !(200..300).contains(&code) {
        let mut body = response.bytes_stream();
        while let Some(Ok(bytes)) = body.next().await {
            text.extend_from_slice(&bytes);
            if text.len() >= KEPT_TEXT {
                text.truncate(KEPT_TEXT);
                break;
            }
        }
    }
    Reply::Status { code, retry_after, text: String::from_utf8_lossy(&text).trim().to_owned() }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_loopback_is_here_and_nothing_else_is() {
        for url in [
            "http://localhost:9000/hook",
            "https://LOCALHOST",
            "http://127.0.0.1:1",
            "http://127.9.9.9",
            "http://[::1]:5/a",
        ] {
            assert!(is_here(url), "{url}");
        }
        for url in [
            "http://localhost.example",
            "http://10.0.0.1",
            "http://[::2]",
            "https://events.pagerduty.com/v2",
            "localhost",
        ] {
            assert!(!is_here(url), "{url}");
        }
    }
}
