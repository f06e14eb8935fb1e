//! Calls: a hold of the worst case, then a capture of what it cost, or an end without a charge.

use std::sync::Arc;

use super::{Change, Ended, Facts, State, minus, negative, notices, plus};
use crate::account::{Account, Purpose, Transfer};
use crate::calendar::Day;
use crate::capture::{CaptureRequest, normal_form};
use crate::charge::{Charge, Party, price_capture};
use crate::document::{Budget, Lot};
use crate::error::{BillingError, Refusal};
use crate::hold::{HoldEnd, HoldRequest, HoldTerms, Pinned, Subject};
use crate::ids::{CallId, LotId, OrgId};
use crate::ledger::store::{CallEnd, EarningsKey};
use crate::money::Nano;
use crate::order::Funding;
use crate::price::{Meter, PriceBook, ProviderShare, UsageLine};
use crate::report::{Role, UsageSums};

pub(super) fn hold(
    state: &State,
    request: &HoldRequest,
    at_ms: u64,
) -> Result<Change, BillingError> {
    if let Some(holder) = &request.holder {
        let epoch = state.gateway_epoch(&holder.gateway);
        if epoch != holder.epoch {
            return Err(Refusal::StaleGateway { epoch }.into());
        }
    }
    let book = state.book(request.price_version).ok_or(Refusal::UnknownPrice)?;
    if let Some(provider) = &request.provider {
        shares_fit(book, provider)?;
    }
    if state.is_full() {
        return Err(BillingError::Overloaded);
    }
    let owed = state.owed(&request.org);
    if owed > Nano::ZERO {
        return Err(Refusal::Owing { owed }.into());
    }
    let budgets = budgets_allow(state, request)?;
    let lots = fund(state, request, at_ms)?;
    let paid_lots = lots.iter().map(|(lot, _)| *lot).filter(|lot| is_paid(state, *lot));
    let pinned = Pinned {
        author: request.author.clone(),
        provider: request.provider.clone(),
        holder: request.holder.clone(),
        budgets: budgets.iter().map(|budget| budget.budget).collect(),
        paid_lots: paid_lots.collect(),
    };
    let terms = Arc::new(HoldTerms {
        call: request.call,
        org: request.org.clone(),
        key: request.key.clone(),
        amount: request.amount,
        price_version: request.price_version,
        subject: request.subject.clone(),
        pinned: Arc::new(pinned),
        lots,
        created_at_ms: at_ms,
        expires_at_ms: at_ms.saturating_add(request.ttl_ms),
    });
    let held = set_aside(&terms);
    Ok(Change { held, opened: Some(terms), ..Change::default() })
}

/// The shares of the model's owner and the provider come out of one price.
fn shares_fit(book: &PriceBook, provider: &ProviderShare) -> Result<(), Refusal> {
    let royalty = book.royalties.values().map(|royalty| royalty.share_bps).max().unwrap_or(0);
    if royalty.saturating_add(provider.share_bps) > crate::operation::SHARE_BPS_MAX {
        return Err(Refusal::SharesExceedPrice);
    }
    Ok(())
}

/// The budgets that count this call, each of which must have room for its worst case.
fn budgets_allow<'a>(
    state: &'a State,
    request: &HoldRequest,
) -> Result<Vec<&'a Budget>, BillingError> {
    let budgets: Vec<&Budget> = state.budgets_for(&request.org, &request.key).collect();
    for budget in &budgets {
        let available = super::settings::left(state, budget);
        if request.amount > available {
            return Err(Refusal::BudgetExceeded {
                of_key: budget.key.is_some(),
                window: budget.window,
                needed: request.amount,
                available,
                limit: budget.limit.unwrap_or(Nano::ZERO),
                resets_at_ms: super::settings::resets_at_ms(budget),
            }
            .into());
        }
    }
    Ok(budgets)
}

