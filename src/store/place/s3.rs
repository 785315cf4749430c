//! The client of an S3-compatible bucket.
//!
//! Duty: make it of the configuration, with bounds of ours. Guarantee: a request ends, well or badly, within
//! [`REQUEST`] and its repeats within [`REPEATS`] more, so that an outage is noticed and told; whoever asks, and on
//! whatever threads, requests are driven by a thread of the client. Left to others: what is asked; what an error means
//! (`mod`).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
    SpawnedReqwestConnector,
};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use tokio::runtime::Runtime;

use super::Bucket;

/// One request with its body: 256 MiB at 36 Mbit/s. The option `timeout` changes it.
///
/// A part is one PUT, not a multipart upload. It would save no memory: the sink of the Parquet writer is in memory, so
/// an output is at most a third of the share of compaction whatever is done with it (`compact::Room::target_bytes`), and
/// a body takes none beside it. And what a kill leaves of an upload cannot be found again: the client lists no uploads,
/// so the sweep could not abort them, and a bucket bills them for ever.
const REQUEST: Duration = Duration::from_secs(60);
/// The option `connect_timeout` changes it.
const CONNECT: Duration = Duration::from_secs(3);
/// After this long nothing is repeated: the flush has a pause of its own and tells about it.
const REPEATS: Duration = Duration::from_secs(8);

/// Makes the client; asks nothing of the bucket.
pub fn open(bucket: &Bucket) -> object_store::Result<AmazonS3> {
    let io = Io::start().map_err(|source| object_store::Error::Generic { store: "S3", source: Box::new(source) })?;
    builder(bucket).with_http_connector(Connector { io: Arc::new(io) }).build()
}

/// Whether the options are such that a client can be made.
pub fn check(bucket: &Bucket) -> object_store::Result<()> {
    builder(bucket).with_http_connector(ReqwestConnector::default()).build().map(drop)
}

fn builder(bucket: &Bucket) -> AmazonS3Builder {
    let defaults = ClientOptions::new().with_timeout(REQUEST).with_connect_timeout(CONNECT);
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
    let builder = AmazonS3Builder::new()
        .with_client_options(defaults)
        .with_retry(RetryConfig { backoff, max_retries: 5, retry_timeout: REPEATS })
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_bucket_name(&bucket.name);
    bucket.options.iter().fold(builder, |builder, (key, value)| builder.with_config(*key, value))
}

/// The thread that drives connections: those that one runtime has opened stand still while it rests, as the flush
/// thread's does between flushes, and would hold up requests of others that were given them from the pool.
#[derive(Debug)]
struct Io {
    runtime: Option<Runtime>,
}

impl Io {
    fn start() -> std::io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).thread_name("objects").enable_all().build()?;
        Ok(Self { runtime: Some(runtime) })
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        // Also within a runtime, where waiting for the end of another is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Debug)]
struct Connector {
    io: Arc<Io>,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let runtime = self.io.runtime.as_ref().expect("it is taken when the last owner goes");
        let client = SpawnedReqwestConnector::new(runtime.handle().clone()).connect(options)?;
        Ok(HttpClient::new(Driven { client, io: self.io.clone() }))
    }
}

/// Keeps the thread for as long as the client.
#[derive(Debug)]
struct Driven {
    client: HttpClient,
    io: Arc<Io>,
}

#[async_trait]
impl HttpService for Driven {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if self.io.runtime.is_none() {
            return Err(HttpError::new(HttpErrorKind::Interrupted, std::io::Error::other("the client has ended")));
        }
        self.client.execute(request).await
    }
}
