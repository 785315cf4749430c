//! Messages by hand, field by field.

/// A text, bytes or message field.
pub fn len(field: u64, content: &[u8]) -> Vec<u8> {
    [tag(field, 2), varint(content.len() as u64), content.to_vec()].concat()
}

/// A varint field.
pub fn num(field: u64, value: u64) -> Vec<u8> {
    [tag(field, 0), varint(value)].concat()
}

/// A fixed64 or double field.
pub fn fixed64(field: u64, value: u64) -> Vec<u8> {
    [tag(field, 1), value.to_le_bytes().to_vec()].concat()
}

/// A fixed32 field.
pub fn fixed32(field: u64, value: u32) -> Vec<u8> {
    [tag(field, 5), value.to_le_bytes().to_vec()].concat()
}

/// A field's tag with any wire type.
pub fn tag(field: u64, of: u64) -> Vec<u8> {
    varint(field << 3 | of)
}

/// A varint as short as it can be.
pub fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
    out
}

/// The fields of a span that is acceptable.
pub fn good_span() -> Vec<u8> {
    [len(1, &[1; 16]), len(2, &[2; 8]), len(5, b"name"), fixed64(7, 10), fixed64(8, 30)].concat()
}

/// A good span with more fields.
pub fn span_with(fields: &[u8]) -> Vec<u8> {
    [good_span(), fields.to_vec()].concat()
}

/// A request of one resource and one scope with these spans.
pub fn request(spans: &[Vec<u8>]) -> Vec<u8> {
    let spans: Vec<_> = spans.iter().flat_map(|span| len(2, span)).collect();
    len(1, &len(2, &spans))
}

/// A KeyValue with text.
pub fn text_attribute(key: &[u8], value: &[u8]) -> Vec<u8> {
    attribute(key, &len(1, value))
}

/// A KeyValue whose value has these fields.
pub fn attribute(key: &[u8], any_value: &[u8]) -> Vec<u8> {
    [len(1, key), len(2, any_value)].concat()
}
