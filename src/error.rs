//! The kinds of failure that every module's error maps to.
//!
//! Duty: one small closed set that says what the caller can do about a failure. Guarantee: each kind has one word, the
//! same in JSON, logs and metrics. Left to others: texts (each module's own error) and status codes
//! (`receive/status.rs` for OTLP, `web/` for the API, `cli/exit.rs` for exit codes).

/// What the caller can do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// The input is wrong and will stay wrong: change it.
    Invalid,
    /// What was named does not exist.
    NotFound,
    /// It collides with what is there: look first, then decide.
    Conflict,
    /// The input is above a size limit: split it.
    TooLarge,
    /// Too much work at the moment: send the same again later.
    Busy,
    /// A part that is needed does not work at the moment: send the same again later.
    Unavailable,
    /// The time limit passed; whether it was done is unknown.
    Timeout,
    /// The caller may not do this.
    Denied,
    /// A defect of ours.
    Internal,
}

impl Class {
    /// The word used on every wire and in every log line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Denied => "denied",
            Self::Internal => "internal",
        }
    }

    /// Whether sending the same again later can succeed.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable | Self::Timeout)
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
