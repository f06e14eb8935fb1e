use emberbox_billing::{Act, CallId, CreditNote, Day, Grant, OrgId, Outcome, Payment, Period};
use emberbox_catalog::Org;
use http::HeaderMap;
use http::Uri;
use serde_json::{Value, json};

use crate::app::App;
use crate::body::{self, Body};
use crate::errors::ApiError;
use crate::json::{self, Object};
use crate::money::orders::{self, Asker};
use crate::money::shown;
use crate::respond;
use crate::stack::Response;

/// A way in which money comes or goes.
#[derive(Clone, Copy)]
pub(super) enum Way {
    TopUp,
    Chargeback,
    Payout,
}

/// What an organisation has.
pub(super) async fn account(app: &App, uri: &Uri) -> Result<Response, ApiError> {
    let Some(name) = respond::query::<String>(uri, "org")? else {
        return Err(ApiError::field("org", "org is required: the name of an organisation"));
    };
    let org = app.catalog.org(&name).await?;
    let account = app.billing.account(&OrgId::new(&org.id)).await?;
    respond::ok(&shown::account(&org.name, &account))
}

/// Money that came in or went out: a top-up, a chargeback, a payout.
pub(super) async fn pay(
    app: &App,
    way: Way,
    (headers, body): (&HeaderMap, Body),
) -> Result<Response, ApiError> {
    let value = json::parse(&body::read(body).await?)?;
    let fields = Object::of(&value)?;
    let amount = orders::positive(&fields, "amount")?;
    let org = app.catalog.org(fields.required_text("org")?).await?;
    let payment = Payment {
        org: OrgId::new(&org.id),
        amount,
        rail: fields.text("rail")?.unwrap_or("operator").to_owned(),
        reference: fields.text("reference")?.map(str::to_owned),
        note: fields.text("note")?.unwrap_or_default().to_owned(),
    };
    // The same id of a top-up and of a payout are two.
    let (scope, act) = match way {
        Way::TopUp => ("top-up-", Act::TopUp(payment)),
        Way::Chargeback => ("chargeback:", Act::Chargeback(payment)),
        Way::Payout => ("payout:", Act::Payout(payment)),
    };
    place(app, &org, (scope, act), (headers, &fields)).await
}

/// Credits that are given. Expiry as `expires_at_ms`, or as `expires_on`, the last day on which
/// they can be spent.
pub(super) async fn grant(
    app: &App,
    (headers, body): (&HeaderMap, Body),
) -> Result<Response, ApiError> {
    let value = json::parse(&body::read(body).await?)?;
    let fields = Object::of(&value)?;
    orders::positive(&fields, "amount")?;
    let org = app.catalog.org(fields.required_text("org")?).await?;
    let last_day = match fields.text("expires_on")? {
        Some(text) => Some(text.parse::<Day>()?),
        None => None,
    };
    let mut rest = value.clone();
    if let Value::Object(rest) = &mut rest {
        rest.remove("id");
        rest.remove("expires_on");
        rest.insert("org".to_owned(), json!(org.id));
        if let Some(day) = last_day {
            rest.insert("expires_at_ms".to_owned(), json!(day.ends_at_ms()));
        }
    }
    let grant: Grant = serde_json::from_value(rest)
        .map_err(|error| ApiError::invalid("this is not a grant", &error))?;
    place(app, &org, ("grant:", Act::Grant(grant)), (headers, &fields)).await
}

/// A correction of a wallet; below zero takes.
pub(super) async fn adjust(
    app: &App,
    (headers, body): (&HeaderMap, Body),
) -> Result<Response, ApiError> {
    let value = json::parse(&body::read(body).await?)?;
    let fields = Object::of(&value)?;
    let amount = orders::credits(&fields, "amount")?;
    let note = fields.required_text("note")?.to_owned();
    let org = app.catalog.org(fields.required_text("org")?).await?;
    let act = Act::Adjust { org: OrgId::new(&org.id), amount, note };
    place(app, &org, ("adjustment:", act), (headers, &fields)).await
}

async fn place(
    app: &App,
    org: &Org,
    (scope, act): (&str, Act),
    (headers, fields): (&HeaderMap, &Object<'_>),
) -> Result<Response, ApiError> {
    let asker = Asker::operator(scope);
    let op = asker.op(headers, Some(fields))?;
    let outcome = asker.order(app, op.clone(), act).await?;
    let mut shown = match outcome {
        Outcome::Balance(balance) => shown::balance(&org.name, &balance),
        Outcome::Granted { lot, balance } => {
            shown::with(&shown::balance(&org.name, &balance), [("lot", json!(lot))])?
        }
        Outcome::PaidOut { matured } => json!({ "org": org.name, "matured": matured }),
        _ => return Err(ApiError::Internal),
    };
    if let Value::Object(fields) = &mut shown {
        fields.insert("op".to_owned(), json!(op));
    }
    respond::ok(&shown)
}

/// Gives a charge back, in whole or in part. Answers with the credit note.
pub(super) async fn refund(
    app: &App,
    (headers, body): (&HeaderMap, Body),
) -> Result<Response, ApiError> {
    let value = json::parse(&body::read(body).await?)?;
    let fields = Object::of(&value)?;
    let amount = match fields.get("amount") {
        Some(_) => Some(orders::positive(&fields, "amount")?),
        None => None,
    };
    let note = fields.required_text("note")?.to_owned();
    let call: CallId = fields
        .required_text("call")?
        .parse()
        .or(Err(fields.wrong("call", "must be the id of a receipt")))?;
    let named = app.catalog.org(fields.required_text("org")?).await?;
    let org = OrgId::new(&named.id);
    let asker = Asker::operator("refund:");
    let op = asker.op(headers, Some(&fields))?;
    let act = Act::Refund { org: org.clone(), call, amount, note: note.clone() };
    let outcome = asker.order(app, op.clone(), act).await?;
    let Outcome::Refunded { amount, in_all, balance } = outcome else {
        return Err(ApiError::Internal);
    };
    let Some(entry) = app.billing.entry(&op).await? else { return Err(ApiError::Internal) };
    let period = Period::of(entry.at_ms);
    let credit_note = CreditNote {
        number: format!("{org}-{period}-C{}", entry.number),
        call,
        amount,
        reason: note,
        at_ms: entry.at_ms,
    };
    respond::ok(&json!({
        "org": named.name,
        "credit_note": credit_note,
        "refunded_in_all": in_all,
        "balance": balance,
        "op": op,
    }))
}
