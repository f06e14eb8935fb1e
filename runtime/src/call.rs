use std::future::Future;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::body::WrittenBody;
use crate::meter::Shared;
use crate::models::Models;
use crate::outbound::Outbound;
use crate::spend::Computed;
use crate::{GuestBody, LimitKind, LogSink, RequestBody, headers};

/// The fault of a pool that has no slot left for a component that needs several.
pub(crate) const NO_SLOT: &str = "no instance slot was free";

/// One request to a function, and what the function may reach while it answers.
pub struct Call {
    /// The request. Its credentials and the platform's headers are removed before the guest.
    pub request: Request<RequestBody>,
    /// The organisation that pays.
    pub tenant: String,
    /// The request's id, for traces.
    pub request_id: String,
    /// The models, paid by the call.
    pub models: Arc<dyn Models>,
    /// The way out for the guest's own requests; `None`: there is none.
    pub outbound: Option<Arc<dyn Outbound>>,
    /// Where the guest's output goes.
    pub logs: Arc<dyn LogSink>,
}

/// An answer whose head is known.
#[derive(Debug)]
pub struct Answer {
    /// The guest's answer, cleaned; its body streams.
    pub response: Response<GuestBody>,
    /// Resolves after the guest has ended and the body was read to its end or dropped.
    pub report: Report,
}

/// A call in progress.
#[derive(Debug)]
pub struct Started {
    /// Resolves when the guest has given the head of its answer.
    pub head: Head,
    /// Resolves after the guest has ended and the body was read to its end or dropped, also when
    /// the head fails or is dropped.
    pub report: Report,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallEnding {
    /// The guest answered and ended.
    Normal,
    /// The client dropped the answer before its end.
    ClientLeft,
    /// The limit of wall-clock time, CPU time or fuel was reached.
    Deadline,
    /// What the call may spend was used up: by computing, or the guest failed after a model was
    /// refused to it.
    Budget,
    /// The guest failed, or broke a limit.
    Trap(String),
    /// The host failed.
    Fault(String),
}

/// What a call used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallReport {
    /// How it ended.
    pub ending: CallEnding,
    /// The ending in words, where there is more to say.
    pub detail: Option<Box<str>>,
    /// The limit that ended it; or else the last one that something was refused to the guest for.
    pub limit: Option<LimitKind>,
    /// Microseconds of CPU time of the guest's polls.
    pub cpu_us: u64,
    /// Units of fuel, where computing is metered by fuel.
    pub fuel: Option<NonZeroU64>,
    /// The most linear memory it had, in bytes.
    pub memory_bytes_peak: u64,
    /// Bytes of body handed out.
    pub response_bytes: u64,
    /// Microseconds by the clock that the guest has waited for models.
    pub inference_us: u64,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum CallError {
    /// The guest failed before it answered.
    #[error("the function failed: {0}")]
    Trap(Box<str>, CallReport),
    /// The limit of wall-clock time, CPU time or fuel was reached before it answered.
    #[error("the function did not answer in time: {}", .0.detail.as_deref().unwrap_or("its deadline passed"))]
    Deadline(CallReport),
    /// What the call may spend was used up.
    #[error("what the call may spend does not cover what the function used or asked of a model")]
    Budget(CallReport),
    /// The guest ended without an answer.
    #[error("the function ended without an answer")]
    NoResponse(CallReport),
    /// All instances are taken; the same request may succeed later.
    #[error("all instances are taken; try again later")]
    Overloaded,
    /// The request was refused before the guest.
    #[error("the request is not valid: {0}")]
    RequestInvalid(String),
    /// The host failed.
    #[error("the platform failed: {0}")]
    Fault(Box<str>, CallReport),
}

impl CallReport {
    /// What the guest has computed, as the call's computing is metered.
    #[must_use]
    pub fn computed(&self) -> Computed {
        Computed::of(self.cpu_us, self.fuel.map(NonZeroU64::get))
    }

    /// Of a call that has used nothing.
    #[must_use]
    pub fn nothing(ending: CallEnding) -> Self {
        Self {
            ending,
            detail: None,
            limit: None,
            cpu_us: 0,
            fuel: None,
            memory_bytes_peak: 0,
            response_bytes: 0,
            inference_us: 0,
        }
    }
}

impl CallError {
    /// What the call used, when its guest was started.
    pub fn report(&self) -> Option<&CallReport> {
        match self {
            Self::Trap(_, report) | Self::Fault(_, report) => Some(report),
            Self::Deadline(report) | Self::Budget(report) | Self::NoResponse(report) => {
                Some(report)
            }
            Self::Overloaded | Self::RequestInvalid(_) => None,
        }
    }

