//! The beginning of a connection.
//!
//! Duty: from the first bytes to a caller with settings (sql.md 9.3). Guarantee: nobody gets further without an identity
//! of `access`, and nothing before that costs more than a few KiB. Left to others: who may call (`access`), how long this
//! may take (`serve`).
//!
//! A token is sent as the password, as it is: TLS is not spoken here, as it is not over HTTP, and SCRAM would need
//! passwords that are kept for it.

use std::sync::Arc;

use super::cancel::Place;
use super::front::Opening;
use super::problem::Problem;
use super::settings::Settings;
use super::wire::{Broken, Wire};
use super::{State, back};
use crate::access::Identity;

/// Names that the only dataset has as a database; that of the user is one too, for it is what drivers give where none is
/// said.
pub(super) const DATABASES: [&str; 3] = ["default", "weavergen", "postgres"];
/// Requests for encryption that are refused before a connection ends.
const MAX_REQUESTS: usize = 3;

/// Who has logged in.
#[derive(Debug)]
pub struct Session {
    /// Who it is, by its token.
    pub identity: Identity,
    /// What it calls itself.
    pub user: String,
    /// To which database.
    pub database: String,
    /// With which settings.
    pub settings: Settings,
    /// Where it can be cancelled.
    pub place: Place,
}

/// Logs the client of `wire` in, over a listener that is or is not on loopback. `None` = it wanted something else, or
/// has gone.
///
/// Errors: [`Broken`], with what to tell the client.
pub async fn login(wire: &mut Wire, state: &Arc<State>, loopback: bool) -> Result<Option<Session>, Broken> {
    for _ in 0..MAX_REQUESTS {
        match wire.opening().await? {
            None => return Ok(None),
            Some(Opening::Tls | Opening::Gss) => {
                wire.out.extend_from_slice(b"N");
                wire.flush().await?;
            }
            Some(Opening::Cancel { pid, secret }) => {
                state.cancels.cancel(pid, secret);
                return Ok(None);
            }
            Some(Opening::Startup { major: 3, minor, parameters }) => {
                return startup(wire, state, loopback, minor, parameters).await;
            }
            Some(Opening::Startup { major, minor, .. }) => {
                let text = format!("version {major}.{minor} of the protocol is not spoken; 3.0 is");
                return Err(Broken::Protocol(Problem::fatal("08P01", text)));
            }
        }
    }
    Err(Broken::Protocol(Problem::fatal("08P01", "encryption is not spoken").hint("`sslmode=disable`")))
}

async fn startup(
    wire: &mut Wire,
    state: &Arc<State>,
    loopback: bool,
    minor: u16,
    parameters: Vec<(String, String)>,
) -> Result<Option<Session>, Broken> {
    let unknown: Vec<&str> =
        parameters.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("_pq_.")).collect();
    if minor > 0 || !unknown.is_empty() {
        back::negotiate(&mut wire.out, &unknown);
    }
    let value = |wanted: &str| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    let user = value("user").filter(|user| !user.is_empty());
    let user = user.ok_or_else(|| Broken::Protocol(Problem::fatal("28000", "no user is given")))?;
    let database = value("database").filter(|database| !database.is_empty()).unwrap_or_else(|| user.clone());
    if value("replication").is_some_and(|value| !["false", "off", "no", "0"].contains(&value.as_str())) {
        return Err(Broken::Protocol(Problem::fatal("0A000", "nothing is replicated from here")));
    }
    let Some(identity) = identified(wire, state, loopback).await? else { return Ok(None) };
    if database != user && !DATABASES.contains(&database.as_str()) {
        let shown: String = database.chars().take(60).collect();
        let problem = Problem::fatal("3D000", format!("there is no dataset `{shown}`")).hint("`default` is there");
        return Err(Broken::Protocol(problem));
    }
    let mut settings = Settings::new(&user, state.gateway.longest());
    for (name, value) in asked(&parameters) {
        match settings.set(&name, Some(&value)) {
            Ok((_, Some(notice))) => back::notice(&mut wire.out, "NOTICE", &notice),
            // A setting that is not known, or cannot be set, is no reason to refuse a client.
            Ok(_) | Err(Problem { state: "42704" | "55P02", .. }) => {}
            Err(problem) => return Err(Broken::Protocol(Problem { fatal: true, ..problem })),
        }
    }
    let place = state.cancels.enter(&state.clock);
    back::authenticated(&mut wire.out);
    settings.reported().for_each(|(name, value)| back::setting(&mut wire.out, name, value));
    back::key(&mut wire.out, place.pid, place.secret);
    Ok(Some(Session { identity, user, database, settings, place }))
}

/// Who the client is; `None` = it has gone.
async fn identified(wire: &mut Wire, state: &State, loopback: bool) -> Result<Option<Identity>, Broken> {
    if let Ok(identity) = state.access.identify(None, loopback) {
        return Ok(Some(identity));
    }
    back::password_wanted(&mut wire.out);
    wire.flush().await?;
    let Some(password) = wire.password().await? else { return Ok(None) };
    match state.access.identify(Some(&format!("Bearer {password}")), loopback) {
        Ok(identity) => Ok(Some(identity)),
        Err(error) => Err(Broken::Protocol(Problem::refused(&error))),
    }
}

/// Settings among `parameters`: by their names, and as `-c name=value` in `options`.
fn asked(parameters: &[(String, String)]) -> Vec<(String, String)> {
    let mut asked = Vec::new();
    for (name, value) in parameters {
        match name.as_str() {
            "user" | "database" | "replication" => {}
            name if name.starts_with("_pq_.") => {}
            "options" => {
                let words = value
                    .split_whitespace()
                    .map(|word| word.strip_prefix("--").or(word.strip_prefix("-c")).unwrap_or(word));
                let pairs = words.filter_map(|word| word.split_once('='));
                asked.extend(pairs.map(|(name, value)| (name.replace('-', "_"), value.replace("\\ ", " "))));
            }
            name => asked.push((name.to_owned(), value.clone())),
        }
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_asked_for_by_name_and_as_options() {
        let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let parameters = [
            of("user", "me"),
            of("options", "-c statement_timeout=5s -csearch_path=a --extra-float-digits=2"),
            of("TimeZone", "UTC"),
        ];
        let expected = [
            of("statement_timeout", "5s"),
            of("search_path", "a"),
            of("extra_float_digits", "2"),
            of("TimeZone", "UTC"),
        ];
        assert_eq!(asked(&parameters), expected);
    }
}
