//! Messages to clients.
//!
//! Duty: the bytes of what the server says. Guarantee: each length is that of its body, and no text ends a field early.
//! Left to others: sending (`wire`), values of rows (`value`).

use bytes::{BufMut, BytesMut};

use super::kind::Kind;
use super::problem::Problem;

/// Whether a client is in a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transaction {
    /// None is open.
    #[default]
    Idle,
    /// One is open.
    Open,
    /// One is open in which a statement failed.
    Failed,
}

/// A column as clients hear of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub of: Kind,
    /// Whether its values are sent in binary.
    pub binary: bool,
}

/// A message of `kind` whose body `write` makes.
fn message(out: &mut BytesMut, kind: u8, write: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    let at = out.len();
    out.put_i32(0);
    write(out);
    let length = i32::try_from(out.len() - at).unwrap_or(i32::MAX);
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// A text and its NUL; a NUL within it would end it.
fn text(out: &mut BytesMut, text: &str) {
    out.extend(text.bytes().filter(|byte| *byte != 0));
    out.put_u8(0);
}

fn count(of: usize) -> u16 {
    u16::try_from(of).unwrap_or(u16::MAX)
}

/// The login is done.
pub fn authenticated(out: &mut BytesMut) {
    message(out, b'R', |out| out.put_i32(0));
}

/// A password is needed, as it is.
pub fn password_wanted(out: &mut BytesMut) {
    message(out, b'R', |out| out.put_i32(3));
}

/// The version of the protocol that is spoken, 3.0, and parameters that are not known.
pub fn negotiate(out: &mut BytesMut, unknown: &[&str]) {
    message(out, b'v', |out| {
        out.put_i32(3 << 16);
        out.put_u32(unknown.len() as u32);
        unknown.iter().for_each(|name| text(out, name));
    });
}

/// A setting and its value.
pub fn setting(out: &mut BytesMut, name: &str, value: &str) {
    message(out, b'S', |out| {
        text(out, name);
        text(out, value);
    });
}

/// What cancels the statements of this connection.
pub fn key(out: &mut BytesMut, pid: i32, secret: i32) {
    message(out, b'K', |out| {
        out.put_i32(pid);
        out.put_i32(secret);
    });
}

/// The next message can come.
pub fn ready(out: &mut BytesMut, state: Transaction) {
    message(out, b'Z', |out| {
        out.put_u8(match state {
            Transaction::Idle => b'I',
            Transaction::Open => b'T',
            Transaction::Failed => b'E',
        });
    });
}

/// A statement is kept.
pub fn parsed(out: &mut BytesMut) {
    message(out, b'1', |_| {});
}

/// A portal is made.
pub fn bound(out: &mut BytesMut) {
    message(out, b'2', |_| {});
}

/// A statement or portal is forgotten.
pub fn closed(out: &mut BytesMut) {
    message(out, b'3', |_| {});
}

/// There are no columns.
pub fn no_data(out: &mut BytesMut) {
    message(out, b'n', |_| {});
}

/// A portal pauses.
pub fn suspended(out: &mut BytesMut) {
    message(out, b's', |_| {});
}

/// The text was empty.
pub fn empty(out: &mut BytesMut) {
    message(out, b'I', |_| {});
}

/// A statement is done.
pub fn complete(out: &mut BytesMut, tag: &str) {
    message(out, b'C', |out| text(out, tag));
}

/// Types of parameters, by number.
pub fn parameters(out: &mut BytesMut, types: &[u32]) {
    message(out, b't', |out| {
        out.put_u16(count(types.len()));
        types.iter().for_each(|of| out.put_u32(*of));
    });
}

/// The columns of rows.
pub fn columns(out: &mut BytesMut, fields: &[Field]) {
    message(out, b'T', |out| {
        out.put_u16(count(fields.len()));
        for field in fields {
            text(out, &field.name);
            // No table and no column of it: a relation here has no number outside `pg_catalog`.
            out.put_i32(0);
            out.put_i16(0);
            out.put_u32(field.of.oid());
            out.put_i16(field.of.bytes());
            out.put_i32(-1);
            out.put_i16(i16::from(field.binary));
        }
    });
}

/// A row of `fields` values, which `write` writes.
pub fn row(out: &mut BytesMut, fields: usize, write: impl FnOnce(&mut BytesMut)) {
    message(out, b'D', |out| {
        out.put_u16(count(fields));
        write(out);
    });
}

/// Rows of `columns` columns come as a file.
pub fn copy_begins(out: &mut BytesMut, binary: bool, columns: usize) {
    message(out, b'H', |out| {
        out.put_u8(u8::from(binary));
        out.put_u16(count(columns));
        (0..columns).for_each(|_| out.put_i16(i16::from(binary)));
    });
}

/// A piece of a file.
pub fn copy_piece(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    message(out, b'd', write);
}

/// A file ends.
pub fn copy_ends(out: &mut BytesMut) {
    message(out, b'c', |_| {});
}

/// An error.
pub fn error(out: &mut BytesMut, problem: &Problem) {
    message(out, b'E', |out| fields(out, if problem.fatal { "FATAL" } else { "ERROR" }, problem));
}

/// Something to know.
pub fn notice(out: &mut BytesMut, severity: &str, problem: &Problem) {
    message(out, b'N', |out| fields(out, severity, problem));
}

fn fields(out: &mut BytesMut, severity: &str, problem: &Problem) {
    let mut field = |kind: u8, value: &str| {
        out.put_u8(kind);
        text(out, value);
    };
    field(b'S', severity);
    field(b'V', severity);
    field(b'C', problem.state);
    field(b'M', &problem.message);
    if let Some(detail) = &problem.detail {
        field(b'D', detail);
    }
    if let Some(hint) = &problem.hint {
        field(b'H', hint);
    }
    if let Some(position) = problem.position {
        field(b'P', &position.to_string());
    }
    out.put_u8(0);
}