    fn after(report: CallReport) -> Self {
        match report.ending.clone() {
            CallEnding::Normal | CallEnding::ClientLeft => Self::NoResponse(report),
            CallEnding::Deadline => Self::Deadline(report),
            CallEnding::Budget => Self::Budget(report),
            CallEnding::Trap(reason) => Self::Trap(reason.into(), report),
            CallEnding::Fault(reason) if reason == NO_SLOT => Self::Overloaded,
            CallEnding::Fault(reason) => Self::Fault(reason.into(), report),
        }
    }
}

/// Resolves to what the call used, after the guest has ended and its answer was read or dropped.
pub struct Report(Pin<Box<dyn Future<Output = CallReport> + Send>>);

impl Report {
    /// Of a call that runs elsewhere.
    pub fn elsewhere(report: impl Future<Output = CallReport> + Send + 'static) -> Self {
        Self(Box::pin(report))
    }

    /// The task and whoever holds the answer keep a sender each; when the last one is dropped,
    /// nothing can change any more. A task that panics drops its sender too.
    pub(crate) fn new(mut gone: watch::Receiver<()>, shared: Arc<Shared>) -> Self {
        Self(Box::pin(async move {
            while gone.changed().await.is_ok() {}
            shared.report()
        }))
    }
}

impl Future for Report {
    type Output = CallReport;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CallReport> {
        self.0.as_mut().poll(cx)
    }
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Report")
    }
}

/// The client's side of a call: dropped before the answer is complete, it stops the guest.
pub(crate) struct Client {
    shared: Arc<Shared>,
    waits: bool,
    _alive: watch::Sender<()>,
}

impl Client {
    pub(crate) fn new(shared: Arc<Shared>, alive: watch::Sender<()>) -> Self {
        Self { shared, waits: true, _alive: alive }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The client has all it wants; what the guest still does is its own matter.
    pub(crate) fn satisfied(&mut self) {
        self.waits = false;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.waits {
            self.shared.stop(CallEnding::ClientLeft, None);
        }
    }
}

/// What the body of an answer must keep to.
pub(crate) struct BodyRules {
    pub(crate) method: Method,
    pub(crate) response_bytes_max: u64,
}

type Answered = oneshot::Receiver<Result<Response<HyperOutgoingBody>, ErrorCode>>;

/// Resolves when the guest has given the head of its answer. Dropping it before stops the call.
///
/// # Errors
/// `Trap`, `Deadline`, `Budget`, `NoResponse` or `Fault`, each with what the call used;
/// `Overloaded` when no slot was free for the instance.
pub struct Head(Pin<Box<dyn Future<Output = Result<Response<GuestBody>, CallError>> + Send>>);

impl Head {
    /// Of a call that runs elsewhere; dropped before it resolves, it stops the call. What only the
    /// platform may say is removed here too: who runs guests may have been taken over by one.
    pub fn elsewhere(
        head: impl Future<Output = Result<Response<GuestBody>, CallError>> + Send + 'static,
    ) -> Self {
        Self(Box::pin(async move {
            let mut response = head.await?;
            headers::clean_response(response.headers_mut());
            Ok(response)
        }))
    }

    pub(crate) fn new(answered: Answered, client: Client, after: Report, body: BodyRules) -> Self {
        Self(Box::pin(head(answered, client, after, body)))
    }
}

impl Future for Head {
    type Output = Result<Response<GuestBody>, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Head")
    }
}

async fn head(
    answered: Answered,
    mut client: Client,
    after: Report,
    rules: BodyRules,
) -> Result<Response<GuestBody>, CallError> {
    let refused = match answered.await {
        Ok(Ok(response)) if response.status().is_informational() => {
            format!("it answered with the interim status {}", response.status())
        }
        Ok(Ok(response)) => {
            let (mut parts, body) = response.into_parts();
            headers::clean_response(&mut parts.headers);
            let body = WrittenBody::new(body, client, &parts, &rules);
            return Ok(Response::from_parts(parts, GuestBody::new(body)));
        }
        Ok(Err(code)) => format!("it answered with the error {code:?}"),
        // The sender went with the store, or the guest dropped it and goes on.
        Err(_) => return Err(unanswered(client, after).await),
    };
    client.shared.stop(CallEnding::Trap(refused), None);
    client.satisfied();
    Err(CallError::after(wait(client, after).await))
}

/// A guest that ends well and gives no answer has failed all the same.
async fn unanswered(client: Client, after: Report) -> CallError {
    client.shared.task_ended().await;
    let silent = client.shared.completed() && client.shared.stopped().is_none();
    if silent {
        client.shared.stop(CallEnding::Trap("it gave no answer".to_owned()), None);
    }
    let report = wait(client, after).await;
    if silent { CallError::NoResponse(report) } else { CallError::after(report) }
}

/// Waits for the guest's end, as a client that would leave if it were dropped meanwhile.
async fn wait(mut client: Client, after: Report) -> CallReport {
    client.shared.task_ended().await;
    client.satisfied();
    // The report waits for whoever could still change it, this client among them.
    drop(client);
    after.await
}
