//! Messages of clients.
//!
//! Duty: from the bytes of one message to what it asks. Guarantee: no bytes panic or allocate more than they are; a
//! body that does not hold what its kind has is an error with an SQLSTATE. Left to others: where a message ends (`wire`),
//! what it means (`connection`).
//!
//! pgwire's own decoder is not used here: it reads on behind the end of a body and panics on a short one.

use bytes::{Buf, Bytes};

/// What a client asks before it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// To go on in TLS.
    Tls,
    /// To go on in GSSAPI.
    Gss,
    /// To stop what another connection runs.
    Cancel {
        /// Number of that connection.
        pid: i32,
        /// Proves that it is the client's.
        secret: i32,
    },
    /// To log in.
    Startup {
        /// Major version of the protocol.
        major: u16,
        /// Minor version.
        minor: u16,
        /// `user`, `database`, settings.
        parameters: Vec<(String, String)>,
    },
}

/// What a client asks once it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Run statements and send rows as text.
    Query(String),
    /// Keep a statement.
    Parse {
        /// Its name; empty = the one without.
        name: String,
        /// Its text.
        sql: String,
        /// OIDs of its parameters' types; 0 = not said.
        types: Vec<u32>,
    },
    /// Give a statement its values.
    Bind(Bind),
    /// What a statement or portal has.
    Describe(Target),
    /// Run a portal.
    Execute {
        /// The portal.
        portal: String,
        /// Rows before it pauses; 0 or less = all.
        max_rows: i32,
    },
    /// Forget a statement or portal.
    Close(Target),
    /// Send what is written so far.
    Flush,
    /// End of a group; errors end here.
    Sync,
    /// The client leaves.
    Terminate,
    /// A password, or a step of another way to log in.
    Password(Bytes),
    /// Data of COPY, which nobody asked for.
    Copy,
    /// A call of a function by its number.
    FunctionCall,
}

/// Values for a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Name of the portal that is made.
    pub portal: String,
    /// The statement.
    pub statement: String,
    /// Formats of the values: none = text, one = of all, or one each.
    pub formats: Vec<i16>,
    /// The values; `None` is NULL.
    pub values: Vec<Option<Bytes>>,
    /// Formats of the columns, in the same way.
    pub results: Vec<i16>,
}

/// A statement or portal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A statement.
    Statement(String),
    /// A portal.
    Portal(String),
}

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// SQLSTATE.
    pub state: &'static str,
    /// What is wrong.
    pub why: &'static str,
}

const SHORT: Malformed = Malformed { state: "08P01", why: "a message ends before its content does" };
const NOT_UTF8: Malformed = Malformed { state: "22021", why: "a text is not UTF-8" };
const UNKNOWN: Malformed = Malformed { state: "08P01", why: "a message is of no known kind" };

const TLS: i32 = 80_877_103;
const GSS: i32 = 80_877_104;
const CANCEL: i32 = 80_877_102;

/// Reads the body of an opening packet.
///
/// Errors: [`Malformed`].
pub fn opening(body: Bytes) -> Result<Opening, Malformed> {
    let mut body = Body(body);
    let code = body.i32()?;
    match code {
        TLS => Ok(Opening::Tls),
        GSS => Ok(Opening::Gss),
        CANCEL => Ok(Opening::Cancel { pid: body.i32()?, secret: body.i32()? }),
        _ => {
            let bytes = code.to_be_bytes();
            let major = u16::from_be_bytes([bytes[0], bytes[1]]);
            let minor = u16::from_be_bytes([bytes[2], bytes[3]]);
            let mut parameters = Vec::new();
            loop {
                let name = body.text()?;
                if name.is_empty() {
                    return Ok(Opening::Startup { major, minor, parameters });
                }
                parameters.push((name, body.text()?));
            }
        }
    }
}

/// Reads the body of a message of `kind`.
///
/// Errors: [`Malformed`].
pub fn message(kind: u8, body: Bytes) -> Result<Message, Malformed> {
    let mut body = Body(body);
    Ok(match kind {
        b'Q' => Message::Query(body.text()?),
        b'P' => Message::Parse {
            name: body.text()?,
            sql: body.text()?,
            types: body.list(4, |body| body.i32().map(i32::cast_unsigned))?,
        },
        b'B' => Message::Bind(Bind {
            portal: body.text()?,
            statement: body.text()?,
            formats: body.list(2, Body::i16)?,
            values: body.list(4, Body::value)?,
            results: body.list(2, Body::i16)?,
        }),
        b'D' => Message::Describe(body.target()?),
        b'C' => Message::Close(body.target()?),
        b'E' => Message::Execute { portal: body.text()?, max_rows: body.i32()? },
        b'H' => Message::Flush,
        b'S' => Message::Sync,
        b'X' => Message::Terminate,
        b'p' => Message::Password(body.0),
        b'd' | b'c' | b'f' => Message::Copy,
        b'F' => Message::FunctionCall,
        _ => return Err(UNKNOWN),
    })
}

