//! Errors as clients of PostgreSQL hear of them (sql.md 10).
//!
//! Duty: the SQLSTATE of each code, and the fields of an error or notice. Guarantee: nothing else here names the state of
//! one of our errors. Left to others: the errors themselves (`query::error`), bytes (`back`).

use super::front::Malformed;
use crate::access;
use crate::query::error::{Code, Error};

/// An error or notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// SQLSTATE.
    pub state: &'static str,
    /// For people.
    pub message: String,
    /// The id of the statement.
    pub detail: Option<String>,
    /// The next move.
    pub hint: Option<String>,
    /// In characters of the text that was sent, from 1.
    pub position: Option<usize>,
    /// Whether the connection ends with it.
    pub fatal: bool,
}

impl Problem {
    /// One that leaves the connection open.
    pub fn new(state: &'static str, message: impl Into<String>) -> Self {
        Self { state, message: message.into(), detail: None, hint: None, position: None, fatal: false }
    }

    /// One that ends the connection.
    pub fn fatal(state: &'static str, message: impl Into<String>) -> Self {
        Self { fatal: true, ..Self::new(state, message) }
    }

    /// With the next move.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// `error` of a statement that begins at byte `from` of `text`.
    pub fn of(error: &Error, text: &str, from: usize) -> Self {
        let place = |offset: u64| {
            let end = from + usize::try_from(offset).ok()?;
            text.get(..end).map(|before| before.chars().count() + 1)
        };
        Self {
            state: state(error.code),
            message: error.message.clone(),
            detail: error.query_id.as_ref().map(|id| format!("query id {id}")),
            hint: error.hint.clone(),
            position: error.position.and_then(|at| place(at.offset)),
            fatal: false,
        }
    }

    /// A caller that is not let in.
    pub fn refused(error: &access::Error) -> Self {
        let why = match error {
            access::Error::Unauthenticated { why } => (*why).to_owned(),
            other => other.to_string(),
        };
        Self::fatal(state(Code::Unauthenticated), why).hint("give a token of `access.tokens_file` as password")
    }
}

impl From<Malformed> for Problem {
    fn from(malformed: Malformed) -> Self {
        Self::new(malformed.state, malformed.why)
    }
}

/// The SQLSTATE of a code.
pub const fn state(code: Code) -> &'static str {
    match code {
        Code::Syntax => "42601",
        Code::UnknownTable => "42P01",
        Code::UnknownColumn => "42703",
        Code::UnknownFunction => "42883",
        Code::Type => "42804",
        Code::Argument => "22023",
        Code::NotAllowed | Code::Denied => "42501",
        Code::TooComplex => "54001",
        Code::LimitRows | Code::LimitScan => "54000",
        Code::LimitMemory => "53200",
        Code::LimitSpill => "53100",
        Code::Timeout | Code::Cancelled => "57014",
        Code::Busy => "53300",
        Code::PartCorrupt => "XX001",
        Code::Unauthenticated => "28000",
        Code::Internal => "XX000",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::error::Position;

    #[test]
    fn a_position_counts_characters_of_all_that_was_sent() {
        let text = "SELECT 'é'; SELECT nme FROM spans";
        let from = text.find(" SELECT nme").unwrap();
        let error = Error::new(Code::UnknownColumn, "no").at(Position::at(&text[from..], 1, 9));
        assert_eq!(Problem::of(&error, text, from).position, Some(20));
        assert_eq!(text.chars().nth(19), Some('n'));
    }

    #[test]
    fn every_state_has_five_characters() {
        for code in Code::ALL {
            assert_eq!(state(code).len(), 5, "{code:?}");
        }
    }
}
