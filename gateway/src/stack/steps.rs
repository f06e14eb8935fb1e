use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use http::HeaderValue;
use http::header::CONTENT_LENGTH;
use http_body::Body as _;
use tracing::Instrument;

use super::step::Next;
use super::{Request, Response};
use crate::app::App;
use crate::body;
use crate::errors::ApiError;
use crate::route::Route;
use crate::telemetry;

/// How much later than the calls' own deadline the backstop comes: the time to charge and answer.
const BACKSTOP_GRACE: Duration = Duration::from_secs(10);

/// When a request came, what it is called, and when it must be done.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// Made here, never taken from the client: the ledger's operation ids derive from it.
    pub(crate) request_id: Arc<str>,
    /// When the head was read.
    pub(crate) at: Instant,
    /// When the call must have ended.
    pub(crate) deadline: Instant,
}

pub(super) async fn request_id(app: Arc<App>, mut request: Request, next: Next) -> Response {
    let request_id: Arc<str> = uuid::Uuid::now_v7().simple().to_string().into();
    let header = HeaderValue::from_str(&request_id).ok();
    let at = Instant::now();
    let deadline = at + app.config.limits.request_deadline();
    request.extensions_mut().insert(Arrival { request_id, at, deadline });
    let mut response = next.run(request).await;
    if let Some(header) = header {
        response.headers_mut().insert("x-request-id", header);
    }
    response
}

pub(super) async fn trace(app: Arc<App>, request: Request, next: Next) -> Response {
    let route = Route::label(request.uri().path());
    let method = request.method().clone();
    let watch = app.metrics.begin(route);
    let id = request.extensions().get::<Arrival>().map(|arrival| Arc::clone(&arrival.request_id));
    let span = tracing::info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        http.request.method = %method,
        http.route = route,
        http.response.status_code = tracing::field::Empty,
        request_id = id.as_deref().unwrap_or_default(),
    );
    telemetry::follow(&span, request.headers());
    let response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    let watch = watch.answered(response.status());
    // The request ends with its body's last byte, not with its head.
    response.map(|body| body::keeping(body, (watch, span)))
}

pub(super) async fn catch_panic(_app: Arc<App>, request: Request, next: Next) -> Response {
    // Handlers share state only through locks that are never held across a panic's origin, so a
    // request that unwound leaves nothing half done that another could see.
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!("a handler panicked");
            ApiError::Internal.into()
        }
    }
}

pub(super) async fn shed(app: Arc<App>, request: Request, next: Next) -> Response {
    match Arc::clone(&app.room).try_acquire_owned() {
        Ok(permit) => {
            let response = next.run(request).await;
            // An answer that is complete costs nothing any more, however slowly it is read.
            match response.body().size_hint().exact() {
                Some(_) => response,
                None => response.map(|body| body::keeping(body, permit)),
            }
        }
        Err(_) => ApiError::Overloaded("too many requests in progress".to_owned()).into(),
    }
}

pub(super) async fn limit_body(app: Arc<App>, request: Request, next: Next) -> Response {
    let bytes_max = Route::body_bytes_max(request.uri().path(), &app.config.limits);
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    let announced = announced.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    if announced.max(request.body().size_hint().lower()) > bytes_max as u64 {
        return ApiError::BodyTooLarge.into();
    }
    next.run(request.map(|body| body::limited(body, bytes_max))).await
}

pub(super) async fn deadline(app: Arc<App>, request: Request, next: Next) -> Response {
    let patience = app.config.limits.request_deadline() + BACKSTOP_GRACE;
    match tokio::time::timeout(patience, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let reason = "the request's own deadline passed".to_owned();
            ApiError::Deadline { reason, limit: None }.into()
        }
    }
}
