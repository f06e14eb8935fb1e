use emberbox_billing::{
    BillingError, CallId, Invoice, OrgId, Period, Query, Receipt, ReceiptQuery, Report, invoice,
    recompute,
};
use emberbox_catalog::Principal;
use http::HeaderValue;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::request::Parts;
use serde_json::{Value, json};

use crate::app::App;
use crate::body;
use crate::errors::ApiError;
use crate::money::spans::now_ms;
use crate::money::{export, shown, spans};
use crate::respond;
use crate::stack::Response;

/// Receipts on one page when the request does not say.
const RECEIPTS_DEFAULT: u32 = 100;
const RECEIPTS_MAX: u32 = 1_000;
/// Months in the list of invoices, the newest first.
const INVOICES_MAX: usize = 120;

/// A page of receipts, newest first, or all of a month as CSV.
pub(super) async fn receipts(app: &App, org: &OrgId, parts: &Parts) -> Result<Response, ApiError> {
    if spans::wants_csv(parts)? {
        let period = spans::period(&parts.uri)?;
        return export::receipts(app, org.clone(), period).await;
    }
    let limit = respond::query(&parts.uri, "limit")?.unwrap_or(RECEIPTS_DEFAULT);
    if !(1..=RECEIPTS_MAX).contains(&limit) {
        return Err(ApiError::field("limit", format!("must be from 1 to {RECEIPTS_MAX}")));
    }
    let before = respond::query(&parts.uri, "before")?;
    let query = ReceiptQuery { org: org.clone(), before, limit };
    let found = app.billing.receipts(query).await?;
    let data = found.iter().map(shown::receipt).collect::<Result<Vec<Value>, ApiError>>()?;
    respond::ok(&shown::list(&data))
}

/// One receipt.
pub(super) async fn receipt(app: &App, org: &OrgId, id: &str) -> Result<Response, ApiError> {
    respond::ok(&shown::receipt(&find(app, org, id).await?)?)
}

/// The price of a call, told line by line from the prices that were pinned for it.
pub(super) async fn explain(app: &App, org: &OrgId, id: &str) -> Result<Response, ApiError> {
    let receipt = find(app, org, id).await?;
    let Report::Prices(books) = app.billing.ask(Query::Prices).await? else {
        let error = BillingError::Stopped("an answer of another kind came".to_owned());
        return Err(error.into());
    };
    let Some(book) = books.iter().find(|book| book.version == receipt.price_version) else {
        let name = receipt.price_version.to_string();
        return Err(ApiError::NotFound { what: "price version", name });
    };
    let recomputed = recompute(&receipt, book)?;
    let more = [("receipt", json!(receipt.call)), ("ending", json!(receipt.ending))];
    respond::ok(&shown::with(&recomputed, more)?)
}

async fn find(app: &App, org: &OrgId, id: &str) -> Result<Receipt, ApiError> {
    let unknown = || ApiError::NotFound { what: "receipt", name: id.chars().take(80).collect() };
    let parsed: CallId = id.parse().or(Err(unknown()))?;
    let found = app.billing.receipt(org, parsed).await?;
    found.map(|receipt| *receipt).ok_or_else(unknown)
}

/// The months since the organisation exists, newest first.
pub(super) async fn invoices(app: &App, principal: &Principal) -> Result<Response, ApiError> {
    let closed = app.billing.periods().await?;
    let (mut period, present) = (Period::of(principal.org.created_at_ms), Period::of(now_ms()));
    let mut months = Vec::new();
    while period <= present {
        months.push(period);
        period = period.next();
    }
    let invoices = months.into_iter().rev().take(INVOICES_MAX).map(|period| {
        let is_closed = closed.iter().any(|close| close.period == period);
        let status = match (is_closed, period == present) {
            (true, _) => "final",
            (false, true) => "running",
            (false, false) => "ended",
        };
        json!({
            "number": format!("{}-{period}", principal.org.id),
            "period": period,
            "status": status,
        })
    });
    respond::ok(&shown::list(&invoices.collect::<Vec<Value>>()))
}

/// The invoice of a month: `2026-11` as JSON, `2026-11.html` as a page that prints, `2026-11.csv`
/// as the receipts that it is the sum of.
pub(super) async fn one_invoice(
    app: &App,
    principal: &Principal,
    (name, parts): (&str, &Parts),
) -> Result<Response, ApiError> {
    let org = OrgId::new(&principal.org.id);
    let (period, kind) = match name.split_once('.') {
        Some((period, kind)) => (period, kind),
        None if spans::wants_csv(parts)? => (name, "csv"),
        None => (name, "json"),
    };
    let period: Period = period
        .parse()
        .map_err(|error: BillingError| ApiError::field("period", error.to_string()))?;
    match kind {
        "csv" => export::receipts(app, org, period).await,
        "json" => respond::ok(&compose(app, principal, period).await?),
        "html" => page(&compose(app, principal, period).await?),
        _ => Err(crate::route::no_such_path(parts.uri.path())),
    }
}

async fn compose(app: &App, principal: &Principal, period: Period) -> Result<Invoice, ApiError> {
    let org = OrgId::new(&principal.org.id);
    let composed = invoice(&*app.billing, &org, &principal.org.name, period, now_ms()).await?;
    Ok(Invoice { seller: app.config.payments.seller(), ..composed })
}

/// The page loads nothing and runs nothing, and is told so.
fn page(invoice: &Invoice) -> Result<Response, ApiError> {
    let mut response = Response::new(body::full(invoice.html()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    Ok(response)
}
