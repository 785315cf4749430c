//! Bodies of requests.
//!
//! Duty: the whole body of one request, within its limit; a bound in time for bodies that others read. Guarantee: a peer
//! that sends too slowly, or nothing, does not keep its connection for ever; what is wrong with a body is told as it is.
//! Left to others: what it means (`request`, `gates`, `pipelines`), peers that do not read (`idle`, `telemetry::Socket`).

use std::error::Error as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use http_body::{Frame, SizeHint};
use http_body_util::LengthLimitError;
use tokio::time::Sleep;

use super::Error;
use super::status::grpc;

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

/// A request of gRPC whose body breaks off, with a status, where it is not there in time: the library that reads it bounds
/// its bytes and waits for them without a limit. No call of ours has a body that is longer than 1 MiB or that waits for
/// an answer.
pub(super) fn in_time(request: Request) -> Request {
    request.map(|body| until(TIME, body))
}

fn until(time: Duration, body: Body) -> Body {
    Body::new(InTime { body, time, over: Box::pin(tokio::time::sleep(time)) })
}

struct InTime {
    body: Body,
    time: Duration,
    over: Pin<Box<Sleep>>,
}

impl http_body::Body for InTime {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        std::task::ready!(self.over.as_mut().poll(context));
        Poll::Ready(Some(Err(grpc(&Error::Late { within: self.time }).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{StreamExt as _, stream};
    use http_body_util::BodyExt as _;

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

    #[tokio::test]
    async fn a_body_of_grpc_that_is_late_breaks_off_with_a_status_and_one_in_time_is_whole() {
        let time = Duration::from_millis(100);
        let piece = stream::iter([Ok::<_, Infallible>("abc")]);
        assert_eq!(until(time, Body::from_stream(piece.clone())).collect().await.unwrap().to_bytes(), "abc");
        let mut late = until(time, Body::from_stream(piece.chain(stream::pending())));
        assert_eq!(late.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
        let status = tonic::Status::from_error(late.frame().await.unwrap().unwrap_err().into());
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
        assert!(status.message().starts_with("web.late: the body did not arrive within 0.1 s"), "{status:?}");
    }
}
