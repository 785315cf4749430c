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
            return Some(Self::of_gates(error));
        }
        if let Some(error) = cause.downcast_ref::<crate::engine::Error>() {
            use crate::engine::Error;
            return match error {
                Error::Format(_) => Some(Self::Config),
                Error::Held => Some(Self::Unavailable),
                Error::Storage(_) | Error::Damaged(_) => Some(Self::Io),
                // Requests end with these, no start does.
                Error::Unavailable | Error::Rejected(_) | Error::Refused(_) => None,
            };
        }
        if let Some(error) = cause.downcast_ref::<crate::learn::Error>() {
            use crate::learn::Error;
            return Some(match error {
                Error::Format(_) => Self::Config,
                Error::Held => Self::Unavailable,
                Error::Storage(_) | Error::Damaged(_) | Error::Source(_) | Error::Quarantine(..) => Self::Io,
            });
        }
        if let Some(error) = cause.downcast_ref::<crate::notify::OpenError>() {
            return Some(match error {
                crate::notify::OpenError::Journal(error) => Self::of_gates(error),
                error if error.class() == Class::Invalid => Self::Config,
                _ => Self::Bad,
            });
        }
        if cause.is::<crate::app::Unwritten>() {
            return Some(Self::Io);
        }
        let unavailable = cause.is::<crate::telemetry::BindError>()
            || cause.is::<crate::receive::Error>()
            || cause.is::<crate::web::Error>();
        unavailable.then_some(Self::Unavailable)
    }

    /// The code of a `gates.redb` that cannot be used: a newer version's (78), another process's (69), unreadable (74).
    const fn of_gates(error: &crate::gate::journal::Error) -> Self {
        use crate::gate::journal::Error;
        match error {
            Error::Format(_) => Self::Config,
            Error::Held => Self::Unavailable,
            Error::Storage(_) | Error::Damaged(_) => Self::Io,
        }
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
    #[test]
    fn a_file_of_a_newer_version_is_78_a_held_one_69_and_a_damaged_one_74() {
        use crate::gate::journal;
        use crate::notify::OpenError;
        use crate::{engine, learn};

        let damaged = || "a row".to_owned();
        let files: [[anyhow::Error; 3]; 4] = [
            [engine::Error::Format(9).into(), engine::Error::Held.into(), engine::Error::Damaged(damaged()).into()],
            [learn::Error::Format(9).into(), learn::Error::Held.into(), learn::Error::Damaged(damaged()).into()],
            [journal::Error::Format(9).into(), journal::Error::Held.into(), journal::Error::Damaged(damaged()).into()],
            [
                OpenError::Journal(journal::Error::Format(9)).into(),
                OpenError::Journal(journal::Error::Held).into(),
                OpenError::Journal(journal::Error::Damaged(damaged())).into(),
            ],
        ];
        for errors in files {
            let codes = errors.map(|error| Exit::of(&error.context("cannot start")));
            assert_eq!(codes, [Exit::Config, Exit::Unavailable, Exit::Io]);
        }
    }
}
