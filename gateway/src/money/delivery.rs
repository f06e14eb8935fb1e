use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use emberbox_billing::{SignedMessage, check_url, is_public};
use futures::future::{self, Either};
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::Webhooks;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// The head of an answer, in bytes; its body is never read.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// A stream to the receiver, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Sends messages as the configuration allows.
pub(super) struct Courier {
    settings: Webhooks,
    /// Made with the first message that needs it.
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Courier {
    pub(super) fn new(settings: &Webhooks) -> Courier {
        Courier { settings: settings.clone(), tls: OnceLock::new() }
    }

    /// Sends a message once, and gives the status of the answer, or why none came.
    ///
    /// The name is resolved here, each address is checked, and the connection goes to an address
    /// that was checked: a name that resolves differently the next moment leads nowhere else.
    /// Redirections are not followed.
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
        let addresses = resolve(&host, port, allow_private).await?;
        let socket = connect(&addresses).await?;
        let stream: Box<dyn Stream> = match url.scheme() {
            "https" => Box::new(encrypt(self.tls()?, socket, &host).await?),
            _ => Box::new(socket),
        };
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

    fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        self.tls.get_or_init(|| tls(&self.settings)).clone()
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

/// The addresses of a host; an error when one of them is not the public internet's.
async fn resolve(host: &str, port: u16, allow_private: bool) -> Result<Vec<SocketAddr>, String> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found: Vec<SocketAddr> = match bare.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => tokio::net::lookup_host((host, port))
            .await
            .map_err(|error| format!("the name is not found: {error}"))?
            .take(ADDRESSES_MAX)
            .collect(),
    };
    if !allow_private && found.iter().any(|address| !is_public(address.ip())) {
        return Err("the name leads to an address that is not on the public internet".to_owned());
    }
    if found.is_empty() { Err("the name has no address".to_owned()) } else { Ok(found) }
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, String> {
    let mut reason = "no address".to_owned();
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => reason = format!("no connection: {error}"),
        }
    }
    Err(reason)
}

async fn encrypt(
    tls: Arc<ClientConfig>,
    socket: TcpStream,
    host: &str,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare).map_err(|error| format!("TLS: {error}"))?;
    let connector = TlsConnector::from(tls);
    connector.connect(name, socket).await.map_err(|error| format!("TLS: {error}"))
}

/// Trusts whom this machine trusts, and whom the operator names.
fn tls(settings: &Webhooks) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let named = settings.authorities().map_err(|error| format!("TLS: {error}"))?;
    let (added, _) = roots.add_parsable_certificates(found.certs.into_iter().chain(named));
    if added == 0 {
        return Err("TLS: this machine trusts no authority".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_public_addresses_are_connected_to() {
        for (host, allow_private, good) in [
            ("127.0.0.1", false, false),
            ("127.0.0.1", true, true),
            ("[::1]", false, false),
            ("[::ffff:10.0.0.1]", false, false),
            ("169.254.169.254", false, false),
            ("1.1.1.1", false, true),
            ("localhost", false, false),
            ("localhost", true, true),
        ] {
            let found = resolve(host, 443, allow_private).await;
            assert_eq!(found.is_ok(), good, "{host}: {found:?}");
        }
    }
}