/// The lots that are to pay, in the order in which they burn; the wallet pays the rest.
fn fund(
    state: &State,
    request: &HoldRequest,
    at_ms: u64,
) -> Result<Vec<(LotId, Nano)>, BillingError> {
    let mut lots = Vec::new();
    let mut left = request.amount;
    for lot in state.lots_of(&request.org).filter(|lot| may_pay(lot, &request.subject, at_ms)) {
        let amount = state.counters(&Account::Lot(lot.lot)).available().min(left);
        if amount > Nano::ZERO {
            lots.push((lot.lot, amount));
            left = minus(left, amount)?;
        }
    }
    let wallet = state.counters(&Account::Wallet(request.org.clone())).available();
    if left > wallet {
        let funded = minus(request.amount, left)?;
        let available = plus(funded, wallet)?;
        return Err(Refusal::InsufficientCredits { needed: request.amount, available }.into());
    }
    Ok(lots)
}

/// Whether a lot may pay for a subject.
fn may_pay(lot: &Lot, subject: &Subject, at_ms: u64) -> bool {
    let unexpired = lot.expires_at_ms.is_none_or(|expires_at_ms| at_ms < expires_at_ms);
    let scope = &lot.scope;
    let in_scope = match subject {
        _ if scope.models.is_empty() && scope.functions.is_empty() => true,
        Subject::Model(model) => scope.models.contains(model),
        Subject::Function { owner, name, .. } => {
            scope.functions.contains(&format!("{owner}/{name}"))
        }
    };
    unexpired && in_scope
}

/// What a hold sets aside, account by account; below zero in [`release`].
fn set_aside(terms: &HoldTerms) -> Vec<(Account, Nano)> {
    let budgets = terms.pinned.budgets.iter();
    let budgets = budgets.map(|budget| (Account::Budget(*budget), terms.amount));
    let all = terms.legs().into_iter().chain(budgets);
    all.filter(|(_, amount)| *amount > Nano::ZERO).collect()
}

fn release(terms: &HoldTerms) -> Vec<(Account, Nano)> {
    let set_aside = set_aside(terms).into_iter();
    set_aside.map(|(account, amount)| (account, negative(amount))).collect()
}

/// Ends a hold without a charge: voided, expired, or orphaned by a restart.
pub(crate) fn end(terms: &Arc<HoldTerms>, end: CallEnd) -> Change {
    let ended = vec![Ended { terms: Arc::clone(terms), end }];
    Change { held: release(terms), ended, ..Change::default() }
}

pub(super) fn void(
    state: &State,
    (org, call): (&OrgId, CallId),
    facts: &Facts<'_>,
) -> Result<Change, BillingError> {
    let open = state.hold(call).filter(|terms| terms.org == *org);
    match (open, facts.past.map(|(row, _)| &row.end)) {
        (Some(terms), _) => Ok(end(terms, CallEnd::Voided)),
        (None, Some(end)) => Err(ended(end)),
        (None, None) => Err(BillingError::UnknownHold),
    }
}

/// Why an operation on an ended call is refused.
fn ended(end: &CallEnd) -> BillingError {
    match end {
        CallEnd::Refused(_) => BillingError::UnknownHold,
        CallEnd::Captured { .. } => BillingError::HoldEnded(HoldEnd::Captured),
        CallEnd::Voided => BillingError::HoldEnded(HoldEnd::Voided),
        CallEnd::Expired => BillingError::HoldEnded(HoldEnd::Expired),
        CallEnd::Restarted => BillingError::HoldEnded(HoldEnd::Restarted),
    }
}

