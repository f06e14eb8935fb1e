//! What a key's own organisation can see and change: functions, keys, secrets, credits, usage, invoices.

use std::sync::Arc;

use emberbox_billing::OrgId;
use emberbox_catalog::Principal;
use http::Method;
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
/// What an organisation grants its functions.
pub(crate) mod policy;
/// What functions find in their environment, and nobody sees.
mod secrets;
/// The balance, and what may be spent.
mod credits;
/// What was used and what was earned.
mod usage;
/// Receipts and invoices.
mod statements;

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
        Route::Secrets | Route::Secret(_) => secrets::handle(app, principal, route, request).await,
        Route::Credits | Route::Budgets | Route::Notices | Route::AutoTopUp | Route::Endpoint => {
            credits::handle(app, principal, route, request).await
        }
        Route::Policy => policy::handle(app, principal, request).await,
        other => {
            only(request.method(), &Method::GET, "GET")?;
            told(app, principal, other, request).await
        }
    }
}

/// What can only be looked at.
async fn told(
    app: &App,
    principal: &Principal,
    route: Route,
    request: Request,
) -> Result<Response, ApiError> {
    let org = OrgId::new(&principal.org.id);
    let (parts, _) = request.into_parts();
    match route {
        Route::Usage => usage::usage(app, &org, &parts).await,
        Route::Earnings => usage::earnings(app, &org, &parts).await,
        Route::Receipts => statements::receipts(app, &org, &parts).await,
        Route::Receipt(id) => statements::receipt(app, &org, &id).await,
        Route::Explain(id) => statements::explain(app, &org, &id).await,
        Route::Invoices => statements::invoices(app, principal).await,
        Route::Invoice(name) => statements::one_invoice(app, principal, (&name, &parts)).await,
        Route::Prices => respond::ok(&*app.billing.prices().await?),
        Route::Me => respond::ok(&json!({
            "org": { "id": principal.org.id, "name": principal.org.name },
            "key": {
                "id": principal.key.id,
                "name": principal.key.name,
                "role": principal.key.role,
            },
        })),
        _ => Err(crate::route::no_such_path(parts.uri.path())),
    }
}
