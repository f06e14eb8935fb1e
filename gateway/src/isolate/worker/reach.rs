use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use emberbox_runtime::bridge::{BridgeError, Event, ModelInfo, SessionId, Task};
use emberbox_runtime::models::{Delivery, Models, Refusal};
use emberbox_runtime::outbound::{Exchange, Outbound, OutboundBody, OutboundError};
use emberbox_runtime::spend::{Computed, Exhausted};
use emberbox_runtime::{BodyError, LogSink, RequestBody, Stream};
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt;

use crate::isolate::lock;
use crate::isolate::messages::{
    CallId, Chunk, ExchangeId, Headers, News, Received, Sent, Want, chunks, next_chunk,
};
use crate::isolate::wire::{Lost, Peer};

/// A call's request, whose body comes as the guest reads it.
pub(super) fn request(
    peer: &Peer,
    call: CallId,
    (method, uri, headers): (String, String, Headers),
    first: Chunk,
) -> Result<Request<RequestBody>, http::Error> {
    let mut request = Request::builder().method(method.as_str()).uri(uri);
    if let Some(all) = request.headers_mut() {
        *all = headers.into_map()?;
    }
    let peer = peer.clone();
    let body = chunks(first, move || {
        let peer = peer.clone();
        async move {
            let next: Result<Result<Chunk, BodyError>, Lost> = peer.ask(&(call, Want::Body)).await;
            next.unwrap_or_else(|lost| Err(BodyError::Request(lost.to_string())))
        }
    });
    request.body(body.boxed_unsync())
}

/// The models of one call: every question goes to the server, which reserves and settles.
pub(super) struct RemoteMetered {
    peer: Peer,
    call: CallId,
    models: Vec<ModelInfo>,
    paid: Arc<Paid>,
}

/// Computing that is paid.
struct Paid {
    quantity: AtomicU64,
    is_asking: AtomicBool,
    is_over: AtomicBool,
}

impl RemoteMetered {
    pub(super) fn new(
        peer: Peer,
        call: CallId,
        (models, paid): (Vec<ModelInfo>, Computed),
    ) -> Self {
        let paid = Paid {
            quantity: AtomicU64::new(paid.quantity),
            is_asking: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        };
        Self { peer, call, models, paid: Arc::new(paid) }
    }
}

/// The server is gone, and this process soon.
fn failed(Lost: Lost) -> BridgeError {
    BridgeError::Failed
}

#[async_trait]
impl Models for RemoteMetered {
    fn model(&self, name: &str) -> Option<ModelInfo> {
        self.models.iter().find(|model| model.name == name).cloned()
    }

    async fn open(&self, model: &str) -> Result<SessionId, BridgeError> {
        self.peer.ask(&(self.call, Want::Open(model.to_owned()))).await.map_err(failed)?
    }

    async fn bring(&self, model: Bytes) -> Result<ModelInfo, BridgeError> {
        self.peer.ask(&(self.call, Want::Bring(model))).await.map_err(failed)?
    }

    async fn run(
        &self,
        session: SessionId,
        task: Task,
        delivery: Delivery,
    ) -> Result<Vec<Event>, Refusal> {
        let want = Want::Run(session, Box::new(task), delivery);
        self.peer.ask(&(self.call, want)).await.map_err(failed)?
    }

    async fn next(&self, session: SessionId) -> Result<Event, BridgeError> {
        self.peer.ask(&(self.call, Want::Next(session))).await.map_err(failed)?
    }

    fn close(&self, session: SessionId) {
        self.peer.tell(&(self.call, News::Close(session)));
    }

    /// More is asked for while the guest goes on, so what it computes passes what is paid by two of
    /// its polls at most.
    fn compute(&self, computed: Computed) -> Result<(), Exhausted> {
        if self.paid.is_over.load(Ordering::Acquire) {
            return Err(Exhausted);
        }
        if computed.quantity <= self.paid.quantity.load(Ordering::Acquire)
            || self.paid.is_asking.swap(true, Ordering::AcqRel)
        {
            return Ok(());
        }
        let (peer, call, paid) = (self.peer.clone(), self.call, Arc::clone(&self.paid));
        tokio::spawn(async move {
            let answer: Result<Result<u64, ()>, Lost> =
                peer.ask(&(call, Want::Compute(computed))).await;
            match answer {
                Ok(Ok(quantity)) => paid.quantity.store(quantity, Ordering::Release),
                Ok(Err(())) | Err(Lost) => paid.is_over.store(true, Ordering::Release),
            }
            paid.is_asking.store(false, Ordering::Release);
        });
        Ok(())
    }
}

