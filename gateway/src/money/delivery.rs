use std::sync::OnceLock;

use bytes::Bytes;
use emberbox_billing::{SignedMessage, check_url};
use futures::future::{self, Either};
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http_body_util::Full;
use hyper_util::rt::TokioIo;

use crate::config::Webhooks;
use crate::dial::{Destination, Dialer, Stream};

/// The head of an answer, in bytes; its body is never read.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// Sends messages as the configuration allows.
pub(super) struct Courier {
    settings: Webhooks,
    /// Made with the first message.
    dialer: OnceLock<Result<Dialer, String>>,
}

impl Courier {
    pub(super) fn new(settings: &Webhooks) -> Courier {
        Courier { settings: settings.clone(), dialer: OnceLock::new() }
    }

    /// Sends a message once, and gives the status of the answer, or why none came. Redirections are
    /// not followed.
    pub(super) async fn post(&self, url: &str, message: &SignedMessage) -> Result<u16, String> {
        let patience = self.settings.attempt();
        tokio::time::timeout(patience, self.attempt(url, message))
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} ms", patience.as_millis())))
    }

    async fn attempt(&self, url: &str, message: &SignedMessage) -> Result<u16, String> {
        let allow_private = self.settings.allow_private;
        let url = check_url(url, allow_private).map_err(|error| error.to_string())?;
        let host = url.host_str().ok_or("the address names no host")?.to_owned();
        let port = url.port_or_known_default().ok_or("the address has no port")?;
        let tls = url.scheme() == "https";
        let to = Destination { host: &host, port, tls, allow_private };
        let dialer = self.dialer.get_or_init(|| Ok(Dialer::new(self.settings.authorities()?)));
        let dialer = dialer.as_ref().map_err(|error| format!("TLS: {error}"))?;
        let stream = dialer.dial(to).await.map_err(|error| error.to_string())?;
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host,
        };
        exchange(stream, request(target, authority, message)?).await
    }
}

fn request(
    target: String,
    authority: String,
    message: &SignedMessage,
) -> Result<http::Request<Full<Bytes>>, String> {
    let mut request = http::Request::post(target)
        .header(HOST, authority)
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("emberbox/", env!("CARGO_PKG_VERSION")));
    for (name, value) in message.headers() {
        request = request.header(name, value);
    }
    let body = Full::new(Bytes::from(message.body.clone()));
    request.body(body).map_err(|error| error.to_string())
}

async fn exchange(
    stream: Box<dyn Stream>,
    request: http::Request<Full<Bytes>>,
) -> Result<u16, String> {
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let (mut sender, connection) = builder
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| format!("no HTTP: {error}"))?;
    let response = std::pin::pin!(sender.send_request(request));
    let response = match future::select(response, connection).await {
        Either::Left((response, _)) => response,
        // The connection may end in the moment in which the answer is there.
        Either::Right((_, response)) => response.await,
    };
    response.map(|response| response.status().as_u16()).map_err(|error| format!("HTTP: {error}"))
}
