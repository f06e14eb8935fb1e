use std::collections::BTreeMap;

use emberbox_billing::{
    Act, BillingError, EntryAct, NewPriceBook, OpId, OrgId, Outcome, Override, Platform, Query,
    Report, Royalty,
};
use emberbox_catalog::Org;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::app::App;
use crate::body::{self, Body};
use crate::errors::ApiError;
use crate::json::{self, Object};
use crate::money::orders::{self, Asker};
use crate::money::shown;
use crate::respond;
use crate::stack::Response;

/// What holds for everybody.
pub(super) async fn platform(app: &App) -> Result<Response, ApiError> {
    respond::ok(&read_platform(app).await?)
}

async fn read_platform(app: &App) -> Result<Platform, ApiError> {
    match app.billing.ask(Query::Platform).await? {
        Report::Platform(platform) => Ok(platform),
        _ => Err(other_kind()),
    }
}

/// Sets everything (`PUT`: what is missing is an error), or what is named (`PATCH`: the rest
/// stays).
pub(super) async fn set_platform(
    app: &App,
    method: &Method,
    (headers, body): (&HeaderMap, Body),
) -> Result<Response, ApiError> {
    let value = json::parse(&body::read(body).await?)?;
    let fields = Object::of(&value)?;
    let free_tier = match fields.get("free_tier_per_month") {
        Some(_) => Some(orders::credits(&fields, "free_tier_per_month")?),
        None => None,
    };
    let maturity_days = fields.whole("maturity_days", 0_u32..=365)?;
    let asker = Asker::operator("platform:");
    let op = asker.op(headers, Some(&fields))?;
    let platform = match (free_tier, maturity_days) {
        (Some(free_tier_per_month), Some(maturity_days)) => {
            Platform { free_tier_per_month, maturity_days }
        }
        (None, _) | (_, None) if method == Method::PUT => {
            let missing = if free_tier.is_none() { "free_tier_per_month" } else { "maturity_days" };
            return Err(fields.wrong(missing, "is required: PATCH sets what is named alone"));
        }
        (None, None) => {
            return Err(fields.wrong("free_tier_per_month", "or maturity_days is required"));
        }
        (free_tier, maturity_days) => {
            let present = match done_before(app, &op).await? {
                Some(platform) => platform,
                None => read_platform(app).await?,
            };
            Platform {
                free_tier_per_month: free_tier.unwrap_or(present.free_tier_per_month),
                maturity_days: maturity_days.unwrap_or(present.maturity_days),
            }
        }
    };
    asker.order(app, op, Act::SetPlatform(platform)).await?;
    respond::ok(&read_platform(app).await?)
}

/// What an order of this id has set before: a repetition completes what it names from there, and
/// not from what was set since.
async fn done_before(app: &App, op: &OpId) -> Result<Option<Platform>, ApiError> {
    let entry = app.billing.entry(op).await?;
    Ok(entry.and_then(|entry| match entry.act {
        EntryAct::Order(Act::SetPlatform(platform)) => Some(platform),
        _ => None,
    }))
}

/// Where the operator's own messages go.
pub(super) async fn endpoint(app: &App) -> Result<Response, ApiError> {
    respond::ok(&shown::endpoint(&app.billing.endpoint(None).await?))
}

/// Sets where the operator's own messages go. The secret is in this answer, and in that to
/// the same request with the same id.
pub(super) async fn set_endpoint(
    app: &App,
    (headers, body): (&HeaderMap, Body),
) -> Result<Response, ApiError> {
    let value = json::parse(&body::read(body).await?)?;
    let fields = Object::of(&value)?;
    let asker = Asker::operator("endpoint:");
    let op = asker.op(headers, Some(&fields))?;
    let endpoint = orders::endpoint(app, &fields, &op).await?;
    let shown = json!({ "url": endpoint.url, "secret": endpoint.secret });
    asker.order(app, op, Act::SetEndpoint { org: None, endpoint: Some(endpoint) }).await?;
    respond::ok(&shown)
}

/// Sends the operator no more messages.
pub(super) async fn remove_endpoint(app: &App, headers: &HeaderMap) -> Result<Response, ApiError> {
    let asker = Asker::operator("endpoint:");
    let op = asker.op(headers, None)?;
    asker.order(app, op, Act::SetEndpoint { org: None, endpoint: None }).await?;
    respond::ok(&json!({ "url": null }))
}

/// The prices in force.
pub(super) async fn prices(app: &App) -> Result<Response, ApiError> {
    respond::ok(&*app.billing.prices().await?)
}

/// All versions of the prices.
pub(super) async fn price_versions(app: &App) -> Result<Response, ApiError> {
    match app.billing.ask(Query::Prices).await? {
        Report::Prices(books) => respond::ok(&shown::list(&books)),
        _ => Err(other_kind()),
    }
}

/// Publishes a book. Royalties and agreed prices name organisations by name or by id.
pub(super) async fn set_prices(
    app: &App,
    (headers, body): (&HeaderMap, Body),
) -> Result<Response, ApiError> {
    let value = json::parse(&body::read(body).await?)?;
    let fields = Object::of(&value)?;
    let asker = Asker::operator("prices:");
    let op = match fields.text("op")? {
        Some(op) => op.to_owned().try_into()?,
        None => asker.op(headers, Some(&fields))?,
    };
    let mut rest = value.clone();
    if let Value::Object(rest) = &mut rest {
        // A book that was read from the server can be sent back with one number changed.
        for name in ["version", "op", "id"] {
            rest.remove(name);
        }
    }
    let mut book: NewPriceBook = serde_json::from_value(rest)
        .map_err(|error| ApiError::invalid("this is not a price book", &error))?;
    by_id(&app.catalog.orgs().await?, &mut book)?;
    match asker.order(app, op, Act::SetPrices(book)).await? {
        Outcome::Priced(book) => respond::ok(&*book),
        _ => Err(other_kind()),
    }
}

/// Names of organisations become ids; nobody who does not exist is paid or favoured.
fn by_id(orgs: &[Org], book: &mut NewPriceBook) -> Result<(), ApiError> {
    let id = |name: &OrgId| {
        let found = orgs.iter().find(|org| org.name == name.as_str() || org.id == name.as_str());
        found.map(|org| OrgId::new(&org.id)).ok_or_else(|| ApiError::NotFound {
            what: "organisation",
            name: name.as_str().chars().take(80).collect(),
        })
    };
    for Royalty { org, .. } in book.royalties.values_mut() {
        *org = id(org)?;
    }
    let mut overrides: BTreeMap<OrgId, Override> = BTreeMap::new();
    for (org, agreed) in std::mem::take(&mut book.overrides) {
        if overrides.insert(id(&org)?, agreed).is_some() {
            return Err(ApiError::field("overrides", format!("{org} stands there twice")));
        }
    }
    book.overrides = overrides;
    Ok(())
}

fn other_kind() -> ApiError {
    let error = BillingError::Stopped("an answer of another kind came".to_owned());
    ApiError::internal("the ledger failed", &error)
}
