//! The section `storage.object_store` (storage.md 13, 16).
//!
//! Duty: address and options of the bucket, checked as far as no network is needed. Guarantee: what is returned can be
//! made into a client; values of options, which may be secrets, are in no message. Left to others: the client (`s3`),
//! whether the bucket is there and fit (`probe`).

use std::path::PathBuf;

use object_store::aws::AmazonS3ConfigKey;
use object_store::path::Path;

use super::{Bucket, Place, s3};
use crate::yaml::{Code, Entry, Section, Value, nearest};

/// The options, named as the crate `object_store` names them; each may also begin with `aws_`.
const OPTIONS: [&str; 46] = [
    "access_key_id",
    "allow_http",
    "allow_invalid_certificates",
    "checksum_algorithm",
    "connect_timeout",
    "container_authorization_token_file",
    "container_credentials_full_uri",
    "container_credentials_relative_uri",
    "default_content_type",
    "default_region",
    "disable_tagging",
    "endpoint",
    "endpoint_url",
    "endpoint_url_sts",
    "http1_only",
    "http2_keep_alive_interval",
    "http2_keep_alive_timeout",
    "http2_keep_alive_while_idle",
    "http2_max_frame_size",
    "http2_only",
    "imdsv1_fallback",
    "metadata_endpoint",
    "pool_idle_timeout",
    "pool_max_idle_per_host",
    "proxy_ca_certificate",
    "proxy_excludes",
    "proxy_url",
    "randomize_addresses",
    "region",
    "request_payer",
    "role_arn",
    "role_session_name",
    "s3_express",
    "secret_access_key",
    "server_side_encryption",
    "session_token",
    "skip_signature",
    "sse_bucket_key_enabled",
    "sse_customer_key_base64",
    "sse_kms_key_id",
    "timeout",
    "token",
    "unsigned_payload",
    "user_agent",
    "virtual_hosted_style_request",
    "web_identity_token_file",
];

/// What the address or the store decides.
const DECIDED: [(&str, &str); 4] = [
    ("bucket", "the bucket stands in `url`"),
    ("bucket_name", "the bucket stands in `url`"),
    ("conditional_put", "the manifest needs `etag`, and that is always on"),
    ("copy_if_not_exists", "nothing is copied"),
];

impl Place {
    /// Reads the section `storage`.
    pub fn read(storage: &Section<'_>) -> Self {
        let section = storage.block("object_store");
        let options = section.block("options");
        let given = read_options(&options);
        let Some(url) = section.text("url") else {
            if !options.entries().is_empty() {
                section.check_with_help("options", "mean nothing without `url`", "write `url: s3://BUCKET/PREFIX`");
            }
            return Self::Folder;
        };
        match parse(&url) {
            Ok(Address::Folder(path)) => {
                if !options.entries().is_empty() {
                    section.check("options", "a folder has none: they belong to `s3://` addresses");
                }
                Self::File(path)
            }
            Ok(Address::Bucket(name, prefix)) => {
                let bucket = Bucket { name, prefix, options: given };
                check(&bucket, &section, &options);
                Self::Bucket(bucket)
            }
            Err(why) => {
                section.check_with_help("url", why, "write `s3://BUCKET/PREFIX`, or `file:///FOLDER`");
                Self::Folder
            }
        }
    }
}

enum Address {
    Folder(PathBuf),
    Bucket(String, Path),
}

/// What `url` names; `Err` does not repeat it: people write keys into addresses.
fn parse(url: &str) -> Result<Address, &'static str> {
    if let Some(path) = url.strip_prefix("file://") {
        if path.contains(['%', '?', '#']) {
            return Err("a folder is written as it is, without `%`, `?` and `#`");
        }
        return match path.starts_with('/') {
            true => Ok(Address::Folder(PathBuf::from(path))),
            false => Err("a folder's address begins with `file:///`"),
        };
    }
    let Some(rest) = url.strip_prefix("s3://") else { return Err("must begin with `s3://` or `file:///`") };
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if name.is_empty() {
        return Err("names no bucket");
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')) {
        return Err(
            "a bucket's name has letters, digits, `-`, `.` and `_` only; keys and endpoint belong into `options`",
        );
    }
    if prefix.contains(['?', '#']) {
        return Err("`?` and `#` cannot be in a prefix");
    }
    match Path::parse(prefix) {
        Ok(prefix) => Ok(Address::Bucket(name.to_owned(), prefix)),
        Err(_) => Err("the prefix is no path: no empty parts, no `.` and `..`"),
    }
}

