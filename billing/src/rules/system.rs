//! What happens by itself: months close, lots expire, budgets' windows open, free credits come.

use std::collections::BTreeMap;

use super::{Change, State, payments, settings};
use crate::account::{Account, Purpose, Transfer};
use crate::calendar::Period;
use crate::document::{Document, Lot, Settings};
use crate::error::Refusal;
use crate::hold::HoldRequest;
use crate::ids::{LotId, OrgId};
use crate::money::Nano;
use crate::order::{Funding, Grant, Scope, SystemAct};
use crate::report::{PeriodClose, TrialBalanceRow};

/// What must happen before anything else does at `at_ms`.
pub(crate) fn due(state: &State, at_ms: u64) -> Option<SystemAct> {
    let close = state.period_to_close(at_ms).map(|period| SystemAct::ClosePeriod { period });
    close.or_else(|| state.lot_to_expire(at_ms).map(|lot| SystemAct::ExpireLot { lot }))
}

/// What must happen before a hold is decided.
pub(crate) fn due_before_hold(
    state: &State,
    request: &HoldRequest,
    at_ms: u64,
) -> Option<SystemAct> {
    let org = &request.org;
    if state.platform().free_tier_per_month > Nano::ZERO {
        let granted_in = state.settings(Some(org)).and_then(|settings| settings.free_tier_in);
        if granted_in < Some(Period::of(at_ms)) {
            return Some(SystemAct::FreeTier { org: org.clone() });
        }
    }
    let mut budgets = state.budgets_for(org, &request.key);
    let over = budgets.find(|budget| settings::is_over(budget, at_ms));
    over.map(|budget| SystemAct::OpenWindow { budget: budget.budget })
}

/// Does what is due.
pub(crate) fn apply_system(state: &State, act: &SystemAct, at_ms: u64) -> Result<Change, Refusal> {
    match act {
        SystemAct::ExpireLot { lot } => expire(state, *lot),
        SystemAct::OpenWindow { budget } => settings::open_window(state, *budget, at_ms),
        SystemAct::FreeTier { org } => free_tier(state, org, at_ms),
        SystemAct::ClosePeriod { period } => Ok(close(state, *period, at_ms)),
    }
}

/// What is left of a lot goes. What is held of it stays until its call ends; the lot is gone for
/// good when nothing is.
fn expire(state: &State, lot: LotId) -> Result<Change, Refusal> {
    let Some(known) = state.lot(lot) else { return Ok(Change::default()) };
    let counters = state.counters(&Account::Lot(lot));
    let amount = counters.available();
    let (purpose, debit) = (Purpose::Breakage, Account::Lot(lot));
    let transfer = Transfer { purpose, debit, credit: Account::Breakage, amount };
    let transfers = vec![transfer].into_iter().filter(|t| t.amount > Nano::ZERO).collect();
    let expired = counters.debits_held == Nano::ZERO;
    let documents = vec![Document::Lot(Lot { expired, ..known.clone() })];
    Ok(Change { transfers, documents, ..Change::default() })
}

/// This month's free credits, gone at its end.
fn free_tier(state: &State, org: &OrgId, at_ms: u64) -> Result<Change, Refusal> {
    let period = Period::of(at_ms);
    let grant = Grant {
        org: org.clone(),
        amount: state.platform().free_tier_per_month,
        funding: Funding::Promotional,
        priority: 0,
        expires_at_ms: Some(period.ends_at_ms()),
        scope: Scope::default(),
        note: format!("free tier {period}"),
    };
    let (_, mut change) = payments::grant_lot(state, &grant, at_ms)?;
    let empty = || Settings { org: Some(org.clone()), ..Settings::default() };
    let settings = state.settings(Some(org)).cloned().unwrap_or_else(empty);
    let settings = Settings { free_tier_in: Some(period), ..settings };
    change.documents.push(Document::Settings(settings));
    Ok(change)
}

/// The books of a month, as they were with the last transfer before its end.
fn close(state: &State, period: Period, at_ms: u64) -> Change {
    let mut classes: BTreeMap<(String, &str), (Nano, Nano)> = BTreeMap::new();
    for (account, counters) in state.accounts() {
        let class = (account.class(), account.asset().name());
        let (debits, credits) = classes.entry(class).or_default();
        // Each class is a part of sums that are checked to fit.
        *debits = debits.checked_add(counters.debits_posted).unwrap_or(Nano::MAX);
        *credits = credits.checked_add(counters.credits_posted).unwrap_or(Nano::MAX);
    }
    let rows = classes.into_iter().map(|((class, asset), (debits, credits))| TrialBalanceRow {
        class,
        asset: asset.to_owned(),
        debits,
        credits,
    });
    let close = PeriodClose {
        period,
        closed_at_ms: at_ms,
        last_transfer: state.last().transfer,
        trial_balance: rows.collect(),
    };
    Change { documents: vec![Document::Period(close)], ..Change::default() }
}
