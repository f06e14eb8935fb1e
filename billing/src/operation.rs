//! Operations as the writer takes them, and what makes one invalid in any state.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::capture::CaptureRequest;
use crate::charge::USAGE_LINES_MAX;
use crate::error::BillingError;
use crate::hold::{HoldRequest, Subject};
use crate::ids::{CallId, NAME_BYTES_MAX, OrgId};
use crate::money::Nano;
use crate::order::{Act, Grant, Order, Payment, Platform, Scope};
use crate::price::{NewPriceBook, Override};

/// The longest life of a hold: a day.
pub const HOLD_TTL_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// The most bytes of a note or reference.
pub const NOTE_BYTES_MAX: usize = 1024;
/// The most models with prices of their own, and organisations with agreed prices.
pub const PRICED_MODELS_MAX: usize = 10_000;
/// A markup of a hundred times the platform's price is a mistake.
pub const MARKUP_BPS_MAX: u32 = 1_000_000;
/// The whole, in basis points.
pub const SHARE_BPS_MAX: u32 = 10_000;
/// The most names in a grant's scope.
pub const SCOPE_NAMES_MAX: usize = 100;
/// The most bytes of an endpoint's address.
const URL_BYTES_MAX: usize = 2048;
/// The most bytes of an endpoint's secret.
const SECRET_BYTES_MAX: usize = 256;
/// The most that a budget's window or a free tier may allow: a million credits.
const LIMIT_MAX: Nano = Nano::from_nano(1_000_000_000_000_000);
/// The longest that earnings may have to wait.
const MATURITY_DAYS_MAX: u32 = 365;

/// What the ledger can be asked to do.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Hold(Box<HoldRequest>),
    Capture(CaptureRequest),
    Void { org: OrgId, call: CallId },
    Order(Box<Order>),
}

impl Operation {
    /// The call whose hold it ends. Such operations are taken even where new ones are refused.
    pub(crate) fn ends(&self) -> Option<(&OrgId, CallId)> {
        match self {
            Operation::Capture(request) => Some((&request.org, request.call)),
            Operation::Void { org, call } => Some((org, *call)),
            Operation::Hold(_) | Operation::Order(_) => None,
        }
    }

    /// Whether it is worth nothing once its caller has left.
    pub(crate) fn is_for_caller_only(&self) -> bool {
        matches!(self, Operation::Hold(_))
    }

    /// Refuses what makes no sense in any state.
    pub(crate) fn validate(&self) -> Result<(), BillingError> {
        match self {
            Operation::Hold(request) => validate_hold(request),
            Operation::Capture(request) => validate_capture(request),
            Operation::Void { org, .. } => name("org", org.as_str()),
            Operation::Order(order) => validate_order(order),
        }
    }
}

/// A digest of what an order asks: two payloads of one id are equal when their digests are.
pub(crate) fn digest(act: &impl Serialize) -> Result<[u8; 32], BillingError> {
    let json = serde_json::to_vec(act)
        .map_err(|error| BillingError::Invalid(format!("the request: {error}")))?;
    Ok(Sha256::digest(json).into())
}

fn validate_hold(request: &HoldRequest) -> Result<(), BillingError> {
    name("org", request.org.as_str())?;
    name("key", request.key.as_str())?;
    match &request.subject {
        Subject::Model(model) => name("subject", model)?,
        Subject::Function { owner, name: function, .. } => {
            name("subject.owner", owner)?;
            name("subject.name", function)?;
        }
    }
    ensure(!request.amount.is_negative(), "amount: must not be negative")?;
    storable("price_version", request.price_version.0)?;
    ensure(
        (1..=HOLD_TTL_MS_MAX).contains(&request.ttl_ms),
        "ttl_ms: must be from 1 to 86400000 (a day)",
    )?;
    if let Some(author) = &request.author {
        name("author.org", author.org.as_str())?;
        ensure(!author.call_fee.is_negative(), "author.call_fee: must not be negative")?;
        ensure(
            author.compute_markup_bps <= MARKUP_BPS_MAX,
            "author.compute_markup_bps: must be at most 1000000",
        )?;
    }
    if let Some(provider) = &request.provider {
        name("provider.org", provider.org.as_str())?;
        share("provider.share_bps", provider.share_bps)?;
    }
    match &request.holder {
        Some(holder) => name("holder.gateway", &holder.gateway),
        None => Ok(()),
    }
}

