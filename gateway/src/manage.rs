//! What a key's own organisation can see and change: functions, keys, credits, usage.

use std::sync::Arc;

use emberbox_billing::{OrgId, ReceiptId, ReceiptQuery};
use emberbox_catalog::Principal;
use http::{Method, Uri};
use serde_json::json;

use crate::app::App;
use crate::errors::ApiError;
use crate::respond;
use crate::route::{Route, only};
use crate::stack::{Request, Response};

/// Functions, their versions, the alias `live`, logs.
mod functions;
/// API keys.
mod keys;

/// Receipts on one page when the request does not say.
const RECEIPTS_DEFAULT: u32 = 100;
const RECEIPTS_MAX: u32 = 1_000;

/// Answers the routes that are about the caller's own organisation.
pub(crate) async fn handle(
    app: &Arc<App>,
    principal: &Principal,
    route: Route,
    request: Request,
) -> Result<Response, ApiError> {
    // A change that has begun is finished, also when its client leaves in the middle of it.
    let (task_app, principal) = (Arc::clone(app), principal.clone());
    let work = async move { answer(&task_app, &principal, route, request).await };
    app.settling.spawn(work).await.unwrap_or(Err(ApiError::Internal))
}

async fn answer(
    app: &Arc<App>,
    principal: &Principal,
    route: Route,
    request: Request,
) -> Result<Response, ApiError> {
    match route {
        Route::Functions
        | Route::Function(_)
        | Route::Versions(_)
        | Route::Live(_)
        | Route::FunctionLogs(_) => functions::handle(app, principal, route, request).await,
        Route::Keys | Route::Key(_) => keys::handle(app, principal, route, request).await,
        other => {
            only(request.method(), &Method::GET, "GET")?;
            let uri = request.uri().clone();
            money(app, principal, other, &uri).await
        }
    }
}

async fn money(
    app: &App,
    principal: &Principal,
    route: Route,
    uri: &Uri,
) -> Result<Response, ApiError> {
    let org = OrgId::new(&principal.org.id);
    match route {
        Route::Credits => credits(app, principal).await,
        Route::Usage => {
            let since_ms = respond::query(uri, "since_ms")?.unwrap_or(0);
            respond::ok(&app.billing.usage(&org, since_ms).await?)
        }
        Route::Receipts => receipts(app, &org, uri).await,
        Route::Receipt(id) => receipt(app, &org, &id).await,
        Route::Prices => respond::ok(&*app.billing.prices().await),
        Route::Me => respond::ok(&json!({
            "org": { "id": principal.org.id, "name": principal.org.name },
            "key": {
                "id": principal.key.id,
                "name": principal.key.name,
                "role": principal.key.role,
            },
        })),
        _ => Err(crate::route::no_such_path(uri.path())),
    }
}

async fn credits(app: &App, principal: &Principal) -> Result<Response, ApiError> {
    let balance = app.billing.balance(&OrgId::new(&principal.org.id)).await?;
    respond::ok(&json!({
        "org": principal.org.name,
        "posted": balance.posted,
        "held": balance.held,
        "available": balance.available,
    }))
}

async fn receipts(app: &App, org: &OrgId, uri: &Uri) -> Result<Response, ApiError> {
    let limit = respond::query(uri, "limit")?.unwrap_or(RECEIPTS_DEFAULT);
    if !(1..=RECEIPTS_MAX).contains(&limit) {
        return Err(ApiError::field("limit", format!("must be from 1 to {RECEIPTS_MAX}")));
    }
    let before = respond::query(uri, "before")?;
    let found = app.billing.receipts(org, ReceiptQuery { before, limit }).await?;
    respond::ok(&json!({ "object": "list", "data": found }))
}

async fn receipt(app: &App, org: &OrgId, id: &str) -> Result<Response, ApiError> {
    let unknown = || ApiError::NotFound { what: "receipt", name: id.chars().take(80).collect() };
    let parsed: ReceiptId = id.parse().or(Err(unknown()))?;
    let found = app.billing.receipt(org, parsed).await?;
    respond::ok(&found.ok_or_else(unknown)?)
}
