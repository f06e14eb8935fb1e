//! One connection at a time to one listener, and exactly what was seen of each answer.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// How long an answer may take in all: longer than any deadline of the server's own.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    /// The method.
    pub(crate) method: &'static str,
    /// The path and query.
    pub(crate) path: String,
    /// Headers besides the secret.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The body.
    pub(crate) body: Bytes,
}

/// When a client leaves in the middle.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Leave {
    /// It stays to the end.
    Never,
    /// After a time.
    After(Duration),
    /// When the first bytes of the body are there.
    AtFirstByte,
}

/// An answer that was received in full.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: Bytes,
}

/// What a client saw.
#[derive(Debug)]
pub(crate) enum Seen {
    /// The whole answer.
    Answer(Answer),
    /// The request may have been received, and the answer did not come to its end.
    Broken {
        /// Whether bytes of a successful answer's body arrived.
        begun: bool,
    },
    /// Nobody listens: the request was not sent.
    Refused,
}

/// A client with a secret. Its connection is kept from request to request.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    secret: String,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        // Closes the socket at once, whatever is under way on it.
        self.driver.abort();
    }
}

impl Ask {
    /// A GET.
    pub(crate) fn get(path: &str) -> Self {
        Self { method: "GET", path: path.to_owned(), ..Self::default() }
    }

    /// JSON by another method.
    pub(crate) fn json(method: &'static str, path: &str, body: &Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { method, path: path.to_owned(), headers, body: body.to_string().into() }
    }
}

impl Answer {
    /// The body as JSON, where the status says that all is well.
    pub(crate) fn ok(&self) -> anyhow::Result<Value> {
        let text = String::from_utf8_lossy(&self.body);
        ensure!(self.status.is_success(), "status {}: {text}", self.status);
        serde_json::from_slice(&self.body).with_context(|| text.into_owned())
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Client {
    /// A client of a listener.
    pub(crate) fn new(address: SocketAddr, secret: &str) -> Self {
        Self { address, secret: secret.to_owned(), open: None }
    }

    /// Asks and wants the whole answer.
    pub(crate) async fn want(&mut self, ask: Ask) -> anyhow::Result<Answer> {
        let what = format!("{} {}", ask.method, ask.path);
        match self.ask(ask, Leave::Never).await {
            Seen::Answer(answer) => Ok(answer),
            seen => anyhow::bail!("{what}: no whole answer ({seen:?})"),
        }
    }

    /// Asks and wants JSON with a status that says that all is well.
    pub(crate) async fn value(&mut self, ask: Ask) -> anyhow::Result<Value> {
        let what = format!("{} {}", ask.method, ask.path);
        self.want(ask).await?.ok().context(what)
    }

    /// Asks, perhaps leaves, and says what was seen.
    pub(crate) async fn ask(&mut self, ask: Ask, leave: Leave) -> Seen {
        if !self.connect().await {
            return Seen::Refused;
        }
        let mut begun = false;
        let patience = match leave {
            Leave::After(time) => time,
            Leave::Never | Leave::AtFirstByte => PATIENCE,
        };
        let stop = matches!(leave, Leave::AtFirstByte);
        let exchange = tokio::time::timeout(patience, self.exchange(ask, stop, &mut begun));
        match exchange.await {
            Ok(Ok(Some(answer))) => Seen::Answer(answer),
            // Left, broken off, or out of time.
            Ok(_) | Err(_) => {
                self.open = None;
                Seen::Broken { begun }
            }
        }
    }

    async fn connect(&mut self) -> bool {
        if self.open.as_ref().is_some_and(|open| !open.sender.is_closed()) {
            return true;
        }
        self.open = open(self.address).await.ok();
        self.open.is_some()
    }

    async fn exchange(
        &mut self,
        ask: Ask,
        stop_at_first: bool,
        begun: &mut bool,
    ) -> anyhow::Result<Option<Answer>> {
        let open = self.open.as_mut().context("not connected")?;
        open.sender.ready().await?;
        let mut request = Request::builder().method(ask.method).uri(&ask.path);
        request = request.header("host", self.address.to_string());
        request = request.header("authorization", format!("Bearer {}", self.secret));
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        let answer = open.sender.send_request(request.body(Full::new(ask.body))?).await?;
        let (parts, mut rest) = answer.into_parts();
        let mut body = BytesMut::new();
        while let Some(frame) = rest.frame().await {
            body.extend(frame?.into_data());
            *begun |= parts.status.is_success() && !body.is_empty();
            if stop_at_first && *begun {
                return Ok(None);
            }
        }
        Ok(Some(Answer { status: parts.status, headers: parts.headers, body: body.freeze() }))
    }
}

async fn open(address: SocketAddr) -> anyhow::Result<Open> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // How the connection ends is seen by whoever waits for an answer on it.
    let driver = tokio::spawn(async move { connection.await.unwrap_or_default() });
    Ok(Open { sender, driver })
}