pub(super) fn capture(
    state: &State,
    request: &CaptureRequest,
    facts: &Facts<'_>,
) -> Result<Change, BillingError> {
    let open = state.hold(request.call).filter(|terms| terms.org == request.org);
    let (terms, late) = match (open, facts.past) {
        (Some(terms), _) => (Arc::clone(terms), false),
        (None, Some((row, _))) => match &row.end {
            CallEnd::Expired | CallEnd::Restarted => (Arc::new(row.terms.clone()), true),
            end => return Err(ended(end)),
        },
        (None, None) => return Err(BillingError::UnknownHold),
    };
    let book = state.book(terms.price_version).ok_or(Refusal::UnknownPrice)?;
    let usage = normal_form(&request.usage);
    let charge = price_capture(book, &terms, (&usage, request.ending))?;
    let amount = charge.total;
    let mut transfers = pay(legs(state, &terms, late)?, charge)?;
    let day = Day::of(facts.at_ms);
    let earnings = transfers.iter().filter_map(|t| earning(t, day, &terms.subject)).collect();
    count_in_budgets(state, &terms, (amount, late), &mut transfers)?;
    if late {
        let receivable = Account::Receivable(terms.org.clone());
        let owed = transfers.iter().filter(|transfer| transfer.debit == receivable);
        let owed = owed.map(|transfer| transfer.amount).try_fold(Nano::ZERO, plus)?;
        super::payments::settle(state, &terms.org, (owed, Nano::ZERO), &mut transfers)?;
    }
    let held = if late { Vec::new() } else { release(&terms) };
    let end = CallEnd::Captured { amount, usage, ending: request.ending, late };
    let org = terms.org.clone();
    let ended = vec![Ended { terms, end }];
    let mut change = Change { transfers, held, ended, earnings, ..Change::default() };
    notices::after_spending(state, &org, &mut change, facts)?;
    Ok(change)
}

/// What pays for a part of a call.
struct Leg {
    debit: Account,
    amount: Nano,
    /// Whether it stands for free credits, which earn nobody anything.
    is_free: bool,
}

/// What pays for a call, in the order in which it is spent: what its hold set aside. For a late
/// capture nothing is any more. Then a lot pays its share as far as it still has something, and
/// the rest of the hold is owed; what free credits were to pay earns nobody anything all the same,
/// or a call would turn them into cash by being late.
fn legs(state: &State, terms: &HoldTerms, late: bool) -> Result<Vec<Leg>, Refusal> {
    let mut legs = Vec::new();
    for (debit, amount) in terms.legs() {
        let is_free = match &debit {
            Account::Lot(lot) => !is_paid(state, *lot) && !terms.pinned.paid_lots.contains(lot),
            _ => false,
        };
        if !late {
            legs.push(Leg { debit, amount, is_free });
            continue;
        }
        let left = match &debit {
            Account::Lot(_) => state.counters(&debit).available().min(amount),
            _ => Nano::ZERO,
        };
        let owed = minus(amount, left)?;
        legs.push(Leg { debit, amount: left, is_free });
        let debit = Account::Receivable(terms.org.clone());
        legs.push(Leg { debit, amount: owed, is_free });
    }
    Ok(legs)
}

/// Whether a lot is there and was paid for.
fn is_paid(state: &State, lot: LotId) -> bool {
    state.lot(lot).is_some_and(|lot| lot.funding == Funding::Paid)
}

/// Takes a charge from legs in their order. What stands for free credits goes back to `promo`;
/// what is left of the charge is divided among its parties.
fn pay(legs: Vec<Leg>, charge: Charge) -> Result<Vec<Transfer>, Refusal> {
    let mut left = charge.total;
    let mut transfers = Vec::with_capacity(6);
    let mut paid = Vec::new();
    for Leg { debit, amount, is_free } in legs {
        let amount = amount.min(left);
        if amount == Nano::ZERO {
            continue;
        }
        left = minus(left, amount)?;
        if is_free {
            let purpose = Purpose::Promo;
            transfers.push(Transfer { purpose, debit, credit: Account::Promo, amount });
        } else {
            paid.push((debit, amount));
        }
    }
    let total = paid.iter().try_fold(Nano::ZERO, |sum, (_, amount)| plus(sum, *amount))?;
    divide(paid, charge.at_most(total), &mut transfers)?;
    Ok(transfers)
}

