//! Tokens, roles and the loopback rule, case by case.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

const ADMIN: &str = "0123456789abcdef0123456789abcdef";
const VIEWER: &str = "fedcba9876543210fedcba9876543210";

fn with_file(anonymous: Option<Option<Role>>) -> (tempfile::TempDir, Access) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    std::fs::write(&path, format!("# who\n{ADMIN} admin\n\n{VIEWER}\tviewer\n")).unwrap();
    let access = Access::open(Config { anonymous, tokens_file: Some(path) }, &Clock::manual(0, 1)).unwrap();
    (dir, access)
}

#[test]
fn who_may_call_depends_on_token_rule_and_listener() {
    let role = |access: &Access, header: Option<String>, loopback| {
        access.identify(header.as_deref(), loopback).map(|identity| identity.role).ok()
    };
    let bearer = |token: &str| Some(format!("Bearer {token}"));
    // (anonymous, on loopback without token, beyond it without token)
    for (anonymous, near, far) in [
        (None, Some(Role::Admin), None),
        (Some(None), None, None),
        (Some(Some(Role::Viewer)), Some(Role::Viewer), Some(Role::Viewer)),
        (Some(Some(Role::Admin)), Some(Role::Admin), Some(Role::Admin)),
    ] {
        let (_dir, access) = with_file(anonymous);
        assert_eq!(role(&access, None, true), near, "{anonymous:?}");
        assert_eq!(role(&access, None, false), far, "{anonymous:?}");
        for loopback in [true, false] {
            assert_eq!(role(&access, bearer(ADMIN), loopback), Some(Role::Admin));
            assert_eq!(role(&access, bearer(VIEWER), loopback), Some(Role::Viewer));
            assert_eq!(role(&access, Some(format!("bearer   {VIEWER} ")), loopback), Some(Role::Viewer));
            assert_eq!(role(&access, bearer("guess"), loopback), None);
            assert_eq!(role(&access, bearer(""), loopback), None);
            assert_eq!(role(&access, Some(format!("Basic {ADMIN}")), loopback), None);
        }
    }
}

#[test]
fn a_missing_file_is_made_for_its_owner_only_with_one_admin_token_that_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/tokens");
    let config = Config { anonymous: None, tokens_file: Some(path.clone()) };
    let access = Access::open(config.clone(), &Clock::manual(0, 5)).unwrap();
    let token = access.fresh_token().unwrap().to_owned();
    assert_eq!(token.len(), 64);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(dir.path().join("new")).unwrap().count(), 1, "nothing is left beside it");
    let again = Access::open(config, &Clock::manual(0, 6)).unwrap();
    assert_eq!(again.fresh_token(), None);
    assert_eq!(again.identify(Some(&format!("Bearer {token}")), false).unwrap().role, Role::Admin);
    assert!(!format!("{again:?}{access:?}").contains(&token));
}

#[test]
fn a_file_without_a_token_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    for text in ["", "\n \n", "# one token and role (admin, viewer) a line\n"] {
        std::fs::write(&path, text).unwrap();
        let config = Config { anonymous: None, tokens_file: Some(path.clone()) };
        let error = Access::open(config, &Clock::manual(0, 1)).unwrap_err();
        assert!(matches!(error, Error::NoToken { .. }), "{text:?}: {error}");
        assert!(
            error.to_string().ends_with("or remove the file: a missing one is made with a random token"),
            "{error}"
        );
    }
}

#[test]
fn a_bad_line_is_named_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    for (text, line) in [
        (format!("{ADMIN} admin\nonly\n"), 2),
        (format!("{ADMIN} owner"), 1),
        ("short admin".to_owned(), 1),
        (format!("{ADMIN} admin\n#\n{ADMIN} viewer"), 3),
        (format!("{ADMIN} admin now"), 1),
    ] {
        std::fs::write(&path, &text).unwrap();
        let config = Config { anonymous: None, tokens_file: Some(path.clone()) };
        let error = Access::open(config, &Clock::manual(0, 1)).unwrap_err();
        assert!(matches!(error, Error::Line { line: at, .. } if at == line), "{text}: {error}");
        assert!(!error.to_string().contains(ADMIN));
    }
}

#[test]
fn a_listener_beyond_loopback_needs_tokens_or_a_rule() {
    let file = Some(std::path::PathBuf::from("/t"));
    for (anonymous, tokens_file, may_start) in [
        (None, None, false),
        (None, file.clone(), true),
        (Some(None), None, true),
        (Some(Some(Role::Viewer)), None, true),
        (Some(Some(Role::Admin)), None, false),
        (Some(Some(Role::Admin)), file, false),
    ] {
        let config = Config { anonymous, tokens_file };
        let outcome = check_listener(&config, "web::endpoint", "0.0.0.0:8080", false);
        assert_eq!(outcome.is_ok(), may_start, "{config:?}");
        if let Err(error) = outcome {
            let text = error.to_string();
            assert!(text.contains("--set web::endpoint=localhost:PORT"), "{text}");
            assert!(text.contains("--set access::tokens_file=PATH"), "{text}");
        }
        assert!(check_listener(&config, "web::endpoint", "localhost:8080", true).is_ok());
    }
}

#[test]
fn hosts_are_loopback_names_the_bound_address_and_those_allowed() {
    let hosts = Hosts::new(&["Traces.example".to_owned(), "gate:9443".to_owned()]);
    let local: SocketAddr = "192.0.2.7:8080".parse().unwrap();
    for (host, allowed) in [
        ("localhost", true),
        ("LOCALHOST:8080", true),
        ("127.0.0.1:8080", true),
        ("127.8.9.1", true),
        ("[::1]:8080", true),
        ("[::1]", true),
        ("192.0.2.7:8080", true),
        ("192.0.2.8:8080", false),
        ("traces.example", true),
        ("traces.example:443", true),
        ("gate:9443", true),
        ("gate:9444", false),
        ("evil.example", false),
        ("localhost.evil.example", false),
        ("127.0.0.1.evil.example", false),
        ("localhost:8080:1", false),
        ("localhost:x", false),
        ("[::1", false),
        ("", false),
        (":8080", false),
    ] {
        assert_eq!(hosts.allows(host, local), allowed, "{host}");
    }
}

#[test]
fn a_page_of_another_site_is_recognised() {
    for (origin, site, cross) in [
        (None, None, false),
        (Some("http://localhost:8080"), Some("same-origin"), false),
        (Some("http://LOCALHOST:8080/"), None, false),
        (Some("http://localhost:3000"), None, true),
        (Some("https://evil.example"), None, true),
        (Some("null"), None, true),
        (None, Some("cross-site"), true),
        // Another port or another name below ours.
        (None, Some("same-site"), true),
        (None, Some("none"), false),
        (Some("http://localhost:8080"), Some("cross-site"), true),
    ] {
        assert_eq!(is_cross_site(origin, site, "localhost:8080"), cross, "{origin:?} {site:?}");
    }
}