fn validate_capture(request: &CaptureRequest) -> Result<(), BillingError> {
    name("org", request.org.as_str())?;
    ensure(request.usage.len() <= USAGE_LINES_MAX, "usage: more than 1000 lines")?;
    let mut models = request.usage.iter().filter_map(|line| line.model.as_deref());
    models.try_for_each(|model| name("usage.model", model))?;
    let in_range = |quantity: u64| i64::try_from(quantity).is_ok();
    let all_in_range = request.usage.iter().all(|line| in_range(line.quantity));
    ensure(all_in_range, "usage.quantity: does not fit 63 bits")
}

fn validate_order(order: &Order) -> Result<(), BillingError> {
    name("by", &order.by)?;
    let is_ours = order.op.as_str().starts_with("system-");
    ensure(!is_ours, "op: `system-…` is for what the ledger does by itself")?;
    if let Some(org) = order.act.org() {
        name("org", org.as_str())?;
    }
    match &order.act {
        Act::TopUp(payment) | Act::Chargeback(payment) | Act::Payout(payment) => {
            validate_payment(payment)
        }
        Act::Grant(grant) => validate_grant(grant),
        Act::Refund { amount, note: text, .. } => {
            let positive = amount.is_none_or(|amount| amount > Nano::ZERO);
            ensure(positive, "amount: must be more than zero")?;
            note(text)
        }
        Act::Adjust { amount, note: text, .. } => {
            ensure(*amount != Nano::ZERO, "amount: must not be zero")?;
            ensure(amount.as_nano() != i64::MIN, "amount: is too large")?;
            note(text)
        }
        Act::SetBudget { key, limit, .. } => {
            key.as_ref().map_or(Ok(()), |key| name("key", key.as_str()))?;
            let positive = limit.is_none_or(|limit| !limit.is_negative());
            ensure(positive, "limit: must not be negative")?;
            let sane = limit.is_none_or(|limit| limit <= LIMIT_MAX);
            ensure(sane, "limit: must be at most 1000000 credits")
        }
        Act::SetPrices(book) => validate_prices(book),
        Act::SetLowBalance { below, .. } => {
            ensure(below.is_none_or(|below| below > Nano::ZERO), "below: must be more than zero")
        }
        Act::SetAutoTopUp { rule, .. } => rule.as_ref().map_or(Ok(()), |rule| {
            ensure(rule.below > Nano::ZERO, "rule.below: must be more than zero")?;
            ensure(rule.amount > Nano::ZERO, "rule.amount: must be more than zero")?;
            let range = (1..=1000).contains(&rule.per_month_max);
            ensure(range, "rule.per_month_max: must be from 1 to 1000")
        }),
        Act::SetEndpoint { endpoint, .. } => endpoint.as_ref().map_or(Ok(()), |endpoint| {
            let web = ["https://", "http://"].iter().any(|scheme| endpoint.url.starts_with(scheme));
            ensure(web, "endpoint.url: must begin with https://")?;
            let length = endpoint.url.len() <= URL_BYTES_MAX;
            ensure(
                length && !endpoint.url.chars().any(char::is_control),
                "endpoint.url: too long",
            )?;
            let secret = endpoint.secret.starts_with("whsec_");
            let length = endpoint.secret.len() <= SECRET_BYTES_MAX;
            ensure(secret && length, "endpoint.secret: must begin with whsec_")
        }),
        Act::SetPlatform(Platform { free_tier_per_month, maturity_days }) => {
            let positive = !free_tier_per_month.is_negative();
            ensure(positive, "free_tier_per_month: must not be negative")?;
            let sane = *free_tier_per_month <= LIMIT_MAX;
            ensure(sane, "free_tier_per_month: must be at most 1000000 credits")?;
            let range = *maturity_days <= MATURITY_DAYS_MAX;
            ensure(range, "maturity_days: must be at most 365")
        }
        Act::RegisterGateway { gateway } => name("gateway", gateway),
        Act::Delivery { note: text, retry_at_ms, gone, .. } => {
            storable("retry_at_ms", retry_at_ms.unwrap_or(0))?;
            let length = gone.as_ref().is_none_or(|url| url.len() <= URL_BYTES_MAX);
            ensure(length, "gone: too long")?;
            note(text)
        }
    }
}

