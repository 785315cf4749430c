//! The few things taken from the process environment.
//!
//! Duty: where the data folder is by default (design.md, the data folder), where a service of the demo sends to. Guarantee: the environment is read here and
//! nowhere else, once. Left to others: making the folder (`store`).

use std::ffi::OsString;
use std::path::PathBuf;

/// What the environment says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `XDG_DATA_HOME`
    pub xdg_data_home: Option<OsString>,
    /// `HOME`
    pub home: Option<OsString>,
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`
    pub otlp_endpoint: Option<String>,
}

impl Environment {
    /// That of this process.
    #[allow(clippy::disallowed_methods, reason = "config is where the ban is lifted")]
    pub fn of_process() -> Self {
        Self {
            xdg_data_home: std::env::var_os("XDG_DATA_HOME"),
            home: std::env::var_os("HOME"),
            otlp_endpoint: std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok().filter(|value| !value.is_empty()),
        }
    }

    /// `$XDG_DATA_HOME/weavergen`, else `~/.local/share/weavergen`, else `/var/lib/weavergen`.
    pub fn data_folder(&self) -> PathBuf {
        // The XDG rules: a value that is not absolute is ignored.
        let absolute = |value: &Option<OsString>| value.as_ref().map(PathBuf::from).filter(|path| path.is_absolute());
        if let Some(xdg) = absolute(&self.xdg_data_home) {
            return xdg.join("weavergen");
        }
        match absolute(&self.home) {
            Some(home) => home.join(".local/share/weavergen"),
            None => PathBuf::from("/var/lib/weavergen"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_folder_is_that_of_the_user_and_else_of_the_system() {
        let of = |xdg: Option<&str>, home: Option<&str>| {
            let environment =
                Environment { xdg_data_home: xdg.map(Into::into), home: home.map(Into::into), otlp_endpoint: None };
            environment.data_folder().display().to_string()
        };
        assert_eq!(of(Some("/x"), Some("/home/a")), "/x/weavergen");
        assert_eq!(of(Some("x"), Some("/home/a")), "/home/a/.local/share/weavergen");
        assert_eq!(of(Some(""), None), "/var/lib/weavergen");
        assert_eq!(of(None, Some("")), "/var/lib/weavergen");
    }
}
