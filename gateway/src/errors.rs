//! Every refusal and failure that a client can see, and its one shape.

use std::fmt::Display;

use emberbox_billing::{BillingError, Day, Nano, Refusal};
use emberbox_catalog::CatalogError;
use emberbox_runtime::LimitKind;
use emberbox_runtime::bridge::BridgeError;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde::Serialize;

use crate::body::{self, Body};
use crate::call_limits;

/// Why a request was not answered as asked; one variant per answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{message}")]
    Invalid { param: Option<String>, message: String },
    #[error("the prompt and the output need {tokens} tokens, but the model's context has {max}")]
    ContextLength { tokens: u32, max: u32 },
    #[error("{0}")]
    Unauthorized(&'static str),
    #[error("{0}")]
    Forbidden(String),
    #[error("this call needs up to {needed} credits, and {available} are available")]
    InsufficientCredits { needed: Nano, available: Nano },
    #[error("{0}")]
    CreditsOwed(String),
    #[error("{0}")]
    BudgetExceeded(String),
    #[error("{0}")]
    MaxCostExceeded(String),
    #[error("there is no model '{0}'")]
    ModelNotFound(String),
    #[error("there is no function '{0}'")]
    FunctionNotFound(String),
    #[error("there is no {what} '{name}'")]
    NotFound { what: &'static str, name: String },
    #[error("{0}")]
    NoSuchThing(String),
    #[error("this path takes {allowed}")]
    MethodNotAllowed { allowed: &'static str },
    #[error("{0}")]
    Conflict(String),
    #[error("the body is larger than this path accepts")]
    BodyTooLarge,
    #[error("{reason}")]
    RateLimited { reason: &'static str, retry_after_s: u64 },
    #[error("this function has as many calls in progress as its limits.concurrency allows")]
    FunctionBusy,
    #[error("the function failed: {reason}")]
    GuestTrap { reason: String, limit: Option<LimitKind> },
    #[error("the function asked for more than one call of it may cost, and failed")]
    CallBudget,
    #[error("the server failed; the request id helps its operator to find out why")]
    Internal,
    #[error("the server is overloaded ({0}); try again shortly")]
    Overloaded(String),
    #[error("the ledger does not answer; the same request, sent again, tells what was done")]
    LedgerAway,
    #[error("the call took longer than it may: {reason}")]
    Deadline { reason: String, limit: Option<LimitKind> },
}

/// How an error looks on the wire.
struct Shape {
    status: StatusCode,
    kind: &'static str,
    code: &'static str,
    /// Seconds after which the same request may succeed; `None`: repeating it is pointless, or it
    /// would be charged again.
    retry_after_s: Option<u64>,
}

const fn shape(status: StatusCode, kind: &'static str, code: &'static str) -> Shape {
    Shape { status, kind, code, retry_after_s: None }
}

impl ApiError {
    /// A request that is wrong, with the cause's own words.
    pub(crate) fn invalid(what: &str, cause: &dyn Display) -> Self {
        ApiError::Invalid { param: None, message: format!("{what}: {cause}") }
    }

    /// A field that is wrong.
    pub(crate) fn field(param: &str, message: impl Into<String>) -> Self {
        ApiError::Invalid { param: Some(param.to_owned()), message: message.into() }
    }

    /// A fault of ours: the log gets the cause, the client a number to ask about.
    pub(crate) fn internal(what: &str, cause: &(dyn std::error::Error + 'static)) -> Self {
        let mut text = cause.to_string();
        let mut source = cause.source();
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
        tracing::error!(error = %text, "{what}");
        ApiError::Internal
    }

    /// The one place that maps a cause to status, type, code and whether to retry.
    fn shape(&self) -> Shape {
        const REQUEST: &str = "invalid_request_error";
        match self {
            ApiError::Invalid { .. } => shape(StatusCode::BAD_REQUEST, REQUEST, "invalid_request"),
            ApiError::ContextLength { .. } => {
                shape(StatusCode::BAD_REQUEST, REQUEST, "context_length_exceeded")
            }
            ApiError::Unauthorized(_) => {
                shape(StatusCode::UNAUTHORIZED, "authentication_error", "invalid_api_key")
            }
            ApiError::Forbidden(_) => {
                shape(StatusCode::FORBIDDEN, "permission_error", "permission_denied")
            }
            ApiError::InsufficientCredits { .. } => {
                shape(StatusCode::PAYMENT_REQUIRED, "billing_error", "insufficient_credits")
            }
            ApiError::CreditsOwed(_) => {
                shape(StatusCode::PAYMENT_REQUIRED, "billing_error", "insufficient_credits")
            }
            ApiError::BudgetExceeded(_) => {
                shape(StatusCode::PAYMENT_REQUIRED, "billing_error", "key_limit_exceeded")
            }
            ApiError::ModelNotFound(_) => shape(StatusCode::NOT_FOUND, REQUEST, "model_not_found"),
            ApiError::FunctionNotFound(_) => {
                shape(StatusCode::NOT_FOUND, REQUEST, "function_not_found")
            }
            ApiError::NotFound { .. } | ApiError::NoSuchThing(_) => {
                shape(StatusCode::NOT_FOUND, REQUEST, "not_found")
            }
            ApiError::MethodNotAllowed { .. } => {
                shape(StatusCode::METHOD_NOT_ALLOWED, REQUEST, "method_not_allowed")
            }
            ApiError::Conflict(_) => shape(StatusCode::CONFLICT, REQUEST, "conflict"),
            ApiError::BodyTooLarge => {
                shape(StatusCode::PAYLOAD_TOO_LARGE, REQUEST, "request_too_large")
            }
            ApiError::RateLimited { retry_after_s, .. } => Shape {
                retry_after_s: Some(*retry_after_s),
                ..shape(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "rate_limit_exceeded")
            },
            ApiError::FunctionBusy => Shape {
                retry_after_s: Some(1),
                ..shape(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "rate_limit_exceeded")
            },
            ApiError::GuestTrap { .. } => {
                shape(StatusCode::INTERNAL_SERVER_ERROR, "function_error", "guest_trap")
            }
            ApiError::CallBudget | ApiError::MaxCostExceeded(_) => {
                shape(StatusCode::PAYMENT_REQUIRED, "billing_error", "max_cost_exceeded")
            }
            ApiError::Internal => {
                shape(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "internal_error")
            }
            ApiError::Overloaded(_) => Shape {
                retry_after_s: Some(1),
                ..shape(StatusCode::SERVICE_UNAVAILABLE, "server_error", "server_overloaded")
            },
            ApiError::LedgerAway => {
                shape(StatusCode::SERVICE_UNAVAILABLE, "server_error", "ledger_unavailable")
            }
            ApiError::Deadline { .. } => {
                shape(StatusCode::GATEWAY_TIMEOUT, "server_error", "deadline_exceeded")
            }
        }
    }

    /// The stable name of this error, for metrics and spans.
    pub(crate) fn code(&self) -> &'static str {
        self.shape().code
    }

    /// Of a call that failed at a limit, which one that was.
    pub(crate) fn reached(self, limit: Option<LimitKind>) -> Self {
        match self {
            ApiError::GuestTrap { reason, .. } => ApiError::GuestTrap { reason, limit },
            ApiError::Deadline { reason, .. } => ApiError::Deadline { reason, limit },
            other => other,
        }
    }

    /// The name in a manifest of the limit that a function has reached.
    fn limit(&self) -> Option<&'static str> {
        match self {
            ApiError::FunctionBusy => Some("concurrency"),
            ApiError::GuestTrap { limit, .. } | ApiError::Deadline { limit, .. } => {
                limit.map(call_limits::name_of)
            }
            _ => None,
        }
    }

    /// The body of this error, which a stream sends after its head went out as 200.
    pub(crate) fn json(&self) -> String {
        let shape = self.shape();
        let param = match self {
            ApiError::Invalid { param, .. } => param.as_deref(),
            ApiError::ModelNotFound(_) => Some("model"),
            _ => None,
        };
        let error = Wire {
            message: self.to_string(),
            r#type: shape.kind,
            param,
            code: shape.code,
            limit: self.limit(),
        };
        serde_json::json!({ "error": error }).to_string()
    }
}

#[derive(Serialize)]
struct Wire<'a> {
    message: String,
    r#type: &'static str,
    param: Option<&'a str>,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'static str>,
}

impl From<ApiError> for Response<Body> {
    fn from(error: ApiError) -> Self {
        let shape = error.shape();
        let mut response = Response::new(body::full(error.json()));
        *response.status_mut() = shape.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // The SDKs retry 429 and 5xx by themselves unless they are told otherwise.
        let retry = if shape.retry_after_s.is_some() { "true" } else { "false" };
        headers.insert("x-should-retry", HeaderValue::from_static(retry));
        if let Some(seconds) = shape.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let ApiError::MethodNotAllowed { allowed } = error {
            headers.insert(ALLOW, HeaderValue::from_static(allowed));
        }
        response
    }
}

impl From<CatalogError> for ApiError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Taken { .. } => ApiError::Conflict(error.to_string()),
            CatalogError::InvalidName { .. } => ApiError::field("name", error.to_string()),
            CatalogError::NotFound { what: "function", name } => ApiError::FunctionNotFound(name),
            CatalogError::NotFound { what, name } => ApiError::NotFound { what, name },
            CatalogError::TooMany { .. } => ApiError::Conflict(error.to_string()),
            CatalogError::Overloaded => ApiError::Overloaded(error.to_string()),
            CatalogError::Stopped
            | CatalogError::Schema { .. }
            | CatalogError::Random(_)
            | CatalogError::Store(_)
            | CatalogError::Thread(_) => ApiError::internal("the catalog failed", &error),
        }
    }
}

