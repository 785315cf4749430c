//! Changes to the bytes of a request: some blind, some that know fields.

use super::chance::Chance;

/// One change.
pub fn mutate(chance: &mut Chance, body: Vec<u8>) -> Vec<u8> {
    if body.is_empty() {
        return chance.bytes(3);
    }
    match chance.below(12) {
        0 => flip(chance, body),
        1 => {
            let mut body = body;
            body.truncate(chance.below(body.len()));
            body
        }
        2 => splice(chance, &body),
        3 => step(chance, body),
        _ => rewrite(chance, &body, 0),
    }
}

fn flip(chance: &mut Chance, mut body: Vec<u8>) -> Vec<u8> {
    let at = chance.below(body.len());
    body[at] ^= 1 << chance.below(8);
    body
}

/// Copies a piece to another place.
fn splice(chance: &mut Chance, body: &[u8]) -> Vec<u8> {
    let from = chance.below(body.len());
    let len = chance.below((body.len() - from).min(40) + 1);
    let at = chance.below(body.len());
    [&body[..at], &body[from..from + len], &body[at..]].concat()
}

/// Changes a byte, perhaps a length, by one.
fn step(chance: &mut Chance, mut body: Vec<u8>) -> Vec<u8> {
    let at = chance.below(body.len());
    body[at] = if chance.one_in(2) { body[at].wrapping_add(1) } else { body[at].wrapping_sub(1) };
    body
}

/// Takes `message` apart, changes one of its fields and puts it together with right lengths.
fn rewrite(chance: &mut Chance, message: &[u8], depth: usize) -> Vec<u8> {
    let Some(mut fields) = fields(message).filter(|fields| !fields.is_empty()) else {
        return flip(chance, message.to_vec());
    };
    let at = chance.below(fields.len());
    match chance.below(14) {
        0 => fields.insert(at, fields[at].clone()),
        1 => {
            let copy = fields[at].clone();
            fields.push(copy);
        }
        2 => fields.reverse(),
        3 => {
            let moved = fields.remove(at);
            fields.push(moved);
        }
        4 => drop(fields.remove(at)),
        5 => fields.insert(at, unknown(chance)),
        // another field number or type
        6 => fields[at].tag = u64::try_from(chance.below(18 * 8)).unwrap(),
        7 => fields[at].long_tag = true,
        _ => {
            if let Some(content) = &fields[at].message
                && depth < 12
                && !content.is_empty()
            {
                let content = rewrite(chance, content, depth + 1);
                fields[at].message = Some(content);
            } else {
                fields.swap(0, at);
            }
        }
    }
    fields.iter().flat_map(Field::bytes).collect()
}

#[derive(Clone)]
struct Field {
    tag: u64,
    /// The content of a length-typed field, else the bytes behind the tag.
    message: Option<Vec<u8>>,
    rest: Vec<u8>,
    long_tag: bool,
}

impl Field {
    fn bytes(&self) -> Vec<u8> {
        let mut out = varint(self.tag);
        if self.long_tag {
            // longer than needed, and in range
            *out.last_mut().unwrap() |= 0x80;
            out.push(0);
        }
        match &self.message {
            Some(message) => {
                out.extend(varint(message.len() as u64));
                out.extend(message);
            }
            None => out.extend(&self.rest),
        }
        out
    }
}

fn unknown(chance: &mut Chance) -> Field {
    let number = [19, 100, 1000, 5000, (1 << 29) - 1][chance.below(5)];
    let (of, rest): (u64, &[u8]) = match chance.below(6) {
        0 => (0, &[0x85, 0x01]),
        1 => (1, &[1, 2, 3, 4, 5, 6, 7, 8]),
        2 => (5, &[1, 2, 3, 4]),
        3 => (2, &[3, b'a', b'b', b'c']),
        // a group with a varint and another group in it, not closed, or closed by another
        4 => (3, &[0x08, 0x01, 0x13, 0x14]),
        _ => (4, &[]),
    };
    let mut rest = rest.to_vec();
    if of == 3 && !chance.one_in(4) {
        rest.extend(varint(number << 3 | 4));
    }
    Field { tag: number << 3 | of, message: None, rest, long_tag: false }
}

fn fields(mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = read_varint(&mut bytes)?;
        let mut field = Field { tag, message: None, rest: Vec::new(), long_tag: false };
        match tag & 7 {
            0 => field.rest = varint(read_varint(&mut bytes)?),
            1 => field.rest = take(&mut bytes, 8)?.to_vec(),
            2 => {
                let len = read_varint(&mut bytes)?;
                field.message = Some(take(&mut bytes, usize::try_from(len).ok()?)?.to_vec());
            }
            5 => field.rest = take(&mut bytes, 4)?.to_vec(),
            _ => return None,
        }
        fields.push(field);
    }
    Some(fields)
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
    out
}
