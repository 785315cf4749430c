//! Names and passwords of Flight clients.
//!
//! Duty: clients that know only `Basic` send a token as password, and are told the bearer token to go on with. Guarantee:
//! nothing is accepted here: `access` decides about the token. Left to others: whom a token belongs to (`access`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// The `Authorization: Bearer …` that `authorization` stands for, if it is `Basic` with a token as password.
pub(in crate::web) fn bearer(authorization: &str) -> Option<String> {
    let (scheme, encoded) = authorization.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    // Some clients pad, some do not.
    let decoded = STANDARD_NO_PAD.decode(encoded.trim().trim_end_matches('=')).ok()?;
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(format!("Bearer {password}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_a_token() {
        assert_eq!(bearer("Basic d2hvOnRva2Vu").as_deref(), Some("Bearer token"));
        assert_eq!(bearer("Basic YTpiYw").as_deref(), Some("Bearer bc"));
        assert_eq!(bearer("Basic YTpiYw==").as_deref(), Some("Bearer bc"));
        assert_eq!(bearer("basic  d2hvOnRva2VuOm1vcmU=").as_deref(), Some("Bearer token:more"));
        for other in ["Bearer token", "Basic", "Basic ???", "Basic dG9rZW4=", ""] {
            assert_eq!(bearer(other), None, "{other}");
        }
    }
}
