//! Damage of the kinds that a reader of protobuf must survive.

use rand_chacha::rand_core::RngCore;

use super::generate::below;

/// `body` with one to three changes: bits, lengths, cuts, splices, repeated pieces.
pub fn mutate(rng: &mut impl RngCore, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    for _ in 0..=below(rng, 3) {
        if body.is_empty() {
            break;
        }
        let at = below(rng, body.len());
        let end = at + below(rng, (body.len() - at).min(40) + 1);
        match below(rng, 8) {
            0 => body[at] ^= 1 << below(rng, 8),
            1 => body.truncate(at),
            2 => body[at] = body[at].wrapping_add(1),
            3 => body[at] = body[at].wrapping_sub(1),
            4 => drop(body.drain(at..end)),
            5 => {
                let piece = body[at..end].to_vec();
                let to = below(rng, body.len());
                body.splice(to..to, piece);
            }
            // The whole request again behind itself: repeated messages, and merged ones if a length grew.
            6 => {
                let again = body.clone();
                body.extend(again);
            }
            _ => {
                // A field of a random number and type, or the tag of a group.
                let tag = pick_tag(rng);
                body.splice(at..at, tag);
            }
        }
    }
    body
}

fn pick_tag(rng: &mut impl RngCore) -> Vec<u8> {
    let field = 1 + u8::try_from(below(rng, 15)).unwrap();
    let wire_type = u8::try_from(below(rng, 8)).unwrap();
    match wire_type {
        0 => vec![field << 3, 1],
        1 => vec![field << 3 | 1, 1, 2, 3, 4, 5, 6, 7, 8],
        2 => vec![field << 3 | 2, 1, b'x'],
        3 => vec![field << 3 | 3, field << 3 | 4],
        5 => vec![field << 3 | 5, 1, 2, 3, 4],
        other => vec![field << 3 | other],
    }
}
