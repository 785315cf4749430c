//! What a request for rules asks for.
//!
//! Duty: the parameters of Prometheus' `GET /api/v1/rules`, and which groups and gates they choose. Guarantee: a value that
//! cannot be read is an error with the parameter's name; parameters that Prometheus does not have are passed over, as it
//! does, for clients send them. Left to others: selectors (`selector`), the answer (the parent).

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::selector::Selector;
use crate::gate::{Gate, Group};
use crate::span::hex;
use crate::web::Error;

/// The parameters.
#[derive(Debug, Default)]
pub(super) struct Ask {
    /// `type=record`: of which gates have none.
    is_record: bool,
    names: BTreeSet<String>,
    groups: BTreeSet<String>,
    files: BTreeSet<String>,
    selectors: Vec<Selector>,
    pub(super) exclude_alerts: bool,
    /// Groups of one answer.
    limit: Option<usize>,
    token: Option<String>,
}

/// Groups with gates that an [`Ask`] chooses, by their places.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) groups: Vec<(usize, Vec<usize>)>,
    pub(super) next_token: Option<String>,
}

impl Ask {
    /// Of the pairs of the address.
    pub(super) fn read(pairs: &[(String, String)]) -> Result<Self, Error> {
        let mut ask = Self::default();
        for (name, value) in pairs {
            let value = value.as_str();
            match name.as_str() {
                "type" => match value.to_ascii_lowercase().as_str() {
                    "" | "alert" => {}
                    "record" => ask.is_record = true,
                    _ => return Err(invalid("type", &format!("not supported value {value:?}"), "alert or record")),
                },
                "rule_name[]" => drop(ask.names.insert(value.to_owned())),
                "rule_group[]" => drop(ask.groups.insert(value.to_owned())),
                "file[]" => drop(ask.files.insert(value.to_owned())),
                "match[]" => {
                    let selector = Selector::parse(value);
                    let wrong = |why: String| invalid("match[]", &why, r#"e.g. `{severity="critical", team=~"a|b"}`"#);
                    ask.selectors.push(selector.map_err(wrong)?);
                }
                "exclude_alerts" => ask.exclude_alerts = boolean(value)?,
                "group_limit" if !value.is_empty() => {
                    let limit = value.parse::<i32>().ok().filter(|limit| *limit > 0);
                    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
                    let wrong = || invalid("group_limit", &format!("{value:?} is no number above 0"), "e.g. 100");
                    ask.limit = Some(limit.ok_or_else(wrong)?);
                }
                "group_next_token" if !value.is_empty() => ask.token = Some(value.to_owned()),
                _ => {}
            }
        }
        if ask.token.is_some() && ask.limit.is_none() {
            let why = "group_limit needs to be present in order to paginate over the groups";
            return Err(invalid("group_next_token", why, "send both"));
        }
        Ok(ask)
    }

    /// What of `groups`, which are in their order, is answered.
    ///
    /// Errors: the token is that of no group.
    pub(super) fn choose(&self, groups: &[Group]) -> Result<Chosen, Error> {
        let from = match &self.token {
            None => 0,
            Some(token) => groups.iter().position(|group| token_of(group) == *token).ok_or_else(|| {
                let why = format!("{token:?} is of no group: were rule groups changed?");
                invalid("group_next_token", &why, "begin again without it")
            })?,
        };
        let mut chosen = Chosen { groups: Vec::new(), next_token: None };
        for (at, group) in groups.iter().enumerate().skip(from) {
            let gates = self.gates_of(group);
            if gates.is_empty() {
                continue;
            }
            if self.limit == Some(chosen.groups.len()) {
                chosen.next_token = Some(token_of(group));
                break;
            }
            chosen.groups.push((at, gates));
        }
        Ok(chosen)
    }

    fn gates_of(&self, group: &Group) -> Vec<usize> {
        let is_in = |names: &BTreeSet<String>, name: &str| names.is_empty() || names.contains(name);
        if self.is_record || !is_in(&self.groups, &group.name) || !is_in(&self.files, &group.file) {
            return Vec::new();
        }
        let fits = |gate: &Gate| {
            let matches = |labels: &BTreeMap<String, String>| self.selectors.iter().any(|s| s.matches(labels));
            is_in(&self.names, &gate.name) && (self.selectors.is_empty() || matches(&super::labels(group, gate)))
        };
        group.gates.iter().enumerate().filter(|(_, gate)| fits(gate)).map(|(at, _)| at).collect()
    }
}

/// Names a group in the addresses of pages: the same as long as file and name are.
fn token_of(group: &Group) -> String {
    let digest = Sha256::digest(format!("{};{}", group.file, group.name));
    hex(&digest[..20])
}

/// As Go reads one.
fn boolean(text: &str) -> Result<bool, Error> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(invalid("exclude_alerts", &format!("{text:?} is no boolean"), "true or false")),
    }
}

fn invalid(name: &str, why: &str, hint: &str) -> Error {
    let why: String = why.chars().take(300).collect();
    Error::Request { message: format!("invalid parameter {name:?}: {why}"), hint: hint.to_owned() }
}
