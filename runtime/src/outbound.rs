//! Requests that guests send: the trait behind which somebody else opens the connections, and what
//! one call may send.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use serde::{Deserialize, Serialize};

use crate::meter::Shared;
use crate::{LimitKind, Limits};

/// A body, in either direction.
pub type OutboundBody = UnsyncBoxBody<Bytes, OutboundError>;

/// Why a guest's request got no answer, or only a part of one; the guest reads which it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum OutboundError {
    /// Nothing grants this function a request to there.
    #[error("a request to `{0}` is not granted")]
    Denied(String),
    /// The request names no host, or is none that HTTP has.
    #[error("the request is not valid: {0}")]
    Invalid(String),
    /// The name has no address.
    #[error("the name is not found: {0}")]
    NameNotFound(String),
    /// The address is not on the public internet.
    #[error("the name leads to an address that is not on the public internet")]
    AddressProhibited,
    /// No connection.
    #[error("no connection: {0}")]
    Refused(String),
    /// The other side is not who it should be, or speaks no TLS that is known.
    #[error("TLS: {0}")]
    Tls(String),
    /// The other side did not answer in time.
    #[error("no answer in time")]
    Timeout,
    /// What came is no HTTP, or broke off.
    #[error("HTTP: {0}")]
    Protocol(String),
    /// The call has sent all requests that it may.
    #[error("the call has sent all {0} requests that it may")]
    TooMany(u32),
    /// The call's requests and answers together are longer than they may be.
    #[error("the call's requests and answers have more than {0} bytes")]
    TooLarge(u64),
}

/// What keeps a connection going.
pub type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An answer, and its connection, which is polled until the answer's body is read.
pub struct Exchange {
    /// The answer.
    pub response: Response<OutboundBody>,
    /// The connection.
    pub connection: Connection,
}

/// Sends guests' requests. Everything that is granted was decided before: this is one function's
/// way out.
#[async_trait]
pub trait Outbound: Send + Sync + 'static {
    /// Sends one request; its address is absolute. Redirections are not followed.
    ///
    /// # Errors
    /// Why there is no answer.
    async fn send(&self, request: Request<OutboundBody>) -> Result<Exchange, OutboundError>;
}

/// One call's way out, and what is left of what it may send.
pub struct Egress {
    outbound: Option<Arc<dyn Outbound>>,
    requests_max: u32,
    requests: u32,
    bytes: Counted,
}

/// Bytes of bodies in both directions.
#[derive(Clone)]
struct Counted {
    bytes_max: u64,
    bytes: Arc<AtomicU64>,
    shared: Arc<Shared>,
}

impl Counted {
    fn add(&self, bytes: usize) -> Result<(), OutboundError> {
        let before = self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        match before.saturating_add(bytes as u64) > self.bytes_max {
            true => {
                self.shared.refuse(LimitKind::OutboundBytes);
                Err(OutboundError::TooLarge(self.bytes_max))
            }
            false => Ok(()),
        }
    }

    fn body(&self, body: OutboundBody) -> OutboundBody {
        let counted = self.clone();
        let stream = futures::stream::unfold(Some(body), move |body| {
            let counted = counted.clone();
            async move {
                let mut body = body?;
                let frame = match body.frame().await? {
                    Ok(frame) => frame,
                    Err(error) => return Some((Err(error), None)),
                };
                match counted.add(frame.data_ref().map_or(0, Bytes::len)) {
                    Ok(()) => Some((Ok(frame), Some(body))),
                    Err(error) => Some((Err(error), None)),
                }
            }
        });
        http_body_util::StreamBody::new(stream).boxed_unsync()
    }
}

impl Egress {
    pub(crate) fn new(
        outbound: Option<Arc<dyn Outbound>>,
        limits: &Limits,
        shared: Arc<Shared>,
    ) -> Self {
        let bytes_max = limits.outbound_bytes_max;
        let bytes = Counted { bytes_max, bytes: Arc::default(), shared };
        Self { outbound, requests_max: limits.outbound_requests_max, requests: 0, bytes }
    }

    /// Counts once more what a call sends that runs elsewhere.
    #[must_use]
    pub fn of_call_elsewhere(outbound: Option<Arc<dyn Outbound>>, limits: &Limits) -> Self {
        Self::new(outbound, limits, Arc::default())
    }

    /// Counts a request, and sends it when the future is polled.
    ///
    /// # Errors
    /// `TooMany` and `TooLarge` for what the call may not send any more, otherwise as
    /// [`Outbound::send`].
    pub fn send(
        &mut self,
        request: Request<OutboundBody>,
    ) -> impl Future<Output = Result<Exchange, OutboundError>> + Send + use<> {
        let outbound = self.outbound.clone();
        self.requests = self.requests.saturating_add(1);
        let within = self.requests <= self.requests_max;
        let (requests_max, bytes) = (self.requests_max, self.bytes.clone());
        async move {
            let Some(outbound) = outbound else {
                let to = request.uri().authority();
                return Err(OutboundError::Denied(
                    to.map_or_else(String::new, ToString::to_string),
                ));
            };
            if !within {
                bytes.shared.refuse(LimitKind::OutboundRequests);
                return Err(OutboundError::TooMany(requests_max));
            }
            let exchange = outbound.send(request.map(|body| bytes.body(body))).await?;
            let response = exchange.response.map(|body| bytes.body(body));
            Ok(Exchange { response, connection: exchange.connection })
        }
    }
}
