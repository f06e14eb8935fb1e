//! The connection to the service, made anew when it is lost, and single requests on it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, IF_NONE_MATCH};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, watch};
use tokio_rustls::TlsConnector;
use uuid::Uuid;

use super::super::error::ServiceError;
use super::super::renewal::Renewed;
use super::super::wire::{BATCH_PATH, Code, PRICES_PATH, WholeError, chain};
use crate::error::BillingError;
use crate::ids::PriceVersion;
use crate::price::PriceBook;

/// The port where the address names none.
const PORT: u16 = 443;
/// How long connecting and the TLS handshake may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// A lost connection is noticed within this time, even where nobody says so.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of an answer may be on its way before it is read.
const WINDOW_BYTES: u32 = 4 << 20;
/// The most bytes of the answer to a question.
const REPORT_BYTES_MAX: usize = 64 << 20;
/// The most bytes of an error.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// How long a connection that failed has for saying why.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The service answered with an error.
    Answered(BillingError),
    /// The service takes no body of this size: parts of it may pass.
    TooMuch(BillingError),
    /// No answer came: asking again may help, and harms nobody. The text says what happened.
    Lost(String),
}

/// The pauses between attempts: short at first, then longer, never the same for two gateways.
#[derive(Debug)]
pub(super) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Pause {
        Pause(Duration::from_millis(20))
    }
}

impl Pause {
    const MAX: Duration = Duration::from_secs(1);

    /// Waits; longer each time.
    pub(super) async fn wait(&mut self) {
        let [.., random] = Uuid::now_v7().into_bytes();
        let jitter = self.0.saturating_mul(u32::from(random)).checked_div(1024);
        tokio::time::sleep(self.0.saturating_add(jitter.unwrap_or_default())).await;
        self.0 = self.0.saturating_mul(2).min(Pause::MAX);
    }
}

/// The service's address, and the connection to it.
#[derive(Debug)]
pub(super) struct Link {
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: Arc<Renewed<ClientConfig>>,
    open: Mutex<Option<Open>>,
}

/// A connection, and what it said when it ended.
#[derive(Clone, Debug)]
struct Open {
    sender: SendRequest<Full<Bytes>>,
    ended: watch::Receiver<Option<String>>,
}

