//! Whether the server lives, and whether it can do its work.

use http::StatusCode;
use serde_json::json;

use crate::app::App;
use crate::body;
use crate::errors::ApiError;
use crate::respond;
use crate::stack::Response;

/// The process answers.
pub(crate) fn live() -> Response {
    Response::new(body::full("ok\n"))
}

/// The stores answer and the server is not stopping.
pub(crate) async fn ready(app: &App) -> Response {
    let reason = if app.stop.stopping() {
        Some("the server is stopping")
    } else if app.catalog.setting("ready").await.is_err() {
        Some("the catalog does not answer")
    } else if !ledger_answers(app).await {
        Some("the ledger does not answer")
    } else {
        None
    };
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

async fn ledger_answers(app: &App) -> bool {
    app.billing.balance(&emberbox_billing::OrgId::new("ready")).await.is_ok()
}
