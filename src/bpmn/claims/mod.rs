//! Claims about all layers together.
//!
//! Duty: whole files through reader, rules, machine and drawings. Guarantee: no panic on any of them. Left to others: single
//! rules (tests beside the code).

mod damage;
mod miwg;

use crate::model::tests::process;
use crate::{lint, model};

#[test]
fn scopes_as_deep_as_the_limit_allows_are_read_checked_and_drawn() {
    let depth = 253;
    let mut inner = "<task id='t'/>".to_owned();
    for scope in 0..depth {
        inner = format!("<subProcess id='n{scope}'>{inner}</subProcess>");
    }
    let it = model::parse(process(&inner).as_bytes()).unwrap();
    assert_eq!(model::mermaid(&it).matches("subgraph").count(), depth + 1);
    assert_eq!(model::census(&it)["counts"]["subProcess"], depth);
    let found = lint::check(&it, &lint::Registry::default());
    assert_eq!(found.iter().filter(|finding| finding.rule == "unsupported:subProcess").count(), depth);
    assert_eq!(model::exec_hash(&it).len(), 64);
}