impl From<BillingError> for ApiError {
    fn from(error: BillingError) -> Self {
        match error {
            BillingError::Refused(refusal) => refused(&refusal),
            BillingError::Invalid(reason) => ApiError::Invalid { param: None, message: reason },
            BillingError::Conflict => ApiError::Conflict(error.to_string()),
            BillingError::Overloaded => ApiError::Overloaded(error.to_string()),
            BillingError::Store(_) | BillingError::Unreachable(_) | BillingError::Stopped(_) => {
                // The log gets the cause.
                drop(ApiError::internal("the ledger failed", &error));
                ApiError::LedgerAway
            }
            BillingError::UnknownHold
            | BillingError::HoldEnded(_)
            | BillingError::CannotOpen { .. } => ApiError::internal("the ledger failed", &error),
        }
    }
}

/// What a refusal of the ledger's rules is answered.
fn refused(refusal: &Refusal) -> ApiError {
    let message = refusal.to_string();
    match *refusal {
        Refusal::InsufficientCredits { needed, available } => {
            ApiError::InsufficientCredits { needed, available }
        }
        Refusal::Owing { .. } => ApiError::CreditsOwed(message),
        Refusal::BudgetExceeded { resets_at_ms: None, .. } => ApiError::BudgetExceeded(message),
        Refusal::BudgetExceeded { resets_at_ms: Some(at_ms), .. } => {
            // Windows begin at midnight.
            ApiError::BudgetExceeded(format!("{message}; it resets on {} (UTC)", Day::of(at_ms)))
        }
        Refusal::BalanceOverflow => ApiError::field("amount", message),
        Refusal::AlreadyExpired => ApiError::field("expires_at_ms", message),
        Refusal::SharesExceedPrice => ApiError::field("share_bps", message),
        Refusal::UnknownCall | Refusal::UnknownMessage => ApiError::NoSuchThing(message),
        Refusal::RefundExceedsCharge { .. }
        | Refusal::NotMatured { .. }
        | Refusal::AdjustmentExceedsWallet { .. }
        | Refusal::TooMany { .. } => ApiError::Conflict(message),
        // Another gateway, or this one in a moment, knows better.
        Refusal::StaleGateway { .. } | Refusal::NotHolder | Refusal::UnknownPrice => {
            ApiError::Overloaded(message)
        }
    }
}

impl From<BridgeError> for ApiError {
    fn from(error: BridgeError) -> Self {
        match error {
            BridgeError::ModelNotFound(name) => ApiError::ModelNotFound(name),
            BridgeError::InvalidRequest { field, reason } => {
                // The engine's name for what HTTP calls by OpenAI's.
                let field = if field == "grammar" { "response_format" } else { field.as_str() };
                ApiError::field(field, reason)
            }
            BridgeError::ContextLength { tokens, max } => ApiError::ContextLength { tokens, max },
            BridgeError::WrongKind(_) => ApiError::field("model", error.to_string()),
            BridgeError::Overloaded(what) => ApiError::Overloaded(what),
            BridgeError::Cancelled | BridgeError::BadModel(_) | BridgeError::Failed => {
                ApiError::internal("inference failed", &error)
            }
        }
    }
}
