//! Bodies of requests.
//!
//! Duty: the whole body of one request, within its limit. Guarantee: a peer that sends too slowly, or nothing, does not
//! keep its connection for ever; what is wrong with a body is told as it is. Left to others: what it means (`request`,
//! `gates`, `pipelines`), peers that do not read (`idle`, `telemetry::Socket`).

use std::error::Error as _;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use http_body_util::LengthLimitError;

use super::Error;

/// For any body; a long one has a second more for each MiB that it may have.
const TIME: Duration = Duration::from_secs(30);

/// The headers and all of the body, at most `limit` bytes; one that is declared to be longer is not waited for.
pub(super) async fn read(request: Request, limit: usize) -> Result<(HeaderMap, Bytes), Error> {
    let (parts, body) = request.into_parts();
    let declared = parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > limit) {
        return Err(Error::TooLarge { limit });
    }
    let body = within(TIME + Duration::from_secs((limit >> 20) as u64), body, limit).await?;
    Ok((parts.headers, body))
}

async fn within(time: Duration, body: Body, limit: usize) -> Result<Bytes, Error> {
    let broken = |message: String| Error::Request { message, hint: "send the request again".to_owned() };
    match tokio::time::timeout(time, axum::body::to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if error.source().is_some_and(|source| source.is::<LengthLimitError>()) => {
            Err(Error::TooLarge { limit })
        }
        Ok(Err(error)) => Err(broken(format!("the body broke off: {error}"))),
        Err(_) => Err(Error::Late { within: time }),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{StreamExt as _, stream};

    use super::*;

    async fn told(body: Body, limit: usize) -> String {
        match within(Duration::from_millis(100), body, limit).await {
            Ok(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn a_body_is_there_or_told_to_be_too_long_too_late_or_broken() {
        let piece = || stream::iter([Ok::<_, Infallible>("abc")]);
        assert_eq!(told(Body::from("abc"), 3).await, "abc");
        assert_eq!(told(Body::from_stream(piece()), 3).await, "abc");
        assert_eq!(told(Body::from_stream(piece()), 2).await, "the body is longer than 2 bytes");
        let silent = piece().chain(stream::pending());
        assert_eq!(told(Body::from_stream(silent), 9).await, "the body did not arrive within 0.1 s");
        let reset = stream::iter([Ok("abc"), Err(std::io::Error::other("connection reset"))]);
        assert_eq!(told(Body::from_stream(reset), 9).await, "the body broke off: connection reset");
    }
}
