//! Why a request was not answered.
//!
//! Duty: one error for the API, those of statements and of access within it. Guarantee: each has a code, a class, a
//! text and a next move. Left to others: its status (`status`).

use std::net::SocketAddr;
use std::time::Duration;

use crate::access;
use crate::engine;
use crate::error::Class;
use crate::gate::{CloseError, journal};
use crate::query;
use crate::store;

/// Why a request was not answered, or the API did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The statement failed.
    #[error(transparent)]
    Query(#[from] query::Error),
    /// The caller may not.
    #[error(transparent)]
    Access(#[from] access::Error),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The engine refused it or could not do it.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// There is no such gate or key, or its episode was not closed.
    #[error("{error}")]
    Gate {
        /// Why.
        error: CloseError,
        /// The next move.
        hint: String,
    },
    /// What gates wrote cannot be read.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// `Host` is not one of ours.
    #[error("the host `{host}` is not served here")]
    Host {
        /// The header's value.
        host: String,
    },
    /// A page of another site sent it.
    #[error("a page of another site sent this request")]
    CrossSite,
    /// The body is too long.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// Bytes that a body may have.
        limit: usize,
    },
    /// The body came too slowly, or not at all.
    #[error("the body did not arrive within {} s", within.as_secs_f32())]
    Late {
        /// For how long it was waited for.
        within: Duration,
    },
    /// The body or the query is not what this path takes.
    #[error("{message}")]
    Request {
        /// What is wrong.
        message: String,
        /// The next move.
        hint: String,
    },
    /// No statement of this id runs.
    #[error("no statement with the id `{id}` runs")]
    NoStatement {
        /// As it was given.
        id: String,
    },
    /// A client asks for what is not built.
    #[error("{what} is not supported")]
    NotBuilt {
        /// What, as a noun, with a reason where there is one.
        what: String,
    },
    /// A message of the outbox cannot be shown or tried again.
    #[error("{message}")]
    Outbox {
        /// What the caller can do about it.
        class: Class,
        /// What is wrong.
        message: String,
        /// The next move.
        hint: &'static str,
    },
    /// No such path.
    #[error("there is nothing at this path")]
    NotFound,
    /// The path does not take this method.
    #[error("this path does not take this method")]
    Method,
    /// The endpoint is no address.
    #[error(
        "web::endpoint: cannot resolve `{endpoint}`: {detail}; write host:port, e.g. `--set web::endpoint=localhost:8080`"
    )]
    Resolve {
        /// The setting's value.
        endpoint: String,
        /// The system's words.
        detail: String,
    },
    /// The port is taken, or may not be bound.
    #[error(
        "web::endpoint: cannot listen on port {} of {}: {detail}; `--set web::endpoint=localhost:PORT` moves the API \
         (0 = any free port)",
        address.port(), address.ip()
    )]
    Bind {
        /// Where.
        address: SocketAddr,
        /// The system's words.
        detail: String,
    },
}

impl From<CloseError> for Error {
    fn from(error: CloseError) -> Self {
        Self::Gate { hint: error.hint(), error }
    }
}

impl Error {
    /// What the caller can do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::Query(error) => error.class(),
            Self::Access(error) => error.class(),
            Self::Store(error) => error.class(),
            Self::Engine(error) => error.class(),
            Self::Gate { error, .. } => error.class(),
            Self::Journal(error) => error.class(),
            Self::Host { .. } | Self::CrossSite => Class::Denied,
            Self::TooLarge { .. } => Class::TooLarge,
            Self::Late { .. } => Class::Timeout,
            Self::Request { .. } | Self::Method | Self::NotBuilt { .. } | Self::Resolve { .. } => Class::Invalid,
            Self::NotFound | Self::NoStatement { .. } => Class::NotFound,
            Self::Bind { .. } => Class::Unavailable,
            Self::Outbox { class, .. } => *class,
        }
    }

    /// The word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Query(error) => error.code.as_str(),
            Self::Access(access::Error::Unauthenticated { .. }) => query::Code::Unauthenticated.as_str(),
            Self::Access(_) => query::Code::Denied.as_str(),
            Self::Store(_) => "web.store",
            Self::Engine(engine::Error::Rejected(rejection)) => rejection.code(),
            Self::Engine(engine::Error::Refused(_)) => "invalid-definition",
            Self::Engine(engine::Error::Storage(_) | engine::Error::Held | engine::Error::Unavailable) => "unavailable",
            Self::Engine(engine::Error::Format(_) | engine::Error::Damaged(_)) => "internal",
            Self::Gate { error: CloseError::UnknownGate { .. }, .. } => "gates.unknown_gate",
            Self::Gate { error: CloseError::UnknownKey { .. }, .. } => "gates.unknown_key",
            Self::Gate { error: CloseError::NotOpen { .. }, .. } => "gates.not_open",
            Self::Gate { error: CloseError::Stopping, .. } => "gates.stopping",
            Self::Gate { error: CloseError::Lost, .. } => "gates.not_written",
            Self::Gate { error: CloseError::Late, .. } => "gates.not_durable",
            Self::Journal(_) => "gates.journal",
            Self::Host { .. } => "web.host",
            Self::CrossSite => "web.cross_site",
            Self::TooLarge { .. } => "web.too_large",
            Self::Late { .. } => "web.late",
            Self::Request { .. } => query::Code::Argument.as_str(),
            Self::NotFound | Self::NoStatement { .. } => "web.not_found",
            Self::NotBuilt { .. } => "web.not_built",
            Self::Method => "web.method",
            Self::Outbox { .. } => "gates.outbox",
            Self::Resolve { .. } | Self::Bind { .. } => "web.listen",
        }
    }

    pub(super) fn hint(&self) -> Option<&str> {
        Some(match self {
            Self::Query(error) => return error.hint.as_deref(),
            Self::Request { hint, .. } | Self::Gate { hint, .. } => hint,
            Self::Outbox { hint, .. } => hint,
            Self::Host { .. } => "use a loopback name or the bound address, or add the name to `web::allowed_hosts`",
            Self::CrossSite => "send it from a page of this address, or from a program",
            Self::TooLarge { limit } if *limit > super::request::MAX_BODY => "send fewer files at a time",
            Self::TooLarge { .. } => "a statement has at most 64 KiB; send fewer parameters",
            Self::Late { .. } => "send the request again",
            Self::NotFound => "`/` lists what there is",
            Self::NoStatement { .. } => "`SELECT * FROM system.queries` lists those that run and the last that ended",
            Self::NotBuilt { .. } => "send statements and prepared statements; ListActions lists the actions",
            Self::Method => {
                "`POST /api/v1/sql` runs a statement, `GET /api/v1/sql?q=` too; what changes something takes POST only"
            }
            Self::Store(_)
            | Self::Engine(_)
            | Self::Access(_)
            | Self::Journal(_)
            | Self::Resolve { .. }
            | Self::Bind { .. } => {
                return None;
            }
        })
    }

    /// `{"error": {…}}`, as sql.md 10 has it.
    pub fn to_json(&self) -> serde_json::Value {
        let error = match self {
            Self::Query(error) => error.to_json(),
            _ => serde_json::json!({
                "code": self.code(),
                "class": self.class().as_str(),
                "message": self.to_string(),
                "position": null,
                "hint": self.hint(),
                "query_id": null,
            }),
        };
        serde_json::json!({ "error": error })
    }
}
