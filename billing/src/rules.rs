//! The rules: a pure function from state, operation and facts to a change.
//!
//! Nothing here reads a clock, draws randomness or touches storage; all three come in as
//! [`Facts`]. The writer applies a change to the [`State`] it decides with, and to the store.

mod calls; // Holds, captures, and how holds end.
mod notices; // Whom to tell what.
mod payments; // Money in and out, grants, refunds.
mod settings; // Budgets, prices, rules, endpoints, gateways.
mod state; // What the rules decide with.
mod system; // What happens by itself.

use std::sync::Arc;

use uuid::Uuid;

use crate::account::{Account, Transfer};
use crate::capture::CaptureRequest;
use crate::document::{Document, Refunds};
use crate::error::{BillingError, Refusal};
use crate::hold::{HoldRequest, HoldTerms};
use crate::ids::{CallId, OrgId};
use crate::ledger::store::{CallEnd, CallRow, EarningsKey};
use crate::money::Nano;
use crate::order::{Act, Outcome};
use crate::price::PriceBook;

pub(crate) use calls::{end, quantities};
pub(crate) use notices::{report_account, report_endpoint};
pub(crate) use state::State;
pub(crate) use system::{apply_system, due, due_before_hold};

/// What the rules are told beside state and operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// Now, never before any earlier operation.
    pub(crate) at_ms: u64,
    /// Fresh UUIDv7s for what the operation creates.
    pub(crate) ids: [Uuid; 2],
    /// The call that the operation is about, where it is not open any more, and the transfers of
    /// its capture.
    pub(crate) past: Option<(&'a CallRow, &'a [Transfer])>,
    /// What was given back of that call.
    pub(crate) refunds: Option<&'a Refunds>,
}

/// What an operation does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    /// New lines of the journal.
    pub(crate) transfers: Vec<Transfer>,
    /// What is held more (or, below zero, less) in which account.
    pub(crate) held: Vec<(Account, Nano)>,
    /// A new hold.
    pub(crate) opened: Option<Arc<HoldTerms>>,
    /// Calls that ended. At most one of them was captured, by all of `transfers`.
    pub(crate) ended: Vec<Ended>,
    /// Documents that are new or changed, in order.
    pub(crate) documents: Vec<Document>,
    /// New prices.
    pub(crate) book: Option<Arc<PriceBook>>,
    /// What was earned: charges that paid it, and how much, below zero for refunds.
    pub(crate) earnings: Vec<(EarningsKey, i64, Nano)>,
}

/// A call that ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) terms: Arc<HoldTerms>,
    pub(crate) end: CallEnd,
}

/// Decides a hold. `Err` changes nothing.
pub(crate) fn hold(
    state: &State,
    request: &HoldRequest,
    at_ms: u64,
) -> Result<Change, BillingError> {
    calls::hold(state, request, at_ms)
}

/// Decides a capture. `Err` changes nothing.
pub(crate) fn capture(
    state: &State,
    request: &CaptureRequest,
    facts: &Facts<'_>,
) -> Result<Change, BillingError> {
    calls::capture(state, request, facts)
}

/// Decides a void. `Err` changes nothing.
pub(crate) fn void(
    state: &State,
    (org, call): (&OrgId, CallId),
    facts: &Facts<'_>,
) -> Result<Change, BillingError> {
    calls::void(state, (org, call), facts)
}

/// Decides an order. `Err` changes nothing.
pub(crate) fn order(
    state: &State,
    act: &Act,
    facts: &Facts<'_>,
) -> Result<(Change, Outcome), Refusal> {
    match act {
        Act::TopUp(payment) => payments::top_up(state, payment),
        Act::Chargeback(payment) => payments::chargeback(state, payment),
        Act::Grant(grant) => payments::grant(state, grant, facts.at_ms),
        Act::Refund { org, amount, .. } => payments::refund(state, (org, *amount), facts),
        Act::Adjust { org, amount, .. } => payments::adjust(state, org, *amount),
        Act::Payout(payment) => payments::payout(state, payment, facts.at_ms),
        Act::SetBudget { org, key, window, limit } => {
            settings::budget(state, (org, key.as_ref(), *window), *limit, facts.at_ms)
        }
        Act::SetPrices(book) => Ok(settings::prices(state, book, facts.at_ms)),
        Act::SetLowBalance { org, below } => Ok(settings::low_balance(state, org, *below)),
        Act::SetAutoTopUp { org, rule } => Ok(settings::auto_top_up(state, org, rule.as_ref())),
        Act::SetEndpoint { org, endpoint } => {
            Ok(settings::endpoint(state, org.as_ref(), endpoint.as_ref()))
        }
        Act::SetPlatform(platform) => Ok(settings::platform(platform)),
        Act::RegisterGateway { gateway } => settings::register(state, gateway),
        Act::Delivery { message, retry_at_ms, gone, .. } => {
            let answer = (*retry_at_ms, gone.as_deref());
            settings::delivery(state, *message, answer, facts.at_ms)
        }
    }
}

/// A sum that may not leave its range.
fn plus(sum: Nano, more: Nano) -> Result<Nano, Refusal> {
    sum.checked_add(more).ok_or(Refusal::BalanceOverflow)
}

/// A difference that may not leave its range.
fn minus(sum: Nano, less: Nano) -> Result<Nano, Refusal> {
    sum.checked_sub(less).ok_or(Refusal::BalanceOverflow)
}

/// Below zero what was above, and the reverse.
fn negative(amount: Nano) -> Nano {
    Nano::ZERO.checked_sub(amount).unwrap_or(Nano::ZERO)
}