impl Link {
    /// Reads the address. Connects with the first request.
    pub(super) fn new(url: &str, tls: Arc<Renewed<ClientConfig>>) -> Result<Link, ServiceError> {
        let wrong = |reason| ServiceError::BadUrl { url: url.to_owned(), reason };
        let uri: Uri = url.parse().ok().ok_or_else(|| wrong("it is no address"))?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong("it begins with https://"));
        }
        if uri.path_and_query().is_some_and(|rest| rest.as_str() != "/") {
            return Err(wrong("it ends with the host and the port"));
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host.clone());
        let name = name.ok().ok_or_else(|| wrong("it names no host"))?;
        Ok(Link { host, port: uri.port_u16().unwrap_or(PORT), name, tls, open: Mutex::new(None) })
    }

    /// Sends a batch; the answer is read by the caller.
    pub(super) async fn batch(&self, body: Bytes) -> Result<Incoming, Failure> {
        let answer = self.send(self.post(BATCH_PATH, body)?).await?;
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body()),
            _ => Err(error(answer).await),
        }
    }

    /// Asks a question.
    pub(super) async fn question<T: DeserializeOwned>(
        &self,
        path: &'static str,
        body: Vec<u8>,
    ) -> Result<T, Failure> {
        let answer = self.send(self.post(path, body.into())?).await?;
        match answer.status() {
            StatusCode::OK => read(answer).await,
            _ => Err(error(answer).await),
        }
    }

    /// The prices in force; `None` where they have the version that is known.
    pub(super) async fn prices(
        &self,
        known: Option<PriceVersion>,
    ) -> Result<Option<PriceBook>, Failure> {
        let mut request = self.request(Method::GET, PRICES_PATH, Bytes::new())?;
        if let Some(tag) = known.and_then(|known| format!("\"{known}\"").try_into().ok()) {
            request.headers_mut().insert(IF_NONE_MATCH, tag);
        }
        let answer = self.send(request).await?;
        match answer.status() {
            StatusCode::NOT_MODIFIED => Ok(None),
            StatusCode::OK => read(answer).await.map(Some),
            _ => Err(error(answer).await),
        }
    }

    /// Gives the connection up: it does not answer.
    pub(super) async fn forget(&self) {
        *self.open.lock().await = None;
    }

    fn post(&self, path: &'static str, body: Bytes) -> Result<Request<Full<Bytes>>, Failure> {
        self.request(Method::POST, path, body)
    }

    fn request(
        &self,
        method: Method,
        path: &'static str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        Request::builder()
            .method(method)
            .uri(format!("https://{host}:{}{path}", self.port))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Full::new(body))
            .map_err(|error| Failure::Lost(error.to_string()))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        let mut open = self.connection().await?;
        let sent = match open.sender.ready().await {
            Ok(()) => open.sender.send_request(request).await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(answer) => Ok(answer),
            Err(error) => Err(Failure::Lost(why(&error, &mut open.ended).await)),
        }
    }

    /// The connection that is open, or a new one. One is made at a time.
    async fn connection(&self) -> Result<Open, Failure> {
        let mut open = self.open.lock().await;
        if let Some(open) = open.as_ref().filter(|open| !open.sender.is_closed()) {
            return Ok(open.clone());
        }
        *open = None;
        let made = tokio::time::timeout(CONNECT_DEADLINE, self.connect()).await;
        let made = made.unwrap_or_else(|_| Err(Failure::Lost("it does not accept".to_owned())))?;
        *open = Some(made.clone());
        Ok(made)
    }

    async fn connect(&self) -> Result<Open, Failure> {
        let lost = |error: std::io::Error| Failure::Lost(chain(&error));
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(lost)?;
        stream.set_nodelay(true).map_err(lost)?;
        let connector = TlsConnector::from(self.tls.current().await);
        let stream = connector.connect(self.name.clone(), stream).await.map_err(lost)?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failure::Lost(chain(&error)))?;
        let (said, ended) = watch::channel(None);
        tokio::spawn(async move {
            let end = connection.await;
            let text = end.err().map_or_else(|| "it closed".to_owned(), |error| chain(&error));
            said.send_replace(Some(text));
        });
        Ok(Open { sender, ended })
    }
}

/// Why a request failed. The connection knows it better than the request, a moment later: for
/// instance that the service refuses the certificate.
async fn why(error: &hyper::Error, ended: &mut watch::Receiver<Option<String>>) -> String {
    let words = tokio::time::timeout(LAST_WORDS, ended.wait_for(Option::is_some)).await;
    let words = words.ok().and_then(|words| words.ok().and_then(|words| words.clone()));
    words.unwrap_or_else(|| chain(error))
}

async fn read<T: DeserializeOwned>(answer: Response<Incoming>) -> Result<T, Failure> {
    let body = Limited::new(answer.into_body(), REPORT_BYTES_MAX).collect().await;
    let body = body.map_err(|error| Failure::Lost(error.to_string()))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| {
        Failure::Answered(BillingError::Stopped(format!("its answer cannot be read: {error}")))
    })
}

/// What an answer that is an error as a whole means. An answer that is not of our service's making
/// (a proxy's, say) counts as none.
async fn error(answer: Response<Incoming>) -> Failure {
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ERROR_BYTES_MAX).collect().await;
    let told: Option<WholeError> =
        body.ok().and_then(|body| serde_json::from_slice(&body.to_bytes()).ok());
    match told {
        // The service itself could not tell what became of it.
        Some(told) if told.error.code == Code::Unreachable => Failure::Lost(told.error.message),
        Some(told) if status == StatusCode::PAYLOAD_TOO_LARGE => {
            Failure::TooMuch(told.error.into())
        }
        Some(told) => Failure::Answered(told.error.into()),
        // Whoever says it, in between or at the end: the same would be said again.
        None if status == StatusCode::PAYLOAD_TOO_LARGE => {
            Failure::TooMuch(BillingError::Invalid("it is too large to be sent".to_owned()))
        }
        None => Failure::Lost(format!("it answers with status {status}")),
    }
}
