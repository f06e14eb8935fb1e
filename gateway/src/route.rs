//! The map of the public listener: which path is what, and who answers it.

use std::sync::Arc;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::app::App;
use crate::config::ServerLimits;
use crate::errors::ApiError;
use crate::money::stripe;
use crate::stack::{Request, Response};
use crate::{auth, body, functions, health, manage, openai, quotes};

/// A path, read once. Names in it are decoded but not checked further: what is looked up under a
/// wrong name is simply not found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Health,
    Ready,
    Version,
    Chat,
    Embeddings,
    Rerank,
    Classify,
    Models,
    Model(String),
    Call { owner: String, function: String },
    Functions,
    Function(String),
    Versions(String),
    Live(String),
    FunctionLogs(String),
    Policy,
    Keys,
    Key(String),
    Secrets,
    Secret(String),
    Credits,
    Budgets,
    Notices,
    AutoTopUp,
    Endpoint,
    Usage,
    Earnings,
    Receipts,
    Receipt(String),
    Explain(String),
    Invoices,
    Invoice(String),
    Prices,
    Quote,
    Me,
    StripeWebhook,
}

impl Route {
    /// Reads a path; `None` when nothing is there.
    pub(crate) fn of(path: &str) -> Option<Route> {
        if let Some(name) = path.strip_prefix("/v1/models/") {
            // A model's name may have slashes, encoded or not.
            return Some(Route::Model(decode(name)?));
        }
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        Some(match segments[..] {
            ["healthz"] => Route::Health,
            ["readyz"] => Route::Ready,
            ["version"] => Route::Version,
            ["f", owner, function, ..] => {
                Route::Call { owner: decode(owner)?, function: decode(function)? }
            }
            ["v1", "chat", "completions"] => Route::Chat,
            ["v1", "embeddings"] => Route::Embeddings,
            ["v1", "rerank"] => Route::Rerank,
            ["v1", "classify"] => Route::Classify,
            ["v1", "models"] => Route::Models,
            ["v1", "functions"] => Route::Functions,
            ["v1", "functions", name] => Route::Function(decode(name)?),
            ["v1", "functions", name, "versions"] => Route::Versions(decode(name)?),
            ["v1", "functions", name, "aliases", "live"] => Route::Live(decode(name)?),
            ["v1", "functions", name, "logs"] => Route::FunctionLogs(decode(name)?),
            ["v1", "policy"] => Route::Policy,
            ["v1", "keys"] => Route::Keys,
            ["v1", "keys", id] => Route::Key(decode(id)?),
            ["v1", "secrets"] => Route::Secrets,
            ["v1", "secrets", name] => Route::Secret(decode(name)?),
            ["v1", "credits"] => Route::Credits,
            ["v1", "budgets"] => Route::Budgets,
            ["v1", "notices"] => Route::Notices,
            ["v1", "auto-top-up"] => Route::AutoTopUp,
            ["v1", "endpoint"] => Route::Endpoint,
            ["v1", "usage"] => Route::Usage,
            ["v1", "earnings"] => Route::Earnings,
            ["v1", "receipts"] => Route::Receipts,
            ["v1", "receipts", id] => Route::Receipt(decode(id)?),
            ["v1", "receipts", id, "explain"] => Route::Explain(decode(id)?),
            ["v1", "invoices"] => Route::Invoices,
            ["v1", "invoices", period] => Route::Invoice(decode(period)?),
            ["v1", "prices"] => Route::Prices,
            ["v1", "quote"] => Route::Quote,
            ["v1", "me"] => Route::Me,
            ["webhooks", "stripe"] => Route::StripeWebhook,
            _ => return None,
        })
    }

    /// The route without names, for metrics and spans: names would make a label per customer.
    pub(crate) fn label(path: &str) -> &'static str {
        match Route::of(path) {
            None => "none",
            Some(Route::Health) => "/healthz",
            Some(Route::Ready) => "/readyz",
            Some(Route::Version) => "/version",
            Some(Route::Chat) => "/v1/chat/completions",
            Some(Route::Embeddings) => "/v1/embeddings",
            Some(Route::Rerank) => "/v1/rerank",
            Some(Route::Classify) => "/v1/classify",
            Some(Route::Models) => "/v1/models",
            Some(Route::Model(_)) => "/v1/models/{id}",
            Some(Route::Call { .. }) => "/f/{owner}/{function}",
            Some(Route::Functions) => "/v1/functions",
            Some(Route::Function(_)) => "/v1/functions/{name}",
            Some(Route::Versions(_)) => "/v1/functions/{name}/versions",
            Some(Route::Live(_)) => "/v1/functions/{name}/aliases/live",
            Some(Route::FunctionLogs(_)) => "/v1/functions/{name}/logs",
            Some(Route::Policy) => "/v1/policy",
            Some(Route::Keys) => "/v1/keys",
            Some(Route::Key(_)) => "/v1/keys/{id}",
            Some(Route::Secrets) => "/v1/secrets",
            Some(Route::Secret(_)) => "/v1/secrets/{name}",
            Some(Route::Credits) => "/v1/credits",
            Some(Route::Budgets) => "/v1/budgets",
            Some(Route::Notices) => "/v1/notices",
            Some(Route::AutoTopUp) => "/v1/auto-top-up",
            Some(Route::Endpoint) => "/v1/endpoint",
            Some(Route::Usage) => "/v1/usage",
            Some(Route::Earnings) => "/v1/earnings",
            Some(Route::Receipts) => "/v1/receipts",
            Some(Route::Receipt(_)) => "/v1/receipts/{id}",
            Some(Route::Explain(_)) => "/v1/receipts/{id}/explain",
            Some(Route::Invoices) => "/v1/invoices",
            Some(Route::Invoice(_)) => "/v1/invoices/{period}",
            Some(Route::Prices) => "/v1/prices",
            Some(Route::Quote) => "/v1/quote",
            Some(Route::Me) => "/v1/me",
            Some(Route::StripeWebhook) => "/webhooks/stripe",
        }
    }

    /// The largest body that a path takes.
    pub(crate) fn body_bytes_max(path: &str, limits: &ServerLimits) -> usize {
        match Route::of(path) {
            Some(Route::Call { .. }) => limits.function_body_bytes_max,
            Some(Route::Versions(_)) => limits.component_bytes_max,
            _ => limits.json_bytes_max,
        }
    }
}

