//! The section `web` (collector_config.md 4).

use crate::yaml::Section;

/// Settings of the API listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether there is one.
    pub enabled: bool,
    /// `host:port`; `localhost` binds every address it resolves to.
    pub endpoint: String,
    /// Values of `Host` accepted beside loopback names and the bound address.
    pub allowed_hosts: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { enabled: true, endpoint: "localhost:8080".to_owned(), allowed_hosts: Vec::new() }
    }
}

impl Config {
    /// Reads the section.
    pub fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        section.not_yet(&["tls"]);
        Self {
            enabled: section.boolean("enabled").unwrap_or(default.enabled),
            endpoint: section.endpoint("endpoint").unwrap_or(default.endpoint),
            allowed_hosts: section.texts("allowed_hosts").unwrap_or(default.allowed_hosts),
        }
    }
}