/// The options that are known; the others are reported.
fn read_options(section: &Section<'_>) -> Vec<(AmazonS3ConfigKey, String)> {
    section.entries().iter().filter_map(|entry| read_option(section, entry)).collect()
}

fn read_option(section: &Section<'_>, entry: &Entry) -> Option<(AmazonS3ConfigKey, String)> {
    let plain = entry.key.strip_prefix("aws_").unwrap_or(&entry.key);
    if let Some((_, why)) = DECIDED.iter().find(|(name, _)| *name == plain) {
        section.report_entry(entry, Code::Check, format!("cannot be set: {why}"), None);
        return None;
    }
    let Ok(key) = entry.key.parse::<AmazonS3ConfigKey>() else {
        let help = nearest(plain, OPTIONS).map(|near| format!("did you mean \"{near}\"?"));
        section.report_entry(entry, Code::UnknownKey, "is no option of an S3 bucket", help);
        return None;
    };
    let text = match &entry.value.value {
        Value::Text(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Null | Value::Reported => return None,
        other => {
            let text = format!("expected string, got {}", other.type_name());
            section.report_entry(entry, Code::WrongType, text, None);
            return None;
        }
    };
    Some((key, text))
}

/// Whether a client can be made of `bucket`; the option that prevents it is reported at its place.
fn check(bucket: &Bucket, section: &Section<'_>, options: &Section<'_>) {
    let is_plain = bucket.option(&AmazonS3ConfigKey::Endpoint).is_some_and(|endpoint| endpoint.starts_with("http://"));
    if is_plain && !bucket.allows_http() {
        let endpoint = options.entries().iter().find(|entry| is(entry, AmazonS3ConfigKey::Endpoint));
        let text = "`http://` needs `allow_http`: keys and spans would go over the wire as they are";
        let help = "use `https://`, or set `allow_http: true` where the network is trusted";
        options.report_entry(endpoint.expect("it is set"), Code::Check, text, Some(help.to_owned()));
        return;
    }
    let Err(error) = s3::check(bucket) else { return };
    for entry in options.entries() {
        let Some(option) = entry.key.parse().ok().and_then(|key| Some((bucket.option(&key)?.to_owned(), key))) else {
            continue;
        };
        let (value, key) = option;
        if is_credential(&key) {
            // Of these one alone is never right.
            continue;
        }
        let alone = Bucket { options: vec![(key, value)], ..bucket.clone() };
        if s3::check(&alone).is_err() {
            options.report_entry(entry, Code::Check, "the value is not of the kind this option takes", None);
            return;
        }
    }
    let text =
        match (bucket.option(&AmazonS3ConfigKey::AccessKeyId), bucket.option(&AmazonS3ConfigKey::SecretAccessKey)) {
            (Some(_), None) => "`access_key_id` is nothing without `secret_access_key`".to_owned(),
            (None, Some(_)) => "`secret_access_key` is nothing without `access_key_id`".to_owned(),
            _ => format!("no client can be made of them: {error}"),
        };
    section.check("options", text);
}

fn is_credential(key: &AmazonS3ConfigKey) -> bool {
    matches!(key, AmazonS3ConfigKey::AccessKeyId | AmazonS3ConfigKey::SecretAccessKey | AmazonS3ConfigKey::Token)
}

fn is(entry: &Entry, key: AmazonS3ConfigKey) -> bool {
    entry.key.parse::<AmazonS3ConfigKey>().is_ok_and(|given| given == key)
}
