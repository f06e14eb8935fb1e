//! What the server and a worker say to each other about calls.

use std::future::Future;

use bytes::Bytes;
use emberbox_runtime::bridge::{ModelInfo, SessionId, Task};
use emberbox_runtime::models::Delivery;
use emberbox_runtime::outbound::OutboundError;
use emberbox_runtime::spend::Computed;
use emberbox_runtime::{CallReport, Grants, Limits, RuntimeError};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use serde::{Deserialize, Serialize};

/// Names one call of a worker's life.
pub(super) type CallId = u64;
/// Names one version of a function with what it may use and see.
pub(super) type FunctionId = u64;
/// Names one request that a call sends.
pub(super) type ExchangeId = u64;

/// What a worker is asked.
#[derive(Serialize, Deserialize)]
pub(super) enum Ask {
    /// Whether it is there.
    Ready,
    /// Which key compiled code is held to. Comes first.
    Key([u8; emberbox_runtime::KEY_BYTES]),
    Deploy(Box<Deploy>),
    Call(CallId, Box<CallOrder>),
    /// The next of an answer's body.
    Body(CallId),
    Report(CallId),
    /// The next of the body of a request that the guest sends.
    Sent(CallId, ExchangeId),
}

/// What a worker is told.
#[derive(Serialize, Deserialize)]
pub(super) enum Tell {
    /// Nobody waits for the answer any more.
    Leave(CallId),
    Forget(FunctionId),
}

/// What a worker asks for a call.
#[derive(Serialize, Deserialize)]
pub(super) enum Want {
    /// The next of the request's body.
    Body,
    Open(String),
    Bring(Bytes),
    Run(SessionId, Box<Task>, Delivery),
    Next(SessionId),
    /// What the guest has computed; the answer says how far it may go.
    Compute(Computed),
    Send(ExchangeId, Box<Sent>),
    /// The next of the body of the answer to it.
    Received(ExchangeId),
}

/// What a worker tells of a call.
#[derive(Serialize, Deserialize)]
pub(super) enum News {
    /// The guest runs.
    Begun,
    Log {
        stderr: bool,
        line: String,
    },
    Close(SessionId),
    Drop(ExchangeId),
}

/// A version of a function.
#[derive(Serialize, Deserialize)]
pub(super) struct Deploy {
    pub(super) function: FunctionId,
    pub(super) digest: String,
    pub(super) limits: Limits,
    pub(super) grants: Grants,
    /// The part of the grants that no other serialisation has.
    pub(super) secrets: Vec<(String, Option<String>)>,
}

/// What became of it: bytes of code, or `None` where there is no compiled code that is ours.
pub(super) type Deployed = Result<Option<usize>, DeployError>;

/// Why a version cannot run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum DeployError {
    /// A limit is out of range.
    #[error("{reason}")]
    Limit { field: String, reason: String },
    /// This kind of guest cannot be used again.
    #[error("{0}")]
    NotReusable(String),
    /// The component is too large.
    #[error("the component is too large")]
    TooLarge,
    /// The compiled code cannot be used, for this reason.
    #[error(transparent)]
    Code(Box<DeployError>),
    /// The component is at fault.
    #[error("{0}")]
    Refused(String),
    /// The host is.
    #[error("{0}")]
    Failed(String),
}

impl DeployError {
    /// An error of reading compiled code.
    pub(crate) fn of_code(error: RuntimeError) -> Self {
        Self::Code(Box::new(error.into()))
    }
}

/// One request to a function.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct CallOrder {
    pub(super) function: FunctionId,
    pub(super) method: String,
    pub(super) uri: String,
    pub(super) headers: Headers,
    /// What is there of the body.
    pub(super) body: Chunk,
    pub(super) tenant: String,
    pub(super) request_id: String,
    /// The granted models that there are.
    pub(super) models: Vec<ModelInfo>,
    /// Computing that is paid already.
    pub(super) paid: Computed,
    /// Whether there is a way out.
    pub(super) outbound: bool,
}

/// The head of an answer, and as much of the rest as was there at once.
#[derive(Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) body: Chunk,
    pub(super) report: Option<CallReport>,
}

/// The next of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chunk {
    pub(super) data: Bytes,
    /// Nothing follows.
    pub(super) ended: bool,
}

/// A request that a guest sends, without its body.
#[derive(Serialize, Deserialize)]
pub(super) struct Sent {
    pub(super) method: String,
    pub(super) uri: String,
    pub(super) headers: Headers,
    pub(super) bodiless: bool,
}

/// The head of an answer to it.
pub(super) type Received = Result<(u16, Headers), OutboundError>;

/// Headers, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Headers(Vec<(String, Bytes)>);

impl From<&HeaderMap> for Headers {
    fn from(headers: &HeaderMap) -> Self {
        let copied = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), Bytes::copy_from_slice(value.as_bytes()))
        };
        Self(headers.iter().map(copied).collect())
    }
}

impl Headers {
    /// What the other side has sent, held to what HTTP allows.
    pub(super) fn into_map(self) -> Result<HeaderMap, http::Error> {
        let mut headers = HeaderMap::with_capacity(self.0.len());
        for (name, value) in self.0 {
            let (name, value) =
                (name.parse::<HeaderName>()?, HeaderValue::from_maybe_shared(value)?);
            headers.try_append(name, value)?;
        }
        Ok(headers)
    }
}

/// A body of what is there, and of what `next` gives until it ends.
pub(super) fn chunks<E, F>(
    first: Chunk,
    next: impl Fn() -> F + Send + 'static,
) -> impl Body<Data = Bytes, Error = E> + Send + 'static
where
    E: Send + 'static,
    F: Future<Output = Result<Chunk, E>> + Send + 'static,
{
    let start = Some((Some(first), next));
    StreamBody::new(futures::stream::unfold(start, |state| async {
        let (first, next) = state?;
        let chunk = match first {
            Some(chunk) => Ok(chunk),
            None => next().await,
        };
        Some(match chunk {
            Ok(Chunk { data, ended }) => (Ok(Frame::data(data)), (!ended).then_some((None, next))),
            Err(error) => (Err(error), None),
        })
    }))
}

/// The next of a body that is here. Trailers are dropped.
pub(super) async fn next_chunk<B: Body<Data = Bytes> + Unpin>(
    body: &mut B,
) -> Result<Chunk, B::Error> {
    let data = match body.frame().await {
        Some(frame) => frame?.into_data().unwrap_or_default(),
        None => return Ok(Chunk { ended: true, ..Chunk::default() }),
    };
    Ok(Chunk { data, ended: body.is_end_stream() })
}
