//! Sockets: accepts connections within a limit, asks for certificates, serves HTTP/2 and
//! HTTP/1.1 on each, and drains.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::batch::Peer;
use super::error::ServiceError;
use super::renewal::Renewed;
use super::routes::Routes;
use super::tls::{TlsFiles, names_in};
use crate::billing::Billing;

/// Headers that one request may have, and their bytes.
const HEADERS_MAX: usize = 50;
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// How much of a batch may be on its way before the service has read it.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Asks gateways whether they are still there, and how long they may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait after the system refused a connection, for want of file handles for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How the service is run.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// The service's certificate, and the authority that signed the gateways'.
    pub tls: TlsFiles,
    /// What it bears.
    pub limits: ServiceLimits,
}

/// What the service bears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceLimits {
    /// Connections; further ones wait in the system's queue.
    pub connections_max: usize,
    /// Requests of one connection at a time.
    pub requests_per_connection_max: u32,
    /// Batches at a time, of all connections; further ones are refused with 503.
    pub batches_max: usize,
    /// Questions at a time; further ones are refused with 503.
    pub queries_max: usize,
    /// Operations of one batch.
    pub operations_max: usize,
    /// Bytes of one body.
    pub body_bytes_max: usize,
    /// How long a TLS handshake may take, and a request's headers.
    pub handshake_deadline: Duration,
    /// How long a body may take to come.
    pub body_deadline: Duration,
    /// How long the ledger may take for an operation.
    pub operation_deadline: Duration,
    /// How long the ledger may take for a question; a check of the whole journal takes longest.
    pub query_deadline: Duration,
    /// How long requests in progress may take to end when the service stops.
    pub grace: Duration,
}

impl Default for ServiceLimits {
    fn default() -> ServiceLimits {
        ServiceLimits {
            connections_max: 1024,
            requests_per_connection_max: 64,
            batches_max: 256,
            queries_max: 32,
            operations_max: 1024,
            body_bytes_max: 4 << 20,
            handshake_deadline: Duration::from_secs(10),
            body_deadline: Duration::from_secs(10),
            operation_deadline: Duration::from_secs(60),
            query_deadline: Duration::from_secs(600),
            grace: Duration::from_secs(10),
        }
    }
}

/// Serves a ledger until `shutdown` ends; then accepts no more, lets requests in progress end for
/// the grace, and cuts off what is left.
///
/// # Errors
/// [`ServiceError`] where the certificate files are no good. Later nothing ends it but `shutdown`.
pub async fn serve(
    listener: TcpListener,
    billing: Arc<dyn Billing>,
    options: ServiceOptions,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServiceError> {
    let ServiceOptions { tls, limits } = options;
    let tls = Renewed::new(tls, TlsFiles::server)?;
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let graceful = GracefulShutdown::new();
    let (cut, cut_off) = watch::channel(());
    let (grace, handshake_deadline) = (limits.grace, limits.handshake_deadline);
    let requests_max = limits.requests_per_connection_max;
    let routes = Arc::new(Routes::new(billing, limits));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut shutdown => break,
        };
        let Some((stream, place)) = accepted else { continue };
        let connection = Connection {
            tls: Arc::clone(&tls),
            routes: Arc::clone(&routes),
            watcher: graceful.watcher(),
            handshake_deadline,
            requests_max,
        };
        let mut cut_off = cut_off.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = connection.serve(stream) => {}
                _ = cut_off.changed() => {}
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        let grace_s = grace.as_secs();
        tracing::warn!(grace_s, "gateways' requests were cut off at the end of the grace");
    }
    drop(cut);
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    // The permit comes first: a connection that has no place stays in the system's queue.
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Lines are small and must not wait for each other.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection without TCP_NODELAY");
            }
            Some((stream, place))
        }
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// What one connection needs.
struct Connection {
    tls: Arc<Renewed<ServerConfig>>,
    routes: Arc<Routes>,
    watcher: Watcher,
    handshake_deadline: Duration,
    requests_max: u32,
}

impl Connection {
    async fn serve(self, stream: TcpStream) {
        let handshake = async {
            let acceptor = TlsAcceptor::from(self.tls.current().await);
            acceptor.accept(stream).await
        };
        let stream = match tokio::time::timeout(self.handshake_deadline, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::warn!(%error, "a client of the billing service was refused");
                return;
            }
            Err(_) => return,
        };
        let Some(peer) = peer(&stream) else {
            tracing::warn!("a client's certificate has no name");
            return;
        };
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let service = service_fn(move |request: http::Request<Incoming>| {
            let (routes, peer) = (Arc::clone(&self.routes), Arc::clone(&peer));
            async move { Ok::<_, Infallible>(routes.answer(&peer, request).await) }
        });
        let io = TokioIo::new(stream);
        let ended = if http2 {
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(self.requests_max)
                .max_header_list_size(HEADER_BYTES_MAX)
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_TIMEOUT)
                .serve_connection(io, service);
            self.watcher.watch(connection).await
        } else {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.handshake_deadline)
                .max_headers(HEADERS_MAX)
                .serve_connection(io, service);
            self.watcher.watch(connection).await
        };
        // Gateways come and go; only a developer looking for a fault wants to know.
        if let Err(error) = ended {
            tracing::debug!(%error, "a gateway's connection ended early");
        }
    }
}

/// Who is at the other end; `None` where the certificate says no name.
fn peer(stream: &TlsStream<TcpStream>) -> Option<Arc<Peer>> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    let names = names_in(certificate);
    (!names.is_empty()).then(|| Arc::new(Peer { names: names.into() }))
}
