//! Statements that are not for the engine, and where statements end.
//!
//! Duty: tell `BEGIN`, `SET`, `SHOW`, `DEALLOCATE` and their like from what the gateway runs, and divide a text into its
//! statements. Guarantee: what is not known to be one of them goes to the gateway, which refuses what it must. Left to
//! others: what they do (`connection`, `settings`).

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::copy::{Copy, copy};
use super::problem::Problem;
use crate::query::error::{Code, Error, Position};
use crate::query::guard;

/// One statement of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Its text, without the semicolon.
    pub sql: &'a str,
    /// Byte of the text where it begins.
    pub from: usize,
    /// What it is.
    pub command: Command,
}

/// What a statement is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Nothing but spaces and comments.
    Empty,
    /// For the gateway.
    Query,
    /// `BEGIN`, `START TRANSACTION`; the tag.
    Begin(&'static str),
    /// `COMMIT`, `END`; whether another transaction begins with it.
    Commit(bool),
    /// `ROLLBACK`, `ABORT`; likewise.
    Rollback(bool),
    /// `ROLLBACK TO SAVEPOINT`.
    RollbackTo,
    /// `SET name = value`; `None` is the default.
    Set(String, Option<String>, Scope),
    /// `RESET name`; `None` is all.
    Reset(Option<String>),
    /// `SHOW name`.
    Show(String),
    /// `DEALLOCATE name`; `None` is all.
    Deallocate(Option<String>),
    /// `DISCARD ALL`.
    DiscardAll,
    /// `COPY (SELECT …) TO STDOUT`.
    Copy(Copy),
    /// Accepted, without any effect: the tag.
    NoEffect(&'static str),
    /// Never run here.
    Refused(&'static str, &'static str),
}

/// How long a setting stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `SET`, `SET SESSION`.
    Session,
    /// `SET LOCAL`.
    Transaction,
}

/// The statements of `text`. An empty text has one that is [`Command::Empty`].
///
/// Errors: `sql.too_complex` for a text of more than 64 KiB; `sql.syntax` for a quote or comment that does not end.
pub fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Error> {
    guard::fits(text)?;
    let tokens =
        Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location().map_err(|error| {
            Error::new(Code::Syntax, error.message)
                .hint("close the quote or comment that begins here")
                .at(Position::at(text, error.location.line, error.location.column))
        })?;
    let ends: Vec<usize> =
        tokens.iter().enumerate().filter(|(_, t)| t.token == Token::SemiColon).map(|(at, _)| at).collect();
    let bytes = places(text, ends.iter().map(|at| (tokens[*at].span.start.line, tokens[*at].span.start.column)));
    let mut pieces = Vec::new();
    let (mut first, mut from) = (0, 0);
    for (end, byte) in ends.into_iter().zip(bytes) {
        pieces.extend(piece(text, &tokens[first..end], from, byte));
        (first, from) = (end + 1, byte + 1);
    }
    pieces.extend(piece(text, &tokens[first..], from, text.len()));
    if pieces.is_empty() {
        pieces.push(Piece { sql: "", from: 0, command: Command::Empty });
    }
    Ok(pieces)
}

fn piece<'a>(text: &'a str, tokens: &[TokenWithSpan], from: usize, to: usize) -> Option<Piece<'a>> {
    let command = copy(text, tokens).map_or_else(|| command(tokens), Command::Copy);
    (command != Command::Empty).then(|| Piece { sql: text.get(from..to).unwrap_or_default(), from, command })
}

/// Bytes of the places `(line, column)` of `text`, which come in its order.
fn places(text: &str, wanted: impl Iterator<Item = (u64, u64)>) -> Vec<usize> {
    let (mut line, mut column) = (1, 1);
    let mut chars = text.char_indices();
    let mut next = chars.next();
    let mut found = Vec::new();
    for place in wanted {
        while let Some((byte, c)) = next {
            if (line, column) == place {
                found.push(byte);
                break;
            }
            (line, column) = if c == '\n' { (line + 1, 1) } else { (line, column + 1) };
            next = chars.next();
        }
    }
    found
}

