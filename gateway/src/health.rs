//! Whether the server lives, and whether it can do its work.

use std::time::Duration;

use emberbox_billing::{Billing, BillingError, Query};
use http::StatusCode;
use serde_json::json;

use crate::app::App;
use crate::body;
use crate::errors::ApiError;
use crate::respond;
use crate::server::Stop;
use crate::stack::Response;

/// How long the ledger may take to answer: who asks for readiness asks again.
const LEDGER_PATIENCE: Duration = Duration::from_secs(2);

/// The process answers.
pub(crate) fn live() -> Response {
    Response::new(body::full("ok\n"))
}

/// The stores answer and the server is not stopping.
pub(crate) async fn ready(app: &App) -> Response {
    if app.catalog.setting("ready").await.is_err() {
        return readiness(Some("the catalog does not answer"));
    }
    ready_ledger(&app.stop, &*app.billing).await
}

/// The ledger answers and the server is not stopping.
pub(crate) async fn ready_ledger(stop: &Stop, billing: &dyn Billing) -> Response {
    if stop.stopping() {
        return readiness(Some("the server is stopping"));
    }
    match tokio::time::timeout(LEDGER_PATIENCE, billing.ask(Query::Ready)).await {
        Ok(Ok(_)) => readiness(None),
        Ok(Err(BillingError::Stopped(reason))) => {
            tracing::warn!(%reason, "not ready");
            readiness(Some("the ledger does not write"))
        }
        Ok(Err(_)) | Err(_) => readiness(Some("the ledger does not answer")),
    }
}

fn readiness(reason: Option<&str>) -> Response {
    let mut response = Response::new(body::full(format!("{}\n", reason.unwrap_or("ready"))));
    if reason.is_some() {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

/// Which program this is.
pub(crate) fn version() -> Result<Response, ApiError> {
    let value = json!({ "name": "emberbox", "version": env!("CARGO_PKG_VERSION") });
    respond::json(StatusCode::OK, &value)
}
