use std::sync::Arc;

use emberbox_billing::{Day, EntryQuery, GatewayUsage, Nano, ROWS_PER_PAGE_MAX, reconcile};
use http::Uri;
use serde_json::json;

use crate::app::App;
use crate::body::Body;
use crate::config::{Role, Store};
use crate::errors::ApiError;
use crate::money::backup::{self, Part, Source};
use crate::money::spans::{self, now_ms};
use crate::money::{orders, shown};
use crate::respond;
use crate::stack::Response;

/// Later than any entry: the year 10000.
const FOREVER_MS: u64 = 253_402_300_800_000;
/// Entries on one page when the request does not say.
const ENTRIES_DEFAULT: u32 = 100;

/// A page of the audit log, newest first; `next` is the `before` of the page that follows.
pub(super) async fn audit(app: &App, uri: &Uri) -> Result<Response, ApiError> {
    let org = match respond::query::<String>(uri, "org")? {
        Some(name) => Some(orders::org_by_name_or_id(app, &name).await?),
        None => None,
    };
    let limit = respond::query(uri, "limit")?.unwrap_or(ENTRIES_DEFAULT);
    if !(1..=ROWS_PER_PAGE_MAX).contains(&limit) {
        return Err(ApiError::field("limit", format!("must be from 1 to {ROWS_PER_PAGE_MAX}")));
    }
    let query = EntryQuery {
        org,
        from_ms: spans::read::<Day>(uri, "from")?.map_or(0, Day::starts_at_ms),
        to_ms: spans::read::<Day>(uri, "to")?.map_or(FOREVER_MS, Day::ends_at_ms),
        before: respond::query(uri, "before")?,
        limit,
    };
    let entries = app.billing.entries(query).await?;
    let is_full = u32::try_from(entries.len()).is_ok_and(|count| count >= limit);
    let next = entries.last().filter(|_| is_full).map(|entry| entry.number);
    respond::ok(&shown::with(&shown::list(&entries), [("next", json!(next))])?)
}

/// Replays the journal and compares.
pub(super) async fn check(app: &App) -> Result<Response, ApiError> {
    respond::ok(&app.billing.check().await?)
}

/// The closed months, each with its trial balance.
pub(super) async fn periods(app: &App) -> Result<Response, ApiError> {
    respond::ok(&shown::list(&app.billing.periods().await?))
}

/// Whether all figures of an organisation's month agree. What the gateways counted by themselves
/// is compared where the request says it.
pub(super) async fn reconciled(app: &App, uri: &Uri) -> Result<Response, ApiError> {
    let Some(name) = respond::query::<String>(uri, "org")? else {
        return Err(ApiError::field("org", "org is required: the name of an organisation"));
    };
    let org = orders::org_by_name_or_id(app, &name).await?;
    let period = spans::period(uri)?;
    let counted: Option<u64> = respond::query(uri, "gateway_calls")?;
    let charged: Option<Nano> = spans::read(uri, "gateway_amount")?;
    let gateways = match (counted, charged) {
        (Some(calls), Some(amount)) => Some(GatewayUsage { calls, amount }),
        (None, None) => None,
        _ => {
            let reason = "gateway_calls and gateway_amount come together";
            return Err(ApiError::field("gateway_calls", reason));
        }
    };
    let found = reconcile(&*app.billing, &org, period, gateways.as_ref(), now_ms()).await?;
    respond::ok(&found)
}

/// Copies the whole data folder into a new folder on the server's disk, while it serves.
pub(super) async fn backup(app: &App, body: Body) -> Result<Response, ApiError> {
    let config = &app.config;
    let ledger = match (&app.ledger, &config.role) {
        (Some(_), _) if matches!(config.ledger, Store::Postgres(_)) => {
            Part::Elsewhere(Part::LEDGER_IN_POSTGRES)
        }
        (Some(ledger), _) => Part::Here(ledger.clone()),
        (None, Role::Gateway(_)) => Part::Elsewhere(Part::LEDGER_IN_SERVICE),
        (None, _) => Part::Elsewhere(Part::NO_LEDGER),
    };
    let catalog = match &app.sqlite_catalog {
        Some(catalog) => Part::Here(Arc::clone(catalog)),
        None => Part::Elsewhere(Part::CATALOG_IN_POSTGRES),
    };
    let folder = app.folder.path().to_owned();
    let models = app.catalog.models().await?;
    backup::answer(Source { folder, ledger, catalog, models }, body).await
}
