//! Answers that are as long as what is loaded: made piece by piece.
//!
//! Duty: a body out of steps that each write a little. Guarantee: of an answer only one piece of about 64 KiB is in memory, and
//! it is made when the one before went out; all answers together keep one core busy at most. Left to others: what is
//! written (`rules`, `gates`).

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream;

use crate::gate::Live;

/// Bytes after which a piece goes out.
const PIECE: usize = 64 << 10;

/// A JSON answer of what `step` writes until it says `false`. A step holds no lock and reads no file.
pub(super) fn json(live: Live, step: impl FnMut(&mut Vec<u8>) -> bool + Send + 'static) -> Response {
    let pieces = stream::unfold(Some((live, step)), |state| async move {
        let (live, mut step) = state?;
        let turn = live.turn().await;
        let made = tokio::task::spawn_blocking(move || {
            let mut piece = Vec::with_capacity(PIECE);
            let mut is_more = true;
            while is_more && piece.len() < PIECE {
                is_more = step(&mut piece);
            }
            (step, piece, is_more)
        });
        let made = made.await;
        drop(turn);
        match made {
            Ok((step, piece, is_more)) => Some((Ok(Bytes::from(piece)), is_more.then_some((live, step)))),
            // The connection breaks off: an answer without its end is not taken for a whole one.
            Err(error) => Some((Err(std::io::Error::other(error)), None)),
        }
    });
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(pieces)).into_response()
}

/// `value` as text behind what is there. A comma before all but the first of a list.
pub(super) fn write(out: &mut Vec<u8>, is_first: bool, value: &serde_json::Value) {
    if !is_first {
        out.push(b',');
    }
    out.extend_from_slice(value.to_string().as_bytes());
}

/// An object that goes on with the list `name`: without its closing brace.
pub(super) fn open(out: &mut Vec<u8>, is_first: bool, object: &serde_json::Value, name: &str) {
    write(out, is_first, object);
    out.pop();
    out.extend_from_slice(format!(",\"{name}\":[").as_bytes());
}