fn command(tokens: &[TokenWithSpan]) -> Command {
    let meant = |token: &&Token| !matches!(token, Token::Whitespace(_) | Token::EOF);
    let tokens: Vec<&Token> = tokens.iter().map(|token| &token.token).filter(meant).take(40).collect();
    let word = |at: usize| match tokens.get(at) {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
        _ => String::new(),
    };
    if tokens.is_empty() {
        return Command::Empty;
    }
    let name = |at: usize| match tokens.get(at) {
        Some(Token::Word(word)) if word.quote_style.is_some() => word.value.clone(),
        Some(Token::Word(word)) => word.value.to_ascii_lowercase(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let chains = (1..3).any(|at| word(at) == "AND" && word(at + 1) == "CHAIN");
    match word(0).as_str() {
        "BEGIN" => Command::Begin("BEGIN"),
        "START" if word(1) == "TRANSACTION" => Command::Begin("START TRANSACTION"),
        "COMMIT" | "END" => Command::Commit(chains),
        "ROLLBACK" | "ABORT" if (1..4).any(|at| word(at) == "TO") => Command::RollbackTo,
        "ROLLBACK" | "ABORT" => Command::Rollback(chains),
        "SAVEPOINT" => Command::NoEffect("SAVEPOINT"),
        "RELEASE" => Command::NoEffect("RELEASE"),
        "UNLISTEN" => Command::NoEffect("UNLISTEN"),
        "CLOSE" if word(1) == "ALL" => Command::NoEffect("CLOSE CURSOR ALL"),
        "DISCARD" if word(1) == "ALL" => Command::DiscardAll,
        "DISCARD" => Command::NoEffect("DISCARD"),
        "DEALLOCATE" => {
            let at = if word(1) == "PREPARE" { 2 } else { 1 };
            Command::Deallocate((word(at) != "ALL").then(|| name(at)))
        }
        "RESET" if word(1) == "ALL" => Command::Reset(None),
        "RESET" => Command::Reset(Some(setting(&tokens[1..]).0)),
        "SET" => set(&tokens[1..]),
        "SHOW" if !matches!(word(1).as_str(), "TABLES" | "COLUMNS" | "FUNCTIONS" | "") => {
            Command::Show(setting(&tokens[1..]).0)
        }
        "DECLARE" | "FETCH" | "MOVE" | "CLOSE" => Command::Refused(
            "there are no cursors",
            "read the rows of the statement itself: they are sent as they come, and the extended protocol pauses after as many as it asks for",
        ),
        "PREPARE" | "EXECUTE" => {
            Command::Refused("statements are not prepared in SQL", "prepare them in the protocol, as drivers do")
        }
        "LISTEN" | "NOTIFY" => Command::Refused("there are no notifications", "ask again for new rows"),
        _ => Command::Query,
    }
}

fn set(tokens: &[&Token]) -> Command {
    let word = |at: usize| match tokens.get(at) {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
        _ => String::new(),
    };
    let scoped = usize::from(matches!(word(0).as_str(), "SESSION" | "LOCAL"));
    match (word(scoped).as_str(), word(scoped + 1).as_str()) {
        ("TRANSACTION", _) | ("CHARACTERISTICS", "AS") => return Command::NoEffect("SET"),
        ("CONSTRAINTS", _) => return Command::NoEffect("SET CONSTRAINTS"),
        ("ROLE", _) | ("AUTHORIZATION", _) => {
            return Command::Refused("roles are not changed in SQL", "log in with another token");
        }
        _ => {}
    }
    let (name, rest) = setting(&tokens[scoped..]);
    let rest = match rest {
        [Token::Eq, rest @ ..] => rest,
        [Token::Word(to), rest @ ..] if to.value.eq_ignore_ascii_case("to") => rest,
        rest => rest,
    };
    let text = |token: &&Token| match token {
        Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => text.clone(),
        Token::Word(word) => word.value.clone(),
        other => other.to_string(),
    };
    let value = rest.iter().map(text).collect::<Vec<_>>().join(" ").replace(" , ", ", ").replace("- ", "-");
    let is_default = matches!(rest, [Token::Word(word)] if word.quote_style.is_none()
        && ["default", "local"].iter().any(|of| word.value.eq_ignore_ascii_case(of)));
    let scope = if word(0) == "LOCAL" && tokens.len() > 1 { Scope::Transaction } else { Scope::Session };
    Command::Set(name, (!is_default).then_some(value), scope)
}

/// The name of a setting at the front, and what is behind it.
fn setting<'a>(tokens: &'a [&'a Token]) -> (String, &'a [&'a Token]) {
    let text = |token: &Token| match token {
        Token::Word(word) => word.value.to_ascii_lowercase(),
        other => other.to_string(),
    };
    let words: Vec<String> = tokens.iter().take(3).map(|token| text(token)).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["time", "zone", ..] => ("timezone".to_owned(), &tokens[2..]),
        ["transaction", "isolation", "level"] => ("transaction_isolation".to_owned(), &tokens[3..]),
        ["session", "authorization", ..] => ("session_authorization".to_owned(), &tokens[2..]),
        ["names", ..] => ("client_encoding".to_owned(), &tokens[1..]),
        [first, ".", last] => (format!("{first}.{last}"), &tokens[3..]),
        [first, ..] => ((*first).to_owned(), &tokens[1..]),
        [] => (String::new(), &[]),
    }
}

impl Command {
    /// Whether it may run in a transaction in which a statement failed.
    pub const fn ends_failure(&self) -> bool {
        matches!(self, Self::Commit(_) | Self::Rollback(_) | Self::RollbackTo)
    }
}

/// Refused commands as problems.
pub fn refused(what: &str, hint: &str) -> Problem {
    Problem::new("0A000", what).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str) -> Command {
        let pieces = pieces(sql).unwrap();
        assert_eq!(pieces.len(), 1, "{sql}");
        pieces[0].command.clone()
    }

    fn set(name: &str, value: &str) -> Command {
        Command::Set(name.to_owned(), Some(value.to_owned()), Scope::Session)
    }

    #[test]
    fn a_text_is_divided_at_semicolons_that_end_statements() {
        let text = "SELECT ';' ; /* ; */ \n SELECT \"é;\", $$;$$; -- ;\n;;";
        let pieces = pieces(text).unwrap();
        let found: Vec<_> = pieces.iter().map(|piece| (piece.sql, piece.from)).collect();
        assert_eq!(found, [("SELECT ';' ", 0), (" /* ; */ \n SELECT \"é;\", $$;$$", 12)]);
        for piece in &pieces {
            assert!(text[piece.from..].starts_with(piece.sql));
        }
        assert_eq!(of(" -- nothing\n ; "), Command::Empty);
        assert!(super::pieces("SELECT 'open").is_err());
    }

    #[test]
    fn what_sets_and_shows_is_known_in_the_forms_that_drivers_send() {
        assert_eq!(of("SET statement_timeout TO '5s'"), set("statement_timeout", "5s"));
        assert_eq!(of("set session time zone 'Europe/Berlin'"), set("timezone", "Europe/Berlin"));
        assert_eq!(of("SET NAMES 'UTF8'"), set("client_encoding", "UTF8"));
        assert_eq!(of("SET DateStyle = ISO, MDY"), set("datestyle", "ISO, MDY"));
        assert_eq!(of("SET extra_float_digits = 3"), set("extra_float_digits", "3"));
        assert_eq!(of("SET TIME ZONE LOCAL"), Command::Set("timezone".to_owned(), None, Scope::Session));
        assert_eq!(of("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"), Command::NoEffect("SET"));
        assert_eq!(of("SHOW TRANSACTION ISOLATION LEVEL"), Command::Show("transaction_isolation".to_owned()));
        assert_eq!(of("show TimeZone"), Command::Show("timezone".to_owned()));
        assert_eq!(of("RESET ALL"), Command::Reset(None));
        assert_eq!(of("DEALLOCATE \"_pg3_0\""), Command::Deallocate(Some("_pg3_0".to_owned())));
        assert_eq!(of("ROLLBACK TO SAVEPOINT a"), Command::RollbackTo);
        let local = Command::Set("statement_timeout".to_owned(), Some("5".to_owned()), Scope::Transaction);
        assert_eq!(of("SET LOCAL statement_timeout = 5"), local);
        assert_eq!(of("ABORT"), Command::Rollback(false));
        assert_eq!(of("COMMIT WORK AND CHAIN"), Command::Commit(true));
        assert_eq!(of("ROLLBACK AND NO CHAIN"), Command::Rollback(false));
    }

    #[test]
    fn the_rest_is_for_the_gateway() {
        for sql in ["SELECT 1", "SHOW TABLES", "DROP TABLE spans", "COPY spans TO STDOUT", "\"BEGIN\"", "beginning"] {
            assert_eq!(of(sql), Command::Query, "{sql}");
        }
        assert!(matches!(of("DECLARE c CURSOR FOR SELECT 1"), Command::Refused(..)));
    }
}
