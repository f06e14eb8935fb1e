//! The operator's listener: organisations, money, prices, models, the books, backups, metrics.

use std::sync::Arc;

use http::Method;

use crate::app::App;
use crate::errors::ApiError;
use crate::health;
use crate::stack::{Request, Response};

use self::money::Way;

/// Organisations and their keys.
mod orgs;
/// Models.
mod models;
/// Top-ups, grants, refunds, and what else moves credits.
mod money;
/// Prices, and what holds for everybody.
mod settings;
/// The audit log, checks, closes, and copies of everything.
mod books;

/// The innermost service of the operator's stack.
pub(crate) async fn handle(app: Arc<App>, request: Request) -> Response {
    let answer = match request.uri().path() {
        "/healthz" => Ok(health::live()),
        "/readyz" => Ok(health::ready(&app).await),
        "/metrics" => app.metrics.answer(),
        _ => match app.operator.check(request.headers()) {
            Ok(()) => work(app, request).await,
            Err(error) => Err(error),
        },
    };
    answer.unwrap_or_else(Response::from)
}

/// A change that has begun is finished, also when its client leaves in the middle of it.
async fn work(app: Arc<App>, request: Request) -> Result<Response, ApiError> {
    let task_app = Arc::clone(&app);
    let work = async move { Box::pin(route(&task_app, request)).await };
    app.settling.spawn(work).await.unwrap_or(Err(ApiError::Internal))
}

async fn route(app: &App, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let (path, headers) = (parts.uri.path(), &parts.headers);
    let Some(rest) = path.strip_prefix("/admin/v1/") else {
        return Err(crate::route::no_such_path(path));
    };
    let segments: Vec<&str> = rest.split('/').collect();
    match (&segments[..], &parts.method) {
        (["orgs"], &Method::GET) => orgs::list(app).await,
        (["orgs"], &Method::POST) => orgs::create(app, body).await,
        (["orgs", name, "keys"], &Method::POST) => orgs::create_key(app, name, body).await,
        (["credits"], &Method::GET) => money::account(app, &parts.uri).await,
        (["credits"], &Method::POST) => money::pay(app, Way::TopUp, (headers, body)).await,
        (["chargebacks"], &Method::POST) => money::pay(app, Way::Chargeback, (headers, body)).await,
        (["payouts"], &Method::POST) => money::pay(app, Way::Payout, (headers, body)).await,
        (["grants"], &Method::POST) => money::grant(app, (headers, body)).await,
        (["refunds"], &Method::POST) => money::refund(app, (headers, body)).await,
        (["adjustments"], &Method::POST) => money::adjust(app, (headers, body)).await,
        (["platform"], &Method::GET) => settings::platform(app).await,
        (["platform"], method @ (&Method::PUT | &Method::PATCH)) => {
            settings::set_platform(app, method, (headers, body)).await
        }
        (["endpoint"], &Method::GET) => settings::endpoint(app).await,
        (["endpoint"], &Method::PUT) => settings::set_endpoint(app, (headers, body)).await,
        (["endpoint"], &Method::DELETE) => settings::remove_endpoint(app, headers).await,
        (["prices"], &Method::GET) => settings::prices(app).await,
        (["prices"], &Method::PUT) => settings::set_prices(app, (headers, body)).await,
        (["prices", "versions"], &Method::GET) => settings::price_versions(app).await,
        (["models"], &Method::GET) => models::list(app).await,
        (["models"], &Method::POST) => models::add(app, body).await,
        (["models", ..], &Method::DELETE) => {
            models::remove(app, rest.strip_prefix("models/").unwrap_or_default()).await
        }
        (["audit"], &Method::GET) => books::audit(app, &parts.uri).await,
        (["ledger", "check"], &Method::GET) => books::check(app).await,
        (["periods"], &Method::GET) => books::periods(app).await,
        (["reconcile"], &Method::GET) => books::reconciled(app, &parts.uri).await,
        (["backup"], &Method::POST) => books::backup(app, body).await,
        (segments, _) => match allowed(segments) {
            Some(allowed) => Err(ApiError::MethodNotAllowed { allowed }),
            None => Err(crate::route::no_such_path(path)),
        },
    }
}

/// What a path takes; `None` where nothing is.
fn allowed(segments: &[&str]) -> Option<&'static str> {
    Some(match segments {
        ["orgs" | "models" | "credits"] => "GET, POST",
        ["orgs", _, "keys"] => "POST",
        ["chargebacks" | "payouts" | "grants" | "refunds" | "adjustments" | "backup"] => "POST",
        ["platform"] => "GET, PUT, PATCH",
        ["prices"] => "GET, PUT",
        ["endpoint"] => "GET, PUT, DELETE",
        ["audit" | "periods" | "reconcile"] | ["ledger", "check"] | ["prices", "versions"] => "GET",
        ["models", ..] => "DELETE",
        _ => return None,
    })
}
