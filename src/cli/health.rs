//! `weavergen health` (collector_config.md 5).
//!
//! Duty: ask `/ready` of the health endpoint, one line on stdout; what is degraded goes to stderr. Guarantee: ends
//! within 5 seconds. Left to others: what ready means (`telemetry`, `app`).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::exit::{Exit, Failure};
use super::lines::print;
use crate::config::Environment;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Flags of `health`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address of the health endpoint [default: that of the local daemon, from its run.json]
    #[arg(long, conflicts_with = "data")]
    pub url: Option<String>,
    /// Data folder of the local daemon
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Exit: 0 ready, 69 not ready or not reachable.
pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let url = match &args.url {
        Some(url) => ready_url(url)?,
        None => {
            let data = args.data.clone().unwrap_or_else(|| Environment::of_process().data_folder());
            of_daemon(&data)?
        }
    };
    // A probe goes straight to the daemon, whatever proxies the environment names.
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
    let answer = client.get(url.clone()).send().await.map_err(|error| {
        let why = root_cause(&error);
        Failure::new(Exit::Unavailable, format!("cannot ask {url}: {why}; is the daemon running?"))
    })?;
    let status = answer.status();
    if status.is_success() {
        print("ready\n")?;
        for what in degraded(&answer.text().await.unwrap_or_default()) {
            eprintln!("degraded: {what}");
        }
        return Ok(Exit::Good);
    }
    print(&format!("not ready: {url} answered {status}\n"))?;
    Ok(Exit::Unavailable)
}

/// What the answer names as degraded; an answer of another form names nothing.
fn degraded(answer: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        degraded: Vec<String>,
    }
    let named = serde_json::from_str::<Answer>(answer).map(|answer| answer.degraded).unwrap_or_default();
    named.iter().map(|what| what.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()).collect()
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// The URL as given; without a path it is `/ready`, without a scheme `http`.
fn ready_url(given: &str) -> Result<reqwest::Url, Failure> {
    let text = if given.contains("://") { given.to_owned() } else { format!("http://{given}") };
    let invalid = |why: String| Failure::new(Exit::Usage, format!("`{given}` is no URL: {why}"));
    let mut url = reqwest::Url::parse(&text).map_err(|error| invalid(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("it must start with http:// or https://".to_owned()));
    }
    if url.path() == "/" {
        url.set_path("/ready");
    }
    Ok(url)
}

/// What `run.json` says of the health listeners.
#[derive(Deserialize)]
struct Running {
    #[serde(default)]
    health: Vec<SocketAddr>,
}

fn of_daemon(data: &Path) -> Result<reqwest::Url, Failure> {
    let file = data.join("run.json");
    let unavailable = |why: String| Failure::new(Exit::Unavailable, why);
    let text = std::fs::read_to_string(&file).map_err(|error| {
        unavailable(format!(
            "no daemon runs on {} ({}: {error}); name its folder with --data or its address with --url",
            data.display(),
            file.display(),
        ))
    })?;
    let running: Running = serde_json::from_str(&text)
        .map_err(|error| unavailable(format!("{} is damaged ({error}); restart the daemon", file.display())))?;
    let Some(bound) = running.health.first() else {
        let why = "the daemon has no health endpoint; list `health_check` in service::extensions".to_owned();
        return Err(unavailable(why));
    };
    ready_url(&reachable(*bound).to_string())
}

/// An address to connect to: what is bound to every address answers on loopback.
pub(super) fn reachable(bound: SocketAddr) -> SocketAddr {
    let mut address = bound;
    if bound.ip().is_unspecified() {
        let loopback: std::net::IpAddr = match bound {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_path_is_asked_for_ready() {
        for (given, want) in [
            ("localhost:13133", "http://localhost:13133/ready"),
            ("http://h:1/", "http://h:1/ready"),
            ("http://h:1/live", "http://h:1/live"),
        ] {
            assert_eq!(ready_url(given).unwrap().as_str(), want);
        }
        assert!(ready_url("ftp://h").is_err());
    }

    #[test]
    fn what_is_degraded_is_read_from_the_answer_and_obeys_no_terminal() {
        assert_eq!(degraded(r#"{"status": "Server available", "degraded": ["a\u001bb", "c"]}"#), ["a b", "c"]);
        assert_eq!(degraded(r#"{"status": "Server available"}"#), Vec::<String>::new());
        assert_eq!(degraded("fine"), Vec::<String>::new());
    }

    #[test]
    fn the_local_daemon_is_found_by_its_run_file() {
        let folder = tempfile::tempdir().unwrap();
        let missing = of_daemon(folder.path()).unwrap_err();
        assert!(missing.to_string().contains("--url"), "{missing}");
        let run = r#"{"pid": 1, "health": ["0.0.0.0:13133", "[::]:13133"], "api": []}"#;
        std::fs::write(folder.path().join("run.json"), run).unwrap();
        assert_eq!(of_daemon(folder.path()).unwrap().as_str(), "http://127.0.0.1:13133/ready");
    }
}
