//! The few things taken from the process environment.
//!
//! Duty: where the data folder is by default (design.md, the data folder), where a service of the demo sends to, and the
//! keys that a platform hands over for a bucket. Guarantee: the environment is read here and nowhere else, once; keys are
//! not shown. Left to others: making the folder, and which keys count (`store`).

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// What the environment says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `XDG_DATA_HOME`
    pub xdg_data_home: Option<OsString>,
    /// `XDG_STATE_HOME`
    pub xdg_state_home: Option<OsString>,
    /// `HOME`
    pub home: Option<OsString>,
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`
    pub otlp_endpoint: Option<String>,
    /// `AWS_*`
    pub aws: Aws,
}

/// The variables `AWS_*` as names and values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Aws(pub Vec<(String, String)>);

impl fmt::Debug for Aws {
    /// Some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Environment {
    /// That of this process.
    #[allow(clippy::disallowed_methods, reason = "config is where the ban is lifted")]
    pub fn of_process() -> Self {
        Self {
            xdg_data_home: std::env::var_os("XDG_DATA_HOME"),
            xdg_state_home: std::env::var_os("XDG_STATE_HOME"),
            home: std::env::var_os("HOME"),
            otlp_endpoint: std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok().filter(|value| !value.is_empty()),
            aws: Aws(std::env::vars_os().filter_map(aws_variable).collect()),
        }
    }

    /// `$XDG_DATA_HOME/weavergen`, else `~/.local/share/weavergen`, else `/var/lib/weavergen`.
    pub fn data_folder(&self) -> PathBuf {
        if let Some(xdg) = absolute(self.xdg_data_home.as_ref()) {
            return xdg.join("weavergen");
        }
        match absolute(self.home.as_ref()) {
            Some(home) => home.join(".local/share/weavergen"),
            None => PathBuf::from("/var/lib/weavergen"),
        }
    }

    /// Where the shell keeps what was typed: `$XDG_STATE_HOME/weavergen`, else `~/.local/state/weavergen`, else the data
    /// folder.
    pub fn state_folder(&self) -> PathBuf {
        if let Some(xdg) = absolute(self.xdg_state_home.as_ref()) {
            return xdg.join("weavergen");
        }
        absolute(self.home.as_ref()).map_or_else(|| self.data_folder(), |home| home.join(".local/state/weavergen"))
    }
}

/// The XDG rules: a value that is not absolute is ignored.
fn absolute(value: Option<&OsString>) -> Option<PathBuf> {
    value.map(PathBuf::from).filter(|path| path.is_absolute())
}

/// What is not text belongs to others.
fn aws_variable((name, value): (OsString, OsString)) -> Option<(String, String)> {
    let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
    (name.starts_with("AWS_") && !value.is_empty()).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_folder_is_that_of_the_user_and_else_of_the_system() {
        let of = |xdg: Option<&str>, home: Option<&str>| {
            let (xdg_data_home, home) = (xdg.map(Into::into), home.map(Into::into));
            let environment = Environment { xdg_data_home, home, ..Environment::default() };
            environment.data_folder().display().to_string()
        };
        assert_eq!(of(Some("/x"), Some("/home/a")), "/x/weavergen");
        assert_eq!(of(Some("x"), Some("/home/a")), "/home/a/.local/share/weavergen");
        assert_eq!(of(Some(""), None), "/var/lib/weavergen");
        assert_eq!(of(None, Some("")), "/var/lib/weavergen");
    }

    #[test]
    fn the_state_folder_is_beside_the_data_of_the_user() {
        let of = |xdg: Option<&str>, home: Option<&str>| {
            let (xdg_state_home, home) = (xdg.map(Into::into), home.map(Into::into));
            let environment = Environment { xdg_state_home, home, ..Environment::default() };
            environment.state_folder().display().to_string()
        };
        assert_eq!(of(Some("/x"), Some("/home/a")), "/x/weavergen");
        assert_eq!(of(Some("x"), Some("/home/a")), "/home/a/.local/state/weavergen");
        assert_eq!(of(None, None), "/var/lib/weavergen");
    }
}
