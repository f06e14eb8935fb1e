//! Sockets: accepts connections within a limit, serves HTTP/1.1 and HTTP/2 on each, and drains.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::body::BoxError;
use crate::config::ServerLimits;
use crate::stack::Stack;

/// Streams that one HTTP/2 connection may have open.
const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// Headers that one request may have.
const HEADERS_MAX: usize = 100;
/// How long to wait after the system refused a connection, for want of file handles for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What an HTTP/2 client sends first (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long to wait before looking again at a preface that is not whole yet.
const PREFACE_PAUSE: Duration = Duration::from_millis(10);
/// Asks HTTP/2 peers whether they are still there, and how long they may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves connections until `stop`; then accepts no more, lets requests in progress end for
/// `grace`, and cuts off what is left.
pub(crate) async fn serve(listener: TcpListener, stack: Stack, limits: ServerLimits, stop: Stop) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let builder = Arc::new(builder(&limits));
    let graceful = GracefulShutdown::new();
    let cut = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = stop.token.cancelled() => break,
        };
        let Some((stream, place)) = accepted else { continue };
        let connection = Connection {
            builder: Arc::clone(&builder),
            stack: stack.clone(),
            patience: limits.header_read(),
            stop: stop.token.clone(),
            watcher: graceful.watcher(),
        };
        let cut = cut.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = connection.serve(stream) => {}
                () = cut.cancelled() => {}
            }
            drop(place);
        });
    }
    drop(listener);
    let grace = stop.grace();
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!(grace_s = grace.as_secs(), "requests were cut off at the end of the grace");
    }
    cut.cancel();
}

/// What one connection needs.
struct Connection {
    builder: Arc<auto::Builder<TokioExecutor>>,
    stack: Stack,
    patience: Duration,
    stop: CancellationToken,
    watcher: Watcher,
}

impl Connection {
    async fn serve(self, stream: TcpStream) {
        let speaks = tokio::select! {
            speaks = speaks_in_time(&stream, self.patience) => speaks,
            // Who has not asked anything yet loses nothing.
            () = self.stop.cancelled() => false,
        };
        if !speaks {
            return;
        }
        let connection = self.builder.serve_connection(TokioIo::new(stream), service(self.stack));
        // Clients leave as they like; only a developer looking for a fault wants to know.
        if let Err(error) = self.watcher.watch(connection.into_owned()).await {
            tracing::debug!(error, "a connection ended early");
        }
    }
}

/// How a server is told to stop.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    token: CancellationToken,
    grace: Arc<std::sync::OnceLock<Duration>>,
}

impl Stop {
    /// Begins the drain. The first call decides the grace.
    pub(crate) fn stop(&self, grace: Duration) {
        self.grace.get_or_init(|| grace);
        self.token.cancel();
    }

    /// Whether the drain has begun.
    pub(crate) fn stopping(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves when the drain begins.
    pub(crate) async fn stopped(&self) {
        self.token.cancelled().await;
    }

    fn grace(&self) -> Duration {
        self.grace.get().copied().unwrap_or_default()
    }
}

fn builder(limits: &ServerLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read())
        .max_buf_size(limits.header_bytes_max)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    // The permit comes first: a connection that has no place stays in the system's queue.
    let permit = Arc::clone(connections).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Pieces of a stream are small and must not wait for each other.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection without TCP_NODELAY");
            }
            Some((stream, permit))
        }
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Whether a connection says in time which HTTP it speaks: the library waits for the bytes by
/// which it tells without a limit of its own.
async fn speaks_in_time(stream: &TcpStream, patience: Duration) -> bool {
    let told = async {
        let mut first = [0_u8; HTTP2_PREFACE.len()];
        loop {
            let count = stream.peek(&mut first).await.unwrap_or(0);
            let so_far = first.get(..count).unwrap_or_default();
            if count == 0 || count == first.len() || !HTTP2_PREFACE.starts_with(so_far) {
                return count > 0;
            }
            // The same bytes would be there again at once.
            tokio::time::sleep(PREFACE_PAUSE).await;
        }
    };
    tokio::time::timeout(patience, told).await.unwrap_or(false)
}

fn service(
    stack: Stack,
) -> impl hyper::service::Service<
    http::Request<Incoming>,
    Response = crate::stack::Response,
    Error = std::convert::Infallible,
    Future: Send + 'static,
> + Send
+ 'static {
    hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
        stack.clone().oneshot(request)
    })
}