/// The text of a password message.
///
/// Errors: [`Malformed`].
pub fn password(body: Bytes) -> Result<String, Malformed> {
    Body(body).text()
}

struct Body(Bytes);

impl Body {
    fn take(&mut self, bytes: usize) -> Result<Bytes, Malformed> {
        if self.0.len() < bytes {
            return Err(SHORT);
        }
        Ok(self.0.split_to(bytes))
    }

    fn i16(&mut self) -> Result<i16, Malformed> {
        Ok(self.take(2)?.get_i16())
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(self.take(4)?.get_i32())
    }

    /// A text up to its NUL.
    fn text(&mut self) -> Result<String, Malformed> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(SHORT)?;
        let text = self.take(end)?;
        self.take(1)?;
        String::from_utf8(text.into()).map_err(|_| NOT_UTF8)
    }

    fn value(&mut self) -> Result<Option<Bytes>, Malformed> {
        match self.i32()? {
            -1 => Ok(None),
            length => Ok(Some(self.take(usize::try_from(length).map_err(|_| SHORT)?)?)),
        }
    }

    /// A count and as many items, each of at least `least` bytes.
    fn list<T>(
        &mut self,
        least: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = usize::from(self.i16()?.cast_unsigned());
        if count * least > self.0.len() {
            return Err(SHORT);
        }
        (0..count).map(|_| item(self)).collect()
    }

    fn target(&mut self) -> Result<Target, Malformed> {
        let kind = self.take(1)?[0];
        let name = self.text()?;
        match kind {
            b'S' => Ok(Target::Statement(name)),
            b'P' => Ok(Target::Portal(name)),
            _ => Err(Malformed { state: "08P01", why: "neither a statement nor a portal is described or closed" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

    use super::*;

    fn bind() -> Vec<u8> {
        let mut body = b"p\0s\0".to_vec();
        body.extend([0, 1, 0, 1, 0, 2]);
        body.extend([0, 0, 0, 3, b'a', b'b', b'c', 0xff, 0xff, 0xff, 0xff]);
        body.extend([0, 0]);
        body
    }

    #[test]
    fn a_bind_has_its_values() {
        let expected = Bind {
            portal: "p".to_owned(),
            statement: "s".to_owned(),
            formats: vec![1],
            values: vec![Some(Bytes::from_static(b"abc")), None],
            results: vec![],
        };
        assert_eq!(message(b'B', bind().into()), Ok(Message::Bind(expected)));
    }

    #[test]
    fn no_bytes_panic_and_short_ones_are_an_error() {
        let whole: [(u8, Vec<u8>); 6] = [
            (b'B', bind()),
            (b'P', b"n\0SELECT $1\0\0\x01\0\0\0\x19".to_vec()),
            (b'Q', b"SELECT 1\0".to_vec()),
            (b'D', b"Sname\0".to_vec()),
            (b'E', b"\0\0\0\0\x05".to_vec()),
            (0, b"\0\x03\0\0user\0me\0database\0d\0\0".to_vec()),
        ];
        let read = |kind: u8, bytes: &[u8]| match kind {
            0 => opening(Bytes::copy_from_slice(bytes)).err(),
            kind => message(kind, Bytes::copy_from_slice(bytes)).err(),
        };
        let mut random = ChaCha8Rng::seed_from_u64(9);
        for (kind, bytes) in &whole {
            assert_eq!(read(*kind, bytes), None, "{}", *kind as char);
            for end in 0..bytes.len() {
                assert!(read(*kind, &bytes[..end]).is_some(), "{} cut at {end}", *kind as char);
            }
            for _ in 0..20_000 {
                let mut bytes = bytes.clone();
                for _ in 0..1 + random.next_u32() % 4 {
                    let at = random.next_u32() as usize % bytes.len();
                    bytes[at] = random.next_u32().to_le_bytes()[0];
                }
                read(*kind, &bytes);
                read(random.next_u32().to_le_bytes()[0], &bytes);
            }
        }
    }
}
