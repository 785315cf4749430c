//! An attribute value on its way from the wire to the columns.
//!
//! Duty: the closed set of values both readers produce. Guarantee: what is an array or key-value list is the AnyValue's
//! protobuf bytes, so nothing is lost in between. Left to others: reading (`decode`, `json`), storing (`columns`).

use crate::span::schema::attr_type;

/// A value; text is not yet known to be UTF-8.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// No variant was sent.
    Empty,
    /// Text as received.
    Text(&'a [u8]),
    /// True or false.
    Bool(bool),
    /// 64-bit integer.
    Int(i64),
    /// Double, bit-exact.
    Double(f64),
    /// Raw bytes.
    Bytes(&'a [u8]),
    /// AnyValue message that holds an array.
    Array(&'a [u8]),
    /// AnyValue message that holds a key-value list.
    KvList(&'a [u8]),
}

impl Value<'_> {
    /// The number in the column `type`.
    pub fn attr_type(self) -> u8 {
        match self {
            Self::Empty => attr_type::EMPTY,
            Self::Text(_) => attr_type::STRING,
            Self::Bool(_) => attr_type::BOOL,
            Self::Int(_) => attr_type::INT,
            Self::Double(_) => attr_type::DOUBLE,
            Self::Bytes(_) => attr_type::BYTES,
            Self::Array(_) => attr_type::ARRAY,
            Self::KvList(_) => attr_type::KVLIST,
        }
    }

    /// Text form of a scalar, for `service.name`; `None` for what has none.
    pub fn to_text(self) -> Option<String> {
        match self {
            Self::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Self::Bool(value) => Some(value.to_string()),
            Self::Int(value) => Some(value.to_string()),
            Self::Double(value) => Some(value.to_string()),
            Self::Empty | Self::Bytes(_) | Self::Array(_) | Self::KvList(_) => None,
        }
    }
}