/// Matches what pays with who is paid, each in its order.
fn divide(
    paid: Vec<(Account, Nano)>,
    charge: Charge,
    transfers: &mut Vec<Transfer>,
) -> Result<(), Refusal> {
    let mut paid = paid.into_iter();
    let mut purse = paid.next();
    for part in charge.parts {
        let (purpose, credit) = match part.party {
            Party::Platform => (Purpose::Platform, Account::Platform),
            Party::Author(org) => (Purpose::Author, Account::Payable(org)),
            Party::ModelOwner(org) => (Purpose::ModelOwner, Account::Payable(org)),
            Party::Provider(org) => (Purpose::Provider, Account::Payable(org)),
            Party::Rounding => (Purpose::Rounding, Account::Rounding),
            Party::Promo => (Purpose::Promo, Account::Promo),
        };
        let mut due = part.amount;
        while due > Nano::ZERO {
            let Some((debit, left)) = &mut purse else { return Err(Refusal::BalanceOverflow) };
            let amount = due.min(*left);
            if amount > Nano::ZERO {
                let (debit, credit) = (debit.clone(), credit.clone());
                transfers.push(Transfer { purpose, debit, credit, amount });
            }
            due = minus(due, amount)?;
            *left = minus(*left, amount)?;
            if *left == Nano::ZERO {
                purse = paid.next();
            }
        }
    }
    Ok(())
}

/// Counts a charge in the budgets of its hold. A late one has no room set aside any more: it
/// counts as far as there is some.
fn count_in_budgets(
    state: &State,
    terms: &HoldTerms,
    (charged, late): (Nano, bool),
    transfers: &mut Vec<Transfer>,
) -> Result<(), Refusal> {
    for budget in &terms.pinned.budgets {
        let debit = Account::Budget(*budget);
        let room = state.counters(&debit).available();
        let amount = if late { charged.min(room) } else { charged };
        if amount > Nano::ZERO {
            let (purpose, credit) = (Purpose::BudgetSpent, debit.clearing());
            transfers.push(Transfer { purpose, debit, credit, amount });
        }
    }
    Ok(())
}

/// What a transfer of a charge earns somebody.
pub(super) fn earning(
    transfer: &Transfer,
    day: Day,
    subject: &Subject,
) -> Option<(EarningsKey, i64, Nano)> {
    let role = match transfer.purpose {
        Purpose::Author => Role::Author,
        Purpose::ModelOwner => Role::ModelOwner,
        Purpose::Provider => Role::Provider,
        _ => return None,
    };
    let Account::Payable(org) = &transfer.credit else { return None };
    let key = EarningsKey { org: org.clone(), day, role, subject: subject.clone() };
    Some((key, 1, transfer.amount))
}

/// The quantities of a charge by model: what the sums of usage grow by. The first is the
/// subject's own, with the call and its cost.
pub(crate) fn quantities(
    subject: &Subject,
    usage: &[UsageLine],
    amount: Nano,
) -> Vec<(Option<String>, UsageSums)> {
    let own = match subject {
        Subject::Model(model) => Some(model.clone()),
        Subject::Function { .. } => None,
    };
    let mut rows = vec![(own, UsageSums { calls: 1, cost: amount, ..UsageSums::default() })];
    for line in usage {
        let at = rows.iter().position(|(model, _)| *model == line.model).unwrap_or(rows.len());
        if at == rows.len() {
            rows.push((line.model.clone(), UsageSums::default()));
        }
        let Some((_, sums)) = rows.get_mut(at) else { continue };
        let sum = match line.meter {
            Meter::InputTokens => &mut sums.input_tokens,
            Meter::CachedInputTokens => &mut sums.cached_input_tokens,
            Meter::OutputTokens => &mut sums.output_tokens,
            Meter::ComputeMicros => &mut sums.compute_micros,
            Meter::Fuel => &mut sums.fuel,
            Meter::EgressBytes => &mut sums.egress_bytes,
            // Charges are the calls.
            Meter::Calls => continue,
        };
        *sum = sum.saturating_add(line.quantity);
    }
    rows
}
