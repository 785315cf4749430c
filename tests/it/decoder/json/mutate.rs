//! Damage to JSON text that stays near JSON.

use crate::decoder::chance::Chance;

const TOKENS: [&[u8]; 44] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"null",
    b"true",
    b"false",
    b"0",
    b"-",
    b"1e400",
    b"01",
    b"1.",
    b"\"\"",
    b"{}",
    b"[]",
    b" ",
    b"\n",
    b"\0",
    b"\x1f",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\\u",
    b"\\ud800",
    b"\\udc00",
    b"\\u0000",
    b"\\x",
    b"\"key\":",
    b"\"value\":",
    b"\"stringValue\":",
    b"\"arrayValue\":",
    b"\"kvlistValue\":",
    b"\"values\":[",
    b"\"attributes\":[",
    b"\"spans\":[null,",
    b"\"kind\":",
    b"\"resource\":{",
    b"18446744073709551616",
    b"\"-Infinity\"",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"'",
];

/// `text` with one piece changed.
pub fn mutate(chance: &mut Chance, mut text: Vec<u8>) -> Vec<u8> {
    let at = chance.below(text.len() + 1);
    match chance.below(7) {
        0 if at < text.len() => text[at] ^= 1 << chance.below(8),
        1 => text.truncate(at),
        2 => {
            let end = (at + 1 + chance.below(8)).min(text.len());
            text.drain(at.min(end)..end);
        }
        3 => {
            let end = (at + chance.below(60)).min(text.len());
            let piece = text[at..end].to_vec();
            let to = chance.below(text.len() + 1);
            text.splice(to..to, piece);
        }
        _ => {
            let token = chance.pick(&TOKENS).to_vec();
            // Mostly where a token may stand.
            let at = if chance.one_in(4) { at } else { next_token(&text, at) };
            let replaced = if chance.one_in(2) { 0 } else { chance.below(6) };
            let end = (at + replaced).min(text.len());
            text.splice(at..end, token);
        }
    }
    text
}

fn next_token(text: &[u8], from: usize) -> usize {
    let found = text[from..].iter().position(|byte| b"{}[],:\"".contains(byte));
    found.map_or(text.len(), |n| from + n)
}

/// Some JSON value.
pub fn any_json(chance: &mut Chance, depth: usize) -> Vec<u8> {
    let simple: [&[u8]; 16] = [
        b"null",
        b"true",
        b"false",
        b"0",
        b"-0.0",
        b"12",
        b"1e5",
        b"-1.5E-3",
        b"\"\"",
        b"\"a b\"",
        b"\"\\u00e9\\n\"",
        b"\"\\ud83d\\ude00\"",
        b"[]",
        b"{}",
        b" 7 ",
        b"\"\\\"\\\\\"",
    ];
    if depth > 5 || chance.one_in(3) {
        return chance.pick(&simple).to_vec();
    }
    let of_pairs = chance.one_in(2);
    let (open, close) = if of_pairs { (b'{', b'}') } else { (b'[', b']') };
    let mut text = vec![open];
    for index in 0..chance.below(4) {
        if index > 0 {
            text.push(b',');
        }
        if of_pairs {
            text.extend_from_slice(b"\"k\\t\" :");
        }
        text.extend(any_json(chance, depth + 1));
    }
    text.push(close);
    text
}
