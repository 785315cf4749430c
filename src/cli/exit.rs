//! Exit codes of every command (design.md).
//!
//! Duty: the one table. Guarantee: a command ends with one of these numbers. Left to others: messages.

use std::process::ExitCode;

use crate::error::Class;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done and good.
    Good = 0,
    /// Done, the answer is bad; or another failure.
    Bad = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Not judged, limit, timeout.
    NotJudged = 3,
    /// A warning or an incident.
    Warn = 4,
    /// Address or daemon unavailable, lock held.
    Unavailable = 69,
    /// Data or file unreadable or not writable.
    Io = 74,
    /// Configuration invalid.
    Config = 78,
    /// Interrupted.
    Interrupted = 130,
}

impl Exit {
    /// The code of `error`: of the first [`Failure`] in its chain, else 1.
    pub fn of(error: &anyhow::Error) -> Self {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return failure.exit;
        }
        let of_cause = |cause: &(dyn std::error::Error + 'static)| {
            let failure = cause.downcast_ref::<Failure>().map(|failure| failure.exit);
            failure
                .or_else(|| cause.downcast_ref::<crate::config::Error>().map(Self::of_config))
                .or_else(|| Self::of_start(cause))
        };
        error.chain().find_map(of_cause).unwrap_or(Self::Bad)
    }

    /// The code of what keeps the daemon from starting: a setting (78), an address or lock in use (69), data (74).
    fn of_start(cause: &(dyn std::error::Error + 'static)) -> Option<Self> {
        if let Some(error) = cause.downcast_ref::<crate::store::Error>() {
            use crate::store::Error;
            return Some(match error {
                // Another process has the folder, or took the store over meanwhile; the bucket does not answer.
                Error::Locked { .. } | Error::Superseded { .. } | Error::Unreachable { .. } => Self::Unavailable,
                Error::Place { .. } => Self::Config,
                _ => Self::Io,
            });
        }
        if cause.is::<crate::budget::LimitTooSmall>() {
            return Some(Self::Config);
        }
        if let Some(error) = cause.downcast_ref::<crate::access::Error>() {
            return Some(if error.class() == Class::Invalid { Self::Config } else { Self::Io });
        }
        if let Some(error) = cause.downcast_ref::<crate::semconv::Error>() {
            return Some(if error.class() == Class::Invalid { Self::Config } else { Self::Io });
        }
        if cause.is::<crate::gate::load::LoadError>() || cause.is::<crate::learn::patterns::load::LoadError>() {
            return Some(Self::Config);
        }
        if let Some(error) = cause.downcast_ref::<crate::gate::journal::Error>() {
            return Some(if error.class() == Class::Conflict { Self::Unavailable } else { Self::Io });
        }
        if let Some(error) = cause.downcast_ref::<crate::notify::OpenError>() {
            return Some(match error {
                crate::notify::OpenError::Journal(_) => Self::Io,
                error if error.class() == Class::Invalid => Self::Config,
                _ => Self::Bad,
            });
        }
        let unavailable = cause.is::<crate::telemetry::BindError>()
            || cause.is::<crate::receive::Error>()
            || cause.is::<crate::web::Error>();
        unavailable.then_some(Self::Unavailable)
    }

    /// The code of a configuration that could not be loaded.
    pub const fn of_config(error: &crate::config::Error) -> Self {
        match error.class() {
            Class::NotFound => Self::Io,
            _ => Self::Config,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that names its exit code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// `message` says what, where and the next move.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_code_is_found_under_any_context() {
        let failed: Result<(), Failure> = Err(Failure::new(Exit::Unavailable, "port 4317 is in use"));
        let error = failed.context("cannot start").context("run").unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Unavailable);
        assert_eq!(Exit::of(&anyhow::anyhow!("other")), Exit::Bad);
        let invalid = anyhow::Error::new(crate::config::Error::Invalid(Vec::new()));
        assert_eq!(Exit::of(&invalid), Exit::Config);
    }
}
