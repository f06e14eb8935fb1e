use emberbox_billing::{
    Act, BillingError, Instruction, Order, OrgId, PAYMENT_BODY_BYTES_MAX, payer,
};
use http::Method;
use serde_json::json;

use super::orders::org_by_name_or_id;
use super::spans::now_ms;
use crate::app::App;
use crate::body;
use crate::errors::ApiError;
use crate::respond;
use crate::route::{no_such_path, only};
use crate::stack::{Request, Response};

const SIGNATURE_HEADER: &str = "stripe-signature";

/// Takes an event of the payment provider. Its signature is the authentication. The answer is 200
/// for what was done, was done before, or moves no credits; 400 for what was not signed well; and
/// 503 while the ledger cannot take it, so that the provider tries again.
pub(crate) async fn post(app: &App, request: Request) -> Result<Response, ApiError> {
    let path = request.uri().path().to_owned();
    let Some(webhook) = app.config.payments.webhook().map_err(ApiError::from)? else {
        return Err(no_such_path(&path));
    };
    only(request.method(), &Method::POST, "POST")?;
    let (parts, content) = request.into_parts();
    let signature = parts.headers.get(SIGNATURE_HEADER).and_then(|value| value.to_str().ok());
    let content = body::read(body::limited(content, PAYMENT_BODY_BYTES_MAX)).await?;
    let refused = |error: &dyn std::fmt::Display| {
        tracing::warn!(%error, "an event of the payment provider was refused");
        ApiError::field(SIGNATURE_HEADER, error.to_string())
    };
    let instruction = webhook.receive(signature, &content, now_ms() / 1000).map_err(|error| {
        match error.is_signed() {
            true => ApiError::invalid("this event", &error),
            false => refused(&error),
        }
    })?;
    let order = match instruction {
        Instruction::Order(order) => Some(*order),
        Instruction::Unattributed(unattributed) => {
            let org = payer(&*app.billing, &unattributed.payment).await.map_err(later)?;
            org.map(|org| unattributed.of(org))
        }
        Instruction::Ignore(reason) => {
            return respond::ok(&json!({ "received": true, "ignored": reason }));
        }
    };
    match order {
        Some(order) => post_order(app, order).await,
        None => {
            let reason = "the payment was never credited here";
            respond::ok(&json!({ "received": true, "ignored": reason }))
        }
    }
}

async fn post_order(app: &App, mut order: Order) -> Result<Response, ApiError> {
    if let Act::TopUp(payment) | Act::Chargeback(payment) = &mut order.act {
        payment.org = known(app, &payment.org).await?;
    }
    let op = order.op.clone();
    match app.billing.order(order).await {
        Ok(_) => respond::ok(&json!({ "received": true, "op": op })),
        Err(BillingError::Conflict) => {
            // It was posted once, under the same id. The provider need not know.
            tracing::error!(%op, "a payment came again with another amount: look at it");
            respond::ok(&json!({ "received": true, "ignored": "it was posted before" }))
        }
        Err(error) => Err(later(error)),
    }
}

/// The organisation that a payment names, by name or by id. One that nobody knows is refused, so
/// that it stands in the provider's list of failures until the operator has looked at it.
async fn known(app: &App, org: &OrgId) -> Result<OrgId, ApiError> {
    org_by_name_or_id(app, org.as_str()).await.inspect_err(|error| {
        tracing::error!(%error, "a payment names an organisation that nobody knows");
    })
}

/// What may go well later is told so, whatever it is elsewhere.
fn later(error: BillingError) -> ApiError {
    match error {
        BillingError::Overloaded
        | BillingError::Stopped(_)
        | BillingError::Store(_)
        | BillingError::Unreachable(_) => {
            tracing::error!(%error, "a payment waits: the provider was asked to try again");
            ApiError::Overloaded("the ledger does not answer".to_owned())
        }
        error => error.into(),
    }
}