fn validate_payment(payment: &Payment) -> Result<(), BillingError> {
    ensure(payment.amount > Nano::ZERO, "amount: must be more than zero")?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let rail = &payment.rail;
    let is_rail = (1..=32).contains(&rail.len()) && rail.chars().all(plain);
    ensure(is_rail, "rail: must have 1 to 32 lower-case letters, digits or `-`")?;
    payment.reference.as_deref().map_or(Ok(()), |reference| name("reference", reference))?;
    note(&payment.note)
}

fn validate_grant(grant: &Grant) -> Result<(), BillingError> {
    ensure(grant.amount > Nano::ZERO, "amount: must be more than zero")?;
    storable("expires_at_ms", grant.expires_at_ms.unwrap_or(0))?;
    let Scope { models, functions } = &grant.scope;
    let few = models.len().saturating_add(functions.len()) <= SCOPE_NAMES_MAX;
    ensure(few, "scope: more than 100 names")?;
    models.iter().chain(functions).try_for_each(|scoped| name("scope", scoped))?;
    let qualified = functions.iter().all(|function| function.contains('/'));
    ensure(qualified, "scope.functions: must be written owner/name")?;
    note(&grant.note)
}

fn validate_prices(book: &NewPriceBook) -> Result<(), BillingError> {
    let NewPriceBook { models, royalties, overrides, .. } = book;
    storable("effective_at_ms", book.effective_at_ms.unwrap_or(0))?;
    let few = |count: usize| count <= PRICED_MODELS_MAX;
    ensure(few(models.len()), "models: more than 10000")?;
    ensure(few(royalties.len()), "royalties: more than 10000")?;
    let agreed: usize = overrides
        .values()
        .map(|Override { models, .. }| models.len().saturating_add(1))
        .fold(0, usize::saturating_add);
    ensure(few(agreed), "overrides: more than 10000")?;
    models.keys().chain(royalties.keys()).try_for_each(|model| name("models", model))?;
    for royalty in royalties.values() {
        name("royalties.org", royalty.org.as_str())?;
        share("royalties.share_bps", royalty.share_bps)?;
    }
    for (org, agreed) in overrides {
        name("overrides", org.as_str())?;
        agreed.models.keys().try_for_each(|model| name("overrides.models", model))?;
    }
    Ok(())
}

/// Stores keep 63 bits.
fn storable(field: &str, number: u64) -> Result<(), BillingError> {
    ensure(i64::try_from(number).is_ok(), &format!("{field}: does not fit 63 bits"))
}

fn share(field: &str, share_bps: u32) -> Result<(), BillingError> {
    ensure(share_bps <= SHARE_BPS_MAX, &format!("{field}: must be at most 10000"))
}

fn note(text: &str) -> Result<(), BillingError> {
    ensure(text.len() <= NOTE_BYTES_MAX, "note: longer than 1024 bytes")?;
    // PostgreSQL cannot keep it.
    ensure(!text.contains('\0'), "note: contains a zero byte")
}

fn name(field: &str, name: &str) -> Result<(), BillingError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let reason = format!("{field}: must have 1 to {NAME_BYTES_MAX} bytes, all printable");
        return Err(BillingError::Invalid(reason));
    }
    Ok(())
}

fn ensure(holds: bool, reason: &str) -> Result<(), BillingError> {
    if holds { Ok(()) } else { Err(BillingError::Invalid(reason.to_owned())) }
}
