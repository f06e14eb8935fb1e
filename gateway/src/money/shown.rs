use emberbox_billing::{AccountReport, Balance, EndpointReport, Receipt};
use serde::Serialize;
use serde_json::{Value, json};

use crate::errors::ApiError;

/// A balance, with the name of the organisation whose it is.
pub(crate) fn balance(org: &str, balance: &Balance) -> Value {
    json!({
        "org": org,
        "posted": balance.posted,
        "held": balance.held,
        "available": balance.available,
        "owed": balance.owed,
    })
}

/// An account in whole: the balance's fields, and the others beside them.
pub(crate) fn account(org: &str, account: &AccountReport) -> Value {
    let mut shown = balance(org, &account.balance);
    let others = [
        ("lots", json!(account.lots)),
        ("budgets", json!(account.budgets)),
        ("low_balance", json!(account.low_balance)),
        ("auto_top_up", json!(account.auto_top_up)),
        ("endpoint_url", json!(account.endpoint_url)),
        ("endpoint_switched_off", json!(account.endpoint_gone)),
        ("payable", json!(account.payable)),
        ("matured", json!(account.matured)),
    ];
    if let Value::Object(fields) = &mut shown {
        fields.extend(others.map(|(name, value)| (name.to_owned(), value)));
    }
    shown
}

/// Where messages go, and what was switched off because its receiver answered 410.
pub(crate) fn endpoint(endpoint: &EndpointReport) -> Value {
    json!({ "url": endpoint.url, "switched_off": endpoint.gone })
}

/// A receipt as clients know it: its id is its call's.
pub(crate) fn receipt(receipt: &Receipt) -> Result<Value, ApiError> {
    with(receipt, [("id", json!(receipt.call))])
}

/// A value as JSON, with fields more.
pub(crate) fn with<const N: usize>(
    value: &impl Serialize,
    more: [(&str, Value); N],
) -> Result<Value, ApiError> {
    let mut shown = serde_json::to_value(value)
        .map_err(|error| ApiError::internal("an answer could not be written", &error))?;
    if let Value::Object(fields) = &mut shown {
        fields.extend(more.map(|(name, value)| (name.to_owned(), value)));
    }
    Ok(shown)
}

/// A list, in the one shape of lists.
pub(crate) fn list(data: &impl Serialize) -> Value {
    json!({ "object": "list", "data": data })
}
