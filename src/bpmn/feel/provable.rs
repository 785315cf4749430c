//! What the text alone says about results.
//!
//! Duty: types of results and comparisons that can never hold, for the rule `condition-type`. Guarantee: says nothing
//! that an evaluation could contradict. Left to others: findings (`lint`).

use super::ast::{Node, Operator, Relation, Test};
use super::value::Type;

/// The type of every result that is not null, if it is known from the text alone.
pub(super) fn provable_type(node: &Node) -> Option<Type> {
    match node {
        Node::Literal(value) => Some(value.kind()),
        Node::List(_) | Node::For(..) => Some(Type::List),
        Node::Context(_) => Some(Type::Context),
        Node::Or(_)
        | Node::And(_)
        | Node::Compare(..)
        | Node::Between(_)
        | Node::In(..)
        | Node::InstanceOf(..)
        | Node::Some(..)
        | Node::Every(..) => Some(Type::Boolean),
        Node::Negate(_) => Some(Type::Number),
        Node::Arithmetic(first, rest) => match rest.iter().all(|(operator, _)| *operator == Operator::Add) {
            true => std::iter::once(first.as_ref()).chain(rest.iter().map(|(_, node)| node)).find_map(provable_type),
            false => Some(Type::Number),
        },
        Node::If(parts) => provable_type(&parts[1]).filter(|then| provable_type(&parts[2]) == Some(*then)),
        Node::Call(builtin, _) => builtin.gives,
        Node::Name(_) | Node::Input | Node::Path(..) => None,
    }
}

/// The first comparison whose sides have different types, and are not null, whatever the variables are.
pub(super) fn mismatch(node: &Node) -> Option<(Type, Type)> {
    let here = match node {
        Node::Compare(_, sides) => differ(provable_type(&sides[0]), provable_type(&sides[1])),
        Node::Between(parts) => {
            let value = provable_type(&parts[0]);
            differ(value, provable_type(&parts[1])).or_else(|| differ(value, provable_type(&parts[2])))
        }
        Node::In(value, tests) => tests.iter().find_map(|test| match test {
            Test::Relation(relation, other) if *relation != Relation::Unequal => {
                differ(provable_type(value), provable_type(other))
            }
            Test::Range(range) => differ(provable_type(value), provable_type(&range.from)),
            _ => None,
        }),
        _ => None,
    };
    here.or_else(|| node.children().into_iter().find_map(mismatch))
}

/// A one-element list may stand for its element, and null compares with everything.
fn differ(left: Option<Type>, right: Option<Type>) -> Option<(Type, Type)> {
    let (left, right) = (left?, right?);
    let free = |kind| matches!(kind, Type::Null | Type::List);
    (left != right && !free(left) && !free(right)).then_some((left, right))
}