/// A call's log.
pub(super) struct Line {
    pub(super) peer: Peer,
    pub(super) call: CallId,
}

impl LogSink for Line {
    fn line(&self, stream: Stream, line: &str) {
        let news = News::Log { stderr: stream == Stream::Stderr, line: line.to_owned() };
        self.peer.tell(&(self.call, news));
    }
}

type SentBody = Arc<tokio::sync::Mutex<OutboundBody>>;

/// Bodies of requests that guests send, until the server has read them.
#[derive(Default)]
pub(super) struct SentBodies(Mutex<HashMap<(CallId, ExchangeId), SentBody>>);

impl SentBodies {
    /// The next of one of them.
    pub(super) async fn next(
        &self,
        call: CallId,
        exchange: ExchangeId,
    ) -> Result<Chunk, OutboundError> {
        let body = lock(&self.0).get(&(call, exchange)).cloned();
        match body {
            Some(body) => next_chunk(&mut *body.lock().await).await,
            None => Ok(Chunk { ended: true, ..Chunk::default() }),
        }
    }
}

/// A call's way out: the server opens the connections.
pub(super) struct RemoteDoor {
    peer: Peer,
    call: CallId,
    bodies: Arc<SentBodies>,
    last_exchange: AtomicU64,
}

/// One request that a guest has sent. When it is dropped, nobody reads the answer any more.
struct Open {
    peer: Peer,
    call: CallId,
    exchange: ExchangeId,
    bodies: Arc<SentBodies>,
}

impl Drop for Open {
    fn drop(&mut self) {
        lock(&self.bodies.0).remove(&(self.call, self.exchange));
        self.peer.tell(&(self.call, News::Drop(self.exchange)));
    }
}

impl RemoteDoor {
    pub(super) fn new(peer: Peer, call: CallId, bodies: Arc<SentBodies>) -> Self {
        Self { peer, call, bodies, last_exchange: AtomicU64::new(0) }
    }
}

#[async_trait]
impl Outbound for RemoteDoor {
    async fn send(&self, request: Request<OutboundBody>) -> Result<Exchange, OutboundError> {
        let exchange = self.last_exchange.fetch_add(1, Ordering::Relaxed);
        let (parts, body) = request.into_parts();
        let sent = Sent {
            method: parts.method.to_string(),
            uri: parts.uri.to_string(),
            headers: Headers::from(&parts.headers),
            bodiless: body.is_end_stream(),
        };
        let (peer, call, bodies) = (self.peer.clone(), self.call, Arc::clone(&self.bodies));
        lock(&bodies.0).insert((call, exchange), Arc::new(tokio::sync::Mutex::new(body)));
        let open = Arc::new(Open { peer, call, exchange, bodies });
        let gone = |lost: Lost| OutboundError::Protocol(lost.to_string());
        let received: Received =
            self.peer.ask(&(call, Want::Send(exchange, Box::new(sent)))).await.map_err(gone)?;
        let (status, headers) = received?;
        let body = chunks(Chunk::default(), move || {
            let open = Arc::clone(&open);
            async move {
                let next: Result<Result<Chunk, OutboundError>, Lost> =
                    open.peer.ask(&(open.call, Want::Received(open.exchange))).await;
                next.unwrap_or_else(|lost| Err(gone(lost)))
            }
        });
        let broken = |error: http::Error| OutboundError::Protocol(error.to_string());
        let mut response =
            Response::builder().status(status).body(body.boxed_unsync()).map_err(broken)?;
        *response.headers_mut() = headers.into_map().map_err(broken)?;
        // The server keeps the connection going.
        Ok(Exchange { response, connection: Box::pin(async {}) })
    }
}
