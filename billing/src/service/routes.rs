//! From a request to its answer.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::batch::{self, Lines, Peer, Works};
use super::server::ServiceLimits;
use super::wire::{BATCH_PATH, Code, Fault, HEALTH_PATH, PRICES_PATH, QUERY_PATH, WholeError};
use crate::billing::Billing;
use crate::error::BillingError;
use crate::report::Query;

/// What the service sends.
pub(super) type Answer = Response<Either<Full<Bytes>, Lines>>;

/// What all connections share.
pub(super) struct Routes {
    works: Works,
    limits: ServiceLimits,
    batches: Arc<Semaphore>,
    queries: Semaphore,
}

/// A request that is answered with an error as a whole.
struct Rejection {
    status: StatusCode,
    fault: Fault,
}

impl Routes {
    pub(super) fn new(billing: Arc<dyn Billing>, limits: ServiceLimits) -> Routes {
        let batches = Arc::new(Semaphore::new(limits.batches_max));
        let queries = Semaphore::new(limits.queries_max);
        let works = Works { billing, voids: Arc::default() };
        Routes { works, limits, batches, queries }
    }

    /// Answers one request.
    pub(super) async fn answer(&self, peer: &Peer, request: Request<Incoming>) -> Answer {
        let answer = match (request.method(), request.uri().path()) {
            (&Method::POST, BATCH_PATH) => self.batch(peer, request).await,
            (&Method::POST, QUERY_PATH) => self.query(request).await,
            (&Method::GET, PRICES_PATH) => self.prices(&request).await,
            (&Method::GET, HEALTH_PATH) => Ok(text("{\"status\":\"ok\"}")),
            (_, BATCH_PATH | QUERY_PATH | PRICES_PATH | HEALTH_PATH) => {
                Err(Rejection::new(StatusCode::METHOD_NOT_ALLOWED, "no such method on this route"))
            }
            _ => Err(Rejection::new(StatusCode::NOT_FOUND, "no such route")),
        };
        answer.unwrap_or_else(Rejection::answer)
    }

    async fn batch(&self, peer: &Peer, request: Request<Incoming>) -> Result<Answer, Rejection> {
        // The place is taken before the body is read, so that memory is bounded too.
        let place = Arc::clone(&self.batches).try_acquire_owned().map_err(|_all_taken| full())?;
        let body = self.body(request).await?;
        let operations = batch::parse(&body)?;
        let max = self.limits.operations_max;
        if operations.len() > max {
            let message = format!("operations: at most {max} in one batch");
            return Err(Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        let deadline = self.limits.operation_deadline;
        let lines = batch::start(self.works.clone(), (operations, peer), deadline, place);
        let mut answer = Response::new(Either::Right(lines));
        let kind = HeaderValue::from_static("application/x-ndjson");
        answer.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(answer)
    }

    async fn query(&self, request: Request<Incoming>) -> Result<Answer, Rejection> {
        let _place = self.queries.try_acquire().map_err(|_all_taken| full())?;
        let body = self.body(request).await?;
        let query: Query = serde_json::from_slice(&body)
            .map_err(|error| BillingError::Invalid(format!("not a question: {error}")))?;
        let deadline = self.limits.query_deadline;
        let report = in_time(deadline, self.works.billing.ask(query)).await??;
        Ok(json(&report))
    }

    async fn prices(&self, request: &Request<Incoming>) -> Result<Answer, Rejection> {
        let book = in_time(self.limits.query_deadline, self.works.billing.prices()).await??;
        let tag = format!("\"{}\"", book.version);
        let known = request.headers().get(IF_NONE_MATCH);
        let mut answer = if known.is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
            let mut unchanged = Response::new(Either::Left(Full::default()));
            *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
            unchanged
        } else {
            json(&*book)
        };
        if let Ok(tag) = HeaderValue::try_from(tag) {
            answer.headers_mut().insert(ETAG, tag);
        }
        Ok(answer)
    }

    /// Reads a body of bounded size in bounded time.
    async fn body(&self, request: Request<Incoming>) -> Result<Bytes, Rejection> {
        let max = self.limits.body_bytes_max;
        let too_large = || {
            let message = format!("a body has at most {max} bytes");
            Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, message)
        };
        let body = request.into_body();
        if body.size_hint().lower() > u64::try_from(max).unwrap_or(u64::MAX) {
            return Err(too_large());
        }
        let read = Limited::new(body, max).collect();
        match tokio::time::timeout(self.limits.body_deadline, read).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(error)) => {
                let message = format!("the body ended early: {error}");
                Err(Rejection::incomplete(StatusCode::BAD_REQUEST, message))
            }
            Err(_) => {
                Err(Rejection::incomplete(StatusCode::REQUEST_TIMEOUT, "the body did not come"))
            }
        }
    }
}

async fn in_time<T>(
    deadline: std::time::Duration,
    work: impl Future<Output = T>,
) -> Result<T, BillingError> {
    tokio::time::timeout(deadline, work).await.map_err(|_elapsed| {
        BillingError::Unreachable("the ledger did not answer the service in time".to_owned())
    })
}

fn full() -> BillingError {
    BillingError::Overloaded
}

fn text(body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(body.into())));
    let kind = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

fn json(body: &impl Serialize) -> Answer {
    match serde_json::to_vec(body) {
        Ok(body) => text(body),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            let mut answer = text("{}");
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            answer
        }
    }
}

impl Rejection {
    fn new(status: StatusCode, message: impl Into<String>) -> Rejection {
        Rejection { status, fault: Fault::new(Code::Invalid, message) }
    }

    /// A request that did not arrive whole: nothing of it was done, and it may come again.
    fn incomplete(status: StatusCode, message: impl Into<String>) -> Rejection {
        Rejection { status, fault: Fault::new(Code::Unreachable, message) }
    }

    fn answer(self) -> Answer {
        let mut answer = json(&WholeError { error: self.fault });
        *answer.status_mut() = self.status;
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}

/// The one place where errors become statuses.
impl From<BillingError> for Rejection {
    fn from(error: BillingError) -> Rejection {
        let status = match &error {
            BillingError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            BillingError::Conflict | BillingError::HoldEnded(_) => StatusCode::CONFLICT,
            BillingError::UnknownHold => StatusCode::NOT_FOUND,
            BillingError::Overloaded | BillingError::Stopped(_) => StatusCode::SERVICE_UNAVAILABLE,
            BillingError::Invalid(_) => StatusCode::BAD_REQUEST,
            BillingError::Unreachable(_) => StatusCode::GATEWAY_TIMEOUT,
            BillingError::Store(_) | BillingError::CannotOpen { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Rejection { status, fault: Fault::from(&error) }
    }
}