/// The innermost service of the public stack.
pub(crate) async fn handle(app: Arc<App>, request: Request) -> Response {
    let answer = match Route::of(request.uri().path()) {
        Some(route) => dispatch(&app, route, request).await,
        None => Err(no_such_path(request.uri().path())),
    };
    answer.unwrap_or_else(Response::from)
}

/// What a path that nothing is at gets, on both listeners.
pub(crate) fn no_such_path(path: &str) -> ApiError {
    ApiError::NotFound { what: "path", name: path.chars().take(200).collect() }
}

async fn dispatch(app: &Arc<App>, route: Route, request: Request) -> Result<Response, ApiError> {
    match (route, request.method()) {
        (Route::Health, _) => Ok(health::live()),
        (Route::Ready, _) => Ok(health::ready(app).await),
        (Route::Version, _) => health::version(),
        (Route::StripeWebhook, _) => stripe(app, request).await,
        (route, _) => with_key(app, route, request).await,
    }
}

/// An event of the payment provider is posted also when its sender does not wait for the answer.
async fn stripe(app: &Arc<App>, request: Request) -> Result<Response, ApiError> {
    let task_app = Arc::clone(app);
    let work = async move { stripe::post(&task_app, request).await };
    app.settling.spawn(work).await.unwrap_or(Err(ApiError::Internal))
}

/// Everything below here knows who is calling, and is paid for or counted by key.
async fn with_key(app: &Arc<App>, route: Route, request: Request) -> Result<Response, ApiError> {
    let principal = auth::principal(app, request.headers()).await?;
    let turn = app.limiter.admit(&principal.key.id, &principal.org.id)?;
    let standing = turn.standing();
    let answer = match route {
        Route::Chat => openai::chat::post(app, principal, request).await,
        Route::Rerank => openai::rerank::post(app, principal, request).await,
        Route::Classify => openai::classify::post(app, principal, request).await,
        Route::Embeddings => openai::embeddings::post(app, principal, request).await,
        Route::Models => openai::models::list(app, &principal, request.method()).await,
        Route::Model(name) => openai::models::one(app, &principal, (request.method(), &name)).await,
        Route::Quote => quotes::post(app, &principal, request).await,
        Route::Call { owner, function } => {
            functions::call(app, principal, (&owner, &function), request).await
        }
        other => manage::handle(app, &principal, other, request).await,
    };
    let mut response = answer.unwrap_or_else(Response::from);
    standing.write(response.headers_mut());
    Ok(response.map(|body| body::keeping(body, turn)))
}

/// Names arrive percent-encoded; one that is not UTF-8 names nothing.
fn decode(segment: &str) -> Option<String> {
    percent_decode_str(segment).decode_utf8().ok().map(|text| text.into_owned())
}

/// Refuses a method that a path does not take.
pub(crate) fn only(asked: &Method, method: &Method, allowed: &'static str) -> Result<(), ApiError> {
    match asked == method {
        true => Ok(()),
        false => Err(ApiError::MethodNotAllowed { allowed }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_once() {
        let call = |owner: &str, function: &str| {
            Some(Route::Call { owner: owner.to_owned(), function: function.to_owned() })
        };
        let rows = [
            ("/healthz", Some(Route::Health)),
            ("/v1/chat/completions", Some(Route::Chat)),
            ("/v1/models/a%2Fb", Some(Route::Model("a/b".to_owned()))),
            ("/v1/models/a/b", Some(Route::Model("a/b".to_owned()))),
            ("/v1/functions/x/aliases/live", Some(Route::Live("x".to_owned()))),
            ("/f/a/b", call("a", "b")),
            ("/f/a/b/", call("a", "b")),
            ("/f/a/b/c/d", call("a", "b")),
            ("/f/a", None),
            ("/v1", None),
            ("/", None),
            ("", None),
            ("*", None),
            ("/v1/keys/%ff", None),
        ];
        for (path, expected) in rows {
            assert_eq!(Route::of(path), expected, "{path}");
        }
    }
}
